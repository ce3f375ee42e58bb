//! Layers made one tree: each applied to what those below it left, as an overlay would show them.
//!
//! Everything goes by handles and single names: layers are a stranger's. To be run where the caller may read and write
//! whatever is its own, see [`crate::userns::within`].

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::time::TimeSpec;

use super::upper::{is_opaque, is_private, is_whiteout};
use crate::store;
use crate::sys::{self, copy, fd};

/// Why it failed, and at which file.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::rootfs) struct Fault {
    pub(in crate::rootfs) path: Vec<u8>,
    pub(in crate::rootfs) errno: Errno,
}

impl From<sys::Error> for Fault {
    fn from(error: sys::Error) -> Self {
        Self { path: Vec::new(), errno: error.errno }
    }
}

/// Applies `layers`, lowest first, to the empty folder `target`. `advance` is told bytes as they are copied; its errors
/// end the work.
pub(super) fn flatten(
    layers: impl Iterator<Item = impl AsRef<Path>>,
    target: &Path,
    advance: &mut dyn FnMut(u64) -> Result<(), Fault>,
) -> Result<(), Fault> {
    apply(layers, target, None, advance)
}

/// The same without content: files in `target` are empty and lead to it in the empty folder `data`, where it is
/// hard-linked (`user.overlay.metacopy` and `user.overlay.redirect`: kernel documentation, `filesystems/overlayfs.rst`).
/// Gives whether some was copied all the same, for want of a link.
pub(super) fn flatten_beside(
    layers: impl Iterator<Item = impl AsRef<Path>>,
    target: &Path,
    data: &OwnedFd,
) -> Result<bool, Fault> {
    let mut copied = false;
    apply(layers, target, Some(data), &mut |_| {
        copied = true;
        Ok(())
    })?;
    Ok(copied)
}

/// Applies the same folder of several layers, lowest first, to the empty folder `target`, which gets the topmost's attributes.
pub(in crate::rootfs) fn flatten_folders(
    folders: impl Iterator<Item = OwnedFd>,
    target: OwnedFd,
) -> Result<(), Fault> {
    let mut advance = |_| Ok(());
    let mut work = Work::new(target, None, &mut advance);
    let mut top = None;
    for from in folders {
        let again = |folder: &OwnedFd| {
            folder.try_clone().map_err(|_| Fault { path: Vec::new(), errno: Errno::EMFILE })
        };
        top = Some(again(&from)?);
        let to = again(&work.root)?;
        work.layer(from, to)?;
    }
    match top {
        Some(top) => settle(top.as_fd(), work.root.as_fd(), &stat(top.as_fd())?),
        None => Ok(()),
    }
}

/// Copies what `folder` of a layer has at `name`, which is no folder, to the same name in `target`.
pub(in crate::rootfs) fn copy_entry(folder: OwnedFd, target: &OwnedFd, name: &[u8]) -> Result<(), Fault> {
    let again = || target.try_clone().map_err(|_| Fault { path: Vec::new(), errno: Errno::EMFILE });
    let mut advance = |_| Ok(());
    let mut work = Work::new(again()?, None, &mut advance);
    let found = stat(folder.as_fd())?;
    let way = Folder { from: folder, to: again()?, names: Vec::new().into_iter(), path: Vec::new(), found };
    work.entry(&way, name, &[b"/", name].concat()).map(drop)
}

fn apply(
    layers: impl Iterator<Item = impl AsRef<Path>>,
    target: &Path,
    data: Option<&OwnedFd>,
    advance: &mut dyn FnMut(u64) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let open = |path: &Path| {
        File::open(path).map(OwnedFd::from).map_err(|error| Fault {
            path: path.as_os_str().as_encoded_bytes().to_vec(),
            errno: Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)),
        })
    };
    let mut work = Work::new(open(target)?, data, advance);
    for layer in layers {
        let (from, to) = (open(layer.as_ref())?, work.root.try_clone());
        let to = to.map_err(|_| Fault { path: Vec::new(), errno: Errno::EMFILE })?;
        work.layer(from, to)?;
    }
    Ok(())
}

/// Layers being applied.
struct Work<'a> {
    /// Where the first of several names of a layer's file went.
    links: HashMap<u64, Vec<u8>>,
    root: OwnedFd,
    /// Where content is linked, instead of being copied.
    data: Option<&'a OwnedFd>,
    /// Files that lead there.
    files: u64,
    /// The file system shares blocks, as far as is known.
    shares: bool,
    advance: &'a mut dyn FnMut(u64) -> Result<(), Fault>,
}

/// A folder on the way.
struct Folder {
    from: OwnedFd,
    to: OwnedFd,
    names: std::vec::IntoIter<Vec<u8>>,
    path: Vec<u8>,
    found: libc::stat,
}

impl<'a> Work<'a> {
    fn new(
        root: OwnedFd,
        data: Option<&'a OwnedFd>,
        advance: &'a mut dyn FnMut(u64) -> Result<(), Fault>,
    ) -> Self {
        Self { links: HashMap::new(), root, data, files: 0, shares: true, advance }
    }

    fn layer(&mut self, from: OwnedFd, to: OwnedFd) -> Result<(), Fault> {
        // Only within a layer: two files of an image that are equal may share an inode across layers.
        self.links.clear();
        let found = stat(from.as_fd())?;
        if is_opaque(from.as_fd()) {
            empty(to.as_fd())?;
        }
        let mut way = vec![Folder::new(from, to, Vec::new(), found)?];
        while let Some(folder) = way.last_mut() {
            let Some(name) = folder.names.next() else {
                // attributes last, for a name in a folder changes its time; the root's are the box's own
                if let Some(done) = way.pop().filter(|_| !way.is_empty()) {
                    settle(done.from.as_fd(), done.to.as_fd(), &done.found)
                        .map_err(|error| error.at(&done.path))?;
                }
                continue;
            };
            let path = [&folder.path, &b"/"[..], &name].concat();
            let below = self.entry(folder, &name, &path).map_err(|error| error.at(&path))?;
            way.extend(below);
        }
        Ok(())
    }

    /// Applies one name; gives the folder to go into when it is one.
    fn entry(&mut self, folder: &Folder, name: &[u8], path: &[u8]) -> Result<Option<Folder>, Fault> {
        let (from, to) = (folder.from.as_fd(), folder.to.as_fd());
        let found = fd::stat_at(from, name)?;
        let there = match fd::stat_at(to, name) {
            Err(error) if error.errno == Errno::ENOENT => None,
            there => Some(there?),
        };
        let kind = found.st_mode & libc::S_IFMT;
        if kind == libc::S_IFDIR {
            let source = fd::open_folder(from, name)?;
            let merges = there.is_some_and(|there| there.st_mode & libc::S_IFMT == libc::S_IFDIR);
            if there.is_some() && (!merges || is_opaque(source.as_fd())) {
                remove(to, name)?;
            }
            match fd::mkdirat(to, name, 0o700) {
                Err(error) if error.errno != Errno::EEXIST => return Err(error.into()),
                _ => {}
            }
            return Folder::new(source, fd::open_folder(to, name)?, path.to_vec(), found).map(Some);
        }
        if there.is_some() {
            remove(to, name)?;
        }
        match kind {
            // it has done its work
            _ if is_whiteout(from, name, &found)? => {}
            libc::S_IFREG => self.file(from, to, name, path, &found)?,
            libc::S_IFLNK => {
                fd::symlinkat(&fd::readlinkat(from, name)?, to, name)?;
                fd::utimensat(to, name, &modified(&found))?;
            }
            libc::S_IFIFO => {
                fd::mkfifoat(to, name)?;
                let handle = fd::openat(to, name, OFlag::O_PATH, 0)?;
                fd::chmod_handle(handle.as_fd(), found.st_mode & 0o7777)?;
                fd::utimensat(to, name, &modified(&found))?;
            }
            // sockets and devices mean nothing in another tree
            _ => {}
        }
        Ok(None)
    }

    fn file(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        found: &libc::stat,
    ) -> Result<(), Fault> {
        if found.st_nlink > 1 {
            if let Some(first) = self.links.get(&found.st_ino) {
                match fd::linkat(self.root.as_fd(), first, to, name) {
                    // a name too long to be said in one, or as many links as the file system lets
                    Err(error) if matches!(error.errno, Errno::ENAMETOOLONG | Errno::EMLINK) => {}
                    linked => return Ok(linked?),
                }
            } else {
                self.links.insert(found.st_ino, path[1..].to_vec());
            }
        }
        let source = fd::openat(from, name, OFlag::O_RDONLY | OFlag::O_NONBLOCK, 0)?;
        let target = fd::openat(to, name, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL, 0o600)?;
        let size = found.st_size as u64;
        if size > 0 && !self.lead(from, name, target.as_fd(), size)? {
            self.shares = self.shares && copy::share(&source, &target)?;
            if self.shares {
                (self.advance)(size)?;
            } else {
                copy::copy(source.as_fd(), target.as_fd(), size, self.advance)?;
            }
        }
        settle(source.as_fd(), target.as_fd(), found)
    }

    /// Makes the empty file `target` lead to the content of `name`. False where there is nothing to lead to, or no link
    /// can be made.
    fn lead(
        &mut self,
        from: BorrowedFd<'_>,
        name: &[u8],
        target: BorrowedFd<'_>,
        size: u64,
    ) -> Result<bool, Fault> {
        // short, so that both attributes fit into the inode
        let place = format!("{:x}", self.files);
        let linked = |data: &OwnedFd| fd::linkat(from, name, data.as_fd(), place.as_bytes()).is_ok();
        if !self.data.is_some_and(linked) {
            return Ok(false);
        }
        self.files += 1;
        fd::ftruncate(target, size)?;
        fd::fsetxattr(target, b"user.overlay.metacopy", b"")?;
        fd::fsetxattr(target, b"user.overlay.redirect", format!("/{place}").as_bytes())?;
        Ok(true)
    }
}

impl Folder {
    fn new(from: OwnedFd, to: OwnedFd, path: Vec<u8>, found: libc::stat) -> Result<Self, Fault> {
        let names = fd::names(from.as_fd(), usize::MAX)?.into_iter();
        Ok(Self { from, to, names, path, found })
    }
}

impl Fault {
    pub(super) fn at(self, path: &[u8]) -> Self {
        if self.path.is_empty() { Self { path: path.to_vec(), ..self } } else { self }
    }
}

/// Attributes, mode and time of a file or folder, in an order in which none undoes another.
pub(super) fn settle(from: BorrowedFd<'_>, to: BorrowedFd<'_>, found: &libc::stat) -> Result<(), Fault> {
    if fd::has_xattrs_of(from, b"user.")? {
        for (name, value) in fd::xattrs(from)? {
            if name.starts_with(b"user.") && !is_private(&name) {
                match fd::fsetxattr(to, &name, &value) {
                    Err(error) if error.errno == Errno::ENOTSUP => {}
                    set => set?,
                }
            }
        }
    }
    fd::fchmod(to, found.st_mode & 0o7777)?;
    Ok(fd::futimens(to, &modified(found))?)
}

pub(super) fn modified(found: &libc::stat) -> TimeSpec {
    TimeSpec::new(found.st_mtime, found.st_mtime_nsec)
}

pub(super) fn stat(folder: BorrowedFd<'_>) -> Result<libc::stat, Fault> {
    nix::sys::stat::fstat(folder).map_err(|errno| Fault { path: Vec::new(), errno })
}

fn remove(folder: BorrowedFd<'_>, name: &[u8]) -> Result<(), Fault> {
    match fd::unlinkat(folder, name) {
        Err(error) if error.errno == Errno::EISDIR => {
            let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
            let name = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name);
            store::remove_tree(&path.join(name))
                .map_err(|error| Fault { path: Vec::new(), errno: errno_of(&error) })
        }
        removed => Ok(removed?),
    }
}

fn empty(folder: BorrowedFd<'_>) -> Result<(), Fault> {
    for name in fd::names(folder, usize::MAX)? {
        remove(folder, &name)?;
    }
    Ok(())
}

fn errno_of(error: &(dyn std::error::Error + 'static)) -> Errno {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<sys::Error>() {
            return error.errno;
        }
        next = error.source();
    }
    Errno::EIO
}

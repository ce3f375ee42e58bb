//! A tree once more, as it stands: a box's own files with all that a driver left in them.
//!
//! Blocks are shared where the file system can (ioctl_ficlone(2)). Hard links stay such within the tree, and never lead
//! from one tree to the other: a box writes in place. Everything goes by handles and single names.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::time::TimeSpec;

use super::error::{At, Error};
use crate::sys::{self, copy, fd};

/// Copies the tree at `from` to `to`, where nothing is. `advance` is told bytes. To be run as root of the ids that the
/// files belong to. Sockets and devices other than whiteouts are left out.
///
/// # Errors
///
/// What is there by then stays.
pub fn duplicate(from: &Path, to: &Path, advance: &mut dyn FnMut(u64)) -> Result<(), Error> {
    let source = File::open(from).at("open", from)?;
    std::fs::create_dir(to).at("make", to)?;
    let target = File::open(to).at("open", to)?;
    let root = OwnedFd::from(target.try_clone().at("open", to)?);
    let mut copy = Copy { links: HashMap::new(), root, shares: true, advance };
    copy.tree(source.into(), target.into()).map_err(|fault| Error::Tree {
        action: "copy",
        path: from.join(PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(
            fault.path,
        ))),
        source: fault.source,
    })
}

struct Copy<'a> {
    /// Where the first of several names of a file went.
    links: HashMap<u64, Vec<u8>>,
    root: OwnedFd,
    /// The file system shares blocks, as far as is known.
    shares: bool,
    advance: &'a mut dyn FnMut(u64),
}

/// A folder on the way.
struct Folder {
    from: OwnedFd,
    to: OwnedFd,
    names: std::vec::IntoIter<Vec<u8>>,
    path: Vec<u8>,
}

struct Fault {
    path: Vec<u8>,
    source: sys::Error,
}

impl Copy<'_> {
    fn tree(&mut self, from: OwnedFd, to: OwnedFd) -> Result<(), Fault> {
        let at = |path: &[u8]| {
            let path = path.to_vec();
            move |source| Fault { path, source }
        };
        let mut way = vec![Folder::new(from, to, Vec::new()).map_err(at(b""))?];
        while let Some(folder) = way.last_mut() {
            let Some(name) = folder.names.next() else {
                // attributes last, for a name in a folder changes its time and a mode may shut us out
                settle(folder.from.as_fd(), folder.to.as_fd()).map_err(at(&folder.path))?;
                way.pop();
                continue;
            };
            let path =
                if folder.path.is_empty() { name.clone() } else { [&folder.path, &b"/"[..], &name].concat() };
            let below =
                self.entry(folder.from.as_fd(), folder.to.as_fd(), &name, &path).map_err(at(&path))?;
            way.extend(below);
        }
        Ok(())
    }

    /// Copies one name; gives the folder to go into when it is one.
    fn entry(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
    ) -> Result<Option<Folder>, sys::Error> {
        let found = fd::stat_at(from, name)?;
        match found.st_mode & libc::S_IFMT {
            libc::S_IFDIR => {
                fd::mkdirat(to, name, 0o700)?;
                let below =
                    Folder::new(fd::open_folder(from, name)?, fd::open_folder(to, name)?, path.to_vec());
                return below.map(Some);
            }
            libc::S_IFREG => self.file(from, to, name, path, &found)?,
            libc::S_IFLNK => {
                fd::symlinkat(&fd::readlinkat(from, name)?, to, name)?;
                chown(to, name, &found)?;
                fd::utimensat(to, name, &modified(&found))?;
            }
            libc::S_IFIFO => {
                fd::mkfifoat(to, name)?;
                chown(to, name, &found)?;
                let handle = fd::openat(to, name, OFlag::O_PATH, 0)?;
                fd::chmod_handle(handle.as_fd(), found.st_mode & 0o7777)?;
                fd::utimensat(to, name, &modified(&found))?;
            }
            libc::S_IFCHR if found.st_rdev == 0 => fd::make_whiteout(to, name)?,
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
    ) -> Result<(), sys::Error> {
        if found.st_nlink > 1 {
            if let Some(first) = self.links.get(&found.st_ino) {
                match fd::linkat(self.root.as_fd(), first, to, name) {
                    // a name too long to be said in one, or as many links as the file system lets
                    Err(error) if matches!(error.errno, Errno::ENAMETOOLONG | Errno::EMLINK) => {}
                    linked => return linked,
                }
            } else {
                self.links.insert(found.st_ino, path.to_vec());
            }
        }
        let source = fd::openat(from, name, OFlag::O_RDONLY | OFlag::O_NONBLOCK, 0)?;
        let target = fd::openat(to, name, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL, 0o600)?;
        let size = found.st_size as u64;
        if size > 0 {
            self.shares = self.shares && copy::share(&source, &target)?;
            if self.shares {
                (self.advance)(size);
            } else {
                copy::copy(source.as_fd(), target.as_fd(), size, &mut |bytes| -> Result<(), sys::Error> {
                    (self.advance)(bytes);
                    Ok(())
                })?;
            }
        }
        settle(source.as_fd(), target.as_fd())
    }
}

impl Folder {
    fn new(from: OwnedFd, to: OwnedFd, path: Vec<u8>) -> Result<Self, sys::Error> {
        let names = fd::names(from.as_fd(), usize::MAX)?.into_iter();
        Ok(Self { from, to, names, path })
    }
}

/// Owner, attributes, mode and time of a file or folder, in an order in which none undoes another.
fn settle(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), sys::Error> {
    let failed = |errno| sys::Error { call: "fstat", args: String::new(), errno };
    let found = nix::sys::stat::fstat(from).map_err(failed)?;
    if (found.st_uid, found.st_gid) != (0, 0) {
        nix::unistd::fchown(to, Some(found.st_uid.into()), Some(found.st_gid.into()))
            .map_err(|errno| sys::Error { call: "fchown", args: String::new(), errno })?;
    }
    for (name, value) in fd::xattrs(from)? {
        match fd::fsetxattr(to, &name, &value) {
            // labels of the host, which it gives itself
            Err(error)
                if matches!(error.errno, Errno::ENOTSUP | Errno::EPERM) && !name.starts_with(b"user.") => {}
            set => set?,
        }
    }
    fd::fchmod(to, found.st_mode & 0o7777)?;
    fd::futimens(to, &modified(&found))
}

fn chown(folder: BorrowedFd<'_>, name: &[u8], found: &libc::stat) -> Result<(), sys::Error> {
    if (found.st_uid, found.st_gid) == (0, 0) {
        return Ok(());
    }
    let (uid, gid) = (Some(found.st_uid.into()), Some(found.st_gid.into()));
    nix::unistd::fchownat(folder, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(|errno| sys::Error {
        call: "fchownat",
        args: name.escape_ascii().to_string(),
        errno,
    })
}

fn modified(found: &libc::stat) -> TimeSpec {
    TimeSpec::new(found.st_mtime, found.st_mtime_nsec)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;
    use crate::store::listing;

    #[test]
    fn a_tree_with_all_a_driver_left_in_it() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::create_dir_all(at("from/a/b")).unwrap();
        fs::write(at("from/a/one"), "text").unwrap();
        fs::hard_link(at("from/a/one"), at("from/two")).unwrap();
        fs::write(at("from/a/b/.wh.x"), "").unwrap();
        symlink("../nowhere", at("from/link")).unwrap();
        fd::make_whiteout(File::open(at("from/a")).unwrap().as_fd(), b"gone").unwrap();
        fd::mkfifoat(File::open(at("from")).unwrap().as_fd(), b"pipe").unwrap();
        fd::fsetxattr(File::open(at("from/a")).unwrap().as_fd(), b"user.overlay.opaque", b"y").unwrap();
        let socket = std::os::unix::net::UnixListener::bind(at("from/socket")).unwrap();
        fs::set_permissions(at("from/two"), fs::Permissions::from_mode(0o6751)).unwrap();
        fs::set_permissions(at("from/a/b"), fs::Permissions::from_mode(0o1777)).unwrap();
        let mut bytes = 0;
        duplicate(&at("from"), &at("to"), &mut |more| bytes += more).unwrap();
        drop(socket);
        fs::remove_file(at("from/socket")).unwrap();
        assert_eq!(listing::tree(&at("to")), listing::tree(&at("from")));
        assert_eq!(bytes, 4);
        assert_eq!(
            fs::metadata(at("to/two")).unwrap().mtime_nsec(),
            fs::metadata(at("from/two")).unwrap().mtime_nsec()
        );
        // writing to one does not write to the other
        fs::write(at("to/a/one"), "other").unwrap();
        assert_eq!(fs::read(at("from/two")).unwrap(), b"text");
        assert_eq!(fs::read(at("to/two")).unwrap(), b"other");
        duplicate(&at("from"), &at("to"), &mut |_| {}).unwrap_err();
    }
}

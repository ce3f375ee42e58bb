//! Layers laid over each other on the disk, as an overlay would show them: folders are made anew, all else is linked,
//! so nothing is copied. There is nothing below the result, so it has no whiteouts.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::time::TimeSpec;

use super::access::Access;
use super::error::{At, Error};
use super::index::{self, Line, Owner};
use super::tree::remove_at;
use crate::sys::fd::Xattr;
use crate::sys::{self, fd};

/// What lower layers have in a folder is hidden (`y`), or it has whiteouts that are files (`x`).
const OPAQUE: &[u8] = b"user.overlay.opaque";

/// Merges the layers in `layers`, bottom first, into `tree` and `index` of the empty folder `out`, on the same file
/// system. The memory is some hundred bytes for each folder and each entry of a foreign owner.
pub(super) fn merge(layers: &[PathBuf], out: &Path) -> Result<(), Error> {
    let access = Access::looking(out).at("open", out)?;
    let mut merge = Merge { path: out, out: access, folders: BTreeMap::new(), owners: BTreeMap::new() };
    layers.iter().try_for_each(|layer| merge.lay(layer))?;
    merge.settle()?;
    merge.write_index()
}

struct Merge<'a> {
    /// For messages.
    path: &'a Path,
    out: Access,
    /// Until the end all folders are ours to write.
    folders: BTreeMap<Vec<u8>, Folder>,
    owners: BTreeMap<Vec<u8>, Owner>,
}

/// What a folder is to be in the end.
struct Folder {
    mode: u32,
    modified: TimeSpec,
    xattrs: Vec<Xattr>,
}

impl Merge<'_> {
    /// Lays one more layer over what is there.
    fn lay(&mut self, layer: &Path) -> Result<(), Error> {
        let mut access = Access::new(layer).at("open", layer)?;
        let bytes = |owner: &Owner| owner.path.as_os_str().as_bytes().to_vec();
        let owners = index::foreign_owners(&layer.join("index"))?;
        let mut owners: BTreeMap<_, _> = owners.into_iter().map(|owner| (bytes(&owner), owner)).collect();
        let mut todo = vec![Vec::new()];
        while let Some(at) = todo.pop() {
            let there = in_tree(&at);
            let mark = self.folder(&mut access, &at).at("look at", layer)?;
            self.make(&at, mark.as_deref() == Some(b"y"))?;
            self.own(&at, &mut owners);
            let names = access.at_folder(&there, |folder| fd::names(folder, usize::MAX)).at("read", layer)?;
            for name in names {
                let path = if at.is_empty() { name } else { [&at[..], b"/", &name].concat() };
                let found = access.at(&in_tree(&path), fd::stat_at).at("look at", layer)?;
                match found.st_mode & libc::S_IFMT {
                    libc::S_IFDIR => todo.push(path),
                    libc::S_IFCHR => self.remove(&path)?,
                    libc::S_IFREG if mark.as_deref() == Some(b"x") && found.st_size == 0 => {
                        match access.at(&in_tree(&path), is_whiteout).at("look at", layer)? {
                            true => self.remove(&path)?,
                            false => self.link(&mut access, &path, &mut owners)?,
                        }
                    }
                    _ => self.link(&mut access, &path, &mut owners)?,
                }
            }
        }
        Ok(())
    }

    /// Takes in what a layer's folder is; its mark, if it has one.
    fn folder(&mut self, access: &mut Access, at: &[u8]) -> Result<Option<Vec<u8>>, sys::Error> {
        let there = in_tree(at);
        // not while someone lends themselves rights
        let found = access.locked(&there, fd::stat_at)?;
        let mut xattrs = access.at_folder(&there, fd::xattrs)?;
        let mark = xattrs.iter().find(|(name, _)| name == OPAQUE).map(|(_, value)| value.clone());
        xattrs.retain(|(name, _)| name.starts_with(b"user.") && name != OPAQUE);
        let modified = TimeSpec::new(found.st_mtime, found.st_mtime_nsec);
        self.folders.insert(at.to_vec(), Folder { mode: found.st_mode & 0o7777, modified, xattrs });
        Ok(mark)
    }

    /// Makes the folder unless it is there; an opaque one anew.
    fn make(&mut self, at: &[u8], opaque: bool) -> Result<(), Error> {
        let path = in_tree(at);
        let found = match self.out.at(&path, fd::stat_at) {
            Err(error) if error.errno == Errno::ENOENT => None,
            found => Some(found.at("look at", self.path)?),
        };
        if let Some(found) = found {
            if found.st_mode & libc::S_IFMT == libc::S_IFDIR && !opaque {
                return Ok(());
            }
            let folder = self.folders.remove(at);
            self.remove(at)?;
            self.folders.extend(folder.map(|folder| (at.to_vec(), folder)));
        }
        self.out.at(&path, |folder, name| fd::mkdirat(folder, name, 0o700)).at("make", self.path)
    }

    /// Links what is no folder in place of what is there.
    fn link(
        &mut self,
        access: &mut Access,
        path: &[u8],
        owners: &mut BTreeMap<Vec<u8>, Owner>,
    ) -> Result<(), Error> {
        self.remove(path)?;
        let there = in_tree(path);
        let out = &mut self.out;
        let linked = access.at(&there, |from, from_name| {
            out.at(&there, |folder, name| fd::linkat(from, from_name, folder, name))
        });
        linked.at("link", self.path)?;
        self.own(path, owners);
        Ok(())
    }

    /// The entry has the owner its layer gives it.
    fn own(&mut self, path: &[u8], owners: &mut BTreeMap<Vec<u8>, Owner>) {
        self.owners.remove(path);
        self.owners.extend(owners.remove_entry(path));
    }

    /// Removes what is at `path`, with all below it.
    fn remove(&mut self, path: &[u8]) -> Result<(), Error> {
        for map in [&mut self.owners as &mut dyn Forget, &mut self.folders] {
            map.forget(path);
        }
        let there = in_tree(path);
        let (folder, name) = match self.out.parent(&there) {
            Err(error) if matches!(error.errno, Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
            parent => parent.at("open", self.path)?,
        };
        remove_at(folder.as_fd(), name, self.path)
    }

    /// Gives the folders their modes, times and attributes, children before parents.
    fn settle(&mut self) -> Result<(), Error> {
        for (path, Folder { mode, modified, xattrs }) in self.folders.iter().rev() {
            let settled = self.out.at_folder(&in_tree(path), |folder| {
                xattrs.iter().try_for_each(|(name, value)| fd::fsetxattr(folder, name, value))?;
                fd::fchmod(folder, *mode)?;
                fd::futimens(folder, modified)
            });
            settled.at("set the attributes of", self.path)?;
        }
        Ok(())
    }

    fn write_index(&self) -> Result<(), Error> {
        let mut index = index::Writer::create(self.path.join("index"))?;
        for (path, Owner { uid, gid, mode, .. }) in &self.owners {
            let kind = if self.folders.contains_key(path) { b'd' } else { b'f' };
            index.entry(&Line { kind, mode: *mode, uid: *uid, gid: *gid, device: None }, path)?;
        }
        index.finish()
    }
}

/// A record of paths.
trait Forget {
    /// Forgets a path and all below it.
    fn forget(&mut self, path: &[u8]);
}

impl<T> Forget for BTreeMap<Vec<u8>, T> {
    fn forget(&mut self, path: &[u8]) {
        self.remove(path);
        match path {
            b"" => self.clear(),
            path => index::forget_below(self, path),
        }
    }
}

/// Where a path of the tree lies in the folder of a layer.
fn in_tree(path: &[u8]) -> Vec<u8> {
    if path.is_empty() { b"tree".to_vec() } else { [b"tree/", path].concat() }
}

fn is_whiteout(folder: BorrowedFd<'_>, name: &[u8]) -> Result<bool, sys::Error> {
    let handle = fd::openat(folder, name, nix::fcntl::OFlag::O_PATH, 0)?;
    Ok(fd::has_xattr(handle, c"user.overlay.whiteout", b"y"))
}

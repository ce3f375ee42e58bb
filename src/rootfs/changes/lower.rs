//! Folders of the layers that merge into one, as an overlay would merge them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::Lower;
use crate::rootfs::driver::upper::{self, is_whiteout};
use crate::sys;
use crate::sys::fd;

/// Folders of one path, topmost first, each with its layer's place.
pub(in crate::rootfs) type Stack = Vec<(usize, OwnedFd)>;

/// A name in a stack.
pub(in crate::rootfs) enum Found {
    Nothing,
    Folder(Stack),
    /// Anything else: its layer's place, and the folder it lies in.
    Other(usize, OwnedFd, libc::stat),
}

impl Found {
    pub(in crate::rootfs) fn is_there(&self) -> bool {
        !matches!(self, Self::Nothing)
    }
}

/// The roots of all layers.
pub(in crate::rootfs) fn roots(lowers: &[Lower]) -> Result<Stack, sys::Error> {
    let open = |(place, lower): (usize, &Lower)| {
        let opened = std::fs::File::open(&lower.tree);
        let errno = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
        let failed =
            |error| sys::Error { call: "open", args: lower.tree.display().to_string(), errno: errno(error) };
        Ok((place, opened.map_err(failed)?.into()))
    };
    let mut stack = Stack::new();
    for found in lowers.iter().enumerate().map(open) {
        let (place, folder): (usize, OwnedFd) = found?;
        let opaque = is_opaque(folder.as_fd());
        stack.push((place, folder));
        if opaque {
            break;
        }
    }
    Ok(stack)
}

/// Looks `name` up.
pub(in crate::rootfs) fn find(stack: &Stack, name: &[u8]) -> Result<Found, sys::Error> {
    let mut folders = Stack::new();
    for (place, folder) in stack {
        let found = match fd::stat_at(folder.as_fd(), name) {
            Err(error) if error.errno == Errno::ENOENT => continue,
            found => found?,
        };
        if kind(&found) == libc::S_IFDIR {
            let opened = fd::open_folder(folder.as_fd(), name)?;
            let opaque = is_opaque(opened.as_fd());
            folders.push((*place, opened));
            if opaque {
                break;
            }
        } else {
            // a whiteout, or a file: nothing further down counts
            if folders.is_empty() && !is_whiteout(folder.as_fd(), name, &found)? {
                let folder = fd::openat(folder.as_fd(), b".", OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0)?;
                return Ok(Found::Other(*place, folder, found));
            }
            break;
        }
    }
    Ok(if folders.is_empty() { Found::Nothing } else { Found::Folder(folders) })
}

/// All names to be seen in a stack.
pub(in crate::rootfs) fn names(stack: &Stack) -> Result<Vec<Vec<u8>>, sys::Error> {
    let mut seen: BTreeMap<Vec<u8>, bool> = BTreeMap::new();
    for (_, folder) in stack {
        for name in fd::names(folder.as_fd(), usize::MAX)? {
            if let Entry::Vacant(unseen) = seen.entry(name) {
                let found = fd::stat_at(folder.as_fd(), unseen.key())?;
                let there = !is_whiteout(folder.as_fd(), unseen.key(), &found)?;
                unseen.insert(there);
            }
        }
    }
    Ok(seen.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect())
}

pub(in crate::rootfs) fn kind(stat: &libc::stat) -> libc::mode_t {
    stat.st_mode & libc::S_IFMT
}

/// Whether a folder hides all below it, in the words of overlayfs or of fuse-overlayfs.
pub(in crate::rootfs) fn is_opaque(folder: BorrowedFd<'_>) -> bool {
    upper::is_opaque(folder) || fd::has_xattr(folder, c"user.fuseoverlayfs.opaque", b"y")
}

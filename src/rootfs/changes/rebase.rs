//! Whether a box's own files can lie over other layers than those they were made over.
//!
//! They can where the two images agree at every path that the box has made its own: then nothing of the new image is
//! hidden that the box did not mean to hide.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::lower::{self, Found, Stack, kind};
use super::walk::{is_equal, walk_all};
use super::{Change, Error, Files, Lower, What};
use crate::sys;
use crate::sys::fd;

/// Calls `take` with each path of the box's own at which the layers `other` differ from those it was made over.
pub fn conflicts(
    files: &Files<'_>,
    other: &[Lower],
    take: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<(), Error> {
    let failed = |path: &[u8]| {
        let path = path.to_vec();
        move |source| Error::Call { path, source }
    };
    let before = Image { lowers: files.lowers, roots: lower::roots(files.lowers).map_err(failed(b""))? };
    let after = Image { lowers: other, roots: lower::roots(other).map_err(failed(b""))? };
    let mut of_each = |change: &Change<'_>| {
        let agree = before.find(change.path).and_then(|old| {
            let new = after.find(change.path)?;
            match (change.what, &old, &new) {
                // what is new in a folder of the box's own only joins it
                (What::Added, Found::Nothing, Found::Folder(_)) => {
                    Ok(change.entry.is_some_and(|entry| kind(&entry.stat) == libc::S_IFDIR))
                }
                // a folder shows what is in it, and its own attributes
                (What::Changed, Found::Folder(_), Found::Folder(_)) => {
                    Ok(before.looks(change.path, &old)? == after.looks(change.path, &new)?)
                }
                // its mode is the image's; see `take_modes`
                (What::Kept, Found::Folder(_), Found::Folder(_)) => {
                    let beside_mode = |looks: Option<Looks>| looks.map(|(_, owner, xattrs)| (owner, xattrs));
                    let (old, new) = (before.looks(change.path, &old)?, after.looks(change.path, &new)?);
                    Ok(beside_mode(old) == beside_mode(new))
                }
                _ => same(&before, &after, change.path, &old, &new),
            }
        });
        if !agree.map_err(failed(change.path))? {
            take(change.path)?;
        }
        Ok(())
    };
    walk_all(files, &mut of_each, &mut |_, _, _| Ok(()))
}

/// Removes from the box's own files what is as in the image, so that another image's shows. What the box shows stays the
/// same.
pub fn drop_copies(files: &Files<'_>) -> Result<(), Error> {
    let mut drop_it = |folder: BorrowedFd<'_>, name: &[u8], is_folder| match is_folder {
        false => fd::unlinkat(folder, name),
        // the box has something of its own in it
        true => match fd::rmdirat(folder, name) {
            Err(error) if matches!(error.errno, Errno::ENOTEMPTY | Errno::EEXIST) => Ok(()),
            removed => removed,
        },
    };
    walk_all(files, &mut |_| Ok(()), &mut drop_it)
}

/// Gives folders that are as in the image, and stay for what is in them, the mode they have in the layers `other`.
pub fn take_modes(files: &Files<'_>, other: &[Lower]) -> Result<(), Error> {
    let failed = |path: &[u8]| {
        let path = path.to_vec();
        move |source| Error::Call { path, source }
    };
    let after = Image { lowers: other, roots: lower::roots(other).map_err(failed(b""))? };
    let mut of_each = |change: &Change<'_>| {
        let (What::Kept, Some(entry)) = (change.what, &change.entry) else { return Ok(()) };
        let take = || {
            let Found::Folder(stack) = after.find(change.path)? else { return Ok(()) };
            let Some((_, theirs)) = stack.first() else { return Ok(()) };
            let mode = fd::mode(theirs.as_fd())?;
            if mode == entry.stat.st_mode & 0o7777 {
                return Ok(());
            }
            fd::fchmod(fd::open_folder(entry.folder, entry.name)?.as_fd(), mode)
        };
        Ok(take().map_err(failed(change.path))?)
    };
    walk_all(files, &mut of_each, &mut |_, _, _| Ok(()))
}

/// The layers of one image.
struct Image<'a> {
    lowers: &'a [Lower],
    roots: Stack,
}

/// What can be seen of a path without looking into it: kind and mode, owner, attributes.
type Looks = (u32, (u32, u32), Vec<fd::Xattr>);

impl Image<'_> {
    fn find(&self, path: &[u8]) -> Result<Found, sys::Error> {
        let mut names = path.split(|byte| *byte == b'/').peekable();
        let mut folders: Option<Stack> = None;
        while let Some(name) = names.next() {
            match lower::find(folders.as_ref().unwrap_or(&self.roots), name)? {
                Found::Folder(stack) => folders = Some(stack),
                found if names.peek().is_none() => return Ok(found),
                _ => return Ok(Found::Nothing),
            }
        }
        Ok(folders.map_or(Found::Nothing, Found::Folder))
    }

    fn looks(&self, path: &[u8], found: &Found) -> Result<Option<Looks>, sys::Error> {
        let owner = |place: usize| self.lowers[place].owners.get(path).copied().unwrap_or_default();
        Ok(match found {
            Found::Nothing => None,
            Found::Folder(stack) => match stack.first() {
                Some((place, folder)) => {
                    let mode = fd::mode(folder.as_fd())? | libc::S_IFDIR;
                    Some((mode, owner(*place), own(fd::xattrs(folder.as_fd())?)))
                }
                None => None,
            },
            Found::Other(place, folder, stat) => {
                let xattrs = match open(folder.as_fd(), path, stat)? {
                    Some(file) => own(fd::xattrs(file.as_fd())?),
                    None => Vec::new(),
                };
                Some((stat.st_mode, owner(*place), xattrs))
            }
        })
    }
}

/// Whether both images have the same at a path, with all that is below it.
fn same(
    before: &Image<'_>,
    after: &Image<'_>,
    path: &[u8],
    old: &Found,
    new: &Found,
) -> Result<bool, sys::Error> {
    if let (Found::Other(.., a), Found::Other(.., b)) = (old, new)
        && (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
    {
        return Ok(true);
    }
    if before.looks(path, old)? != after.looks(path, new)? {
        return Ok(false);
    }
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    match (old, new) {
        (Found::Folder(a), Found::Folder(b)) => {
            let names = lower::names(a)?;
            if names != lower::names(b)? {
                return Ok(false);
            }
            for name in names {
                let path = [path, b"/", &name].concat();
                if !same(before, after, &path, &lower::find(a, &name)?, &lower::find(b, &name)?)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Found::Other(_, a, found), Found::Other(_, b, other)) => match kind(found) {
            libc::S_IFLNK => Ok(fd::readlinkat(a.as_fd(), name)? == fd::readlinkat(b.as_fd(), name)?),
            libc::S_IFREG => {
                let files = (open(a.as_fd(), name, found)?, open(b.as_fd(), name, other)?);
                let (Some(a), Some(b)) = files else { return Ok(false) };
                Ok(found.st_size == other.st_size && is_equal(a, b).unwrap_or(false))
            }
            _ => Ok(found.st_rdev == other.st_rdev),
        },
        _ => Ok(true),
    }
}

/// A regular file of a layer, by the last name of `path`.
fn open(folder: BorrowedFd<'_>, path: &[u8], stat: &libc::stat) -> Result<Option<File>, sys::Error> {
    if kind(stat) != libc::S_IFREG {
        return Ok(None);
    }
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    fd::openat(folder, name, OFlag::O_RDONLY | OFlag::O_NONBLOCK, 0).map(|file| Some(file.into()))
}

fn own(mut xattrs: Vec<fd::Xattr>) -> Vec<fd::Xattr> {
    xattrs.retain(|(name, _)| !crate::rootfs::driver::upper::is_private(name));
    xattrs
}

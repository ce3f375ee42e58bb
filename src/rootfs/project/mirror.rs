//! Makes a path of one tree what it is in another: between a whole copy of a project and what it was copied from.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;

use crate::sys;
use crate::sys::fd;

use super::handles::Tree;
use super::stage::{mode, modified, write};

/// Paths of one tree by the inodes of another, for files of several names.
pub(super) type Links = HashMap<u64, Vec<u8>>;

/// Makes `to` have at `path` what `from` has there; of a folder itself alone. `links` are those of earlier calls.
pub(super) fn one(from: &mut Tree, to: &mut Tree, path: &[u8], links: &mut Links) -> Result<(), sys::Error> {
    let found = from.stat(path)?;
    let several = found.filter(|found| found.st_nlink > 1 && found.st_mode & libc::S_IFMT == libc::S_IFREG);
    let Some(found) = several else { return at(from, to, path, false) };
    let Some(first) = links.get(&found.st_ino) else {
        links.insert(found.st_ino, path.to_vec());
        return at(from, to, path, false);
    };
    to.moved();
    let folder = {
        let (folder, name) = to.parent(first)?;
        (fd::open_folder(folder, b".")?, name)
    };
    let (target, name) = to.parent(path)?;
    remove(target, name)?;
    fd::linkat(folder.0.as_fd(), folder.1, target, name)
}

/// The same with all that is below it.
pub(super) fn whole(from: &mut Tree, to: &mut Tree, path: &[u8]) -> Result<(), sys::Error> {
    at(from, to, path, true)
}

fn at(from: &mut Tree, to: &mut Tree, path: &[u8], deep: bool) -> Result<(), sys::Error> {
    let found = from.stat(path)?;
    to.moved();
    let (target, name) = match to.parent(path) {
        // above it something is gone already
        Err(error) if matches!(error.errno, Errno::ENOENT | Errno::ENOTDIR) && found.is_none() => {
            return Ok(());
        }
        parent => parent?,
    };
    let Some(found) = found else { return remove(target, name) };
    let (source, _) = from.parent(path)?;
    entry(source, target, name, &found, deep)
}

fn entry(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &[u8],
    found: &libc::stat,
    deep: bool,
) -> Result<(), sys::Error> {
    let kind = |stat: &libc::stat| stat.st_mode & libc::S_IFMT;
    if kind(found) != libc::S_IFDIR {
        remove(to, name)?;
        let is_file = kind(found) == libc::S_IFREG;
        if !is_file && kind(found) != libc::S_IFLNK {
            return Ok(());
        }
        let flags = nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_NONBLOCK;
        let xattrs =
            if is_file { fd::xattrs(fd::openat(from, name, flags, 0)?.as_fd())? } else { Vec::new() };
        return write(from, name, found, &xattrs, to, name);
    }
    match fd::stat_at(to, name) {
        Ok(there) if kind(&there) == libc::S_IFDIR => {}
        Ok(_) => {
            remove(to, name)?;
            fd::mkdirat(to, name, 0o700)?;
        }
        Err(error) if error.errno == Errno::ENOENT => fd::mkdirat(to, name, 0o700)?,
        Err(error) => return Err(error),
    }
    let (source, target) = (fd::open_folder(from, name)?, fd::open_folder(to, name)?);
    if deep {
        let names = fd::names(source.as_fd(), usize::MAX)?;
        for name in fd::names(target.as_fd(), usize::MAX)?.iter().filter(|name| !names.contains(name)) {
            remove(target.as_fd(), name)?;
        }
        for name in names {
            let found = fd::stat_at(source.as_fd(), &name)?;
            entry(source.as_fd(), target.as_fd(), &name, &found, true)?;
        }
    }
    fd::fchmod(target.as_fd(), mode(found))?;
    fd::futimens(target.as_fd(), &modified(found))
}

/// Removes a name with all below it; nothing when it is not there.
fn remove(folder: BorrowedFd<'_>, name: &[u8]) -> Result<(), sys::Error> {
    let found = match fd::stat_at(folder, name) {
        Err(error) if error.errno == Errno::ENOENT => return Ok(()),
        found => found?,
    };
    if found.st_mode & libc::S_IFMT != libc::S_IFDIR {
        return fd::unlinkat(folder, name);
    }
    let below = fd::open_folder(folder, name)?;
    for name in fd::names(below.as_fd(), usize::MAX)? {
        remove(below.as_fd(), &name)?;
    }
    fd::rmdirat(folder, name)
}

//! One path of a box that holds a copy of its image, as the image has it again.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;

use super::forget::Forgotten;
use super::lower::{self, Found, Stack, kind};
use super::{Error, Files};
use crate::rootfs::driver::flatten;
use crate::sys;
use crate::sys::fd;

/// Puts at `path` (relative, no `..`) what the image has there, and moves what the box had to the name `aside` in the
/// folder `out`. It is copied into the empty folder `new` of the same file system first, so that one is there or the
/// other. No link is followed.
pub fn restore(
    files: &Files<'_>,
    path: &[u8],
    out: &OwnedFd,
    aside: &[u8],
    new: &OwnedFd,
) -> Result<Forgotten, Error> {
    let failed = |source| Error::Call { path: path.to_vec(), source };
    let mut names: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
    let Some(last) = names.pop() else { return Ok(Forgotten::Done(false)) };
    let tree = File::open(files.upper).map_err(|error| {
        let errno = Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
        failed(sys::Error { call: "open", args: files.upper.display().to_string(), errno })
    })?;
    let mut folder: OwnedFd = tree.into();
    let mut below: Stack = lower::roots(files.lowers).map_err(failed)?;
    let mut way = Vec::new();
    for name in names {
        way = if way.is_empty() { name.to_vec() } else { [&way, &b"/"[..], name].concat() };
        let in_image = match lower::find(&below, name).map_err(failed)? {
            Found::Folder(stack) => std::mem::replace(&mut below, stack).is_empty(),
            found => {
                below.clear();
                found.is_there()
            }
        } || !below.is_empty();
        match fd::stat_at(folder.as_fd(), name) {
            Err(error) if error.errno != Errno::ENOENT => return Err(failed(error)),
            Ok(found) if kind(&found) == libc::S_IFDIR => {}
            _ if in_image => return Ok(Forgotten::Hidden(way)),
            _ => return Ok(Forgotten::Done(false)),
        }
        folder = fd::open_folder(folder.as_fd(), name).map_err(failed)?;
    }
    let copied = |fault: flatten::Fault| {
        failed(sys::Error { call: "copy", args: fault.path.escape_ascii().to_string(), errno: fault.errno })
    };
    let comes = match lower::find(&below, last).map_err(failed)? {
        Found::Nothing => false,
        Found::Folder(stack) => {
            fd::mkdirat(new.as_fd(), last, 0o700).map_err(failed)?;
            let target = fd::open_folder(new.as_fd(), last).map_err(failed)?;
            flatten::flatten_folders(stack.into_iter().rev().map(|(_, folder)| folder), target)
                .map_err(copied)?;
            true
        }
        Found::Other(_, from, _) => {
            flatten::copy_entry(from, new, last).map_err(copied)?;
            true
        }
    };
    let there = match fd::renameat(folder.as_fd(), last, out.as_fd(), aside) {
        Err(error) if error.errno == Errno::ENOENT => false,
        moved => moved.map(|()| true).map_err(failed)?,
    };
    if comes {
        fd::renameat(new.as_fd(), last, folder.as_fd(), last).map_err(failed)?;
    }
    Ok(Forgotten::Done(there || comes))
}

//! One path of a box as the image has it again.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;

use super::lower::{self, Found, Stack, kind};
use super::{Error, Files};
use crate::sys;
use crate::sys::fd;

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Forgotten {
    /// What the box had there is out of the way; none when there was nothing.
    Done(bool),
    /// A folder above it is gone or anew, as a whole.
    Hidden(Vec<u8>),
}

/// Moves what the box has at `path` (relative, no `..`) to the name `aside` in the folder `out`, so that the image's
/// shows again. No link is followed.
pub fn forget(files: &Files<'_>, path: &[u8], out: &OwnedFd, aside: &[u8]) -> Result<Forgotten, Error> {
    let failed = |source| Error::Call { path: path.to_vec(), source };
    let mut names: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
    let Some(last) = names.pop() else { return Ok(Forgotten::Done(false)) };
    let upper = std::fs::File::open(files.upper).map_err(|error| {
        let errno = Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
        failed(sys::Error { call: "open", args: files.upper.display().to_string(), errno })
    })?;
    let mut folder: OwnedFd = upper.into();
    let mut below: Stack = lower::roots(files.lowers).map_err(failed)?;
    let (mut way, mut anew) = (Vec::new(), None);
    for name in names {
        way = if way.is_empty() { name.to_vec() } else { [&way, &b"/"[..], name].concat() };
        let there = match lower::find(&below, name).map_err(failed)? {
            Found::Folder(stack) => std::mem::replace(&mut below, stack).is_empty(),
            found => {
                below.clear();
                found.is_there()
            }
        };
        let stat = match fd::stat_at(folder.as_fd(), name) {
            Err(error) if error.errno == Errno::ENOENT => {
                return Ok(if marked(files, &folder, name).map_err(failed)? {
                    Forgotten::Hidden(way)
                } else {
                    Forgotten::Done(false)
                });
            }
            found => found.map_err(failed)?,
        };
        if kind(&stat) != libc::S_IFDIR {
            let hides = there || !below.is_empty();
            let gone = files.is_gone(folder.as_fd(), name, &stat).map_err(failed)?;
            return Ok(if hides || gone { Forgotten::Hidden(way) } else { Forgotten::Done(false) });
        }
        folder = fd::open_folder(folder.as_fd(), name).map_err(failed)?;
        if anew.is_none() && files.is_anew(folder.as_fd()) {
            anew = Some(way.clone());
        }
    }
    let image_has_it = lower::find(&below, last).map_err(failed)?.is_there();
    if let Some(anew) = anew.filter(|_| image_has_it) {
        return Ok(Forgotten::Hidden(anew));
    }
    if marked(files, &folder, last).map_err(failed)? {
        fd::unlinkat(folder.as_fd(), &[b".wh.", last].concat()).map_err(failed)?;
        return Ok(Forgotten::Done(true));
    }
    match fd::renameat(folder.as_fd(), last, out.as_fd(), aside) {
        Err(error) if error.errno == Errno::ENOENT => Ok(Forgotten::Done(false)),
        moved => moved.map(|()| Forgotten::Done(true)).map_err(failed),
    }
}

/// Whether a file of fuse-overlayfs says that a name is gone.
fn marked(files: &Files<'_>, folder: &OwnedFd, name: &[u8]) -> Result<bool, sys::Error> {
    if !files.has_mark_files() {
        return Ok(false);
    }
    match fd::stat_at(folder.as_fd(), &[b".wh.", name].concat()) {
        Err(error) if matches!(error.errno, Errno::ENOENT | Errno::ENAMETOOLONG) => Ok(false),
        found => Ok(found?.st_size == 0),
    }
}

//! One pass from a layer's bytes to its tree in overlay form.
//!
//! Nothing that exists is opened, followed or changed: what an entry names is made new, in place of what is
//! there. Every inode is the caller's; what that loses goes to the side index. Device nodes are never made. A
//! hard link must lie in the same layer as its source, for layers are unpacked without knowing each other.

use std::collections::HashSet;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;

use self::folders::Folders;
use self::place::Unpack;
use self::whiteout::Whiteouts;
use super::archive::{Archive, Entry};
use super::error::{At, Error, Refusal, shown};
use super::{framing, index};
use crate::oci::digest::Digest;
use crate::sys;
use crate::sys::fd;

mod folders;
mod handles;
mod name;
mod place;
mod settle;
mod tally;
#[cfg(test)]
mod tests;
mod whiteout;
mod xattr;

pub use tally::{Seen, Tally};

/// Unpacks `tar` into `tree`, `index` and `framing`, all made new in `folder`, whose path is for messages.
///
/// Gives digest and count of all bytes of `tar`, and what was in them.
pub(super) fn unpack(
    path: &Path,
    folder: BorrowedFd<'_>,
    tar: impl Read,
) -> Result<(Digest, u64, Tally), Error> {
    let (tree, masked) = make_tree(folder).at("make", path)?;
    let mut unpack = Unpack {
        archive: Archive::framed(tar, framing::Writer::create(path)?),
        folders: Folders::new(tree, folder, path),
        index: index::Writer::create(path.join("index"))?,
        tally: Tally::default(),
        devices: HashSet::new(),
        masked,
    };
    while let Some(entry) = unpack.archive.next()? {
        unpack.place(&entry).map_err(|fault| fault.of(&entry, path))?;
    }
    let Unpack { archive, folders, mut index, mut tally, .. } = unpack;
    let (diff_id, bytes) = archive.finish()?;
    (tally.whiteouts, tally.opaque_root) = folders.settle(&mut Whiteouts::Devices, |path, count| {
        tally.implied_folders += count;
        index.implied(path, count)
    })?;
    index.finish()?;
    Ok((diff_id, bytes, tally))
}

/// The root of the tree, and the mode bits that new files lose here, be it to the umask or to a default ACL.
fn make_tree(folder: BorrowedFd<'_>) -> Result<(OwnedFd, u32), sys::Error> {
    fd::mkdirat(folder, b"tree", 0o777)?;
    let tree = fd::open_folder(folder, b"tree")?;
    let masked = 0o777 & !fd::mode(tree.as_fd())?;
    fd::fchmod(tree.as_fd(), 0o700)?;
    Ok((tree, masked))
}

/// Why an entry could not be placed.
#[derive(Debug)]
enum Fault {
    Refused(Refusal),
    Call(sys::Error),
    /// Not the entry's fault.
    Whole(Error),
}

impl Fault {
    fn of(self, entry: &Entry, path: &Path) -> Error {
        match self {
            Self::Refused(why) => Error::Refused { entry: shown(&entry.path), offset: entry.offset, why },
            Self::Call(call) if matches!(call.errno, Errno::ENOSPC | Errno::EDQUOT) => {
                Error::NoSpace { path: path.to_owned() }
            }
            Self::Call(source) => Error::Place { entry: shown(&entry.path), source },
            Self::Whole(error) => error,
        }
    }
}

impl From<Refusal> for Fault {
    fn from(why: Refusal) -> Self {
        Self::Refused(why)
    }
}

impl From<sys::Error> for Fault {
    fn from(call: sys::Error) -> Self {
        Self::Call(call)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Whole(error)
    }
}

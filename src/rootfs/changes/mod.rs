//! What a box holds beyond its image: its upper folder, compared with the layers below it.
//!
//! The upper is read as its driver left it ([`crate::rootfs::driver::upper`]): what only another driver would take for a
//! deletion is the user's own. What a start itself puts into a root is no change of the user's: the places
//! made to mount on bear an attribute ([`SETUP`]), the links to the host's time zone and to the mounts have known
//! targets, and the caller's lines in the account files are taken out again.
//!
//! Read as root of the box's ids ([`crate::userns`]), so that every file can be opened and every owner is the box's.

mod forget;
mod layer;
mod lower;
mod rebase;
mod restore;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::mount::{Driver, SETUP};
use crate::rootfs::driver::upper;
use crate::sys;
use crate::sys::fd::Xattr;

pub use forget::{Forgotten, forget};
pub use layer::{Packing, write_layer};
pub(super) use lower::{Found, Stack, find, names, roots};
pub use rebase::{conflicts, drop_copies, take_modes};
pub use restore::restore;
pub use walk::walk;

/// The owner a box of one id would have given a file: `UID:GID`, -1 for what it was.
const OWNER: &[u8] = b"user.devbox.owner";

/// A layer below a box.
#[derive(Debug)]
pub struct Lower {
    /// Its tree.
    pub tree: PathBuf,
    /// Owners that its inodes do not have, by path.
    pub owners: HashMap<Vec<u8>, (u32, u32)>,
}

/// A box's files and what they lie over.
#[derive(Debug)]
pub struct Files<'a> {
    /// The writable folder.
    pub upper: &'a Path,
    /// Topmost first.
    pub lowers: &'a [Lower],
    /// Whose form the folder has. One of `copy` holds everything, and not only what differs.
    pub driver: Driver,
    /// Owners in the folder are the box's own (`full` ids); else root stands for whom the image or a note on the file
    /// names.
    pub many_ids: bool,
    /// Lines a start may have added to `etc/passwd` and `etc/group`.
    pub account: [Vec<Vec<u8>>; 2],
    /// What was last changed before this moment, by the kernel's account, is a copy that nobody wrote to, and is not read.
    pub untouched_before: Option<(i64, i64)>,
}

impl Files<'_> {
    /// Whether files of the name `.wh.NAME` say that a name is gone.
    fn has_mark_files(&self) -> bool {
        self.driver == Driver::Fuse
    }

    /// Whether what stands at a name says that it is gone.
    fn is_gone(&self, folder: BorrowedFd<'_>, name: &[u8], stat: &libc::stat) -> Result<bool, sys::Error> {
        match self.driver {
            // a user may make one, but no layer can say that it is there
            Driver::Copy => Ok(lower::kind(stat) == libc::S_IFCHR && stat.st_rdev == 0),
            Driver::Overlay | Driver::Fuse => upper::is_whiteout(folder, name, stat),
        }
    }

    /// Whether nothing of the layers shows through a folder.
    fn is_anew(&self, folder: BorrowedFd<'_>) -> bool {
        match self.driver {
            Driver::Copy => true,
            Driver::Overlay => upper::is_opaque(folder),
            Driver::Fuse => lower::is_opaque(folder),
        }
    }
}

/// What became of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// It is new.
    Added,
    /// Content, kind, mode, owner or attributes are others.
    Changed,
    /// The image's is gone.
    Deleted,
    /// A folder as the image has it, with changes in it.
    Kept,
}

/// One path and what became of it.
#[derive(Debug)]
pub struct Change<'a> {
    /// Relative to the root, without a leading `/`.
    pub path: &'a [u8],
    /// What became of it.
    pub what: What,
    /// What stands there now; none when it is gone.
    pub entry: Option<&'a Entry<'a>>,
    /// What the image has there; none for what is new.
    pub before: Option<libc::stat>,
    /// Content, or a link's target, is that of the image.
    pub same_content: bool,
}

/// What stands at a path of a box.
#[derive(Debug)]
pub struct Entry<'a> {
    /// As the kernel has it.
    pub stat: libc::stat,
    /// User and group in the box.
    pub owner: (u32, u32),
    /// The attributes that are the user's.
    pub xattrs: Vec<Xattr>,
    /// The folder it lies in.
    pub folder: BorrowedFd<'a>,
    /// Its name there.
    pub name: &'a [u8],
    /// The content to take instead of the file's own.
    pub content: Option<Vec<u8>>,
}

/// Why a box's files can't be compared with its image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call failed.
    #[error("cannot read `{}` of the box", .path.escape_ascii())]
    Call {
        /// Relative to the root of the box.
        path: Vec<u8>,
        /// The call.
        source: sys::Error,
    },
    /// Whoever takes the changes failed.
    #[error(transparent)]
    Taker(Box<dyn std::error::Error + Send + Sync>),
}

/// The lines that a first start adds for a caller: to `etc/passwd`, to `etc/group`.
pub fn account_lines(caller: &super::Caller) -> [Vec<Vec<u8>>; 2] {
    let of = |shell| super::files::account_lines(caller, shell).map(String::into_bytes);
    let ([with_bash, group], [with_sh, _]) = (of("/bin/bash"), of("/bin/sh"));
    [vec![with_bash, with_sh], vec![group]]
}

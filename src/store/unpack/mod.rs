//! From entries to a tree.
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::Error;
use crate::oci::digest::Digest;

/// What a layer held, and what of it the tree can't show.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of file content.
    pub bytes: u64,
    /// Names of lower layers that are hidden.
    pub whiteouts: u64,
    /// Whether all lower layers are hidden.
    pub opaque_root: bool,
    /// Entries that belong to someone else than 0:0 in the image; see `Store::foreign_owners`.
    pub foreign_owners: u64,
    /// Folders without an entry, made for what lies in them.
    pub implied_folders: u64,
    /// Device nodes, which are not made.
    pub devices: Seen,
    /// Entries with attributes that were not set on the inode.
    pub xattrs: Seen,
    /// Entries with attributes that overlayfs would obey, which are never set.
    pub overlay_xattrs: Seen,
}

/// How often something was met, and where first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// How often.
    pub count: u64,
    /// The first entry's name, escaped.
    pub first: String,
}

pub(super) fn unpack(
    _path: &Path,
    _folder: BorrowedFd<'_>,
    _tar: impl Read,
) -> Result<(Digest, u64, Tally), Error> {
    unimplemented!()
}

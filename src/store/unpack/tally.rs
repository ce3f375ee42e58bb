//! What an unpacking counted.

use serde::{Deserialize, Serialize};

use crate::store::error::shown;

/// What a layer held, and what of it the tree can't show.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of file content, holes left out.
    pub bytes: u64,
    /// Whiteouts made for names of lower layers.
    pub whiteouts: u64,
    /// Whether all lower layers are hidden.
    pub opaque_root: bool,
    /// Entries that belong to someone else than 0:0 in the image; see `Store::foreign_owners`.
    pub foreign_owners: u64,
    /// Folders without an entry, made (mode 0755) for what lies in them.
    pub implied_folders: u64,
    /// Device nodes, which are not made.
    pub devices: Seen,
    /// Entries with attributes that are not set on the inode.
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

impl Tally {
    /// What a user may want to know of a layer: a line for each kind of thing left out of the tree.
    pub fn notes(&self) -> Vec<String> {
        [
            (&self.devices, "device nodes not made"),
            (&self.xattrs, "entries with attributes kept aside"),
            (&self.overlay_xattrs, "entries with overlayfs attributes, not set"),
        ]
        .into_iter()
        .filter(|(seen, _)| seen.count > 0)
        .map(|(seen, what)| format!("{what}: {}, the first `{}`", seen.count, seen.first))
        .collect()
    }
}

impl Seen {
    pub(super) fn add(&mut self, name: &[u8]) {
        if self.count == 0 {
            self.first = shown(name);
        }
        self.count += 1;
    }
}

//! The image store: unpacked layers, image records and references, on disk only; it knows no network.
//!
//! ```text
//! store/                      0700: image files keep their setuid bits, so no one else may reach them
//!   version                   `1`; a newer one is refused
//!   lock                      shared while a pull builds on what is here, exclusive while unused things are removed
//!   layers/sha256/<diff_id>/  one rename makes it exist, and it never changes afterwards
//!     tree/                   the layer in overlay form, every inode the caller's own
//!     index                   what such an inode can't hold: owners, devices, capabilities
//!     framing                 all of its tar archive but the files' contents, so that it can be made again
//!     replaced/               contents of entries that later ones of the layer replaced; hardly ever there
//!     meta                    what the unpacking counted, and the boot it happened in
//!     durable                 present once the layer is known to be on the disk
//!   stacks/sha256/<chain_id>/ layers merged, where an overlay would take no more of them; see `stack`
//!   images/sha256/<manifest>  manifest, configuration, layers, where it came from
//!   refs/<reference>          the manifest digest a reference stands for: with the boxes, the roots of what is kept
//!   staging/                  everything half-made, locked while in use, swept later
//! ```
//!
//! What has a name under `layers`, `images` or `refs` is whole and was verified. Small records are written
//! through to the disk before they get their name. Layers are not, for that costs more than unpacking them:
//! their `meta` holds the boot id, and a layer without the `durable` mark of [`Store::sync`] counts only
//! during that same boot, so after a power cut it is fetched again.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::dirs;
use crate::oci::digest::Digest;
use crate::sys::fd;

mod access;
mod archive;
mod collect;
mod dedupe;
mod doubt;
mod duplicate;
mod error;
mod framing;
mod image;
mod index;
mod layer;
mod layer_tar;
mod limits;
#[cfg(test)]
pub(crate) mod listing;
mod lock;
mod merge;
mod outside;
mod record;
mod spool;
mod stack;
mod survey;
#[cfg(test)]
mod tests;
mod tree;
mod unpack;
mod usage;
mod verify;

pub use archive::write::{Head, Kind, TarWriter};
pub use collect::{Alone, Extent, InUse, Removed, Target};
pub use dedupe::{Deduped, Quiet};
pub use doubt::Free;
pub use duplicate::duplicate;
pub use error::{Error, Refusal};
pub use image::{Image, ImageEntry, RESULTS};
pub use index::Owner;
pub use layer::{LayerLock, Meta, Staged};
pub use layer_tar::LayerTar;
pub use lock::Holder;
pub use outside::{Beside, unpack_tree};
pub use stack::{Lower, Stacking, chain_id};
pub use survey::DamagedRecord;
pub use tree::remove_tree;
pub use unpack::{Seen, Tally};
pub use usage::Usage;
pub use verify::Damage;

use error::At;

/// The layout this code reads and writes.
const VERSION: u32 = 1;

/// A store on disk. Cheap to open: nothing is scanned.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    boot_id: OnceLock<Option<String>>,
    doubt: Option<doubt::Doubt>,
}

/// While this lives nothing is removed from the store; see [`Store::hold`].
#[derive(Debug)]
pub struct Hold {
    _lock: lock::Lock,
}

impl Store {
    /// Opens the store at `root`, made (mode 0700) if it is missing.
    ///
    /// Refuses a folder that is another user's or writable by others, and a layout newer than ours.
    pub fn open(root: &Path) -> Result<Self, Error> {
        if dirs::ensure_private(root).map_err(Error::NotPrivate)? & 0o077 != 0 {
            fs::set_permissions(root, fs::Permissions::from_mode(0o700)).at("restrict", root)?;
        }
        let store = Self { root: root.to_owned(), boot_id: OnceLock::new(), doubt: None };
        let path = root.join("version");
        let text = match fd::read_small(&path, 4096) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                store.create()?;
                return Ok(store);
            }
            read => read.at("read", &path)?,
        };
        match String::from_utf8_lossy(&text).trim_end().parse() {
            Ok(VERSION) => Ok(store),
            Ok(found) if found > VERSION => Err(Error::Newer { root: root.to_owned(), found }),
            _ => Err(Error::Damaged { path, why: "it holds no version we know".into() }),
        }
    }

    /// Keeps others from removing anything until the value is dropped, so that what a pull found present is
    /// still there when its image is recorded. Many may hold; a removal waits for all of them, and `waiting` is
    /// called once when one is waited for longer than a second.
    pub fn hold(&self, waiting: &mut dyn FnMut(Holder)) -> Result<Hold, Error> {
        Ok(Hold { _lock: lock::Lock::shared(&self.root.join("lock"), waiting)? })
    }

    fn create(&self) -> Result<(), Error> {
        for folder in ["layers/sha256", "images/sha256", "refs", "staging"] {
            let path = self.root.join(folder);
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).at("make", &path)?;
        }
        // last, so that a store with a version is complete; two at once write the same
        record::write(self, &self.root.join("version"), format!("{VERSION}\n").as_bytes())
    }

    fn layer_folder(&self, diff_id: &Digest) -> PathBuf {
        self.root.join("layers/sha256").join(diff_id.hex())
    }

    fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }
}

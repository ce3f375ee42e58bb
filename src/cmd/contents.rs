//! A box's own files as its root sees them, and the layers they lie over.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::full_maps;
use crate::dirs::Dirs;
use crate::error::Error;
use crate::idmap::{IdMap, IdMaps};
use crate::mount::Driver;
use crate::plan::Host;
use crate::probe;
use crate::rootfs::changes::{self, Files, Lower};
use crate::rootfs::driver::copy;
use crate::rootfs::{self, Caller};
use crate::session::{Boxes, Record};
use crate::store::{Store, Usage};
use crate::ui::{Ui, Working, size};

/// Bytes from which on a copy is announced.
const WORTH_TELLING: u64 = 64 << 20;

/// What it takes to look into a box.
pub(super) struct Contents {
    pub(super) record: Record,
    pub(super) folder: PathBuf,
    pub(super) ids: IdMaps,
    /// What the box writes to.
    pub(super) upper: PathBuf,
    driver: Driver,
    lowers: Vec<Lower>,
    many_ids: bool,
    account: [Vec<Vec<u8>>; 2],
}

impl Contents {
    pub(super) fn of(dirs: &Dirs, boxes: &Boxes, name: &str) -> Result<Self, Error> {
        let record = boxes.require(name)?;
        let host = probe::host(dirs)?;
        let folder = boxes.folder(name)?;
        // until its first start a box of that driver has an upper folder with nothing in it
        let driver = match record.driver {
            Driver::Copy if !copy::tree(&folder).exists() => Driver::Overlay,
            driver => driver,
        };
        let caller =
            Caller { name: host.user.clone(), uid: host.uid, gid: host.gid, home: host.home.clone() };
        Ok(Self {
            lowers: lowers(dirs, &record)?,
            upper: if driver == Driver::Copy { copy::tree(&folder) } else { folder.join("upper") },
            driver,
            many_ids: boxes.has_many_ids(name)?,
            account: changes::account_lines(&caller),
            ids: widest(&host),
            folder,
            record,
        })
    }

    pub(super) fn files(&self) -> Files<'_> {
        Files {
            upper: &self.upper,
            lowers: &self.lowers,
            driver: self.driver,
            many_ids: self.many_ids,
            account: self.account.clone(),
            untouched_before: None,
        }
    }
}

/// All ids the caller can have; its own as root is enough for a box of one id.
pub(super) fn widest(host: &Host) -> IdMaps {
    let root = |host_id| IdMap { container_id: 0, host_id, size: 1 };
    match full_maps(host) {
        Some((uids, gids)) if probe::has_subordinate_ids() => IdMaps::Full { uids, gids },
        _ => IdMaps::Single { uid: root(host.uid), gid: root(host.gid) },
    }
}

pub(super) fn lowers(dirs: &Dirs, record: &Record) -> Result<Vec<Lower>, Error> {
    if let Some(path) = record.image.strip_prefix("dir:") {
        let tree = rootfs::folder::lower(Path::new(path), &dirs.boxes())?;
        return Ok(vec![Lower { tree, owners: HashMap::new() }]);
    }
    if record.layers.is_empty() {
        return Ok(Vec::new());
    }
    let store = Store::open(&dirs.store())?;
    if !record.layers.iter().all(|layer| store.has_layer(layer)) {
        return Err(Error::LayersGone { name: record.name.clone() });
    }
    record
        .layers
        .iter()
        .rev()
        .map(|layer| {
            let owners = store.foreign_owners(layer)?.into_iter();
            let owners =
                owners.map(|owner| (owner.path.as_os_str().as_bytes().to_vec(), (owner.uid, owner.gid)));
            Ok(Lower { tree: store.layer_tree(layer), owners: owners.collect() })
        })
        .collect()
}

/// A copy of a box's files on the screen: nothing where blocks are shared, for that takes no time.
pub(super) struct Copying(Option<Working>);

impl Copying {
    /// Tells what it will cost.
    pub(super) fn begin(ui: &Ui, folder: &Path, what: &str) -> Result<Self, Error> {
        if !folder.exists() || copy::shares(folder, folder) {
            return Ok(Self(None));
        }
        let mut usage = Usage::default();
        for part in ["upper", "tree", "home", "mounts"] {
            usage.add(&folder.join(part))?;
        }
        let total = usage.bytes();
        if total >= WORTH_TELLING {
            ui.note(&format!("{} are copied, for this file system can't share them", size(total)));
        }
        Ok(Self(Some(ui.working(what, total))))
    }

    /// `bytes` more are copied.
    pub(super) fn advance(&self, bytes: u64) {
        if let Self(Some(working)) = self {
            working.advance(bytes);
        }
    }
}

//! A box that goes over from one id to many, or back: whom its files belong to.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::opening::Opening;
use crate::error::Error;
use crate::idmap::{self, IdMap, IdMaps};
use crate::mount::Driver;
use crate::probe;
use crate::rootfs::driver::copy;
use crate::rootfs::driver::delta::{self, Delta};
use crate::rootfs::driver::owners::{self, Owners};
use crate::rootfs::lookup::Merged;
use crate::rootfs::{self, ForeignOwner};
use crate::session::boxes::ANEW;
use crate::session::{Boxes, Record};
use crate::ui::count;
use crate::userns;

/// The word for a box's ids that a start leaves behind.
pub(super) fn word(maps: &IdMaps) -> &'static str {
    match maps {
        IdMaps::Single { .. } => "single",
        IdMaps::Full { .. } => "full",
    }
}

impl Opening<'_> {
    /// Gives the box's own files to whom they belong under `maps`, when its last start, which left the word `last`, was
    /// under others; then, what of the image's is still to be given, as at a first start. Cut short, it is done again.
    /// The caller holds the lock.
    pub(super) fn change_ids(
        &self,
        boxes: &Boxes,
        record: &Record,
        last: Option<&str>,
        maps: &IdMaps,
    ) -> Result<Option<Vec<ForeignOwner>>, Error> {
        let (Some(last), now) = (last.filter(|last| !last.is_empty()), word(maps)) else { return Ok(None) };
        let (last, anew) = last.strip_suffix(ANEW).map_or((last, false), |last| (last, true));
        if last == now && !anew {
            return Ok(None);
        }
        let name = &record.name;
        let places = places(&boxes.folder(name)?, record.driver);
        let mut owners = match maps {
            IdMaps::Full { .. } => self.owners(record)?,
            IdMaps::Single { .. } => Vec::new(),
        };
        let image = by_path(&owners);
        // What the box has of its own is looked after here.
        if let Ok(own) = Merged::open(places.iter().take(1).map(|(root, _)| root)) {
            owners.retain(|owner| !own.exists(&owner.path.to_string_lossy()));
        }
        if last == now {
            return Ok(Some(owners));
        }
        let work = |mut told: File| {
            let mut beyond = 0;
            for (place, is_root) in &places {
                let none = Owners::new();
                let image = if *is_root { &image } else { &none };
                let done = File::open(place).map_err(|error| error.to_string()).and_then(|top| {
                    match maps {
                        IdMaps::Full { .. } => owners::to_many(top.into(), image),
                        IdMaps::Single { .. } => owners::to_one(top.into()).map(|()| 0),
                    }
                    .map_err(|error| error.to_string())
                });
                match done {
                    Ok(more) => beyond += more,
                    Err(why) => return drop(write!(told, "{}: {why}", place.display())),
                }
            }
            let _ = write!(told, "done {beyond}");
        };
        let hear = |mut told: File| {
            let mut said = String::new();
            told.read_to_string(&mut said).map_or_else(|error| error.to_string(), |_| said)
        };
        // Either way it takes all the ids there are.
        let all = self.all_ids()?;
        let said = userns::within(&all, work, hear).map_err(rootfs::Error::from)?;
        let Some(beyond) = said.strip_prefix("done ").and_then(|count| count.parse::<u64>().ok()) else {
            return Err(Error::Owners { name: name.clone(), why: said });
        };
        self.ui.note(&format!("box `{name}` goes over from `{last}` ids to `{now}`"));
        if beyond > 0 {
            self.ui.warning(&format!(
                "{beyond} files of box `{name}` belong to ids beyond your subordinate ones and stay root's"
            ));
        }
        Ok(Some(owners))
    }

    /// Of the image's owners those within `maps`; says how many are not.
    pub(super) fn owners_within(
        &self,
        record: &Record,
        mut owners: Vec<ForeignOwner>,
        maps: &IdMaps,
    ) -> Vec<ForeignOwner> {
        let IdMaps::Full { uids, gids } = maps else { return owners };
        let has = |maps: &[IdMap], id: u32| {
            maps.iter().any(|map| id.checked_sub(map.container_id).is_some_and(|place| place < map.size))
        };
        let all = owners.len();
        owners.retain(|owner| has(uids, owner.uid) && has(gids, owner.gid));
        if owners.len() < all {
            self.ui.warning(&format!(
                "{} of the image of box `{}` left with root, for ids beyond your subordinate ones; longer ranges in \
                 `/etc/subuid` and `/etc/subgid` give room for more",
                count(all - owners.len(), "file"),
                record.name
            ));
        }
        owners
    }

    /// The layer of the image's owners of a box that is to start, made when it is missing.
    pub(super) fn delta(
        &self,
        folder: &Path,
        record: &Record,
        lowers: &[PathBuf],
        maps: &IdMaps,
    ) -> Result<Option<Delta>, Error> {
        let wanted = matches!(maps, IdMaps::Full { .. }) && record.driver == Driver::Overlay;
        if !wanted || record.layers.is_empty() {
            return Ok(None);
        }
        if let Some(delta) = delta::of(folder, lowers) {
            return Ok(Some(delta));
        }
        let mut owners = self.owners_within(record, self.owners(record)?, maps);
        // The root folder is the box's own.
        owners.retain(|owner| owner.path != Path::new("/"));
        delta::make(folder, &owners, lowers, maps, self.ephemeral)?;
        Ok(delta::of(folder, lowers))
    }

    fn all_ids(&self) -> Result<IdMaps, Error> {
        let (uids, gids) = probe::subordinate_ids(&self.host.user, self.host.uid)?;
        Ok(IdMaps::Full { uids: idmap::full(self.host.uid, &uids), gids: idmap::full(self.host.gid, &gids) })
    }
}

/// The folders of a box that sessions write to, and whether each is the root.
fn places(folder: &Path, driver: Driver) -> Vec<(PathBuf, bool)> {
    let root = if driver == Driver::Copy { copy::tree(folder) } else { folder.join("upper") };
    let mounts = fs::read_dir(folder.join("mounts")).into_iter().flatten().flatten();
    let mounts = mounts.map(|mount| mount.path().join("upper"));
    let others = mounts.chain([folder.join("home")]).filter(|place| place.is_dir());
    [(root, true)].into_iter().chain(others.map(|place| (place, false))).collect()
}

fn by_path(owners: &[ForeignOwner]) -> Owners {
    let entry = |owner: &ForeignOwner| {
        let path = owner.path.as_os_str().as_encoded_bytes();
        (path.strip_prefix(b"/").unwrap_or(path).to_vec(), (owner.uid, owner.gid))
    };
    owners.iter().map(entry).collect()
}

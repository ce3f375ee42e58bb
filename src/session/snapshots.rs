//! Boxes kept as they are, taken back to what they were, and made anew from others.
//!
//! ```text
//! boxes/NAME/snapshots/SNAPSHOT/snapshot.json   when, and the record of then
//!                               upper home …    copies of the box's parts
//! ```
//!
//! A snapshot is a copy that shares blocks where the file system can. The other way would be to freeze the upper
//! folder as one more layer: quick everywhere, but no folder of it could be renamed any more (an overlay in a user
//! namespace has no redirects), so that a box would work otherwise for having been kept.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::boxes::check_name;
use super::parts::{self, PARTS};
use super::{Boxes, Error, Record, at};
use crate::idmap::IdMaps;
use crate::sys::fd;

/// Where a box keeps its snapshots.
const FOLDER: &str = "snapshots";
const FILE: &str = "snapshot.json";
/// Longer than any record we write.
const MAX: usize = 16 << 20;
/// What a snapshot has of a box; all but the mark of the first start is a folder.
const FILES: [&str; 4] = ["upper", "tree", "home", "mounts"];

/// A box as it once was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its name.
    pub name: String,
    /// Seconds since the epoch.
    pub created: u64,
    /// The box's record of then.
    pub record: Record,
}

impl Boxes {
    /// The snapshots of a box, oldest first.
    pub fn snapshots(&self, name: &str) -> Result<Vec<Snapshot>, Error> {
        let folder = self.folder(name)?.join(FOLDER);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.map_err(at("list", &folder))?,
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut found = Vec::new();
        for snapshot in names.filter(|name| check_name(name).is_ok()) {
            found.extend(self.load_snapshot(name, &snapshot)?);
        }
        found.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
        Ok(found)
    }

    /// Folder of a snapshot, whether or not it is there.
    pub fn snapshot_folder(&self, name: &str, snapshot: &str) -> Result<PathBuf, Error> {
        check_name(snapshot)?;
        Ok(self.folder(name)?.join(FOLDER).join(snapshot))
    }

    /// Keeps a box as it is, as `snapshot`. The caller holds its lock; `advance` is told bytes copied.
    pub fn take_snapshot(
        &self,
        name: &str,
        snapshot: &str,
        ids: &IdMaps,
        advance: &dyn Fn(u64),
    ) -> Result<(), Error> {
        let record = self.require(name)?;
        let (folder, target) = (self.folder(name)?, self.snapshot_folder(name, snapshot)?);
        if target.exists() {
            return Err(Error::SnapshotThere { name: name.to_owned(), snapshot: snapshot.to_owned() });
        }
        // with the box's lock nobody else is at work here: what was cut short may go
        let draft = folder.join(FOLDER).join(".new");
        parts::remove(std::slice::from_ref(&draft), ids)?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&draft).map_err(at("make", &draft))?;
        let copied = || -> Result<(), Error> {
            let parts = parts::present(&folder, &PARTS);
            let pairs: Vec<_> = parts.iter().map(|part| (folder.join(part), draft.join(part))).collect();
            parts::copy(&pairs, ids, advance)?;
            let snapshot = Snapshot { name: snapshot.to_owned(), created: now(), record };
            let text = serde_json::to_vec_pretty(&snapshot)
                .map_err(|error| Error::Record { name: name.to_owned(), why: error.to_string() })?;
            parts::write_through(&draft.join(FILE), &text)?;
            fs::rename(&draft, &target).map_err(at("make", &target))?;
            let folder = folder.join(FOLDER);
            fs::File::open(&folder).and_then(|folder| folder.sync_all()).map_err(at("sync", &folder))
        };
        copied().inspect_err(|_| drop(parts::remove(std::slice::from_ref(&draft), ids)))
    }

    /// Takes a box whose lock the caller holds back to a snapshot, which stays.
    pub fn roll_back(
        &self,
        name: &str,
        snapshot: &str,
        ids: &IdMaps,
        advance: &dyn Fn(u64),
    ) -> Result<(), Error> {
        let from = self.snapshot_folder(name, snapshot)?;
        let Snapshot { mut record, .. } = self.require_snapshot(name, snapshot)?;
        if record.name != name {
            record = record.called(name);
        }
        self.replace(&record, &PARTS, ids, |place| {
            let parts = parts::present(&from, &PARTS);
            let pairs: Vec<_> = parts.iter().map(|part| (from.join(part), place(part))).collect();
            parts::copy(&pairs, ids, advance)
        })
    }

    /// Makes a box whose lock the caller holds what it was when it was made; with `home`, that too.
    pub fn reset(&self, name: &str, home: bool, ids: &IdMaps) -> Result<(), Error> {
        let record = self.require(name)?;
        let gone: Vec<_> = PARTS.into_iter().filter(|part| home || *part != "home").collect();
        self.replace(&record, &gone, ids, |place| {
            for (part, mode) in [("upper", 0o755), ("mounts", 0o700), ("home", 0o700)] {
                if part != "home" || home {
                    fs::DirBuilder::new().mode(mode).create(place(part)).map_err(at("make", &place(part)))?;
                }
            }
            Ok(())
        })
    }

    /// Removes a snapshot of a box whose lock the caller holds.
    pub fn remove_snapshot(&self, name: &str, snapshot: &str, ids: &IdMaps) -> Result<(), Error> {
        self.require_snapshot(name, snapshot)?;
        let path = self.snapshot_folder(name, snapshot)?;
        let doomed = path.with_file_name(".old");
        parts::remove(std::slice::from_ref(&doomed), ids)?;
        fs::rename(&path, &doomed).map_err(at("remove", &path))?;
        parts::remove(&[doomed], ids)
    }

    /// Makes the box `new` with copies of all files of `name`, whose lock the caller holds. Snapshots stay behind.
    pub fn clone_box(
        &self,
        name: &str,
        new: &str,
        ids: &IdMaps,
        advance: &dyn Fn(u64),
    ) -> Result<OwnedFd, Error> {
        let record = Record { ephemeral: false, ..self.require(name)?.called(new) };
        let from = self.folder(name)?;
        let fill = |to: &std::path::Path| {
            let parts = parts::present(&from, &PARTS);
            for part in parts.iter().filter(|part| FILES.contains(part)) {
                match fs::remove_dir(to.join(part)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(at("make", to)(error));
                    }
                    _ => {}
                }
            }
            let pairs: Vec<_> = parts.iter().map(|part| (from.join(part), to.join(part))).collect();
            parts::copy(&pairs, ids, advance)
        };
        self.create_filled(record, ids, fill)
    }

    fn require_snapshot(&self, name: &str, snapshot: &str) -> Result<Snapshot, Error> {
        let none = || Error::NoSnapshot { name: name.to_owned(), snapshot: snapshot.to_owned() };
        self.load_snapshot(name, snapshot)?.ok_or_else(none)
    }

    fn load_snapshot(&self, name: &str, snapshot: &str) -> Result<Option<Snapshot>, Error> {
        let path = self.snapshot_folder(name, snapshot)?.join(FILE);
        let text = match fd::read_small(&path, MAX) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            read => read.map_err(at("read", &path))?,
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| Error::Snapshot { path, why: error.to_string() })
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

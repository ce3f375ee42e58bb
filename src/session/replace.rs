//! Other files for a box, all at once: those of a snapshot, or none.
//!
//! ```text
//! boxes/NAME/upper.next    … made whole beside what is there
//!            record.next   what the box's record is to be
//!            next.json     with it the change is decided, and is carried out by whoever has the lock next
//!            upper.old     … what was there, on its way out
//! ```
//!
//! Each step leaves a state in which carrying out may begin anew. Without `next.json`, what ends in `.next` or `.old` is
//! a leftover.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::parts::{self, PARTS};
use super::{Boxes, Error, Record, at};
use crate::idmap::IdMaps;
use crate::sys::fd;

const DECISION: &str = "next.json";
const RECORD: &str = "record.next";
/// Longer than any record we write.
const MAX: usize = 16 << 20;

/// What is to be.
#[derive(Serialize, Deserialize)]
struct Next {
    record: Record,
    /// Parts that go.
    replaced: Vec<String>,
    /// Those of them that come again.
    present: Vec<String>,
}

impl Boxes {
    /// Replaces parts of a box whose lock the caller holds: `replaced` go, those that `make` made come. `make` is given
    /// the path a part is to be made at, and makes it or not.
    pub(super) fn replace(
        &self,
        record: &Record,
        replaced: &[&'static str],
        ids: &IdMaps,
        make: impl FnOnce(&dyn Fn(&str) -> PathBuf) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let folder = self.folder(&record.name)?;
        clear(&folder, ids)?;
        let place = |part: &str| folder.join(format!("{part}.next"));
        if let Err(error) = make(&place) {
            // what can't be removed now is removed before the next change
            let _ = clear(&folder, ids);
            return Err(error);
        }
        let present = replaced.iter().filter(|part| fs::symlink_metadata(place(part)).is_ok());
        let next = Next {
            record: record.clone(),
            replaced: replaced.iter().map(ToString::to_string).collect(),
            present: present.map(ToString::to_string).collect(),
        };
        // From the decision on nothing is written any more: a full disk must not keep it from being carried out.
        let text = serde_json::to_vec_pretty(record).map_err(|error| damaged(&record.name, &error))?;
        parts::write_through(&folder.join(RECORD), &text)?;
        let text = serde_json::to_vec(&next).map_err(|error| damaged(&record.name, &error))?;
        parts::write_through(&folder.join(DECISION), &text)?;
        self.carry_out(&record.name)?;
        clear(&folder, ids)
    }

    /// Carries out a change that was decided and perhaps cut short. To be called with the box's lock; next to nothing
    /// when there is none.
    pub(super) fn carry_out(&self, name: &str) -> Result<(), Error> {
        let folder = self.folder(name)?;
        let path = folder.join(DECISION);
        let text = match fd::read_small(&path, MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            read => read.map_err(at("read", &path))?,
        };
        let mut next: Next = serde_json::from_slice(&text).map_err(|error| damaged(name, &error))?;
        for part in PARTS.into_iter().filter(|part| next.replaced.iter().any(|replaced| replaced == part)) {
            let (now, new) = (folder.join(part), folder.join(format!("{part}.next")));
            let comes = fs::symlink_metadata(&new).is_ok();
            if (comes || !next.present.iter().any(|present| present == part))
                && fs::symlink_metadata(&now).is_ok()
            {
                fs::rename(&now, folder.join(format!("{part}.old"))).map_err(at("replace", &now))?;
            }
            if comes {
                fs::rename(&new, &now).map_err(at("replace", &now))?;
            }
        }
        let (ready, now) = (folder.join(RECORD), folder.join("record.json"));
        match fs::rename(&ready, &now) {
            // done before this was cut short
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed.map_err(at("replace", &now))?,
        }
        // the box may have been renamed meanwhile
        if next.record.name != name {
            next.record.name = name.to_owned();
            self.rewrite(&next.record)?;
        }
        fs::remove_file(&path).map_err(at("remove", &path))
    }
}

/// Removes leftovers.
fn clear(folder: &Path, ids: &IdMaps) -> Result<(), Error> {
    let leftovers =
        PARTS.iter().flat_map(|part| ["next", "old"].map(|end| folder.join(format!("{part}.{end}"))));
    let leftovers = leftovers.chain([folder.join(RECORD)]);
    parts::remove(&leftovers.collect::<Vec<_>>(), ids)
}

fn damaged(name: &str, error: &serde_json::Error) -> Error {
    Error::Record { name: name.to_owned(), why: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dirs::Dirs;
    use crate::idmap::IdMap;

    fn boxes(root: &Path) -> Boxes {
        Boxes::new(&Dirs {
            home: root.into(),
            config: root.join("config"),
            data: root.join("data"),
            cache: root.join("cache"),
            runtime: root.join("run"),
        })
    }

    /// A box with `old` in its upper and home, and a change to `new` decided; no `tree` comes.
    fn decided(root: &Path) -> (Boxes, PathBuf) {
        let boxes = boxes(root);
        let (record, lock) = boxes.create(Record { name: "demo".into(), ..Record::default() }).unwrap();
        drop(lock);
        let folder = boxes.folder("demo").unwrap();
        fs::create_dir(folder.join("tree")).unwrap();
        for part in ["upper", "home", "tree"] {
            fs::write(folder.join(part).join("file"), "old").unwrap();
        }
        for part in ["upper", "home"] {
            fs::create_dir(folder.join(format!("{part}.next"))).unwrap();
            fs::write(folder.join(format!("{part}.next/file")), "new").unwrap();
        }
        let list = |parts: &[&str]| parts.iter().map(ToString::to_string).collect();
        let record = Record { image: "other".into(), ..record };
        let next =
            Next { record, replaced: list(&["upper", "tree", "home"]), present: list(&["upper", "home"]) };
        fs::write(folder.join(RECORD), serde_json::to_vec(&next.record).unwrap()).unwrap();
        fs::write(folder.join(DECISION), serde_json::to_vec(&next).unwrap()).unwrap();
        (boxes, folder)
    }

    #[test]
    fn a_change_cut_short_anywhere_is_carried_out() {
        let renames = [
            ("upper", "upper.old"),
            ("upper.next", "upper"),
            ("tree", "tree.old"),
            ("home", "home.old"),
            ("home.next", "home"),
        ];
        for done in 0..=renames.len() {
            let root = tempfile::tempdir().unwrap();
            let (boxes, folder) = decided(root.path());
            for (from, to) in &renames[..done] {
                fs::rename(folder.join(from), folder.join(to)).unwrap();
            }
            // whoever takes the lock next
            drop(boxes.try_lock("demo").unwrap().unwrap());
            for part in ["upper", "home"] {
                assert_eq!(
                    fs::read_to_string(folder.join(part).join("file")).unwrap(),
                    "new",
                    "{part} after {done}"
                );
            }
            assert!(!folder.join("tree").exists() && !folder.join(DECISION).exists());
            assert_eq!(boxes.require("demo").unwrap().image, "other");
        }
    }

    #[test]
    fn what_is_not_decided_is_not_done() {
        let root = tempfile::tempdir().unwrap();
        let (boxes, folder) = decided(root.path());
        fs::rename(folder.join(DECISION), folder.join("next.new")).unwrap();
        drop(boxes.try_lock("demo").unwrap().unwrap());
        assert_eq!(fs::read_to_string(folder.join("upper/file")).unwrap(), "old");
        assert_ne!(boxes.require("demo").unwrap().image, "other");
    }

    #[test]
    fn a_change_that_fails_leaves_the_box() {
        let root = tempfile::tempdir().unwrap();
        let boxes = boxes(root.path());
        let (record, lock) = boxes.create(Record { name: "demo".into(), ..Record::default() }).unwrap();
        let one = IdMap { container_id: 0, host_id: 0, size: 1 };
        let ids = IdMaps::Single { uid: one, gid: one };
        let failed = boxes.replace(&record, &PARTS, &ids, |_| Err(Error::Lost));
        assert!(matches!(failed, Err(Error::Lost)));
        assert!(boxes.folder("demo").unwrap().join("upper").is_dir());
        drop(lock);
    }
}

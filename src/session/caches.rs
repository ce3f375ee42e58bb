//! The caches of `mode = "cache"`: folders of the user that boxes share, kept while a running box has them.
//!
//! ```text
//! $XDG_CACHE_HOME/devbox/caches/NAME/    its time is that of the last start that took it
//!                               .lock    shared while a box takes some, exclusive while some are removed
//!                               .gone-…  being removed
//! boxes/BOX/caches                       the names a box took at its last start; they count while its lock is held
//! ```

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::boxes::{Boxes, pause, remove_whole};
use super::{Error, at};
use crate::dirs::{self, Dirs};
use crate::idmap::IdMap;
use crate::sys::fd;

/// Names of one box are no longer than this together.
const MAX: usize = 1 << 20;

/// How long a box may take to end.
const ENDING: Duration = Duration::from_millis(500);

/// The caller's caches.
#[derive(Debug)]
pub struct Caches {
    root: PathBuf,
}

/// One of them.
#[derive(Debug)]
pub struct Cache {
    /// As profiles call it.
    pub name: String,
    /// Its folder.
    pub path: PathBuf,
    /// When a box took it last, in seconds since 1970.
    pub used: u64,
    /// A running box has it.
    pub in_use: bool,
}

/// Nothing is removed while a box takes its caches.
#[derive(Debug)]
pub struct Taking(#[allow(dead_code, reason = "the lock goes with it")] File);

impl Caches {
    /// Makes nothing.
    pub fn new(dirs: &Dirs) -> Self {
        Self { root: dirs.cache.join("caches") }
    }

    /// Notes that the box in `folder`, whose lock the caller holds, is about to take these caches, whose folders are made. What it
    /// gives is to be kept until they are mounted.
    pub fn take(&self, folder: &Path, names: &BTreeSet<&str>) -> Result<Taking, Error> {
        let lock = self.lock()?;
        lock.lock_shared().map_err(at("lock", &self.root))?;
        let path = folder.join("caches");
        let text: String = names.iter().map(|name| format!("{name}\n")).collect();
        fs::write(&path, text).map_err(at("write", &path))?;
        for name in names {
            let path = self.root.join(name);
            dirs::ensure_private(&path)?;
            // the time is for people
            let _ = File::open(&path).and_then(|cache| cache.set_modified(SystemTime::now()));
        }
        Ok(Taking(lock))
    }

    /// All there are, by name.
    pub fn list(&self, boxes: &Boxes) -> Result<Vec<Cache>, Error> {
        let entries = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.map_err(at("list", &self.root))?,
        };
        let in_use = in_use(boxes)?;
        let mut found = Vec::new();
        for entry in entries.filter_map(Result::ok) {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let Some(facts) = entry.metadata().ok().filter(fs::Metadata::is_dir) else { continue };
            if name.starts_with('.') {
                continue;
            }
            let used =
                facts.modified().ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
            let used = used.map_or(0, |since| since.as_secs());
            found.push(Cache { in_use: in_use.contains(&name), path: entry.path(), used, name });
        }
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    /// Removes those that `wanted` wants and no running box has, and what an earlier removal left; gives them as they were
    /// before. `wanted` looks while they are still in place. `full` are the maps to remove what other users of boxes wrote.
    pub fn remove(
        &self,
        boxes: &Boxes,
        mut wanted: impl FnMut(&Cache) -> bool,
        full: impl Fn() -> Option<(Vec<IdMap>, Vec<IdMap>)>,
    ) -> Result<Vec<Cache>, Error> {
        if !self.root.is_dir() {
            return Ok(Vec::new());
        }
        let mut removed = Vec::new();
        let candidates = self.list(boxes)?.into_iter().filter(|cache| !cache.in_use && wanted(cache));
        let candidates: Vec<Cache> = candidates.collect();
        let lock = self.lock()?;
        lock.lock().map_err(at("lock", &self.root))?;
        // a box may have begun meanwhile
        let in_use = in_use(boxes)?;
        for cache in candidates.into_iter().filter(|cache| !in_use.contains(&cache.name)) {
            let gone = self.root.join(format!(".gone-{}-{}", cache.name, std::process::id()));
            fs::rename(&cache.path, gone).map_err(at("remove", &cache.path))?;
            removed.push(cache);
        }
        drop(lock);
        for entry in fs::read_dir(&self.root).map_err(at("list", &self.root))?.filter_map(Result::ok) {
            if is_left(&entry.file_name().to_string_lossy()) {
                let path = entry.path();
                remove_whole("", &path, &full).map_err(|error| match error {
                    Error::Remove { source, .. } => Error::Cache { path, source },
                    other => other,
                })?;
            }
        }
        Ok(removed)
    }

    fn lock(&self) -> Result<File, Error> {
        dirs::ensure_private(&self.root)?;
        let path = self.root.join(".lock");
        File::options().create(true).truncate(false).write(true).open(&path).map_err(at("open", &path))
    }
}

/// Whether this process moved the folder out of the way, or one that is no more.
fn is_left(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(".gone-") else { return false };
    let pid = rest.rsplit('-').next().and_then(|pid| pid.parse::<u32>().ok());
    pid.is_none_or(|pid| pid == std::process::id() || !Path::new(&format!("/proc/{pid}")).exists())
}

/// Whether a box is running or starting. One whose last session has just ended is given the moment to end it takes.
fn is_at_work(boxes: &Boxes, name: &str) -> Result<bool, Error> {
    let began = Instant::now();
    while !boxes.is_idle(name)? {
        if began.elapsed() > ENDING || boxes.connect(name)?.is_some() {
            return Ok(true);
        }
        pause(began);
    }
    Ok(false)
}

/// Names of what boxes have that are running or starting.
fn in_use(boxes: &Boxes) -> Result<BTreeSet<String>, Error> {
    let mut names = BTreeSet::new();
    for name in boxes.names()? {
        let path = boxes.folder(&name)?.join("caches");
        let Ok(text) = fd::read_small(&path, MAX) else { continue };
        match is_at_work(boxes, &name) {
            Ok(false) | Err(Error::NoSuchBox(_)) => {}
            Ok(true) => names.extend(String::from_utf8_lossy(&text).lines().map(str::to_owned)),
            Err(error) => return Err(error),
        }
    }
    Ok(names)
}

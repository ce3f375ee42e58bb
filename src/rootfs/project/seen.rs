//! When a box first saw the project it writes over, and what was applied since: by this a file that the host changed
//! meanwhile is told from one that it did not.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::sys::fd;

use super::{Error, UPPER};

const FILE: &str = "seen";
/// A path takes a hundred bytes or two.
const MAX: usize = 256 << 20;

/// A moment as inodes have it: seconds and nanoseconds.
pub(super) type Moment = (i64, i64);

/// What a box knows of the project.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) project: PathBuf,
    /// Nothing that has a later change time is as the box saw it.
    pub(super) since: Moment,
    /// But what was applied: inode and change time, by path.
    pub(super) applied: BTreeMap<Vec<u8>, (u64, Moment)>,
    /// What the project had when sessions ended, of all that the box changed.
    pub(super) known: BTreeSet<Vec<u8>>,
}

impl Seen {
    /// What is noted in the folder of a mount; none when that is of no project.
    pub(super) fn read(kept: &Path) -> Result<Option<Self>, Error> {
        let path = kept.join(FILE);
        let failed = |source| Error::File { what: "read", path: path.clone(), source };
        let text = match fd::read_small(&path, MAX) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            read => read.map_err(failed)?,
        };
        let found = fs::metadata(&path).map_err(failed)?;
        let mut fields = text.split(|byte| *byte == 0);
        let project = fields.next().unwrap_or_default();
        let project = PathBuf::from(OsString::from_vec(project.to_vec()));
        let (mut applied, mut known) = (BTreeMap::new(), BTreeSet::new());
        let number = |field: &[u8]| str::from_utf8(field).ok()?.parse::<i64>().ok();
        while let (Some(path), Some(ino), Some(seconds), Some(nanoseconds)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        {
            if let (Some(ino), Some(seconds), Some(nanoseconds)) =
                (number(ino), number(seconds), number(nanoseconds))
            {
                match ino {
                    0 => drop(known.insert(path.to_vec())),
                    _ => drop(applied.insert(path.to_vec(), (ino as u64, (seconds, nanoseconds)))),
                }
            }
        }
        Ok(Some(Self { project, since: (found.mtime(), found.mtime_nsec()), applied, known }))
    }

    /// Writes what was applied and what is known, and keeps the time.
    pub(super) fn write(&self, kept: &Path) -> Result<(), Error> {
        let mut text = self.project.as_os_str().as_bytes().to_vec();
        let mut add = |path: &[u8], ino: u64, (seconds, nanoseconds): Moment| {
            text.push(0);
            text.extend_from_slice(path);
            text.extend_from_slice(format!("\0{}\0{seconds}\0{nanoseconds}", ino as i64).as_bytes());
        };
        self.applied.iter().for_each(|(path, (ino, changed))| add(path, *ino, *changed));
        self.known.iter().for_each(|path| add(path, 0, (0, 0)));
        write(kept, &text, Some(self.since))
    }
}

/// Notes, before a box starts, that it sees `project` now, unless it wrote over it as it was before.
pub(in crate::rootfs) fn first_seen(kept: &Path, project: &Path) -> Result<(), Error> {
    let path = kept.join(UPPER);
    let upper =
        File::open(&path).map_err(|source| Error::File { what: "open", path: path.clone(), source })?;
    let written = fd::names(upper.as_fd(), 1).map_err(|error| Error::File {
        what: "list",
        path,
        source: error.errno.into(),
    })?;
    let is_known = fs::symlink_metadata(kept.join(FILE)).is_ok();
    match (written.is_empty(), is_known) {
        (false, true) => Ok(()),
        // written by a devbox that took no note: anything may have changed meanwhile
        (false, false) => put(kept, project, Some((0, 0))),
        (true, _) => put(kept, project, None),
    }
}

/// Notes that the box sees `project` from now on, or from `time`.
pub(super) fn put(kept: &Path, project: &Path, time: Option<Moment>) -> Result<(), Error> {
    write(kept, project.as_os_str().as_bytes(), time)
}

fn write(kept: &Path, text: &[u8], time: Option<Moment>) -> Result<(), Error> {
    let (path, draft) = (kept.join(FILE), kept.join(format!("seen.{}", std::process::id())));
    let written = || -> io::Result<()> {
        let mut file = File::create(&draft)?;
        file.write_all(text)?;
        if let Some((seconds, nanoseconds)) = time {
            fd::futimens(file.as_fd(), &nix::sys::time::TimeSpec::new(seconds, nanoseconds))
                .map_err(|error| io::Error::from(error.errno))?;
        }
        fs::rename(&draft, &path)
    };
    written().map_err(|source| Error::File { what: "write", path: path.clone(), source })
}

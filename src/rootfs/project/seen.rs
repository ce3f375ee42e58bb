//! When a box first saw the project it writes over, and what was applied since: by this a file that the host changed
//! meanwhile is told from one that it did not.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::sys::fd;

use super::look::Look;
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
    /// What the project had at the end of the session that changed it, and how that looked, where this can be relied on.
    pub(super) known: BTreeMap<Vec<u8>, Option<Look>>,
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
        if project.is_empty() {
            return Err(Error::Damaged(path));
        }
        let project = PathBuf::from(OsString::from_vec(project.to_vec()));
        let (mut applied, mut known) = (BTreeMap::new(), BTreeMap::new());
        let number = |field: &[u8]| str::from_utf8(field).ok()?.parse::<i64>().ok();
        while let (Some(path), Some(ino), Some(seconds), Some(nanoseconds)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        {
            if number(ino) == Some(0) {
                let look = str::from_utf8(seconds).ok().and_then(|text| Look::read(&mut text.split(' ')));
                known.insert(path.to_vec(), look);
            } else if let (Some(ino), Some(seconds), Some(nanoseconds)) =
                (number(ino), number(seconds), number(nanoseconds))
            {
                applied.insert(path.to_vec(), (ino as u64, (seconds, nanoseconds)));
            }
        }
        Ok(Some(Self { project, since: (found.mtime(), found.mtime_nsec()), applied, known }))
    }

    /// Writes what was applied and what is known, and keeps the time.
    pub(super) fn write(&self, kept: &Path) -> Result<(), Error> {
        let mut text = self.project.as_os_str().as_bytes().to_vec();
        let mut add = |path: &[u8], fields: String| {
            text.push(0);
            text.extend_from_slice(path);
            text.extend_from_slice(fields.as_bytes());
        };
        for (path, (ino, (seconds, nanoseconds))) in &self.applied {
            add(path, format!("\0{}\0{seconds}\0{nanoseconds}", *ino as i64));
        }
        for (path, look) in &self.known {
            let look = look.map_or("0".to_owned(), |look| look.text());
            add(path, format!("\0{}\0{look}\0{}", 0, 0));
        }
        write(kept, &text, Some(self.since), true)
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
    // an empty one is what a devbox before this one left of it at a power cut
    let is_known = fs::symlink_metadata(kept.join(FILE)).is_ok_and(|found| found.len() > 0);
    match (written.is_empty(), is_known) {
        (false, true) => Ok(()),
        // written by a devbox that took no note: anything may have changed meanwhile
        (false, false) => put(kept, project, Some((0, 0))),
        // Nothing to wait for the disk for: without it, all is taken for changed.
        (true, _) => write(kept, project.as_os_str().as_bytes(), None, false),
    }
}

/// Keeps others from changing what is noted. The box's lock does not: it is its sessions', of which several may end at once.
pub(super) fn lock(kept: &Path) -> Result<File, Error> {
    let locked = File::open(kept).and_then(|folder| folder.lock().map(|()| folder));
    locked.map_err(|source| Error::File { what: "lock", path: kept.to_owned(), source })
}

pub(super) fn now() -> Moment {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now.as_secs() as i64, now.subsec_nanos().into())
}

/// Notes that the box sees `project` from now on, or from `time`.
pub(super) fn put(kept: &Path, project: &Path, time: Option<Moment>) -> Result<(), Error> {
    write(kept, project.as_os_str().as_bytes(), time, true)
}

/// `durable`: through to the disk.
fn write(kept: &Path, text: &[u8], time: Option<Moment>, durable: bool) -> Result<(), Error> {
    let (path, draft) = (kept.join(FILE), kept.join(format!("seen.{}", std::process::id())));
    let written = || -> io::Result<()> {
        let mut file = File::create(&draft)?;
        file.write_all(text)?;
        if let Some((seconds, nanoseconds)) = time {
            fd::futimens(file.as_fd(), &nix::sys::time::TimeSpec::new(seconds, nanoseconds))
                .map_err(|error| io::Error::from(error.errno))?;
        }
        if !durable {
            return fs::rename(&draft, &path);
        }
        // else it may be empty after a power cut
        file.sync_all()?;
        fs::rename(&draft, &path)?;
        File::open(kept)?.sync_all()
    };
    written().map_err(|source| Error::File { what: "write", path: path.clone(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_written() {
        let kept = tempfile::tempdir().unwrap();
        let look = Look::at(File::open("/").unwrap().as_fd(), b".", false).unwrap();
        let seen = Seen {
            project: PathBuf::from("/home/me/site"),
            since: (1_700_000_000, 5),
            applied: BTreeMap::from([(b"a".to_vec(), (u64::MAX, (-1, 2)))]),
            known: BTreeMap::from([(b"b\xff".to_vec(), look), (b"c".to_vec(), None)]),
        };
        seen.write(kept.path()).unwrap();
        let read = Seen::read(kept.path()).unwrap().unwrap();
        assert_eq!((read.project, read.since), (seen.project, seen.since));
        assert_eq!((read.applied, read.known), (seen.applied, seen.known));
    }

    #[test]
    fn an_empty_one_is_damaged_until_the_next_start() {
        let kept = tempfile::tempdir().unwrap();
        assert!(Seen::read(kept.path()).unwrap().is_none());
        fs::create_dir_all(kept.path().join("upper/written")).unwrap();
        fs::write(kept.path().join(FILE), "").unwrap();
        assert!(matches!(Seen::read(kept.path()), Err(Error::Damaged(_))));
        first_seen(kept.path(), Path::new("/home/me/site")).unwrap();
        let read = Seen::read(kept.path()).unwrap().unwrap();
        assert_eq!((read.project.as_path(), read.since), (Path::new("/home/me/site"), (0, 0)));
    }
}

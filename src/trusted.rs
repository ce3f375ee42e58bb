//! What projects were allowed beyond their own folders: a small file for each project file, private to the caller.
//!
//! ```text
//! $XDG_DATA_HOME/devbox/trusted/<sha256 of the project file's absolute path>.json
//! ```
//!
//! A path names a project: a copy elsewhere, or a link that leads to another one, has nothing of what was accepted.
//! What can't be read, or is not of the file it should be of, allows nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::dirs::{self, Dirs};
use crate::oci::digest::Digest;
use crate::plan::trust::Wish;
use crate::sys::fd;

/// Of the records we write; others count for nothing.
const VERSION: u32 = 1;
/// Larger ones are none of ours.
const MAX_BYTES: usize = 1 << 20;

/// Why what was accepted could not be written down, or taken back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder is not private.
    #[error(transparent)]
    Dirs(#[from] dirs::Error),
    /// A record can't be changed.
    #[error("cannot {action} {}", .path.display())]
    Record {
        /// What was to be done.
        action: &'static str,
        /// The record.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Dirs(error) => error.hint(),
            Self::Record { .. } => None,
        }
    }
}

/// What one project's file was allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    /// Of this form.
    pub version: u32,
    /// The project's file, as it is shown.
    pub file: String,
    /// What was accepted, oldest first.
    pub accepted: Vec<Accepted>,
}

/// One wish that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Accepted {
    /// What kind of thing it is.
    pub kind: String,
    /// The wish, as it was shown.
    pub text: String,
    /// By which it is known again.
    pub digest: Digest,
    /// When, in seconds since 1970.
    pub when: u64,
}

/// All records of the caller's.
#[derive(Debug)]
pub struct Trusted {
    folder: PathBuf,
}

impl Trusted {
    /// Those below the caller's folders. Makes nothing.
    pub fn of(dirs: &Dirs) -> Self {
        Self { folder: dirs.trusted() }
    }

    /// What the project file `file` (absolute, links of its folder followed) was allowed.
    pub fn load(&self, file: &Path) -> Option<Record> {
        read(&self.path(file)).filter(|record| record.file == shown(file))
    }

    /// Those of `wishes` that were not accepted before.
    pub fn pending<'w>(&self, file: &Path, wishes: &'w [Wish]) -> Vec<&'w Wish> {
        if wishes.is_empty() {
            return Vec::new();
        }
        let accepted = self.load(file).map(|record| record.accepted).unwrap_or_default();
        wishes.iter().filter(|wish| accepted.iter().all(|known| known.digest != wish.digest)).collect()
    }

    /// Adds `wishes` to what was accepted. When this returns it is on the disk.
    pub fn accept(&self, file: &Path, wishes: &[&Wish]) -> Result<(), Error> {
        let when =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut accepted = self.load(file).map(|record| record.accepted).unwrap_or_default();
        accepted.extend(wishes.iter().map(|wish| Accepted {
            kind: wish.kind.word().to_owned(),
            text: wish.text.clone(),
            digest: wish.digest,
            when,
        }));
        dirs::ensure_private(&self.folder)?;
        let record = Record { version: VERSION, file: shown(file), accepted };
        let path = self.path(file);
        replace(&self.folder, &path, &record).map_err(|source| Error::Record {
            action: "write",
            path,
            source,
        })
    }

    /// Takes back all that `file` was allowed; `false` when that was nothing.
    pub fn forget(&self, file: &Path) -> Result<bool, Error> {
        let path = self.path(file);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(Error::Record { action: "remove", path, source }),
        }
    }

    /// All records, by their files. One that can't be read allows nothing and is not among them.
    pub fn list(&self) -> Result<Vec<Record>, Error> {
        let failed = |source| Error::Record { action: "read", path: self.folder.clone(), source };
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(failed(source)),
        };
        let mut records = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|ending| ending == "json") {
                records.extend(read(&path));
            }
        }
        records.sort_by(|one, other| one.file.cmp(&other.file));
        Ok(records)
    }

    /// Takes back all that was ever accepted; gives the files it was for.
    pub fn forget_all(&self) -> Result<Vec<String>, Error> {
        let records = self.list()?;
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let path = entry.path();
            // what is unreadable too, and what older versions left
            fs::remove_file(&path).map_err(|source| Error::Record { action: "remove", path, source })?;
        }
        Ok(records.into_iter().map(|record| record.file).collect())
    }

    /// Over the bytes of the path, for two paths may be shown alike.
    fn path(&self, file: &Path) -> PathBuf {
        self.folder.join(format!("{}.json", Digest::of(file.as_os_str().as_bytes()).hex()))
    }
}

fn shown(file: &Path) -> String {
    file.display().to_string()
}

fn read(path: &Path) -> Option<Record> {
    let bytes = fd::read_small(path, MAX_BYTES).ok()?;
    serde_json::from_slice(&bytes).ok().filter(|record: &Record| record.version == VERSION)
}

/// Puts `record` in the place of `path`, whole or not at all.
fn replace(folder: &Path, path: &Path, record: &Record) -> io::Result<()> {
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    // of a process of this number that was killed
    let _ = fs::remove_file(&draft);
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(&serde_json::to_vec_pretty(record)?)?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        File::open(folder)?.sync_all()
    };
    let written = write();
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::trust::tests::wishes_of;
    use std::os::unix::fs::PermissionsExt as _;

    fn trusted(root: &Path) -> Trusted {
        Trusted { folder: root.join("trusted") }
    }

    fn texts(wishes: &[&Wish]) -> Vec<String> {
        wishes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_was_accepted_is_not_pending_until_it_grows() {
        let root = tempfile::tempdir().unwrap();
        let trusted = trusted(root.path());
        let file = Path::new("/src/app/devbox.toml");
        let (home, both) = (wishes_of("home = \"host\"\n"), wishes_of("home = \"host\"\nworkdir = \"..\"\n"));
        assert!(trusted.pending(file, &[]).is_empty());
        assert_eq!(trusted.pending(file, &home).len(), 1);
        trusted.accept(file, &trusted.pending(file, &home)).unwrap();
        assert!(trusted.pending(file, &home).is_empty());
        assert_eq!(texts(&trusted.pending(file, &both)), ["mounts /home/me/src (rw) at /home/me/src"]);
        trusted.accept(file, &trusted.pending(file, &both)).unwrap();
        // fewer, and the same in another order
        assert!(trusted.pending(file, &both).is_empty() && trusted.pending(file, &both[1..]).is_empty());
        assert_eq!(trusted.load(file).unwrap().accepted.len(), 2);
        assert!(trusted.forget(file).unwrap() && !trusted.forget(file).unwrap());
        assert_eq!(trusted.pending(file, &both).len(), 2);
    }

    #[test]
    fn a_record_is_of_its_own_file_alone() {
        let root = tempfile::tempdir().unwrap();
        let trusted = trusted(root.path());
        let wishes = wishes_of("home = \"host\"\n");
        let (one, other) = (Path::new("/a/devbox.toml"), Path::new("/b/devbox.toml"));
        trusted.accept(one, &trusted.pending(one, &wishes)).unwrap();
        assert_eq!(trusted.pending(other, &wishes).len(), 1);
        // a record under another's name
        fs::copy(trusted.path(one), trusted.path(other)).unwrap();
        assert_eq!(trusted.pending(other, &wishes).len(), 1);
        // two paths that are shown alike
        let raw = |bytes: &[u8]| PathBuf::from(std::ffi::OsStr::from_bytes(bytes));
        let (one, other) = (raw(b"/\xfe/devbox.toml"), raw(b"/\xff/devbox.toml"));
        trusted.accept(&one, &trusted.pending(&one, &wishes)).unwrap();
        assert_eq!(trusted.pending(&other, &wishes).len(), 1);
    }

    #[test]
    fn what_is_damaged_or_of_another_version_allows_nothing() {
        let root = tempfile::tempdir().unwrap();
        let trusted = trusted(root.path());
        let wishes = wishes_of("home = \"host\"\n");
        let file = Path::new("/a/devbox.toml");
        trusted.accept(file, &trusted.pending(file, &wishes)).unwrap();
        let path = trusted.path(file);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&trusted.folder).unwrap().count(), 1, "a draft is left");
        let text = fs::read_to_string(&path).unwrap();
        for wrong in [
            String::new(),
            text[..text.len() / 2].to_owned(),
            text.replace("\"version\": 1", "\"version\": 2"),
            text.replace("sha256:", "md5:"),
        ] {
            fs::write(&path, wrong).unwrap();
            assert_eq!(trusted.pending(file, &wishes).len(), 1);
            assert!(trusted.list().unwrap().is_empty());
        }
        // empty marks of earlier versions
        fs::write(trusted.folder.join("0".repeat(64)), "").unwrap();
        trusted.accept(file, &trusted.pending(file, &wishes)).unwrap();
        assert_eq!(trusted.list().unwrap().len(), 1);
        assert_eq!(trusted.forget_all().unwrap(), ["/a/devbox.toml"]);
        assert_eq!(fs::read_dir(&trusted.folder).unwrap().count(), 0);
    }
}

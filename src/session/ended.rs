//! Why a box was ended from outside: a word in its folder for the clients of its sessions, and what its limits were.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Error, at};
use crate::audit::{Event, Kind, Log};
use crate::limits::Held;

/// The limit that the box's last run was ended for.
const ENDED: &str = "ended.json";
/// Bytes of that file, which are there from the start: on a full disk it can be written over, and no other be made.
const WORD: usize = 512;
/// The limits of its last start.
const LIMITS: &str = "limits.json";
const LARGEST: u64 = 64 << 10;

/// What is known of a box's limits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limited {
    /// What held each at the last start.
    pub held: Vec<Held>,
    /// Folder of the cgroup it was given.
    #[serde(default)]
    pub cgroup: Option<PathBuf>,
}

/// Leaves word that the box is ended for `held`. Nobody is told when that fails, and the box ends all the same.
pub(super) fn leave(folder: &Path, held: &Held) {
    let written = File::options().write(true).open(folder.join(ENDED));
    let _ = written.and_then(|file| file.write_all_at(&padded(held), 0));
    note(folder, held);
}

/// A word that takes as much as any other.
fn padded(held: &Held) -> Vec<u8> {
    let mut text = serde_json::to_vec(held).unwrap_or_default();
    text.resize(text.len().max(WORD), b' ');
    text
}

/// Notes in the box's audit log that it or a session was ended for `held`.
pub(super) fn note(folder: &Path, held: &Held) {
    let Held { limit, amount, .. } = *held;
    let event = Event::refused(Kind::Limit, format!("{limit} {}", limit.shown(amount)), "more was taken")
        .remedy(format!("`{}` in [limits]", limit.line(amount.saturating_mul(2))));
    if let Ok(log) = Log::open(folder) {
        log.note(&event);
    }
}

/// The limit that the box's last run was ended for.
pub(super) fn read(folder: &Path) -> Option<Held> {
    serde_json::from_slice(&text(&folder.join(ENDED)).ok()?).ok()
}

/// Begins anew, with these limits.
pub(super) fn begin(folder: &Path, limited: &Limited) -> Result<(), Error> {
    let remove = |name| match fs::remove_file(folder.join(name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at("remove", &folder.join(name))(error)),
        _ => Ok(()),
    };
    let path = folder.join(LIMITS);
    // there is no word without limits, and most boxes have none
    if limited.held.is_empty() && !path.exists() {
        return Ok(());
    }
    if let Some(cgroup) =
        self::limited(folder).cgroup.filter(|cgroup| Some(cgroup) != limited.cgroup.as_ref())
    {
        // left by a watcher that was killed; the kernel keeps what is in use
        let _ = fs::remove_dir(cgroup);
    }
    remove(ENDED)?;
    if limited.held.is_empty() {
        return remove(LIMITS);
    }
    let word = folder.join(ENDED);
    fs::write(&word, [b' '; WORD]).map_err(at("write", &word))?;
    fs::write(&path, serde_json::to_vec(limited).unwrap_or_default()).map_err(at("write", &path))
}

/// The limits of the box's last start.
pub(super) fn limited(folder: &Path) -> Limited {
    text(&folder.join(LIMITS)).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

fn text(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(LARGEST).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::limits::{Holder, Limit};

    #[test]
    fn word_is_left_for_one_run() {
        let folder = tempfile::tempdir().unwrap();
        let held = Held { limit: Limit::Memory, amount: 64 << 20, by: Holder::Watch };
        assert_eq!((read(folder.path()), limited(folder.path())), (None, Limited::default()));
        let limits = Limited { held: vec![held.clone()], cgroup: None };
        begin(folder.path(), &limits).unwrap();
        assert_eq!(read(folder.path()), None);
        // no file, and no block of one, is to be made when the disk is full
        let place = || {
            let found = fs::metadata(folder.path().join(ENDED)).unwrap();
            (found.ino(), found.len())
        };
        let before = place();
        leave(folder.path(), &held);
        assert_eq!(place(), before);
        assert_eq!((read(folder.path()), limited(folder.path())), (Some(held), limits));
        let noted = crate::audit::read(folder.path()).unwrap();
        assert_eq!(noted[0].what, "memory 64MiB");
        assert_eq!(noted[0].remedy.as_deref(), Some("`memory = \"128MiB\"` in [limits]"));
        fs::remove_file(folder.path().join("audit.log")).unwrap();
        begin(folder.path(), &Limited::default()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

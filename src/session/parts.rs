//! The parts of a box that hold its files, as things to copy, replace and remove.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;

use super::{Error, at};
use crate::idmap::IdMaps;
use crate::sys::fd;
use crate::{store, userns};

/// Folders and the mark of the first start. Not each box has each.
pub(super) const PARTS: [&str; 5] = ["upper", "tree", "home", "mounts", "started"];

/// Bytes between two words of progress.
const STEP: u64 = 4 << 20;

/// Those of `parts` that are there.
pub(super) fn present(folder: &Path, parts: &[&'static str]) -> Vec<&'static str> {
    parts.iter().copied().filter(|part| fs::symlink_metadata(folder.join(part)).is_ok()).collect()
}

/// Copies each first path to its second, where nothing is; when it returns they are on the disk. `ids` are those the
/// files belong to, `advance` is told bytes.
///
/// # Errors
///
/// What was copied by then stays.
pub(super) fn copy(pairs: &[(PathBuf, PathBuf)], ids: &IdMaps, advance: &dyn Fn(u64)) -> Result<(), Error> {
    let work = |mut out: File| {
        // modes are those of the files
        nix::sys::stat::umask(Mode::empty());
        let mut due = 0;
        for (from, to) in pairs {
            if from.is_dir() {
                store::duplicate(from, to, &mut |bytes| {
                    due += bytes;
                    if due >= STEP {
                        // nobody listens any more when this fails
                        let _ = out.write_all(&std::mem::take(&mut due).to_le_bytes());
                    }
                })?;
            } else {
                fs::copy(from, to)?;
            }
        }
        if let Some(folder) = pairs.first().and_then(|(_, to)| to.parent()) {
            fd::syncfs(File::open(folder)?)?;
        }
        Ok(())
    };
    userns::piped(ids, work, |told| {
        let mut count = [0; 8];
        while told.read_exact(&mut count).is_ok() {
            advance(u64::from_le_bytes(count));
        }
    })?;
    Ok(())
}

/// Removes trees whoever of `ids` their files belong to; what is not there is no error.
pub(super) fn remove(paths: &[PathBuf], ids: &IdMaps) -> Result<(), Error> {
    let there: Vec<_> = paths.iter().filter(|path| fs::symlink_metadata(path).is_ok()).collect();
    if there.is_empty() {
        return Ok(());
    }
    let work = |_| {
        for path in there {
            store::remove_tree(path)?;
        }
        Ok(())
    };
    Ok(userns::piped(ids, work, |told| drop(told.read(&mut [0])))?)
}

/// Writes a small file through to the disk, then gives it its name.
pub(super) fn write_through(path: &Path, text: &[u8]) -> Result<(), Error> {
    let draft = path.with_extension("new");
    File::create(&draft)
        .and_then(|mut file| file.write_all(text).and_then(|()| file.sync_all()))
        .map_err(at("write", &draft))?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::rename(&draft, path).and_then(|()| File::open(folder)?.sync_all()).map_err(at("replace", path))
}

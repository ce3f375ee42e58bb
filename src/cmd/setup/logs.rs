//! Logs of steps, each the lock on its step, and what failed steps left.

use std::fs::{File, Metadata, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::step;
use crate::cmd::opening::Opening;
use crate::dirs::{self, Dirs};
use crate::error::Error;
use crate::oci::digest::Digest;
use crate::plan::Host;
use crate::session::{Boxes, Record};
use crate::store::{RESULTS, Store};

/// What the step of this key printed when it last ran; its lock says that it runs.
pub(super) fn log_path(dirs: &Dirs, key: &Digest) -> PathBuf {
    dirs.setups().join(format!("{}.log", key.hex()))
}

/// The log of the step of this key, for ourselves: who has it does the step.
pub(super) fn claim_log(opening: &Opening<'_>, key: &Digest) -> Result<(File, PathBuf), Error> {
    dirs::ensure_private(&opening.dirs.setups())?;
    let path = log_path(opening.dirs, key);
    let failed = |source: io::Error| Error::Box { path: path.clone(), source };
    let mut told = false;
    loop {
        let log = File::options().create(true).append(true).open(&path).map_err(failed)?;
        match log.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                if !std::mem::replace(&mut told, true) {
                    opening.ui.note("waiting for another devbox, which does the same set-up step or looks into its failure");
                }
                log.lock().map_err(failed)?;
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        if is_at(&log, &path) {
            return Ok((log, path));
        }
    }
}

/// Keeps the step of this key from being begun for as long as the file lives; none while somebody does it.
pub(super) fn hold_off(dirs: &Dirs, key: &Digest) -> Result<Option<File>, Error> {
    dirs::ensure_private(&dirs.setups())?;
    let path = log_path(dirs, key);
    let failed = |source: io::Error| Error::Box { path: path.clone(), source };
    loop {
        let log = File::options().create(true).append(true).open(&path).map_err(failed)?;
        match log.try_lock_shared() {
            Ok(()) if is_at(&log, &path) => return Ok(Some(log)),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
}

/// Whether the open log was not removed before we had its lock.
pub(super) fn is_at(log: &File, path: &Path) -> bool {
    let inode = |facts: io::Result<Metadata>| facts.map(|facts| facts.ino()).ok();
    inode(log.metadata()) == inode(std::fs::symlink_metadata(path))
}

/// The log of a step, when nobody does the step.
pub(super) fn idle(path: &Path) -> Option<File> {
    File::open(path).ok().filter(|log| log.try_lock().is_ok())
}

/// The boxes that steps left, with the keys of the steps.
pub(super) fn boxes_of_steps(boxes: &Boxes) -> Result<Vec<(Record, Digest)>, Error> {
    // one whose record can't be read is not known to be a step's
    let records = boxes.names()?.into_iter().filter_map(|name| boxes.load(&name).ok().flatten());
    let keyed = records.filter_map(|record| record.step.map(|key| (record, key)));
    Ok(keyed.filter(|(record, key)| record.name == step::box_name(key)).collect())
}

/// Removes those `wanted` of the boxes that failed steps left, or only finds them, and gives their names. Those of steps that
/// are being done or looked into are left alone.
pub(in crate::cmd) fn sweep_boxes(
    dirs: &Dirs,
    boxes: &Boxes,
    host: &Host,
    dry_run: bool,
    wanted: &dyn Fn(&Record) -> bool,
) -> Result<Vec<String>, Error> {
    let mut swept = Vec::new();
    for (record, key) in boxes_of_steps(boxes)?.into_iter().filter(|(record, _)| wanted(record)) {
        let name = record.name;
        let path = log_path(dirs, &key);
        let log = idle(&path);
        if log.is_none() && path.exists() {
            continue;
        }
        if let Some(lock) = boxes.try_lock(&name)? {
            if !dry_run {
                boxes.remove_locked(&name, lock, || crate::cmd::full_maps(host))?;
            }
            swept.push(name);
        }
    }
    Ok(swept)
}

/// Removes the logs of steps whose results are not here.
pub(in crate::cmd) fn sweep_logs(dirs: &Dirs, store: &Store) -> Result<(), Error> {
    let names: Vec<String> = store.refs()?.into_keys().filter(|name| name.starts_with(RESULTS)).collect();
    for path in std::fs::read_dir(dirs.setups()).into_iter().flatten().flatten().map(|log| log.path()) {
        let hex = path.file_stem().map(|hex| hex.to_string_lossy().into_owned()).unwrap_or_default();
        let unused = !names.iter().any(|name| name.contains(&hex));
        if let Some(_log) = idle(&path).filter(|_| unused) {
            // the next one to do the step makes it anew
            let _ = std::fs::remove_file(&path);
        }
    }
    Ok(())
}

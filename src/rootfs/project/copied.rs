//! The project as a copy in the box, where the kernel's overlay is not to be had: twice, for what the box changed can be
//! told only from what it was. Blocks are shared where the file system can.
//!
//! A copy counts when both are there. Without the one that is written to it is made anew.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::mount::Driver;
use crate::rootfs::mounts;
use crate::{store, userns};

use super::{BASE, Error, UPPER, own_ids, seen};

/// Bytes between two words of progress.
const STEP: u64 = 4 << 20;

/// Written when both copies are there.
const DONE: &str = "copied";

/// When the copies were whole: a file of theirs that has an earlier change time is as it was copied.
pub(super) fn moment(kept: &Path) -> Option<(i64, i64)> {
    let found = fs::metadata(kept.join(DONE)).ok().filter(|_| kept.join(BASE).exists())?;
    Some((found.mtime(), found.mtime_nsec()))
}

/// Whether a box keeps its project as a copy: as it did, or with another driver than the kernel's overlay.
pub(in crate::rootfs) fn is_copied(kept: &Path, driver: Driver) -> bool {
    if kept.join(BASE).exists() {
        return true;
    }
    let is_empty = fs::read_dir(kept.join(UPPER)).map_or(true, |mut names| names.next().is_none());
    driver != Driver::Overlay && is_empty
}

/// Whether the box in `folder` is to have a copy of `project` and has none.
pub fn wants_copy(folder: &Path, project: &Path, driver: Driver) -> bool {
    let kept = mounts::kept(folder, project);
    is_copied(&kept, driver) && !(kept.join(BASE).exists() && kept.join(UPPER).exists())
}

/// Copies the project into the box in `folder`, whose lock the caller holds. `advance` is told bytes, all of them twice.
///
/// # Errors
///
/// What was copied by then is removed with the next try.
pub fn copy_in(folder: &Path, project: &Path, advance: &mut dyn FnMut(u64)) -> Result<(), Error> {
    let kept = mounts::kept(folder, project);
    let (upper, base) = (kept.join(UPPER), kept.join(BASE));
    let failed = |what, path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { what, path, source }
    };
    fs::create_dir_all(&kept).map_err(failed("make", &kept))?;
    let drafts = [kept.join("base.new"), kept.join("upper.new")];
    let work = |mut out: File| {
        nix::sys::stat::umask(nix::sys::stat::Mode::empty());
        for path in [&kept.join(DONE), &base, &upper, &drafts[0], &drafts[1]] {
            store::remove_tree(path)?;
        }
        let mut due = 0;
        let mut tell = |bytes| {
            due += bytes;
            if due >= STEP {
                // nobody listens any more when this fails
                let _ = out.write_all(&std::mem::take(&mut due).to_le_bytes());
            }
        };
        seen::put(&kept, project, None)?;
        store::duplicate(project, &drafts[0], &mut tell)?;
        store::duplicate(&drafts[0], &drafts[1], &mut tell)?;
        crate::sys::fd::syncfs(File::open(&kept)?)?;
        Ok(())
    };
    userns::piped(&own_ids(), work, |told| {
        let mut count = [0; 8];
        while told.read_exact(&mut count).is_ok() {
            advance(u64::from_le_bytes(count));
        }
    })?;
    fs::rename(&drafts[0], &base).map_err(failed("make", &base))?;
    fs::rename(&drafts[1], &upper).map_err(failed("make", &upper))?;
    let done = kept.join(DONE);
    fs::write(&done, "").map_err(failed("write", &done))
}

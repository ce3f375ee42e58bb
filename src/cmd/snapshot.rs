//! `devbox snapshot`, `snapshots`, `rollback`: a box kept as it is, and taken back.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::contents::{Copying, widest};
use crate::cli::{Format, RollbackArgs, SnapshotArgs, SnapshotsArgs};
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::oci::commit::rfc3339;
use crate::probe;
use crate::session::Boxes;
use crate::store::Usage;
use crate::ui::{Table, Ui, age, size};

#[derive(Serialize)]
struct Listed {
    name: String,
    created: u64,
    image: String,
    /// Bytes on the disk, those it shares with others counted as if it did not.
    size: u64,
}

/// Keeps a box as it is.
pub(super) fn take(ui: &Ui, dirs: &Dirs, args: &SnapshotArgs) -> Result<ExitCode, Error> {
    let boxes = Boxes::new(dirs);
    boxes.require(&args.name)?;
    let ids = widest(&probe::host(dirs)?);
    let _lock = boxes.lock_stopped(&args.name)?;
    let snapshot = match &args.snapshot {
        Some(snapshot) => snapshot.clone(),
        None => unused(&boxes, &args.name)?,
    };
    let copying = Copying::begin(ui, &boxes.folder(&args.name)?, &format!("keeping {}", args.name))?;
    boxes.take_snapshot(&args.name, &snapshot, &ids, &|bytes| copying.advance(bytes))?;
    drop(copying);
    ui.line(&snapshot)?;
    Ok(ExitCode::SUCCESS)
}

/// Lists or removes what was kept.
pub(super) fn list(ui: &Ui, dirs: &Dirs, args: &SnapshotsArgs) -> Result<ExitCode, Error> {
    let boxes = Boxes::new(dirs);
    boxes.require(&args.name)?;
    if !args.remove.is_empty() {
        let ids = widest(&probe::host(dirs)?);
        let _lock = boxes.lock_stopped(&args.name)?;
        for snapshot in &args.remove {
            boxes.remove_snapshot(&args.name, snapshot, &ids)?;
            ui.line(snapshot)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut listed = Vec::new();
    for snapshot in boxes.snapshots(&args.name)? {
        let usage = Usage::of(&boxes.snapshot_folder(&args.name, &snapshot.name)?)?;
        let (name, created, image) = (snapshot.name, snapshot.created, snapshot.record.image);
        listed.push(Listed { name, created, image, size: usage.bytes() });
    }
    match args.format {
        Format::Json => ui.json(&listed)?,
        Format::Table if ui.is_quiet() => listed.iter().try_for_each(|one| ui.line(&one.name))?,
        Format::Table => {
            let mut table = Table::new(["SNAPSHOT", "SIZE", "CREATED"]);
            for one in listed {
                table.row([one.name, size(one.size), age(one.created)]);
            }
            ui.table(&table)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes a box back.
pub(super) fn roll_back(ui: &Ui, dirs: &Dirs, args: &RollbackArgs) -> Result<ExitCode, Error> {
    let boxes = Boxes::new(dirs);
    boxes.require(&args.name)?;
    let ids = widest(&probe::host(dirs)?);
    let _lock = boxes.lock_stopped(&args.name)?;
    let from = boxes.snapshot_folder(&args.name, &args.snapshot)?;
    let copying = Copying::begin(ui, &from, &format!("taking {} back", args.name))?;
    boxes.roll_back(&args.name, &args.snapshot, &ids, &|bytes| copying.advance(bytes))?;
    drop(copying);
    ui.line(&args.name)?;
    Ok(ExitCode::SUCCESS)
}

/// A name from the time, which no snapshot of the box has yet.
fn unused(boxes: &Boxes, name: &str) -> Result<String, Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    let stamp = rfc3339(now).trim_end_matches('Z').replace(':', ".");
    let mut snapshot = stamp.clone();
    let mut number = 1;
    while boxes.snapshot_folder(name, &snapshot)?.exists() {
        number += 1;
        snapshot = format!("{stamp}-{number}");
    }
    Ok(snapshot)
}

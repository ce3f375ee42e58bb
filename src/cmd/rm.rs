//! `devbox rm`: boxes and all that is in them.

use std::time::Duration;

use super::{full_maps, project as verb};
use crate::cli::RmArgs;
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::probe;
use crate::rootfs::project::{self, Project};
use crate::session::Boxes;
use crate::ui::Ui;

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &RmArgs) -> Result<ExitCode, Error> {
    let boxes = Boxes::new(dirs);
    let host = probe::host(dirs)?;
    let names = if args.all { boxes.names()? } else { args.names.clone() };
    for name in &names {
        // A damaged record must not keep its box from being removed; a missing one is no box.
        if !boxes.folder(name)?.exists() {
            boxes.require(name)?;
        }
        if args.force {
            boxes.stop(name, Duration::ZERO)?;
        }
        if !args.force {
            ask_for_the_project(ui, &boxes, name)?;
        }
        boxes.remove(name, || full_maps(&host))?;
        ui.line(name)?;
    }
    boxes.sweep(|| full_maps(&host));
    Ok(ExitCode::SUCCESS)
}

/// Asks before what an untrusted box wrote to its project, and nobody applied, goes with the box.
fn ask_for_the_project(ui: &Ui, boxes: &Boxes, name: &str) -> Result<(), Error> {
    let folder = boxes.folder(name)?;
    let project = match Project::of(&folder) {
        Ok(Some(project)) => project,
        Ok(None) => return Ok(()),
        Err(error) => return unknown(ui, name, &error.into()),
    };
    let edits = match project::list(&project) {
        Ok(edits) => edits,
        Err(error) => return unknown(ui, name, &error.into()),
    };
    if edits.is_empty() || boxes.load(name).is_ok_and(|record| record.is_none_or(|record| record.ephemeral)) {
        return Ok(());
    }
    let shown = project.folder.display().to_string();
    let question = format!(
        "box `{name}` changed {} for itself, which was not applied: {}\nremove the box with it?",
        shown.escape_debug(),
        verb::totals(&edits)
    );
    match ui.confirm(&question) {
        Some(true) => Ok(()),
        _ => Err(Error::NotApplied { name: name.to_owned(), project: project.folder }),
    }
}

/// Asks when it can't be told whether anything would go.
fn unknown(ui: &Ui, name: &str, error: &Error) -> Result<(), Error> {
    let question =
        format!("what box `{name}` wrote to its project can't be listed ({error})\nremove the box with it?");
    match ui.confirm(&question) {
        Some(true) => Ok(()),
        _ => Err(Error::PerhapsNotApplied { name: name.to_owned(), why: error.to_string() }),
    }
}

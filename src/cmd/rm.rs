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
    // a damaged one must not keep its box from being removed
    let Ok(Some(project)) = Project::of(&boxes.folder(name)?) else { return Ok(()) };
    let edits = project::list(&project).unwrap_or_default();
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

//! `devbox discard`: what an untrusted box wrote to its project is dropped.

use super::project::{self as verb, Line};
use super::reference::Doubt;
use super::{forks, planned};
use crate::cli::{DiscardArgs, Format, PlanFlags};
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::rootfs::project;
use crate::session::Boxes;
use crate::ui::{Table, Ui};

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &DiscardArgs) -> Result<ExitCode, Error> {
    if args.forks {
        let base = match &args.name {
            Some(name) => name.clone(),
            // that box itself need not be there
            None => {
                let flags = PlanFlags { untrusted: true, ..PlanFlags::default() };
                planned(ui, dirs, None, flags, Doubt::Refuse)?.plan.name
            }
        };
        return forks::discard(ui, dirs, &base);
    }
    let (name, folder) = verb::of(ui, dirs, args.name.as_deref())?;
    let boxes = Boxes::new(dirs);
    let _lock = boxes.lock_stopped(&name)?;
    let project = verb::require(&name, &folder)?;
    let chosen = verb::chosen(&project, &args.paths, false)?;
    let dropped = verb::settled(ui, &name, project::discard(&project, &chosen)?)?;
    match args.format {
        Format::Json => ui.json(&dropped.done.iter().map(Line::from).collect::<Vec<_>>())?,
        Format::Table if ui.is_quiet() => dropped.done.iter().try_for_each(|edit| ui.line(&edit.shown()))?,
        Format::Table => {
            let mut table = Table::bare();
            for edit in &dropped.done {
                table.row([verb::letter(edit.kind), edit.shown()]);
            }
            ui.table(&table)?;
        }
    }
    if dropped.done.is_empty() {
        ui.note(&format!("box `{name}` changed nothing in {}", project.folder.display()));
    }
    Ok(ExitCode::SUCCESS)
}

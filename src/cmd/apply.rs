//! `devbox apply`: what an untrusted box wrote becomes the project's own.

use super::project::{self as verb, Line};
use crate::cli::{ApplyArgs, Format};
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::rootfs::project;
use crate::session::Boxes;
use crate::ui::{Table, Ui};

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &ApplyArgs) -> Result<ExitCode, Error> {
    let (name, folder) = verb::of(ui, dirs, args.name.as_deref())?;
    let boxes = Boxes::new(dirs);
    // nothing is written in the box meanwhile, and what was cut short is finished
    let _lock = boxes.lock_stopped(&name)?;
    let project = verb::require(&name, &folder)?;
    let chosen = verb::chosen(&project, &args.paths, args.force)?;
    if let Some(out) = &args.out {
        let left = project::take_out(&project, &chosen.paths, out)?;
        for path in chosen.paths.iter().filter(|path| !left.iter().any(|left| left.path == **path)) {
            let last = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
            ui.line(&out.join(String::from_utf8_lossy(last).as_ref()).display().to_string())?;
        }
        verb::tell_left_out(ui, &left);
        return Ok(ExitCode::SUCCESS);
    }
    let applied = verb::settled(ui, &name, verb::apply(ui, &project, &chosen)?)?;
    match args.format {
        Format::Json => ui.json(&applied.done.iter().map(Line::from).collect::<Vec<_>>())?,
        Format::Table if ui.is_quiet() => applied.done.iter().try_for_each(|edit| ui.line(&edit.shown()))?,
        Format::Table => {
            let mut table = Table::bare();
            applied.done.iter().for_each(|edit| verb::add_applied(&mut table, edit));
            ui.table(&table)?;
        }
    }
    if applied.done.is_empty() && applied.left.is_empty() {
        ui.note(&format!("box `{name}` changed nothing in {}", project.folder.display()));
    }
    verb::tell_left(ui, &name, &applied.left);
    Ok(ExitCode::SUCCESS)
}

//! `devbox logs`: what was decided about a box from outside of it.

use crate::audit::{self, Event};
use crate::cli::{Format, LogsArgs};
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::session::Boxes;
use crate::ui::{Table, Ui, age};

use super::here;

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &LogsArgs) -> Result<ExitCode, Error> {
    let record = here::record(ui, dirs, args.name.as_deref())?;
    let events = events(dirs, &record.name)?;
    match args.format {
        Format::Json => ui.json(&events)?,
        Format::Table if ui.is_quiet() => events.iter().try_for_each(|event| ui.line(&event.what))?,
        Format::Table if events.is_empty() => {
            ui.note(&format!("nothing had to be decided about box `{}` yet", record.name));
        }
        Format::Table => {
            let mut table = Table::new(["WHEN", "WHAT", "DECISION", "WHY"]);
            for event in events {
                let decision = if event.allowed { "allowed" } else { "refused" };
                table.row([age(event.at), event.what, decision.to_owned(), event.why.unwrap_or_default()]);
            }
            ui.table(&table)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What was noted about box `name`, oldest first.
pub(super) fn events(dirs: &Dirs, name: &str) -> Result<Vec<Event>, Error> {
    let folder = Boxes::new(dirs).folder(name)?;
    audit::read(&folder).map_err(|source| Error::Box { path: folder, source })
}

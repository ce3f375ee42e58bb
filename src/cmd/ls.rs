//! `devbox ls`: the boxes there are.

use serde::Serialize;

use crate::cli::{Format, ListArgs};
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::session::Boxes;
use crate::ui::{Table, Ui, age};

#[derive(Serialize)]
struct Listed {
    name: String,
    image: String,
    running: bool,
    created: u64,
}

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &ListArgs) -> Result<ExitCode, Error> {
    let boxes = Boxes::new(dirs);
    let mut listed = Vec::new();
    for name in boxes.names()? {
        match boxes.load(&name) {
            Ok(Some(record)) => {
                let running = boxes.is_running(&name)?;
                // Left behind by a devbox that was killed; the next start sweeps it.
                if running || !record.ephemeral {
                    listed.push(Listed { name, image: record.image, running, created: record.created });
                }
            }
            Ok(None) => {}
            Err(error) => ui.warning(&error.to_string()),
        }
    }
    match args.format {
        Format::Json => ui.json(&listed)?,
        Format::Table if ui.is_quiet() => listed.iter().try_for_each(|one| ui.line(&one.name))?,
        Format::Table => {
            let mut table = Table::new(["NAME", "IMAGE", "STATE", "CREATED"]);
            for one in listed {
                let state = if one.running { "running" } else { "stopped" };
                table.row([one.name, one.image, state.to_owned(), age(one.created)]);
            }
            ui.table(&table)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

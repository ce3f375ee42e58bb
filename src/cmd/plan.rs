//! `devbox plan`: what would be done.

use std::process::ExitCode;

use super::planned;
use crate::cli::{Format, PlanArgs};
use crate::dirs::Dirs;
use crate::error::Error;
use crate::ui::{Table, Tone, Ui};

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: PlanArgs) -> Result<ExitCode, Error> {
    let (plan, _) = planned(ui, dirs, args.target.as_deref(), args.plan)?;
    match args.format {
        Format::Json => ui.json(&plan)?,
        Format::Table if ui.is_quiet() => ui.line(&plan.name)?,
        Format::Table => {
            let mut table = Table::bare();
            for (name, text) in plan.describe() {
                table.row([name.to_owned(), text]);
            }
            ui.table_in_tones(&table, |_, column| (column == 0).then_some(Tone::Strong))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

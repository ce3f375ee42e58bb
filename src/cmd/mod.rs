//! The verbs, a thin file each: typed arguments in, stages below called, answer printed.

mod completions;
mod doctor;
mod man;

use std::process::ExitCode;

use crate::cli::{Cli, Verb};
use crate::dirs::Dirs;
use crate::error::Error;
use crate::ui::Ui;

/// Carries out one command line and gives the process's exit code.
pub fn dispatch(cli: Cli, ui: &Ui) -> Result<ExitCode, Error> {
    match cli.verb {
        Verb::Completions(args) => return completions::run(ui, &args),
        Verb::Man(args) => return man::run(ui, &args),
        _ => {}
    }
    let dirs = Dirs::from_environment()?;
    match cli.verb {
        Verb::Doctor(args) => doctor::run(ui, &dirs, &args),
        _ => Ok(ExitCode::from(1)),
    }
}

//! `devbox completions SHELL`: prints the shell's script.

use crate::cli::CompletionsArgs;
use crate::error::{Error, ExitCode};
use crate::ui::Ui;

pub(super) fn run(ui: &Ui, args: &CompletionsArgs) -> Result<ExitCode, Error> {
    ui.raw(args.shell.script().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

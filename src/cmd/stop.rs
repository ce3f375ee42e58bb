//! `devbox stop`: ends boxes and every session in them.

use std::time::Duration;

use crate::cli::StopArgs;
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::session::Boxes;
use crate::ui::Ui;

/// How long commands may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &StopArgs) -> Result<ExitCode, Error> {
    let boxes = Boxes::new(dirs);
    let names = if args.all { boxes.names()? } else { args.names.clone() };
    for name in &names {
        if boxes.stop(name, GRACE)? {
            ui.line(name)?;
        } else if !args.all {
            ui.note(&format!("box `{name}` was not running"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

//! `devbox rm`: boxes and all that is in them.

use std::time::Duration;

use super::full_maps;
use crate::cli::RmArgs;
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::probe;
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
        boxes.remove(name, || full_maps(&host))?;
        ui.line(name)?;
    }
    boxes.sweep(|| full_maps(&host));
    Ok(ExitCode::SUCCESS)
}

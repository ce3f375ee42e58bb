//! `devbox clone` and `devbox rename`.

use super::contents::{Copying, widest};
use crate::cli::{CloneArgs, RenameArgs};
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::probe;
use crate::session::Boxes;
use crate::ui::Ui;

/// A box once more, under another name.
pub(super) fn clone(ui: &Ui, dirs: &Dirs, args: &CloneArgs) -> Result<ExitCode, Error> {
    let boxes = Boxes::new(dirs);
    boxes.require(&args.name)?;
    let ids = widest(&probe::host(dirs)?);
    let _lock = boxes.lock_stopped(&args.name)?;
    let copying = Copying::begin(ui, &boxes.folder(&args.name)?, &format!("cloning {}", args.name))?;
    boxes.clone_box(&args.name, &args.new, &ids, &|bytes| copying.advance(bytes))?;
    drop(copying);
    ui.line(&args.new)?;
    Ok(ExitCode::SUCCESS)
}

/// Another name for a box.
pub(super) fn rename(ui: &Ui, dirs: &Dirs, args: &RenameArgs) -> Result<ExitCode, Error> {
    let boxes = Boxes::new(dirs);
    boxes.require(&args.name)?;
    let _lock = boxes.lock_stopped(&args.name)?;
    boxes.rename(&args.name, &args.new)?;
    ui.line(&args.new)?;
    Ok(ExitCode::SUCCESS)
}

//! `devbox enter`: a shell in a box.

use super::opening::Opening;
use super::setup;
use super::{Planned, accepted};
use crate::cli::EnterArgs;
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::plan::Image;
use crate::plan::resolve::Ask;
use crate::ui::Ui;

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: EnterArgs) -> Result<ExitCode, Error> {
    let Planned { plan, host, .. } = accepted(ui, dirs, args.target.as_deref(), args.plan)?;
    if args.at_failure {
        return setup::at_failure(&Opening::new(ui, dirs, plan, host, Ask::Shell));
    }
    if plan.image == Image::Host {
        ui.note(&format!(
            "box `{}` is over this machine's own files, read-only; its home is its own",
            plan.name
        ));
    }
    Opening { pull: args.pull, ..Opening::new(ui, dirs, plan, host, Ask::Shell) }.run()
}

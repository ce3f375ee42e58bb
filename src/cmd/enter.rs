//! `devbox enter`: a shell in a box.

use super::accepted;
use super::opening::Opening;
use crate::cli::{AfterFlags, EnterArgs};
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::plan::Image;
use crate::plan::resolve::Ask;
use crate::ui::Ui;

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: EnterArgs) -> Result<ExitCode, Error> {
    let (plan, host) = accepted(ui, dirs, args.target.as_deref(), args.plan)?;
    if plan.image == Image::Host {
        ui.note(&format!(
            "box `{}` is over this machine's own files, read-only; its home is its own",
            plan.name
        ));
    }
    let after = AfterFlags::default();
    Opening { ui, dirs, plan, host, pull: args.pull, ask: Ask::Shell, ephemeral: false, after, fork_of: None }
        .run()
}

//! `devbox run`: a command in a box.

use std::process::ExitCode;

use super::opening::Opening;
use super::planned;
use crate::cli::RunArgs;
use crate::dirs::Dirs;
use crate::error::Error;
use crate::plan::resolve::Ask;
use crate::ui::Ui;

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: RunArgs) -> Result<ExitCode, Error> {
    let named = args.plan.name.is_some();
    let (mut plan, host) = planned(ui, dirs, args.target.as_deref(), args.plan)?;
    if args.rm && !named {
        // A name of its own: what is thrown away must not be a box someone keeps.
        plan.name = throw_away_name(&plan.name);
    }
    let ask = if args.command.is_empty() { Ask::Image } else { Ask::Command(args.command) };
    Opening { ui, dirs, plan, host, ask, ephemeral: args.rm }.run()
}

fn throw_away_name(base: &str) -> String {
    let base: String = base.chars().take(40).collect();
    format!("{base}-rm-{}", std::process::id())
}

//! `devbox run`: a command in a box.

use super::forks;
use super::opening::Opening;
use super::{Planned, accepted};
use crate::cli::RunArgs;
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::plan::resolve::Ask;
use crate::profile;
use crate::session;
use crate::ui::Ui;

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: RunArgs) -> Result<ExitCode, Error> {
    let named = args.plan.name.is_some();
    let Planned { mut plan, host, .. } = accepted(ui, dirs, args.target.as_deref(), args.plan)
        .map_err(|error| perhaps_a_command(error, args.target.as_deref()))?;
    if args.rm && !named {
        // A name of its own: what is thrown away must not be a box someone keeps.
        plan.name = throw_away_name(&plan.name);
    }
    let ask = if args.command.is_empty() { Ask::Image } else { Ask::Command(args.command) };
    let opening = Opening {
        pull: args.pull,
        ephemeral: args.rm,
        after: args.after,
        ..Opening::new(ui, dirs, plan, host, ask)
    };
    match args.forks {
        Some(count) => forks::run(&opening, count),
        None => opening.run(),
    }
}

/// `error`, with a word on commands when it is `target` that names nothing: a box can stand on a profile that is gone.
fn perhaps_a_command(error: Error, target: Option<&str>) -> Error {
    let unknown = match &error {
        Error::Profile(profile::Error::NoProfile { name, .. })
        | Error::Session(session::Error::BadName(name)) => Some(name.clone()),
        _ => None,
    };
    match unknown {
        Some(word) if target == Some(&word) => Error::NoTarget { error: Box::new(error), word },
        _ => error,
    }
}

fn throw_away_name(base: &str) -> String {
    let base: String = base.chars().take(40).collect();
    format!("{base}-rm-{}", std::process::id())
}

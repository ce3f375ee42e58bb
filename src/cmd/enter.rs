//! `devbox enter`: a shell in a box.

use super::hook;
use super::opening::Opening;
use super::setup;
use super::{Planned, accepted};
use crate::cli::{EnterArgs, PullPolicy};
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::plan::Image;
use crate::plan::resolve::Ask;
use crate::ui::Ui;

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: EnterArgs) -> Result<ExitCode, Error> {
    if let Some(shell) = args.hook {
        return run_for_hook(&ui.clone().without_questions(), dirs, args, shell);
    }
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

/// The same for someone who only went into a folder: nothing is asked, fetched or made.
fn run_for_hook(ui: &Ui, dirs: &Dirs, args: EnterArgs, shell: u32) -> Result<ExitCode, Error> {
    let Planned { plan, host, .. } = match accepted(ui, dirs, None, args.plan) {
        Err(Error::NotAccepted { file, .. }) => {
            ui.note(&format!(
                "what {file} asks for was not accepted, so its box is not entered: `devbox enter` asks"
            ));
            return Ok(ExitCode::from(1));
        }
        planned => planned?,
    };
    let Some(hook) = hook::admit(ui, dirs, &plan, &host.cwd, shell)? else { return Ok(ExitCode::from(1)) };
    let name = plan.name.clone();
    let opening = Opening {
        pull: PullPolicy::Never,
        hook: Some(hook),
        ..Opening::new(ui, dirs, plan, host, Ask::Shell)
    };
    let code = opening.run()?;
    hook::take(dirs, &name, shell)?;
    Ok(code)
}

//! devbox: rootless, image-based developer boxes for Linux.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod sys;

pub mod dirs;

pub mod audit;
pub mod cancel;
pub mod idmap;
pub mod limits;
pub mod mount;
pub mod network;
pub mod oci;
pub mod userns;

pub mod plan;
pub mod profile;
pub mod toolchain;

pub mod agent;
pub mod fetch;
pub mod gate;
pub mod layout;
pub mod probe;
pub mod pull;
pub mod push;
pub mod store;
pub mod trusted;

pub mod rootfs;
pub mod sandbox;
pub mod session;

pub mod cli;
pub mod cmd;
pub mod error;
pub mod ui;

use crate::error::ExitCode;
use std::ffi::OsString;
use std::time::Instant;

/// Runs the command line, program name first, and gives the process's exit code.
pub fn run(argv: &[OsString]) -> u8 {
    std::panic::set_hook(Box::new(die));
    answer(argv).into()
}

fn answer(argv: &[OsString]) -> ExitCode {
    let began = Instant::now();
    if let Some(answer) = cli::completion::answer(argv) {
        // whoever asked and went away has no use for a message
        let _ = ui::Ui::new(ui::Color::Never, true, false, false).raw(answer.as_bytes());
        return ExitCode::SUCCESS;
    }
    let cli = match cli::Cli::read(argv) {
        Ok(cli) => cli,
        Err(answer) => {
            ui::set_format(cli::wish(argv, "--log-format"));
            return ui::usage(&answer, cli::wish(argv, "--color"));
        }
    };
    let cli::Everywhere { quiet, verbose, yes, color, log_format } = cli.everywhere;
    ui::set_format(log_format);
    let ui = ui::Ui::new(color, quiet, verbose, yes).timed(began);
    ui.step("command line");
    let code = cmd::dispatch(cli, &ui).unwrap_or_else(|error| {
        error.report(&ui);
        ExitCode::from(error.exit_code())
    });
    ui.steps_end("all");
    code
}

/// A bug of ours reaches people as one line and our exit code, not as a back-trace.
#[allow(clippy::exit, clippy::disallowed_methods)]
fn die(panic: &std::panic::PanicHookInfo<'_>) {
    let payload = panic.payload();
    let what = payload.downcast_ref::<&str>().copied();
    let what = what.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    let at = panic.location().map(ToString::to_string).unwrap_or_default();
    ui::internal_error(what, &at);
    std::process::exit(error::OURS.into());
}

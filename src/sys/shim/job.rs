//! A session's command as a job of its terminal, so that Ctrl-Z stops it.
//!
//! The kernel lets a terminal stop only a job that somebody in its session can continue (credentials(7), orphaned
//! process groups). A shell sees to that for its own jobs. For a command alone the session's leader stays behind as
//! such a shell: it makes the command the terminal's foreground job, tells the client when that stops, hands signals
//! on, and ends as the command does.

use crate::kernel::{self, Change, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGSTOP, SIGTSTP};

/// A frame of `sandbox::wire`, which has a test that holds it equal: one byte long, `Stopped`.
const STOPPED: [u8; 5] = {
    let length = 1_u32.to_ne_bytes();
    [length[0], length[1], length[2], length[3], 5]
};

/// Returns in a child that is the terminal's foreground job; the caller leads it to its end and never returns.
/// Without a second process (a limit on their number) the caller goes on alone.
pub fn fork(status: i32) {
    let all = kernel::block_all_signals();
    let Ok(child) = kernel::fork() else {
        kernel::restore_signals(all);
        return;
    };
    if child != 0 {
        // Both set it, for nobody knows who is first.
        kernel::set_process_group(child);
        lead(child, status);
    }
    kernel::die_with_parent();
    kernel::set_process_group(0);
    // Standard input is the terminal. SIGTTOU is blocked still: this is not the foreground yet.
    kernel::set_foreground(0);
    kernel::restore_signals(all);
}

fn lead(command: i32, status: i32) -> ! {
    loop {
        match kernel::wait_for_signal() {
            SIGCHLD => {}
            // As from a terminal: to the whole job.
            SIGTSTP => kernel::signal_group(command, SIGSTOP),
            signal @ (SIGHUP | SIGINT | SIGQUIT | SIGCONT) => kernel::signal_group(command, signal),
            signal => kernel::signal_process(command, signal),
        }
        loop {
            match kernel::wait(command) {
                Change::None => break,
                Change::Stopped => kernel::write(status, &STOPPED),
                Change::Ended(code) => {
                    // What the command left in its job loses the terminal.
                    kernel::signal_group(command, SIGHUP);
                    kernel::exit(code)
                }
            }
        }
    }
}

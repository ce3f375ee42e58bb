//! The host's terminal: raw while a session has it, restored on every way out.

use std::os::fd::BorrowedFd;
use std::sync::Once;

use nix::pty::Winsize;

use crate::sys::{process, tty};

use super::Error;

/// The caller's terminal, if standard input is one.
pub(super) struct Terminal {
    settings: tty::Settings,
}

impl Terminal {
    /// Looks at standard input; none when it is not a terminal.
    pub(super) fn of_stdin() -> Option<Self> {
        tty::Settings::of(process::standard(0)).ok().map(|settings| Self { settings })
    }

    /// Settings to give to the session's terminal.
    pub(super) fn settings(&self) -> tty::Settings {
        self.settings
    }

    /// Makes it raw until the guard is dropped.
    pub(super) fn raw(&self) -> Result<Raw, Error> {
        let raw = Raw(self.settings);
        raw.restore_on_panic();
        self.settings.raw().apply(process::standard(0)).map_err(Error::Terminal)?;
        Ok(raw)
    }
}

/// While this lives the terminal is raw.
pub(super) struct Raw(tty::Settings);

impl Raw {
    /// A panic ends the program without a drop.
    fn restore_on_panic(&self) {
        static ONCE: Once = Once::new();
        let settings = self.0;
        ONCE.call_once(|| {
            let next = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore(settings);
                next(panic);
            }));
        });
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore(self.0);
    }
}

/// In the background the terminal is another job's, whose settings these would not be, and asking would stop us.
fn restore(settings: tty::Settings) {
    let input = process::standard(0);
    if nix::unistd::tcgetpgrp(input).is_ok_and(|job| job != nix::unistd::getpgrp()) {
        return;
    }
    let _ = settings.apply(input);
}

/// Which of 0, 1 and 2 are terminals, as bits.
pub(super) fn standard_terminals() -> u8 {
    (0..3)
        .filter(|number| nix::unistd::isatty(process::standard(*number)).unwrap_or(false))
        .fold(0, |bits, number| bits | 1 << number)
}

/// Where a session's terminal is shown: standard output, standard error, or, when neither is one of `terminals`,
/// standard input's terminal, for its echo.
pub(super) fn output(terminals: u8) -> BorrowedFd<'static> {
    process::standard([1, 2].into_iter().find(|number| terminals & 1 << number != 0).unwrap_or(0))
}

/// Size of the first of `terminals`, 24 × 80 when it will not tell.
pub(super) fn size(terminals: u8) -> Winsize {
    (0..3)
        .find(|number| terminals & 1 << number != 0)
        .and_then(|number| tty::window_size(process::standard(number)).ok())
        .filter(|size| size.ws_row > 0 && size.ws_col > 0)
        .unwrap_or(Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 })
}

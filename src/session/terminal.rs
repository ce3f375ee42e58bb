//! The host's terminal: raw while a session has it, restored on every way out.

use std::os::fd::BorrowedFd;

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
    pub(super) fn raw(&self) -> Result<Raw<'_>, Error> {
        self.settings.raw().apply(process::standard(0)).map_err(Error::Terminal)?;
        Ok(Raw(self))
    }
}

/// While this lives the terminal is raw.
pub(super) struct Raw<'a>(&'a Terminal);

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        let _ = self.0.settings.apply(process::standard(0));
    }
}

/// Which of 0, 1 and 2 are terminals, as bits.
pub(super) fn standard_terminals() -> u8 {
    (0..3)
        .filter(|number| nix::unistd::isatty(process::standard(*number)).unwrap_or(false))
        .fold(0, |bits, number| bits | 1 << number)
}

/// The first of 0, 1 and 2 that is a terminal.
pub(super) fn first(terminals: u8) -> Option<BorrowedFd<'static>> {
    (0..3).find(|number| terminals & 1 << number != 0).map(process::standard)
}

/// Size of the first of `terminals`, 24 × 80 when it will not tell.
pub(super) fn size(terminals: u8) -> Winsize {
    first(terminals)
        .and_then(|terminal| tty::window_size(terminal).ok())
        .filter(|size| size.ws_row > 0 && size.ws_col > 0)
        .unwrap_or(Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 })
}

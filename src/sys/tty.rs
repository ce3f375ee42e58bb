//! Terminals: pseudo-terminals of a given devpts, controlling terminals, window sizes (ioctl_tty(2)).

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::pty::Winsize;

mod ioctl {
    nix::ioctl_read_bad!(tiocgwinsz, libc::TIOCGWINSZ, libc::winsize);
    nix::ioctl_write_ptr_bad!(tiocswinsz, libc::TIOCSWINSZ, libc::winsize);
    nix::ioctl_write_int_bad!(tiocsctty, libc::TIOCSCTTY);
    nix::ioctl_write_ptr_bad!(tiocsptlck, libc::TIOCSPTLCK, libc::c_int);
}

/// The terminal's size, in rows and columns.
pub fn window_size(terminal: impl AsFd) -> nix::Result<Winsize> {
    let mut size = Winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel fills one winsize.
    unsafe { ioctl::tiocgwinsz(terminal.as_fd().as_raw_fd(), &raw mut size) }?;
    Ok(size)
}

/// Sets the size; the foreground job gets SIGWINCH when it changed.
pub fn set_window_size(terminal: impl AsFd, size: &Winsize) -> nix::Result<()> {
    // SAFETY: the kernel reads one winsize.
    unsafe { ioctl::tiocswinsz(terminal.as_fd().as_raw_fd(), size) }.map(drop)
}

/// Makes the terminal the controlling one of the calling session leader.
pub fn set_controlling(terminal: impl AsFd) -> nix::Result<()> {
    // SAFETY: the argument is a number.
    unsafe { ioctl::tiocsctty(terminal.as_fd().as_raw_fd(), 0) }.map(drop)
}

/// A new pseudo-terminal of the devpts at `/dev/pts`: master and slave. No path is looked up for the slave
/// (TIOCGPTPEER, Linux 4.13).
pub fn open_pair() -> nix::Result<(OwnedFd, OwnedFd)> {
    use nix::fcntl::{OFlag, open};
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = open(c"/dev/pts/ptmx", flags, nix::sys::stat::Mode::empty())?;
    // SAFETY: the kernel reads one int.
    unsafe { ioctl::tiocsptlck(master.as_raw_fd(), &0) }?;
    // SAFETY: the argument is a set of open flags; a new descriptor comes back.
    let slave = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags.bits()) };
    let slave = Errno::result(slave)?;
    Ok((master, super::process::adopt(slave)))
}

/// Opens `terminal` once more, for writing without blocking: the flag is this opening's alone. Fails for another
/// user's terminal.
pub fn open_for_output(terminal: impl AsFd) -> nix::Result<OwnedFd> {
    use nix::fcntl::{OFlag, open};
    // A master is not opened again: its device gives a new pair each time.
    if nix::sys::stat::fstat(&terminal)?.st_rdev == libc::makedev(5, 2) {
        return Err(Errno::ENOTTY);
    }
    let path = format!("/proc/self/fd/{}", terminal.as_fd().as_raw_fd());
    let flags = OFlag::O_WRONLY | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    open(path.as_str(), flags, nix::sys::stat::Mode::empty())
}

/// A terminal's settings as bytes, for sending them between processes of one machine.
#[derive(Clone, Copy)]
pub struct Settings(libc::termios);

impl Settings {
    /// Those of `terminal`.
    pub fn of(terminal: impl AsFd) -> nix::Result<Self> {
        nix::sys::termios::tcgetattr(terminal).map(|settings| Self(settings.into()))
    }

    /// Gives them to `terminal` now: what was written before may never be sent, and processing it was done then.
    pub fn apply(&self, terminal: impl AsFd) -> nix::Result<()> {
        let settings = nix::sys::termios::Termios::from(self.0);
        nix::sys::termios::tcsetattr(terminal, nix::sys::termios::SetArg::TCSANOW, &settings)
    }

    /// The same with input and output passed through untouched (cfmakeraw(3)).
    pub fn raw(&self) -> Self {
        let mut settings = nix::sys::termios::Termios::from(self.0);
        nix::sys::termios::cfmakeraw(&mut settings);
        Self(settings.into())
    }

    /// As bytes.
    pub fn to_bytes(self) -> Vec<u8> {
        let start = (&raw const self.0).cast::<u8>();
        // SAFETY: termios is plain integers without padding that matters; the bytes live as long as self.
        unsafe { std::slice::from_raw_parts(start, size_of::<libc::termios>()) }.to_vec()
    }

    /// From the bytes of `to_bytes`; none when the length is not right.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != size_of::<libc::termios>() {
            return None;
        }
        // SAFETY: any bytes are a valid termios, and there are enough of them.
        Some(Self(unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) }))
    }
}

#[cfg(test)]
mod tests {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};

    use super::*;

    #[test]
    fn a_terminal_opened_again_leaves_the_first_opening_alone() {
        let pair = nix::pty::openpty(None, None).unwrap();
        let own = open_for_output(&pair.slave).unwrap();
        let flags = |end: &OwnedFd| OFlag::from_bits_retain(fcntl(end, FcntlArg::F_GETFL).unwrap());
        assert!(flags(&own).contains(OFlag::O_NONBLOCK));
        assert!(!flags(&pair.slave).contains(OFlag::O_NONBLOCK));
        assert_eq!(open_for_output(&pair.master).unwrap_err(), Errno::ENOTTY);
    }
}

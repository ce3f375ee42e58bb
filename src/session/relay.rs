//! Bytes between the host's terminal and the session's, both ways, raw.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags};
use nix::pty::Winsize;

use crate::sys::{process, tty};

use super::{Error, terminal};

/// Large, for a build's output: the terminal is the limit, not the number of calls.
const CHUNK: usize = 64 << 10;

/// The session's terminal and what is on its way to it.
pub(super) struct Relay {
    master: OwnedFd,
    /// Typed, not yet taken by the session.
    pending: Vec<u8>,
    /// Standard input is a terminal and still open.
    reads: bool,
    /// Output goes to this standard descriptor.
    output: i32,
    /// The session's side is still open.
    open: bool,
}

impl Relay {
    /// Takes over the master. It must not block: a session that reads nothing may not stop its own output.
    pub(super) fn new(master: OwnedFd, terminals: u8) -> Result<Self, Error> {
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(Error::Terminal)?;
        let relay = Self {
            master,
            pending: Vec::new(),
            reads: terminals & 1 != 0,
            output: if terminals & 2 != 0 { 1 } else { 2 },
            open: true,
        };
        relay.resize(&terminal::size(terminals));
        Ok(relay)
    }

    /// What to poll for: standard input, then the master.
    pub(super) fn watched(&self) -> Vec<PollFd<'_>> {
        let input =
            if self.reads && self.pending.is_empty() { PollFlags::POLLIN } else { PollFlags::empty() };
        let mut master = if self.open { PollFlags::POLLIN } else { PollFlags::empty() };
        if !self.pending.is_empty() {
            master |= PollFlags::POLLOUT;
        }
        let mut watched = Vec::new();
        if self.reads {
            watched.push(PollFd::new(process::standard(0), input));
        }
        if self.open {
            watched.push(PollFd::new(self.master.as_fd(), master));
        }
        watched
    }

    /// Moves what can be moved; false when the host's terminal has gone.
    pub(super) fn turn(&mut self, ready: &[PollFlags]) -> bool {
        let mut ready = ready.iter();
        let input = if self.reads { ready.next().copied() } else { None }.unwrap_or(PollFlags::empty());
        let master = if self.open { ready.next().copied() } else { None }.unwrap_or(PollFlags::empty());
        if !master.is_empty() {
            self.write_pending();
            self.read_output();
        }
        if input.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL) {
            return false;
        }
        if input.contains(PollFlags::POLLIN) {
            let mut buffer = [0; 4096];
            match nix::unistd::read(process::standard(0), &mut buffer) {
                Ok(0) => self.reads = false,
                Ok(count) => self.pending.extend_from_slice(&buffer[..count]),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(_) => return false,
            }
            self.write_pending();
        }
        true
    }

    /// The command has ended: what it wrote before is still in the terminal.
    pub(super) fn drain(&mut self) {
        while self.open && self.read_output() {}
    }

    /// Gives the session's terminal the size of the host's.
    pub(super) fn resize(&self, size: &Winsize) {
        let _ = tty::set_window_size(&self.master, size);
    }

    fn write_pending(&mut self) {
        match nix::unistd::write(&self.master, &self.pending) {
            Ok(count) => drop(self.pending.drain(..count)),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => self.pending.clear(),
        }
    }

    /// True when there was something.
    fn read_output(&mut self) -> bool {
        let mut buffer = [0; CHUNK];
        match nix::unistd::read(&self.master, &mut buffer) {
            Ok(count) if count > 0 => {
                let mut rest = &buffer[..count];
                while !rest.is_empty() {
                    match nix::unistd::write(process::standard(self.output), rest) {
                        Ok(written) => rest = &rest[written..],
                        Err(Errno::EINTR) => {}
                        Err(Errno::EAGAIN) => wait_writable(self.output),
                        Err(_) => return false,
                    }
                }
                true
            }
            Err(Errno::EINTR) => true,
            Err(Errno::EAGAIN) => false,
            // EIO: every process of the session has closed it.
            _ => {
                self.open = false;
                false
            }
        }
    }
}

/// The host's terminal may have been made non-blocking by another program.
fn wait_writable(number: i32) {
    let mut watched = [PollFd::new(process::standard(number), PollFlags::POLLOUT)];
    let _ = nix::poll::poll(&mut watched, nix::poll::PollTimeout::NONE);
}

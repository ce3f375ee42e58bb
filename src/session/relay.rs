//! Bytes between the host's terminal and the session's, both ways, raw. Only `drain` waits.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::Winsize;
use nix::sys::signalfd::SignalFd;

use crate::sys::{process, tty};

use super::{Error, client, terminal};

/// Large, for a build's output: the terminal is the limit, not the number of calls.
const CHUNK: usize = 64 << 10;
/// What a terminal that is ready takes at once, so that a blocking write does not block.
const PIECE: usize = 1 << 10;
/// More than a terminal holds: what comes after it is from processes the command left behind.
const REST: usize = 1 << 20;

/// The session's terminal and what is on its way to and from it.
pub(super) struct Relay {
    master: OwnedFd,
    /// Typed, not yet taken by the session.
    typed: Vec<u8>,
    /// Standard input is a terminal and still open.
    reads: bool,
    output: Output,
    /// The session's side is still open.
    open: bool,
}

impl Relay {
    /// Takes over the master. It must not block: a session that reads nothing may not stop its own output.
    pub(super) fn new(master: OwnedFd, terminals: u8) -> Result<Self, Error> {
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(Error::Terminal)?;
        let output = Output::to(terminal::output(terminals));
        let relay = Self { master, typed: Vec::new(), reads: terminals & 1 != 0, output, open: true };
        relay.resize(&terminal::size(terminals));
        Ok(relay)
    }

    /// What to poll for: the output's terminal, standard input, the master. The two terminals always, for their end.
    pub(super) fn watched(&self) -> Vec<PollFd<'_>> {
        let when = |condition, flag| if condition { flag } else { PollFlags::empty() };
        let idle = self.output.is_empty();
        let mut watched = vec![PollFd::new(self.output.terminal(), when(!idle, PollFlags::POLLOUT))];
        if self.reads {
            watched.push(PollFd::new(process::standard(0), when(self.typed.is_empty(), PollFlags::POLLIN)));
        }
        let master = when(idle, PollFlags::POLLIN) | when(!self.typed.is_empty(), PollFlags::POLLOUT);
        // Without a wish it would report the session's end again and again.
        if self.open && !master.is_empty() {
            watched.push(PollFd::new(self.master.as_fd(), master));
        }
        watched
    }

    /// Moves what can be moved; false when the host's terminal has gone.
    pub(super) fn turn(&mut self, ready: &[PollFlags]) -> bool {
        let gone = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
        let input = if self.reads { ready[1] } else { PollFlags::empty() };
        if (ready[0] | input).intersects(gone) {
            return false;
        }
        if input.contains(PollFlags::POLLIN) {
            let mut buffer = [0; 4096];
            match nix::unistd::read(process::standard(0), &mut buffer) {
                Ok(0) => self.reads = false,
                Ok(count) => self.typed.extend_from_slice(&buffer[..count]),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
        self.write_typed();
        let mut taken = self.output.write(ready[0].contains(PollFlags::POLLOUT));
        // What the terminal does not take makes the session wait.
        if self.read_output() > 0 {
            taken = taken.and(self.output.write(false));
        }
        taken.is_ok()
    }

    /// The command has ended: what it wrote before is still in its terminal. Gives up when the host's terminal
    /// takes nothing for `patience` milliseconds, and when one of `signals` tells us to end.
    pub(super) fn drain(&mut self, patience: u16, signals: &SignalFd) {
        let mut rest = REST;
        loop {
            if self.output.is_empty() {
                let count = self.read_output();
                if count == 0 || count > rest {
                    return;
                }
                rest -= count;
            }
            let mut watched = [
                PollFd::new(self.output.terminal(), PollFlags::POLLOUT),
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            ];
            let Ok(1..) = poll(&mut watched, PollTimeout::from(patience)) else { return };
            let [terminal, signal] = watched.map(|one| one.any().unwrap_or(false));
            if signal && client::pending(signals).any(client::ends) {
                return;
            }
            if terminal && self.output.write(true).is_err() {
                return;
            }
        }
    }

    /// Gives the session's terminal the size of the host's.
    pub(super) fn resize(&self, size: &Winsize) {
        let _ = tty::set_window_size(&self.master, size);
    }

    fn write_typed(&mut self) {
        if self.typed.is_empty() {
            return;
        }
        match nix::unistd::write(&self.master, &self.typed) {
            Ok(count) => drop(self.typed.drain(..count)),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => self.typed.clear(),
        }
    }

    /// Fills the empty output; the count.
    fn read_output(&mut self) -> usize {
        if !self.open || !self.output.is_empty() {
            return 0;
        }
        match self.output.fill(&self.master) {
            // EIO: every process of the session has closed it.
            Ok(0) | Err(Errno::EIO) => {
                self.open = false;
                0
            }
            result => result.unwrap_or(0),
        }
    }
}

/// The host's terminal, and what it has not taken yet.
struct Output {
    /// Our own opening of it, that does not block; the caller's own must not be made so, others share it.
    own: Option<OwnedFd>,
    /// The caller's, for a terminal we may not open: another user's.
    shared: BorrowedFd<'static>,
    buffer: Box<[u8]>,
    /// The part of `buffer` still to be written.
    rest: std::ops::Range<usize>,
}

impl Output {
    fn to(shared: BorrowedFd<'static>) -> Self {
        let own = tty::open_for_output(shared).ok();
        Self { own, shared, buffer: vec![0; CHUNK].into(), rest: 0..0 }
    }

    fn terminal(&self) -> BorrowedFd<'_> {
        self.own.as_ref().map_or(self.shared, |own| own.as_fd())
    }

    fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn fill(&mut self, source: impl AsFd) -> nix::Result<usize> {
        let count = nix::unistd::read(source, &mut self.buffer)?;
        self.rest = 0..count;
        Ok(count)
    }

    /// Writes what the terminal takes now. The caller's own is left alone when it was not seen to be ready.
    fn write(&mut self, ready: bool) -> nix::Result<()> {
        if self.is_empty() || !ready && self.own.is_none() {
            return Ok(());
        }
        let rest = &self.buffer[self.rest.clone()];
        let most = if self.own.is_some() { CHUNK } else { PIECE };
        match nix::unistd::write(self.terminal(), &rest[..rest.len().min(most)]) {
            Ok(count) => self.rest.start += count,
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // Open for reading only: nothing can be shown there.
            Err(Errno::EBADF) => self.rest = 0..0,
            Err(errno) => return Err(errno),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use nix::pty::openpty;
    use nix::sys::signal::SigSet;
    use nix::sys::signalfd::SfdFlags;

    use super::*;

    /// A relay between two new terminals: with it the far ends, first the host's screen.
    fn relay(own: bool) -> (Relay, OwnedFd, OwnedFd) {
        let (host, session) = (openpty(None, None).unwrap(), openpty(None, None).unwrap());
        for side in [&host.slave, &session.slave] {
            tty::Settings::of(side).unwrap().raw().apply(side).unwrap();
        }
        let kept: &'static OwnedFd = Box::leak(Box::new(host.slave));
        let mut output = Output::to(kept.as_fd());
        output.own = output.own.filter(|_| own);
        for end in [&session.master, &session.slave, &host.master] {
            fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        }
        let relay = Relay { master: session.master, typed: Vec::new(), reads: false, output, open: true };
        (relay, host.master, session.slave)
    }

    fn turn(relay: &mut Relay) -> bool {
        let mut watched = relay.watched();
        poll(&mut watched, PollTimeout::ZERO).unwrap();
        let ready: Vec<PollFlags> = watched.iter().map(|one| one.revents().unwrap()).collect();
        relay.turn(&ready)
    }

    fn no_signals() -> SignalFd {
        SignalFd::with_flags(&SigSet::empty(), SfdFlags::SFD_NONBLOCK).unwrap()
    }

    #[test]
    fn a_terminal_nobody_reads_stops_the_session_and_not_us() {
        for own in [true, false] {
            let (mut relay, _screen, slave) = relay(own);
            let (mut sent, mut refused) = (0, 0);
            while refused < 100 {
                match nix::unistd::write(&slave, &[b'x'; 1000]) {
                    Ok(count) => (sent, refused) = (sent + count, 0),
                    Err(_) => refused += 1,
                }
                assert!(sent < REST, "the session has to wait");
                assert!(turn(&mut relay));
            }
            let began = Instant::now();
            relay.drain(50, &no_signals());
            assert!(began.elapsed() < Duration::from_secs(1));
        }
    }

    #[test]
    fn all_arrives_in_order() {
        for own in [true, false] {
            let (mut relay, screen, slave) = relay(own);
            let text: Vec<u8> = (0..300_000_u32).map(|number| (number % 251) as u8).collect();
            let (mut sent, mut shown) = (0, Vec::new());
            let began = Instant::now();
            while shown.len() < text.len() && began.elapsed() < Duration::from_secs(20) {
                sent += nix::unistd::write(&slave, &text[sent..]).unwrap_or(0);
                assert!(turn(&mut relay));
                let mut buffer = [0; CHUNK];
                let count = nix::unistd::read(&screen, &mut buffer).unwrap_or(0);
                shown.extend_from_slice(&buffer[..count]);
            }
            assert!(shown == text, "own: {own}, {} of {}", shown.len(), text.len());
        }
    }

    #[test]
    fn what_is_left_behind_does_not_keep_us() {
        let device = |path| nix::fcntl::open(path, OFlag::O_RDWR, nix::sys::stat::Mode::empty()).unwrap();
        let (mut relay, ..) = relay(true);
        relay.master = device(c"/dev/zero");
        relay.output.own = Some(device(c"/dev/null"));
        relay.drain(1000, &no_signals());
    }

    #[test]
    fn the_end_of_the_hosts_terminal_is_seen() {
        let (mut relay, screen, _slave) = relay(true);
        assert!(turn(&mut relay));
        drop(screen);
        assert!(!turn(&mut relay));
    }
}

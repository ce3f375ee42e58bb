//! One session seen from outside: asks pid 1 for it, relays, forwards signals, gives its exit code.

use std::collections::VecDeque;
use std::ffi::{CString, OsStr};
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, raise, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::unistd::Pid;

use crate::sandbox::wire::{self, Incoming, Open, Reply, Request};
use crate::sandbox::{self, Spec};
use crate::sys::process;

use super::relay::Relay;
use super::{Asked, Error, terminal};

/// Signals passed on to the session. SIGWINCH and SIGTSTP are dealt with here.
const FORWARDED: [Signal; 8] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCONT,
    Signal::SIGALRM,
];

/// How long the host's terminal may take nothing of a command's last output, in milliseconds.
const PATIENCE: u16 = 2000;
/// The same once we were told to end.
const HURRY: u16 = 200;

/// What became of a request for a session.
pub enum Outcome {
    /// The command ran; 0-255 as a shell counts.
    Exited(u8),
    /// The session took longer than the box's limit and was ended.
    OutOfTime,
    /// The box, which another client had started, ended before it took the request; start it again.
    Gone,
}

/// Sends the request with the caller's descriptors, terminals noted, and gives which of them are terminals. May be
/// done before pid 1 listens. One that has gone is no error here: `attend` finds out what became of it.
pub fn ask(connection: &UnixStream, mut open: Open) -> Result<u8, Error> {
    let terminals = terminal::standard_terminals();
    open.terminals = terminals;
    if terminals != 0 {
        let size = terminal::size(terminals);
        open.size = (size.ws_row, size.ws_col);
        open.settings =
            terminal::Terminal::of_stdin().map(|own| own.settings().to_bytes()).unwrap_or_default();
    }
    let frame = Request::Open(Box::new(open)).encode();
    if !wire::fits(&frame) {
        return Err(Error::TooLong);
    }
    match send_whole(connection, &frame) {
        // Why pid 1 went away, if it said so, is there to be read.
        Ok(()) | Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(terminals),
        Err(source) => Err(Error::Session { what: "ask the box's init", source }),
    }
}

/// The frame, the standard descriptors with its first byte.
fn send_whole(connection: &UnixStream, frame: &[u8]) -> nix::Result<()> {
    let (socket, flags) = (connection.as_raw_fd(), MsgFlags::MSG_NOSIGNAL);
    let numbers = standard().map(|descriptor| descriptor.as_raw_fd());
    let control = [ControlMessage::ScmRights(&numbers)];
    let mut sent = sendmsg::<()>(socket, &[IoSlice::new(frame)], &control, flags, None)?;
    while sent < frame.len() {
        sent += nix::sys::socket::send(socket, &frame[sent..], flags)?;
    }
    Ok(())
}

/// Runs the session to its end. `spec` words a failed set-up when this client started the box; `started` is told
/// the fingerprint of the running box.
pub fn attend(
    connection: UnixStream,
    terminals: u8,
    asked: &Asked,
    spec: Option<&Spec>,
    mut started: impl FnMut(u64),
) -> Result<Outcome, Error> {
    let signals = watch_signals().map_err(Error::Terminal)?;
    let own = terminal::Terminal::of_stdin();
    let take = || own.as_ref().filter(|_| terminals & 1 != 0).map(terminal::Terminal::raw).transpose();
    let mut session = Session { connection, incoming: Incoming::default(), relay: None, begun: false };
    let mut raw = None;
    let mut patience = PATIENCE;
    loop {
        let heard = session.turn(&signals)?;
        if heard.closed {
            return match spec {
                _ if session.begun => Err(Error::Lost),
                Some(_) => Err(Error::Unready(asked.name.clone())),
                None => Ok(Outcome::Gone),
            };
        }
        let mut came = VecDeque::from(heard.signals);
        while let Some(signal) = came.pop_front() {
            session.pass_on(signal, terminals)?;
            match signal {
                Signal::SIGTSTP => {
                    drop(raw.take());
                    let _ = stop();
                    came.extend(pending(&signals));
                    // Where nobody could continue us, the kernel has let us go on.
                    if !came.contains(&Signal::SIGCONT) {
                        came.push_back(Signal::SIGCONT);
                    }
                }
                // Whoever had the terminal meanwhile changed it. In the background this stops us again, which who is
                // told to end must not be; when the terminal has gone, which also comes with SIGCONT, the relay tells.
                Signal::SIGCONT if session.relay.is_some() && patience != HURRY => {
                    drop(raw.take());
                    raw = take().ok().flatten();
                    session.resize(terminals);
                }
                _ if ends(signal) => patience = HURRY,
                _ => {}
            }
        }
        for (reply, master) in heard.replies {
            match reply {
                Reply::Started { fingerprint } => {
                    session.begun = true;
                    started(fingerprint);
                    if let Some(master) = master {
                        raw = take()?;
                        session.relay = Some(Relay::new(master, terminals)?);
                    }
                }
                Reply::Failed { step, errno } => return Err(Error::from_step(step, errno, asked)),
                Reply::SetUpFailed { stage, index, errno } => {
                    let source = match spec {
                        Some(spec) => sandbox::Error::from_child(spec, stage, index, errno),
                        None => sandbox::Error::Talk(errno),
                    };
                    return Err(Error::Start { name: asked.name.clone(), source });
                }
                Reply::Exited(_) | Reply::OutOfTime => {
                    if let Some(relay) = &mut session.relay {
                        relay.drain(patience, &signals);
                    }
                    return Ok(match reply {
                        Reply::Exited(code) => Outcome::Exited(code),
                        _ => Outcome::OutOfTime,
                    });
                }
                Reply::Stopped => {
                    drop(raw.take());
                    // The whole pipeline, as the host's terminal would have it, had it been told of the Ctrl-Z.
                    let _ = kill(Pid::from_raw(0), Signal::SIGTSTP);
                }
            }
        }
        if heard.hung_up {
            // The terminal is gone: so is this client, and pid 1 hangs the session up.
            return Ok(Outcome::Exited(128 + Signal::SIGHUP as u8));
        }
    }
}

struct Session {
    connection: UnixStream,
    incoming: Incoming,
    relay: Option<Relay>,
    /// The session exists.
    begun: bool,
}

/// What happened in one turn.
#[derive(Default)]
struct Heard {
    replies: Vec<(Reply, Option<OwnedFd>)>,
    signals: Vec<Signal>,
    closed: bool,
    hung_up: bool,
}

impl Session {
    fn turn(&mut self, signals: &SignalFd) -> Result<Heard, Error> {
        let mut watched = vec![
            PollFd::new(self.connection.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        if let Some(relay) = &self.relay {
            watched.extend(relay.watched());
        }
        match poll(&mut watched, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::Terminal(errno)),
        }
        let ready: Vec<PollFlags> =
            watched.iter().map(|one| one.revents().unwrap_or(PollFlags::empty())).collect();
        let mut heard = Heard::default();
        if let Some(relay) = &mut self.relay {
            heard.hung_up = !relay.turn(&ready[2..]);
        }
        if !ready[0].is_empty() {
            self.receive(&mut heard)?;
        }
        heard.signals.extend(pending(signals));
        Ok(heard)
    }

    fn receive(&mut self, heard: &mut Heard) -> Result<(), Error> {
        let (count, mut descriptors) = match wire::receive(&self.connection, &mut self.incoming) {
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(()),
            result => result.unwrap_or_default(),
        };
        heard.closed = count == 0;
        let foreign = |_| Error::Session {
            what: "understand the box's init (it may be of another version)",
            source: Errno::EPROTO,
        };
        while let Some(reply) = self.incoming.reply().map_err(foreign)? {
            let master = if matches!(reply, Reply::Started { .. }) { descriptors.pop() } else { None };
            heard.replies.push((reply, master));
        }
        // What came with the end of the connection counts first.
        heard.closed &= heard.replies.is_empty();
        Ok(())
    }

    fn resize(&self, terminals: u8) {
        if let Some(relay) = &self.relay {
            relay.resize(&terminal::size(terminals));
        }
    }

    fn pass_on(&self, signal: Signal, terminals: u8) -> Result<(), Error> {
        let number = match signal {
            Signal::SIGWINCH => {
                self.resize(terminals);
                return Ok(());
            }
            // The session's job may be an orphaned one, to which a terminal's stop means nothing.
            Signal::SIGTSTP => Signal::SIGSTOP as i32,
            signal => signal as i32,
        };
        let frame = Request::Signal(number).encode();
        match nix::sys::socket::send(self.connection.as_raw_fd(), &frame, MsgFlags::MSG_NOSIGNAL) {
            // pid 1 has gone: the next turn sees it.
            Ok(_) | Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
            Err(source) => Err(Error::Session { what: "pass a signal on", source }),
        }
    }
}

fn watch_signals() -> nix::Result<SignalFd> {
    let mut mask = SigSet::empty();
    for signal in FORWARDED.into_iter().chain([Signal::SIGWINCH, Signal::SIGTSTP]) {
        mask.add(signal);
    }
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), None)?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// Stops this process as Ctrl-Z does: unless its job is an orphaned one, which nobody would continue.
fn stop() -> nix::Result<()> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGTSTP);
    raise(Signal::SIGTSTP)?;
    sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&mask), None)?;
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), None)
}

/// Signals that came since the last time.
pub(super) fn pending(signals: &SignalFd) -> impl Iterator<Item = Signal> {
    std::iter::from_fn(|| signals.read_signal().ok().flatten())
        .filter_map(|info| Signal::try_from(info.ssi_signo as i32).ok())
}

/// True for what tells a program to end.
pub(super) fn ends(signal: Signal) -> bool {
    matches!(signal, Signal::SIGHUP | Signal::SIGINT | Signal::SIGQUIT | Signal::SIGTERM)
}

/// 0, 1 and 2, which the Rust runtime has opened when the caller left them closed.
fn standard() -> [BorrowedFd<'static>; 3] {
    [0, 1, 2].map(process::standard)
}

/// Bytes of the system as a C string; what has a NUL can't come from it.
pub fn c_string(text: impl AsRef<OsStr>) -> Result<CString, Error> {
    CString::new(text.as_ref().as_bytes())
        .map_err(|_| Error::Session { what: "take a text with a NUL byte", source: Errno::EINVAL })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::Shutdown;

    use super::*;
    use crate::idmap::{IdMap, IdMaps};
    use crate::mount::Root;

    fn asked() -> Asked {
        Asked { name: "box".into(), program: "sh".into(), folder: "/".into() }
    }

    fn spec() -> Spec {
        let one = IdMap { container_id: 0, host_id: 0, size: 1 };
        Spec {
            ids: IdMaps::Single { uid: one, gid: one },
            root: Root::Host,
            mount_point: c"/".into(),
            ops: Vec::new(),
            hostname: c"box".into(),
            network: None,
            confinement: None,
            bounds: sandbox::Bounds::default(),
            fingerprint: 0,
        }
    }

    #[test]
    fn a_failed_set_up_is_read_though_the_request_could_not_be_sent() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let reply = Reply::SetUpFailed { stage: 0, index: 0, errno: Errno::EPERM };
        theirs.write_all(&reply.encode()).unwrap();
        drop(theirs);
        let terminals = ask(&ours, Open::default()).unwrap();
        let outcome = attend(ours, terminals, &asked(), Some(&spec()), |_| {});
        assert!(matches!(outcome, Err(Error::Start { .. })));
    }

    #[test]
    fn an_init_that_ends_early_is_an_error_only_for_who_started_it() {
        for joins in [false, true] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            theirs.shutdown(Shutdown::Both).unwrap();
            let spec = spec();
            let outcome = attend(ours, 0, &asked(), (!joins).then_some(&spec), |_| {});
            match outcome {
                Ok(Outcome::Gone) => assert!(joins),
                Err(Error::Unready(name)) => assert!(!joins && name == "box"),
                _ => panic!("joins: {joins}"),
            }
        }
    }

    #[test]
    fn a_request_too_long_is_not_sent() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let arguments = vec![CString::new(vec![b'x'; 5 << 20]).unwrap()];
        let outcome = ask(&ours, Open { arguments, ..Open::default() });
        assert!(matches!(outcome, Err(Error::TooLong)));
        theirs.set_nonblocking(true).unwrap();
        let received = wire::receive(&theirs, &mut Incoming::default());
        assert_eq!(received.map(|(count, _)| count), Err(Errno::EAGAIN));
    }
}

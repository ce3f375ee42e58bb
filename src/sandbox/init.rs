//! Pid 1 of a box: starts sessions for clients, passes signals on, reaps, and ends with the last session.
//!
//! One loop over poll(2), no threads. Once set up it reads no file and runs no program but the sessions' own.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, killpg, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{MsgFlags, accept4, getsockopt, sockopt};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::audit::Log;
use crate::idmap::IdMaps;
use crate::sys::process;

use super::child::{self, Failure};
use super::refused::Refused;
use super::spawn::{self, How, send};
use super::wire::{self, Incoming, Open, Reply, Request, Step};
use super::{Bounds, Confinement, Ends, Spec, Stage};

/// How long a session that lost its client may take to end after SIGHUP.
const HANGUP_GRACE: Duration = Duration::from_millis(1000);

/// How long a session whose time is over may take to end after SIGTERM.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A client and its session.
struct Connection {
    stream: UnixStream,
    incoming: Incoming,
    descriptors: Vec<OwnedFd>,
    session: Option<Pid>,
    /// The session has a terminal.
    terminal: bool,
    /// Its leader stands for a command that is a job of that terminal.
    job: bool,
    /// When the client has gone: the moment its session is killed.
    ends: Option<Instant>,
    /// When its time is over, or after that, when it is killed.
    until: Option<Instant>,
    /// Its time was over before it ended.
    late: bool,
}

struct Init<'a> {
    fingerprint: u64,
    /// The box has more ids than the caller's.
    full: bool,
    confinement: Option<&'a Confinement>,
    refused: Option<Refused>,
    bounds: &'a Bounds,
    shim: OwnedFd,
    /// Hangs up when nobody watches the box any more that is to be watched.
    watcher: Option<OwnedFd>,
    connections: Vec<Connection>,
    /// When everything is killed.
    stops: Option<Instant>,
    /// No session is started any more.
    stopping: bool,
}

/// Runs until the last session has ended; never returns.
pub(super) fn run(ends: Ends, shim: OwnedFd, spec: &Spec) -> ! {
    let Ends { listener, lock, connection, log, watcher, .. } = ends;
    match prepare(&listener, &lock, &connection, &shim, log.as_ref(), watcher.as_ref()) {
        Ok(signals) => {
            let mut init = Init {
                fingerprint: spec.fingerprint,
                full: matches!(spec.ids, IdMaps::Full { .. }),
                confinement: spec.confinement.as_ref(),
                // without it the filters themselves refuse
                refused: spec.confinement.as_ref().and_then(|_| Refused::new(log).ok()),
                bounds: &spec.bounds,
                shim,
                watcher,
                connections: vec![Connection::new(connection)],
                stops: None,
                stopping: false,
            };
            while !init.connections.is_empty() {
                init.turn(&listener, &signals);
            }
        }
        Err(errno) => child::report(&connection, &Failure(Stage::Init, 0, errno)),
    }
    // From here on clients are refused and start the box anew when the lock is free.
    drop(listener);
    end_everything();
    release_root();
    // The lock goes with the process: whoever gets it finds the root unmounted.
    drop(lock);
    process::exit_now(0)
}

/// Lets go of all the launcher had open, and takes signals as descriptors.
fn prepare(
    listener: &OwnedFd,
    lock: &OwnedFd,
    connection: &UnixStream,
    shim: &OwnedFd,
    log: Option<&Log>,
    watcher: Option<&OwnedFd>,
) -> nix::Result<SignalFd> {
    process::close_all_but(&[
        listener.as_raw_fd(),
        lock.as_raw_fd(),
        connection.as_raw_fd(),
        shim.as_raw_fd(),
        log.map_or(lock.as_raw_fd(), |log| log.as_fd().as_raw_fd()),
        watcher.unwrap_or(lock).as_raw_fd(),
    ])?;
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&mask), None)?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

impl Connection {
    fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            incoming: Incoming::default(),
            descriptors: Vec::new(),
            session: None,
            terminal: false,
            job: false,
            ends: None,
            until: None,
            late: false,
        }
    }
}

impl Connection {
    /// Asks the session to end; kills it when it was asked before.
    fn out_of_time(&mut self, leader: Pid) {
        if self.late {
            return to_job(leader, Signal::SIGKILL);
        }
        self.late = true;
        to_job(leader, Signal::SIGTERM);
        // Interactive shells end when their terminal hangs up.
        if self.terminal {
            to_job(leader, Signal::SIGHUP);
        }
        to_job(leader, Signal::SIGCONT);
    }
}

impl Init<'_> {
    /// Waits for something to happen and deals with it.
    fn turn(&mut self, listener: &OwnedFd, signals: &SignalFd) {
        let mut watched = vec![
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(listener.as_fd(), PollFlags::POLLIN),
        ];
        // A client that has gone would be reported for ever.
        let present = |connection: &&Connection| connection.ends.is_none();
        watched.extend(
            self.connections
                .iter()
                .filter(present)
                .map(|one| PollFd::new(one.stream.as_fd(), PollFlags::POLLIN)),
        );
        let clients = watched.len();
        watched.extend(self.refused.iter().flat_map(Refused::watched));
        let notices = watched.len();
        watched.extend(self.watcher.iter().map(|watcher| PollFd::new(watcher.as_fd(), PollFlags::POLLIN)));
        let _ = poll(&mut watched, self.timeout());
        if watched[notices..].iter().any(|watcher| watcher.any().unwrap_or(false)) {
            // what has limits does not go on without
            self.connections.clear();
            return;
        }
        let ready: Vec<bool> = watched[..clients].iter().map(|one| one.any().unwrap_or(false)).collect();
        let asked: Vec<_> =
            watched[clients..notices].iter().map(|one| one.revents().unwrap_or(PollFlags::empty())).collect();
        if let Some(refused) = &mut self.refused {
            refused.turn(&asked);
        }

        let indices: Vec<usize> =
            (0..self.connections.len()).filter(|at| self.connections[*at].ends.is_none()).collect();
        for (index, ready) in indices.into_iter().zip(&ready[2..]) {
            if *ready {
                self.hear(index);
            }
        }
        if ready[1] {
            self.welcome(listener);
        }
        if ready[0] {
            while let Ok(Some(_)) = signals.read_signal() {}
            self.reap();
        }
        self.pass_deadlines();
        // Clients that only asked, or left before asking.
        self.connections.retain(|connection| connection.session.is_some() || connection.ends.is_none());
        let sessions = self.connections.iter().any(|connection| connection.session.is_some());
        if !sessions && (self.stopping || !self.awaits_request()) {
            self.connections.clear();
        }
    }

    /// True while a client has connected and not yet asked.
    fn awaits_request(&self) -> bool {
        self.connections.iter().any(|connection| connection.session.is_none() && connection.ends.is_none())
    }

    fn timeout(&self) -> PollTimeout {
        let moments = self.connections.iter().flat_map(|connection| [connection.ends, connection.until]);
        let next = moments.flatten().chain(self.stops).min();
        next.map_or(PollTimeout::NONE, |at| {
            let left = at.saturating_duration_since(Instant::now()).as_millis() + 1;
            PollTimeout::from(u16::try_from(left).unwrap_or(u16::MAX))
        })
    }

    /// Takes a new client, if it is the box's own user.
    fn welcome(&mut self, listener: &OwnedFd) {
        let Ok(number) = accept4(listener.as_raw_fd(), nix::sys::socket::SockFlag::SOCK_CLOEXEC) else {
            return;
        };
        let stream = UnixStream::from(process::adopt(number));
        match getsockopt(&stream, sockopt::PeerCredentials) {
            Ok(peer) if peer.uid() == nix::unistd::getuid().as_raw() && !self.stopping => {
                self.connections.push(Connection::new(stream));
            }
            _ => {}
        }
    }

    /// Reads what a client sent and does it.
    fn hear(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        match wire::receive(&connection.stream, &mut connection.incoming) {
            Ok((0, _)) => return self.hang_up(index),
            Ok((_, descriptors)) => connection.descriptors.extend(descriptors),
            Err(Errno::EAGAIN | Errno::EINTR) => return,
            Err(_) => return self.hang_up(index),
        }
        loop {
            match self.connections[index].incoming.request() {
                Ok(None) => return,
                Ok(Some(Request::Open(open))) if self.connections[index].session.is_none() => {
                    if self.stopping {
                        // The client waits and starts the box anew.
                        return self.hang_up(index);
                    }
                    self.open(index, &open);
                }
                Ok(Some(Request::Signal(signal))) => self.signal(index, signal),
                Ok(Some(Request::Stop(grace))) => self.stop(index, grace),
                Ok(Some(Request::Open(_))) | Err(_) => {
                    // Most likely a devbox of another version: it shall not try again.
                    let reply = Reply::Failed { step: Step::Request, errno: Errno::EPROTO };
                    let _ = send(&self.connections[index].stream, &reply);
                    return self.hang_up(index);
                }
            }
        }
    }

    fn open(&mut self, index: usize, open: &Open) {
        let connection = &mut self.connections[index];
        let outcome = match <[OwnedFd; 3]>::try_from(std::mem::take(&mut connection.descriptors)) {
            Ok(descriptors) => {
                let door = self.refused.as_ref().map(|refused| &refused.door);
                let how = How {
                    shim: &self.shim,
                    full: self.full,
                    confinement: self.confinement,
                    bounds: self.bounds,
                    door,
                };
                let spawned = spawn::spawn(open, &descriptors, &connection.stream, &how);
                if let Some(refused) = &mut self.refused {
                    refused.admit();
                }
                spawned
            }
            Err(_) => Err((Step::Request, Errno::EINVAL)),
        };
        match outcome {
            Ok(spawned) => {
                connection.session = Some(spawned.pid);
                connection.terminal = spawned.master.is_some();
                connection.job = open.is_job();
                connection.until = self.bounds.time.and_then(|time| Instant::now().checked_add(time));
                let reply = Reply::Started { fingerprint: self.fingerprint };
                let _ = send_with(&connection.stream, &reply, spawned.master.as_ref());
            }
            Err((step, errno)) => {
                let _ = send(&connection.stream, &Reply::Failed { step, errno });
                self.hang_up(index);
            }
        }
    }

    /// Terminal-like signals go to the session's whole job, as a terminal would send them; others to its leader.
    fn signal(&self, index: usize, number: i32) {
        let connection = &self.connections[index];
        let (Some(leader), Ok(signal)) = (connection.session, Signal::try_from(number)) else { return };
        match signal {
            // The leader itself must go on, to tell of it.
            Signal::SIGSTOP if connection.job => drop(kill(leader, Signal::SIGTSTP)),
            Signal::SIGINT | Signal::SIGQUIT | Signal::SIGHUP | Signal::SIGSTOP | Signal::SIGCONT => {
                to_job(leader, signal);
            }
            _ => drop(kill(leader, signal)),
        }
    }

    /// The client has gone: its session is hung up, and killed when that does not end it.
    fn hang_up(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        connection.ends = Some(Instant::now() + HANGUP_GRACE);
        if let Some(leader) = connection.session {
            to_job(leader, Signal::SIGHUP);
            to_job(leader, Signal::SIGCONT);
        }
    }

    /// SIGTERM to all. Interactive shells ignore it and end when their terminal hangs up.
    fn stop(&mut self, index: usize, grace: u32) {
        self.stopping = true;
        self.stops = Some(Instant::now() + Duration::from_millis(grace.into()));
        // Whoever asks waits for the lock, not for an answer.
        self.connections[index].ends = Some(Instant::now());
        let everything = Pid::from_raw(-1);
        let _ = kill(everything, Signal::SIGTERM);
        let _ = kill(everything, Signal::SIGCONT);
        for connection in self.connections.iter().filter(|connection| connection.terminal) {
            if let Some(leader) = connection.session {
                let _ = kill(leader, Signal::SIGHUP);
            }
        }
    }

    fn reap(&mut self) {
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            let (pid, code) = match status {
                WaitStatus::Exited(pid, code) => (pid, code as u8),
                WaitStatus::Signaled(pid, signal, _) => (pid, 128 + signal as u8),
                WaitStatus::StillAlive => return,
                _ => continue,
            };
            let Some(index) = self.connections.iter().position(|connection| connection.session == Some(pid))
            else {
                continue;
            };
            let connection = self.connections.remove(index);
            let reply = if connection.late { Reply::OutOfTime } else { Reply::Exited(code) };
            let _ = send(&connection.stream, &reply);
            // What the session left in its job would keep a terminal or a pipe of the client open.
            let _ = killpg(pid, Signal::SIGHUP);
        }
    }

    fn pass_deadlines(&mut self) {
        let now = Instant::now();
        if self.stops.is_some_and(|at| at <= now) {
            // What does not die of this is waited for when all is over.
            let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
            self.stops = None;
        }
        for connection in &mut self.connections {
            if connection.ends.is_some_and(|at| at <= now)
                && let Some(leader) = connection.session
            {
                to_job(leader, Signal::SIGKILL);
                connection.ends = Some(now + HANGUP_GRACE);
            }
            if connection.until.is_some_and(|at| at <= now)
                && let Some(leader) = connection.session
            {
                connection.out_of_time(leader);
                connection.until = Some(now + LAST_WORDS);
            }
        }
    }
}

/// To a session's process group; to its leader alone in the instant before it has made one.
fn to_job(leader: Pid, signal: Signal) {
    if killpg(leader, signal).is_err() {
        let _ = kill(leader, signal);
    }
}

fn send_with(stream: &UnixStream, reply: &Reply, descriptor: Option<&OwnedFd>) -> nix::Result<()> {
    use nix::sys::socket::{ControlMessage, sendmsg};
    let Some(descriptor) = descriptor else { return send(stream, reply) };
    let frame = reply.encode();
    let numbers = [descriptor.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&numbers)];
    sendmsg::<()>(
        stream.as_raw_fd(),
        &[std::io::IoSlice::new(&frame)],
        &control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )
    .map(drop)
}

/// Kills and reaps all that is left: a session's daemons do not outlive the box.
fn end_everything() {
    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    while waitpid(None, None).is_ok() {}
}

/// Unmounts the root while the lock is still held, so that the next start of this box never meets a root in use.
/// The unmount of a durable overlay syncs its filesystem, which nobody waits for here.
fn release_root() {
    let _ = nix::unistd::chdir(c"/dev")
        .and_then(|()| crate::sys::mount::pivot_to_current())
        .and_then(|()| crate::sys::mount::detach(c"."));
}

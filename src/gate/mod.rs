//! The gate of a box with `allow`: the one way out of it, kept by a process outside.
//!
//! ```text
//!  box (loopback alone, every address leads to it)      gate (host's network)
//!  resolver 127.0.0.1:53 ──── DNS ───────────────────►  an address of our own for each name in `allow`, for no other
//!  connect(that address, 443) ───────────────────────►  name and port against `allow`, the name in the TLS hello,
//!                                                       where the name leads on the host ──► connect, relay
//! ```
//!
//! The box has no route to anywhere. Its pid 1 opens the listening sockets while it sets the box up and hands them over;
//! names are resolved on the host, and no query of the box's is passed on, so that names carry nothing out. What the box
//! sends is parsed here alone, strictly, to limits. What an allowed host does with what it gets is out of our hands.

mod dns;
mod hello;
mod names;
mod notes;
mod publish;
mod reach;
mod relay;
mod watch;

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::audit::Log;
use crate::network::{Allow, Target};
use crate::sys::process;

use names::Names;
pub use names::OWN_ADDRESS;
use notes::Notes;
pub use publish::publish;
pub use reach::{Proxies, WrongProxy};
pub use watch::filter;

/// Connections at one time; more are refused.
const MOST_CONNECTIONS: usize = 256;
/// Connections to the resolver at one time, and how long one may say nothing.
const MOST_RESOLVING: usize = 32;
const RESOLVER_PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// What the box may do, made before it starts.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Hosts and ports.
    pub allow: Vec<Allow>,
    /// How the host gets there.
    pub proxies: Proxies,
}

impl Rules {
    /// The ports that the box may connect to, each once.
    pub fn ports(&self) -> Vec<u16> {
        let mut ports: Vec<u16> = self.allow.iter().flat_map(Allow::ports).copied().collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

/// Sockets of the box's network, listening.
pub struct Sockets {
    /// The resolver's.
    pub queries: UdpSocket,
    /// The same by TCP.
    pub resolver: TcpListener,
    /// One for each port of the rules.
    pub doors: Vec<TcpListener>,
    /// Shows what [`filter`] lets through; without it what leads nowhere is refused, but not noted.
    pub watch: Option<OwnedFd>,
}

/// All that connections share.
struct Gate {
    rules: Rules,
    names: Mutex<Names>,
    notes: Notes,
    connections: Arc<Semaphore>,
    resolving: Arc<Semaphore>,
}

/// Serves a box until `ended` can be read, which it can when the box's pid 1 has ended. Connections end with the process.
pub fn serve(rules: Rules, sockets: Sockets, log: Log, ended: &OwnedFd) -> io::Result<()> {
    let Sockets { queries, resolver, doors, watch } = sockets;
    let gate = Arc::new(Gate {
        rules,
        names: Mutex::default(),
        notes: Notes::new(log),
        connections: Arc::new(Semaphore::new(MOST_CONNECTIONS)),
        resolving: Arc::new(Semaphore::new(MOST_RESOLVING)),
    });
    let works = gate.clone();
    std::thread::Builder::new().spawn(move || {
        // refused at once is better than never answered
        if works.work(queries, resolver, doors).is_err() {
            process::exit_now(1);
        }
    })?;
    loop {
        let mut waits = vec![PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
        waits.extend(watch.as_ref().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)));
        match poll(&mut waits, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            waited => waited?,
        };
        let over = waits[0].any().unwrap_or(true);
        // what came last, too
        watch.iter().for_each(|socket| gate.watch(socket));
        if over {
            return Ok(());
        }
    }
}

fn listening(socket: TcpListener) -> io::Result<tokio::net::TcpListener> {
    socket.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(socket)
}

impl Gate {
    /// Serves for ever.
    fn work(
        self: Arc<Self>,
        queries: UdpSocket,
        resolver: TcpListener,
        doors: Vec<TcpListener>,
    ) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            queries.set_nonblocking(true)?;
            tokio::spawn(self.clone().answer(tokio::net::UdpSocket::from_std(queries)?));
            tokio::spawn(self.clone().resolve(listening(resolver)?));
            for door in doors {
                tokio::spawn(self.clone().open(listening(door)?));
            }
            std::future::pending().await
        })
    }

    /// Answers queries by UDP.
    async fn answer(self: Arc<Self>, socket: tokio::net::UdpSocket) {
        let mut message = [0; dns::LARGEST_DATAGRAM];
        loop {
            // an error is that of an answer nobody waited for
            let Ok((length, from)) = socket.recv_from(&mut message).await else { continue };
            if let Some(answer) = self.look_up(&message[..length]) {
                let _ = socket.send_to(&answer, from).await;
            }
        }
    }

    /// Answers queries by TCP (RFC 7766).
    async fn resolve(self: Arc<Self>, door: tokio::net::TcpListener) {
        loop {
            let Some(mut stream) = relay::accept(&door).await else { continue };
            let Ok(turn) = self.resolving.clone().try_acquire_owned() else { continue };
            let gate = self.clone();
            tokio::spawn(async move {
                let _turn = turn;
                let talk = async {
                    loop {
                        let length = stream.read_u16().await?;
                        let mut message = vec![0; length.into()];
                        stream.read_exact(&mut message).await?;
                        let Some(answer) = gate.look_up(&message) else { return Ok(()) };
                        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
                        stream.write_all(&[&length.to_be_bytes()[..], &answer].concat()).await?;
                    }
                };
                let _: Result<io::Result<()>, _> = timeout(RESOLVER_PATIENCE, talk).await;
            });
        }
    }

    /// Takes connections to one port.
    async fn open(self: Arc<Self>, door: tokio::net::TcpListener) {
        loop {
            let Some(stream) = relay::accept(&door).await else { continue };
            let Ok(turn) = self.connections.clone().try_acquire_owned() else {
                self.notes.too_many(MOST_CONNECTIONS);
                relay::reset(&stream);
                continue;
            };
            let gate = self.clone();
            tokio::spawn(async move {
                let _turn = turn;
                gate.pass(stream).await;
            });
        }
    }

    /// The answer to a query; none for what is no query.
    fn look_up(&self, message: &[u8]) -> Option<Vec<u8>> {
        let query = match dns::read(message) {
            Ok(query) => query,
            Err(reply) => return reply,
        };
        Some(query.answer(self.decide(&query)))
    }

    fn decide(&self, query: &dns::Query<'_>) -> dns::Answer {
        use dns::Answer;
        let Some(name) = &query.name else {
            self.notes.refused(&query.shown(), "it is not a host's name", None);
            return Answer::NoSuchName;
        };
        if name == "localhost" {
            return if query.kind == dns::A {
                Answer::Address(std::net::Ipv4Addr::LOCALHOST)
            } else {
                Answer::Nothing
            };
        }
        // those of services (`_http._tcp.host`) tell where a host is, too
        let host = dns::without_service(name);
        if !self.rules.allow.iter().any(|entry| entry.names(host)) {
            self.notes.refused_name(name);
            return Answer::NoSuchName;
        }
        match query.kind {
            dns::A if host == name => match self.names().address(name) {
                Some(address) => Answer::Address(address),
                None => {
                    self.notes.refused(name, "the box has asked for more names than any honest one", None);
                    Answer::Failure
                }
            },
            _ => Answer::Nothing,
        }
    }

    /// Whether some entry has it.
    fn admits(&self, target: &Target, port: u16) -> bool {
        self.rules.allow.iter().any(|entry| entry.admits(target, port))
    }

    fn names(&self) -> std::sync::MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

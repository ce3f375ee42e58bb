//! A network of the box's own: what pid 1 makes in it, and the processes outside that lead out of it and into it.
//!
//! ```text
//!  launcher                                  pid 1
//!    │ ◄──── sockets, namespaces ─────────── loopback; with `allow` every address leads to it; resolver, doors
//!    fork: the gate (`allow`)                the rest of the set-up
//!    fork: the keeper (a way out, `ports`)
//!    │ ───── it is there ──────────────────► the first session
//! ```
//!
//! These processes are in the host's pid namespace, where no session can see them, and end with the box's pid 1, however
//! that ends.

mod keeper;

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, SockaddrIn6,
    bind, listen, recvmsg, sendmsg, setsockopt, socket, sockopt,
};
use nix::sys::stat::Mode;

use crate::audit::Log;
use crate::gate::{self, Rules, Sockets};
use crate::network::{Publish, Stack};
use crate::sys::{packet, process, route};

use super::Error;
use keeper::Keeper;

/// Where names are asked for (RFC 1035).
const RESOLVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 53);
/// Descriptors that one message can carry (unix(7), SCM_MAX_FD).
const MOST_SOCKETS: usize = 253;

/// What a box with a network namespace of its own gets.
#[derive(Debug, Clone)]
pub struct Network {
    /// Where it may connect to, when that is told by name.
    pub gate: Option<Rules>,
    /// What leads out to everywhere.
    pub stack: Option<Stack>,
    /// What of it can be connected to.
    pub ports: Vec<Publish>,
    /// The box's folder, for its logs.
    pub folder: PathBuf,
}

/// What the launcher holds of a network until the box is there.
pub(super) struct Outside {
    channel: UnixStream,
    ports: Vec<(TcpListener, u16)>,
}

fn number(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

impl Network {
    /// Whether a process outside holds the box's namespaces.
    fn is_kept(&self) -> bool {
        self.stack.is_some() || !self.ports.is_empty()
    }

    /// Before the box is there: listens on the host's ports, and gives the end that pid 1 gets of the connection to what is
    /// held here. None where all is in the box.
    pub(super) fn prepare(&self) -> Result<Option<(Outside, UnixStream)>, Error> {
        if self.gate.is_none() && !self.is_kept() {
            return Ok(None);
        }
        let listen = |port: &Publish| match TcpListener::bind(port.host) {
            Ok(listener) => Ok((listener, port.inside)),
            Err(source) => Err(Error::Port { place: port.host, source }),
        };
        let ports = self.ports.iter().map(listen).collect::<Result<_, _>>()?;
        let (channel, theirs) = UnixStream::pair().map_err(|error| Error::Talk(number(&error)))?;
        Ok(Some((Outside { channel, ports }, theirs)))
    }

    /// Pid 1's part: makes the network, and hands over what is served from outside to the launcher at the other end of
    /// `launcher`.
    pub(super) fn set_up(&self, launcher: Option<&UnixStream>) -> nix::Result<()> {
        process::bring_loopback_up()?;
        let Some(launcher) = launcher else { return Ok(()) };
        let mut handed: Vec<OwnedFd> = Vec::new();
        if self.is_kept() {
            // by its own process alone, for this one is no longer to be looked into
            for namespace in [c"/proc/self/ns/user", c"/proc/self/ns/net"] {
                handed.push(open(namespace, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?);
            }
        }
        if !self.ports.is_empty() {
            allow_low_ports();
        }
        let mut watched = false;
        if let Some(rules) = &self.gate {
            open_doors(rules, &mut handed)?;
            let watch = packet::watch_loopback(&gate::filter());
            watched = watch.is_ok();
            handed.extend(watch);
        }
        let numbers: Vec<RawFd> = handed.iter().map(AsRawFd::as_raw_fd).collect();
        let control = [ControlMessage::ScmRights(&numbers)];
        let (to, flags) = (launcher.as_raw_fd(), MsgFlags::MSG_NOSIGNAL);
        sendmsg::<()>(to, &[IoSlice::new(&[watched.into()])], &control, flags, None).map(drop)
    }

    /// Pid 1's part at the end: waits until there is a way out.
    pub(super) fn await_way_out(&self, launcher: Option<&UnixStream>) -> nix::Result<()> {
        let (Some(_), Some(mut launcher)) = (&self.stack, launcher) else { return Ok(()) };
        launcher.read_exact(&mut [0]).map_err(|_| Errno::ECANCELED)
    }
}

/// Servers in a box of one id have no right to ports below 1024; in a network of their own nobody is before them
/// (ip(7), ip_unprivileged_port_start). Where that can't be set, they take others.
fn allow_low_ports() {
    let file = c"/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let _ = open(file, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())
        .and_then(|file| nix::unistd::write(&file, b"0"));
}

/// Makes every address lead to the box itself, and listens where the gate serves: the resolver's sockets first.
fn open_doors(rules: &Rules, handed: &mut Vec<OwnedFd>) -> nix::Result<()> {
    // Without an address beside 127.0.0.1 C libraries take it for a machine without a network, and ask for no address
    // (getaddrinfo(3), AI_ADDRCONFIG).
    route::add_loopback_address(gate::OWN_ADDRESS)?;
    route::claim_all(libc::AF_INET)?;
    // Where the kernel knows no version 6, nothing can be reached by it either.
    let with_v6 = route::claim_all(libc::AF_INET6).is_ok();
    handed.push(UdpSocket::bind(RESOLVER).map_err(|error| number(&error))?.into());
    handed.push(TcpListener::bind(RESOLVER).map_err(|error| number(&error))?.into());
    for port in rules.ports() {
        handed.push(TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).map_err(|error| number(&error))?.into());
        if with_v6 {
            handed.push(listen_v6(port)?);
        }
    }
    Ok(())
}

/// Listens on `port` of every address of version 6, and of no other.
fn listen_v6(port: u16) -> nix::Result<OwnedFd> {
    let door = socket(AddressFamily::Inet6, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&door, sockopt::Ipv6V6Only, &true)?;
    setsockopt(&door, sockopt::ReuseAddr, &true)?;
    let any = std::net::SocketAddrV6::new(std::net::Ipv6Addr::UNSPECIFIED, port, 0, 0);
    bind(door.as_raw_fd(), &SockaddrIn6::from(any))?;
    listen(&door, Backlog::MAXCONN)?;
    Ok(door)
}

impl Outside {
    /// The launcher's part: takes what pid 1 hands over and starts the processes, which end when `ended` can be read. Nothing
    /// is started when the box failed before; why, it says itself.
    pub(super) fn serve(self, network: &Network, ended: &OwnedFd) -> Result<Waiting, Error> {
        let failed =
            |source: std::io::Error| Error::Gate { what: "start what serves the box's network", source };
        let Self { channel, ports } = self;
        let (watched, mut handed) = receive(&channel).map_err(|errno| failed(errno.into()))?;
        let watch = if watched { handed.pop() } else { None };
        let mut handed = handed.into_iter();
        let mut keeper = None;
        if network.is_kept()
            && let (Some(user), Some(net)) = (handed.next(), handed.next())
        {
            let kept = keeper::Kept { user, net, ports, ended: ended.try_clone().map_err(failed)? };
            keeper = Some(keeper::start(network, kept).map_err(failed)?);
        }
        if let (Some(rules), Some(queries), Some(resolver)) = (&network.gate, handed.next(), handed.next()) {
            let log = Log::open(&network.folder)
                .map_err(|source| Error::Gate { what: "open the box's audit log", source })?;
            let doors = handed.map(TcpListener::from).collect();
            let sockets = Sockets { queries: queries.into(), resolver: resolver.into(), doors, watch };
            let mut held = Some((rules.clone(), sockets, log, ended.try_clone().map_err(failed)?));
            // Nobody waits for it: it outlives this process when the box does.
            let gate = process::fork_into(|| match held.take().map(become_gate) {
                Some(Ok(())) => 0,
                _ => 1,
            });
            gate.map_err(|errno| failed(errno.into()))?;
        }
        Ok(Waiting { channel, keeper: keeper.filter(|_| network.stack.is_some()) })
    }
}

/// A network whose way out is being made.
pub(super) struct Waiting {
    channel: UnixStream,
    keeper: Option<Keeper>,
}

impl Waiting {
    /// Waits for the way out, and lets the first session begin.
    pub(super) fn finish(self) -> Result<(), Error> {
        if let Some(keeper) = self.keeper {
            keeper.await_way_out()?;
            // a box that failed meanwhile says why itself
            let _ = (&self.channel).write_all(b"g");
        }
        Ok(())
    }
}

/// What pid 1 hands over, and whether the last of it is the socket that shows packets.
fn receive(child: &UnixStream) -> nix::Result<(bool, Vec<OwnedFd>)> {
    let mut byte = [0];
    let mut space = nix::cmsg_space!([RawFd; MOST_SOCKETS]);
    let mut bytes = [IoSliceMut::new(&mut byte)];
    let message = recvmsg::<()>(child.as_raw_fd(), &mut bytes, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut found = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            found.extend(numbers.into_iter().map(process::adopt));
        }
    }
    Ok((byte == [1], found))
}

/// Leaves the caller's terminal, whose signals are for sessions, its streams, its folder, and all its descriptors but `kept`.
fn leave_the_caller(kept: &[RawFd]) -> nix::Result<()> {
    nix::unistd::setsid()?;
    let null = open(c"/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
    (0..3).try_for_each(|number| process::duplicate_to(&null, number))?;
    drop(null);
    nix::unistd::chdir(c"/")?;
    process::close_all_but(kept)?;
    nix::sys::prctl::set_no_new_privs()
}

/// Turns this process into the gate; returns when the box has ended.
fn become_gate((rules, sockets, log, ended): (Rules, Sockets, Log, OwnedFd)) -> std::io::Result<()> {
    let mut kept = vec![
        sockets.queries.as_raw_fd(),
        sockets.resolver.as_raw_fd(),
        log.as_fd().as_raw_fd(),
        ended.as_raw_fd(),
    ];
    kept.extend(sockets.doors.iter().map(AsRawFd::as_raw_fd));
    kept.extend(sockets.watch.iter().map(AsRawFd::as_raw_fd));
    leave_the_caller(&kept)?;
    process::set_undumpable()?;
    if nix::unistd::geteuid().is_root() {
        process::keep_rights(&[])?;
    }
    gate::serve(rules, sockets, log, &ended)
}

//! The keeper of a box's network: it runs the program that leads out of it, and the process that leads into it.
//!
//! ```text
//!  keeper (host's namespaces) ── waits for the box's end, then kills both
//!    ├─ holder (the box's user and network namespace): published ports ► 127.0.0.1 in there
//!    └─ pasta or slirp4netns, told the holder's pid
//! ```
//!
//! Such a program finds namespaces by the pid of who is in them. Pid 1 lets nobody look into it, and a pid of the box's may
//! be someone else's in a moment; the holder is the keeper's own child, whose pid is nobody else's until it is reaped.

use std::ffi::{CStr, CString};
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::Pid;

use super::{Error, Network, leave_the_caller};
use crate::gate;
use crate::network::{STACK_NETWORK, STACK_RESOLVER, Stack};
use crate::sys::{fd, process};

/// What the program says, in the box's folder.
const LOG: &str = "network.log";
/// How long the program may take to make the way out.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(2);

/// What the keeper holds.
pub(super) struct Kept {
    pub(super) user: OwnedFd,
    pub(super) net: OwnedFd,
    /// Listening on the host, and where each leads in the box.
    pub(super) ports: Vec<(TcpListener, u16)>,
    /// Readable when the box has ended.
    pub(super) ended: OwnedFd,
}

/// A keeper at work, as the launcher sees it.
pub(super) struct Keeper {
    status: UnixStream,
    log: std::path::PathBuf,
}

/// Starts it.
pub(super) fn start(network: &Network, kept: Kept) -> io::Result<Keeper> {
    let (ours, theirs) = UnixStream::pair()?;
    let log = network.folder.join(LOG);
    let program = match &network.stack {
        Some(stack) => Some((stack.clone(), c_path(stack.program())?, open_log(&log)?)),
        None => None,
    };
    let mut held = Some((kept, program, theirs));
    // Nobody waits for it: it outlives this process when the box does.
    process::fork_into(|| match held.take().map(keep) {
        Some(Ok(())) => 0,
        _ => 1,
    })?;
    Ok(Keeper { status: ours, log })
}

impl Keeper {
    /// Returns when the way out is there.
    pub(super) fn await_way_out(mut self) -> Result<(), Error> {
        match self.status.read(&mut [0]) {
            Ok(1) => Ok(()),
            _ => Err(Error::NoWayOut { said: last_words(&self.log) }),
        }
    }
}

fn open_log(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(open(c_path(path)?.as_c_str(), flags, Mode::from_bits_truncate(0o600))?)
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// The last line that the program said.
fn last_words(log: &Path) -> String {
    let said = fd::read_small(log, 1 << 20).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it ended without a word");
    last.trim().chars().take(400).collect()
}

type Program = (Stack, CString, OwnedFd);

/// The keeper's life.
fn keep((kept, program, mut status): (Kept, Option<Program>, UnixStream)) -> io::Result<()> {
    let Kept { user, net, ports, ended } = kept;
    let (said, says) = UnixStream::pair()?;
    let mut numbers = vec![user.as_raw_fd(), net.as_raw_fd(), ended.as_raw_fd(), status.as_raw_fd()];
    numbers.extend([said.as_raw_fd(), says.as_raw_fd()]);
    numbers.extend(ports.iter().map(|(listener, _)| listener.as_raw_fd()));
    numbers.extend(program.iter().map(|(_, _, log)| log.as_raw_fd()));
    leave_the_caller(&numbers)?;
    let mut held = Some(ports);
    let holder = process::fork_into(|| match hold(&user, &net, held.take().unwrap_or_default(), &says) {
        Ok(()) => 0,
        Err(_) => 1,
    })?;
    let mut children = vec![holder];
    drop((held, says));
    let led = (&said).read_exact(&mut [0]).and_then(|()| match &program {
        Some(program) => {
            let stack = run(program, holder)?;
            children.push(stack);
            await_route(holder, stack, &ended)
        }
        None => Ok(()),
    });
    if led.is_ok() {
        let _ = status.write_all(b"1");
        drop(status);
        wait_for(&ended);
    }
    for child in children {
        let _ = kill(child, Signal::SIGKILL);
        let _ = waitpid(child, None);
    }
    led
}

fn wait_for(ended: &OwnedFd) {
    let waits = || poll(&mut [PollFd::new(ended.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE);
    while waits() == Err(Errno::EINTR) {}
}

/// The holder's life: in the box's network, without any right there, and open to be looked at by who has the caller's id.
fn hold(user: &OwnedFd, net: &OwnedFd, ports: Vec<(TcpListener, u16)>, says: &UnixStream) -> io::Result<()> {
    let mut numbers = vec![user.as_raw_fd(), net.as_raw_fd(), says.as_raw_fd()];
    numbers.extend(ports.iter().map(|(listener, _)| listener.as_raw_fd()));
    process::close_all_but(&numbers)?;
    setns(user, CloneFlags::CLONE_NEWUSER)?;
    setns(net, CloneFlags::CLONE_NEWNET)?;
    process::keep_rights(&[])?;
    prctl::set_dumpable(true)?;
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    let mut says = says;
    says.write_all(b"1")?;
    gate::publish(ports)
}

/// Starts the program that leads out of where `holder` is.
fn run((stack, program, log): &Program, holder: Pid) -> nix::Result<Pid> {
    let is_root = nix::unistd::geteuid().is_root();
    let arguments = arguments(stack, holder, is_root);
    let arguments = process::c_strings(arguments).map_err(|_| Errno::EINVAL)?;
    process::fork_into(|| {
        let become_program = || {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            // older ones take the answer that it was ignored before for a failure
            process::reset_signal(Signal::SIGPIPE)?;
            process::duplicate_to(log, 1)?;
            process::duplicate_to(log, 2)?;
            process::close_all_but(&[])?;
            // what it is told by variables is not the caller's to say
            let environment: [&CStr; 0] = [];
            nix::unistd::execve(program, &arguments, &environment).map(drop)
        };
        if let Err(errno) = become_program() {
            let text = format!("cannot run {}: {}\n", program.to_string_lossy(), errno.desc());
            let _ = nix::unistd::write(process::standard(2), text.as_bytes());
        }
        1
    })
}

/// Its command line. Neither leads to this machine's loopback, nor from this machine into the box.
fn arguments(stack: &Stack, holder: Pid, is_root: bool) -> Vec<String> {
    let resolver = STACK_RESOLVER.to_string();
    let mut arguments: Vec<String> = match stack {
        Stack::Pasta(_) => {
            let mut words = vec!["pasta", "-f", "--config-net", "--no-map-gw"];
            words.extend([
                "-t",
                "none",
                "-u",
                "none",
                "-T",
                "none",
                "-U",
                "none",
                "--dns-forward",
                &resolver,
            ]);
            if is_root {
                // it would become nobody, who may not enter
                words.extend(["--runas", "0:0"]);
            }
            words.into_iter().map(str::to_owned).collect()
        }
        Stack::Slirp4netns(_) => {
            let network = format!("--cidr={STACK_NETWORK}");
            let words = ["slirp4netns", "--configure", "--mtu=65520", "--disable-host-loopback", &network];
            words.into_iter().map(str::to_owned).collect()
        }
    };
    arguments.push(holder.to_string());
    if let Stack::Slirp4netns(_) = stack {
        arguments.push("tap0".to_owned());
    }
    arguments
}

/// Waits until there is a way out of where `holder` is. Fails when `stack` ends, or nothing comes of it.
fn await_route(holder: Pid, stack: Pid, ended: &OwnedFd) -> io::Result<()> {
    let began = Instant::now();
    while !has_default_route(holder) {
        let gone = has_ended(stack)?;
        let over = poll(&mut [PollFd::new(ended.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO)? > 0;
        if gone || over || began.elapsed() > PATIENCE {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Whether a child has ended; it is not reaped, so that its pid stays its own.
fn has_ended(child: Pid) -> nix::Result<bool> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    Ok(waitid(Id::Pid(child), flags)?.pid().is_some())
}

/// Whether `/proc/PID/net/route`, or its kin of version 6, has a route to everywhere that is up.
fn has_default_route(pid: Pid) -> bool {
    let text = |name: &str| {
        let bytes =
            fd::read_small(Path::new(&format!("/proc/{pid}/net/{name}")), 1 << 20).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let everywhere_v4 = |line: &str| {
        let mut words = line.split_whitespace();
        words.nth(1) == Some("00000000") && words.nth(5) == Some("00000000")
    };
    let everywhere_v6 = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        matches!(words[..], [to, "00", .., device] if to.bytes().all(|byte| byte == b'0') && device != "lo")
    };
    text("route").lines().any(everywhere_v4) || text("ipv6_route").lines().any(everywhere_v6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_ended_keeps_its_pid() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());
        assert_eq!(has_ended(pid), Ok(false));
        drop(child.stdin.take());
        while !has_ended(pid).unwrap() {
            std::thread::sleep(PAUSE);
        }
        assert_eq!(has_ended(pid), Ok(true));
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn neither_program_leads_here() {
        let pid = Pid::from_raw(7);
        let pasta = arguments(&Stack::Pasta("/bin/pasta".into()), pid, false).join(" ");
        assert_eq!(
            pasta,
            "pasta -f --config-net --no-map-gw -t none -u none -T none -U none --dns-forward 198.18.2.3 7"
        );
        assert!(arguments(&Stack::Pasta("/bin/pasta".into()), pid, true).contains(&"--runas".to_owned()));
        let slirp = arguments(&Stack::Slirp4netns("/bin/s".into()), pid, true).join(" ");
        assert_eq!(
            slirp,
            "slirp4netns --configure --mtu=65520 --disable-host-loopback --cidr=198.18.2.0/24 7 tap0"
        );
    }
}

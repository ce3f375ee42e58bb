//! Starts one session: a child of pid 1 becomes the shim, and that the session's command.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::unistd::Pid;

use crate::sys::{process, tty};

use super::wire::{Identity, Open, Reply, Step};
use super::{Bounds, Confinement};

/// A session just started.
pub(super) struct Spawned {
    /// Its leader.
    pub(super) pid: Pid,
    /// Master of its terminal, when it has one.
    pub(super) master: Option<OwnedFd>,
}

/// What all sessions of a box have in common.
pub(super) struct How<'a> {
    /// The program that becomes the command.
    pub(super) shim: &'a OwnedFd,
    /// The box has more ids than the caller's.
    pub(super) full: bool,
    /// What each of them is kept to.
    pub(super) bounds: &'a Bounds,
    /// What is taken from each of them.
    pub(super) confinement: Option<&'a Confinement>,
    /// Where each leaves what watches its filter.
    pub(super) door: Option<&'a OwnedFd>,
}

/// Starts what `open` asks for on `descriptors` (0, 1 and 2 of the client). What fails in the child is told to the
/// client by the child itself, over `connection`.
pub(super) fn spawn(
    open: &Open,
    descriptors: &[OwnedFd; 3],
    connection: &UnixStream,
    how: &How<'_>,
) -> Result<Spawned, (Step, Errno)> {
    let pair = if open.terminals == 0 {
        None
    } else {
        Some(terminal(open).map_err(|errno| (Step::Terminal, errno))?)
    };
    let slave = pair.as_ref().map(|(_, slave)| slave);
    let given: Vec<&OwnedFd> = (0..)
        .zip(descriptors)
        .filter(|(number, _)| open.terminals & 1 << number == 0)
        .map(|(_, one)| one)
        .collect();
    let wall = how.confinement.map_or(Ok(None), |confinement| confinement.wall(&given));
    let wall = wall.map_err(|errno| (Step::Confinement, errno))?;
    let child = || {
        let Err((step, errno)) = become_command(open, descriptors, slave, wall.as_ref(), connection, how);
        let _ = send(connection, &Reply::Failed { step, errno });
        126
    };
    let pid = match open.identity {
        // Between its change of ids and its exec another process of that user could take hold of the child
        // (fs.suid_dumpable), so its memory must not be ours.
        Identity::Mapped { .. } => process::fork_into(child),
        Identity::Root | Identity::Me => process::vfork_into(child),
    }
    .map_err(|errno| (Step::Request, errno))?;
    Ok(Spawned { pid, master: pair.map(|(master, _)| master) })
}

/// Sends a frame whole; the peer reads or is gone.
pub(super) fn send(connection: &UnixStream, reply: &Reply) -> nix::Result<()> {
    let frame = reply.encode();
    nix::unistd::write(connection, &frame).map(drop)
}

fn terminal(open: &Open) -> nix::Result<(OwnedFd, OwnedFd)> {
    let (master, slave) = tty::open_pair()?;
    if let Some(settings) = tty::Settings::from_bytes(&open.settings) {
        settings.apply(&slave)?;
    }
    let (ws_row, ws_col) = open.size;
    tty::set_window_size(&slave, &nix::pty::Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 })?;
    Ok((master, slave))
}

fn become_command(
    open: &Open,
    descriptors: &[OwnedFd; 3],
    slave: Option<&OwnedFd>,
    wall: Option<&OwnedFd>,
    connection: &UnixStream,
    how: &How<'_>,
) -> Result<std::convert::Infallible, (Step, Errno)> {
    let at = |step| move |errno| (step, errno);
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).map_err(at(Step::Request))?;
    nix::unistd::setsid().map_err(at(Step::Terminal))?;
    if let Some(slave) = slave {
        tty::set_controlling(slave).map_err(at(Step::Terminal))?;
    }
    for (number, own) in (0..).zip(descriptors) {
        let source = slave.filter(|_| open.terminals & 1 << number != 0).unwrap_or(own);
        process::duplicate_to(source, number).map_err(at(Step::Terminal))?;
    }
    let mode = assume(&open.identity, how.full).map_err(at(Step::Identity))?;
    let status = nix::unistd::dup(connection).map_err(at(Step::Exec))?;
    let [status, folders, programs] = [status.as_raw_fd() as usize, open.folders.len(), open.programs.len()]
        .map(|number| CString::new(number.to_string()).unwrap_or_default());
    let leader = if open.is_job() { c"parent" } else { c"self" };
    let argv = process::Strings::new(
        [c"exec", mode, leader, &status, &folders]
            .into_iter()
            .chain(open.folders.iter().map(CString::as_c_str))
            .chain([programs.as_c_str()])
            .chain(open.programs.iter().chain(&open.arguments).map(CString::as_c_str)),
    );
    let envp = process::Strings::new(open.environment.iter().map(CString::as_c_str));
    how.bounds.seal().map_err(at(Step::Limits))?;
    if let Some(confinement) = how.confinement {
        confinement.seal(&open.identity, wall, how.door).map_err(at(Step::Confinement))?;
    }
    Err((Step::Exec, process::execveat(how.shim, &argv, &envp)))
}

/// Takes on `identity` as far as this process can, and gives the shim's mode for the rest.
///
/// No session may change the box's mounts, not even root's: a read-only mount would not stay one. What root wants to
/// mount it can in a namespace of its own.
fn assume(identity: &Identity, full: bool) -> nix::Result<&'static CStr> {
    process::never_administer()?;
    Ok(match identity {
        Identity::Root if full => c"plain",
        Identity::Root => c"root",
        // Under `full` the caller is the box's root, and no other id is the caller's.
        Identity::Me if full => return Err(Errno::EINVAL),
        Identity::Me => c"plain",
        Identity::Mapped { uid, gid, groups } => {
            let groups: Vec<_> = groups.iter().map(|group| nix::unistd::Gid::from_raw(*group)).collect();
            nix::unistd::setgroups(&groups)?;
            let (uid, gid) = (nix::unistd::Uid::from_raw(*uid), nix::unistd::Gid::from_raw(*gid));
            nix::unistd::setresgid(gid, gid, gid)?;
            nix::unistd::setresuid(uid, uid, uid)?;
            c"plain"
        }
    })
}

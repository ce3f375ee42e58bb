//! Starts one session: forked by pid 1, it becomes the session's command.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::stat::SFlag;
use nix::unistd::{AccessFlags, ForkResult, Pid};

use crate::sys::{process, tty};

use super::wire::{Identity, Open, Reply, Step};

const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A session just started.
pub(super) struct Spawned {
    /// Its leader.
    pub(super) pid: Pid,
    /// Master of its terminal, when it has one.
    pub(super) master: Option<OwnedFd>,
}

/// Starts what `open` asks for on `descriptors` (0, 1 and 2 of the client). What fails in the child is told to the
/// client by the child itself, over `connection`.
pub(super) fn spawn(
    open: &Open,
    descriptors: &[OwnedFd; 3],
    connection: &UnixStream,
    shim: &OwnedFd,
    full: bool,
) -> Result<Spawned, (Step, Errno)> {
    let pair = if open.terminals == 0 {
        None
    } else {
        Some(terminal(open).map_err(|errno| (Step::Terminal, errno))?)
    };
    match process::fork().map_err(|errno| (Step::Request, errno))? {
        ForkResult::Parent { child } => Ok(Spawned { pid: child, master: pair.map(|(master, _)| master) }),
        ForkResult::Child => {
            let slave = pair.as_ref().map(|(_, slave)| slave);
            let Err((step, errno)) = become_command(open, descriptors, slave, connection, shim, full);
            let _ = send(connection, &Reply::Failed { step, errno });
            process::exit_now(126)
        }
    }
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
    connection: &UnixStream,
    shim: &OwnedFd,
    full: bool,
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
    let mode = assume(&open.identity, full).map_err(at(Step::Identity))?;
    if !open.folders.iter().any(|folder| nix::unistd::chdir(folder.as_c_str()).is_ok()) {
        return Err((Step::Folder, Errno::ENOENT));
    }
    let program = find(open).map_err(at(Step::Lookup))?;
    let status = nix::unistd::dup(connection).map_err(at(Step::Exec))?;
    let number = CString::new(status.as_raw_fd().to_string()).map_err(|_| (Step::Exec, Errno::EINVAL))?;
    let is_shell = open.arguments.is_empty();
    let arguments: Vec<&CStr> = if is_shell {
        vec![base_name(&program)]
    } else {
        open.arguments.iter().map(CString::as_c_str).collect()
    };
    let shell =
        CString::new([b"SHELL=", program.as_bytes()].concat()).map_err(|_| (Step::Exec, Errno::EINVAL))?;
    let shell = is_shell.then_some(shell.as_c_str());
    let argv = process::Strings::new([c"exec", &mode, &number, &program].into_iter().chain(arguments));
    let envp = process::Strings::new(open.environment.iter().map(CString::as_c_str).chain(shell));
    Err((Step::Exec, process::execveat(shim, &argv, &envp)))
}

/// Takes on `identity` as far as this process can, and gives the shim's mode for the rest.
///
/// No session may change the box's mounts, not even root's: a read-only mount would not stay one. What root wants to
/// mount it can in a namespace of its own.
fn assume(identity: &Identity, full: bool) -> nix::Result<CString> {
    process::never_administer()?;
    Ok(match identity {
        Identity::Root if full => c"plain".into(),
        Identity::Root => c"root".into(),
        // Under `full` the caller is the box's root, and no other id is the caller's.
        Identity::Me if full => return Err(Errno::EINVAL),
        Identity::Me => c"plain".into(),
        Identity::Mapped { uid, gid, groups } => {
            let groups: Vec<_> = groups.iter().map(|group| nix::unistd::Gid::from_raw(*group)).collect();
            nix::unistd::setgroups(&groups)?;
            let (uid, gid) = (nix::unistd::Uid::from_raw(*uid), nix::unistd::Gid::from_raw(*gid));
            nix::unistd::setresgid(gid, gid, gid)?;
            nix::unistd::setresuid(uid, uid, uid)?;
            c"plain".into()
        }
    })
}

/// The first program that can be run: ENOENT when none is there, EACCES when one is but may not be run.
fn find(open: &Open) -> nix::Result<CString> {
    let path = open
        .environment
        .iter()
        .find_map(|entry| entry.as_bytes().strip_prefix(b"PATH="))
        .unwrap_or(DEFAULT_PATH);
    let mut worst = Errno::ENOENT;
    for program in &open.programs {
        let name = program.as_bytes();
        let candidates: Vec<Vec<u8>> = if name.contains(&b'/') {
            vec![name.to_vec()]
        } else {
            path.split(|byte| *byte == b':').map(|folder| [folder, b"/", name].concat()).collect()
        };
        for candidate in candidates {
            let Ok(candidate) = CString::new(candidate) else { continue };
            match runnable(&candidate) {
                Ok(()) => return Ok(candidate),
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(errno) => worst = errno,
            }
        }
    }
    Err(worst)
}

fn runnable(program: &CStr) -> nix::Result<()> {
    nix::unistd::access(program, AccessFlags::X_OK)?;
    let found = nix::sys::stat::stat(program)?;
    if SFlag::from_bits_truncate(found.st_mode & libc::S_IFMT) == SFlag::S_IFREG {
        Ok(())
    } else {
        Err(Errno::EACCES)
    }
}

fn base_name(program: &CStr) -> &CStr {
    let bytes = program.to_bytes_with_nul();
    let start = bytes.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    CStr::from_bytes_with_nul(&bytes[start..]).unwrap_or(program)
}

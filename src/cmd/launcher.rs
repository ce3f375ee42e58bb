//! A process that opens a session in our stead, with nothing to read and its output going elsewhere.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::making::Made;
use super::opening::Opening;
use crate::error::Error;
use crate::session::Boxes;
use crate::sys::process;

/// What is passed on to launchers. From a terminal they get the rest themselves.
const ENDING: [Signal; 4] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];

/// Signals that are read instead of being obeyed, as long as this lives.
pub(super) struct Signals {
    fd: SignalFd,
    /// The mask of before.
    before: SigSet,
}

impl Signals {
    pub(super) fn hold_back() -> Result<Self, Error> {
        let mut mask = SigSet::empty();
        ENDING.into_iter().for_each(|signal| mask.add(signal));
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), Some(&mut before)).map_err(failed)?;
        let fd = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
        Ok(Self { fd: fd.map_err(failed)?, before })
    }

    /// For poll(2).
    pub(super) fn fd(&self) -> &SignalFd {
        &self.fd
    }

    /// Passes what came on to `pids`, and gives it.
    pub(super) fn pass_on(&self, pids: &[Pid]) -> Vec<Signal> {
        let mut came = Vec::new();
        while let Ok(Some(info)) = self.fd.read_signal() {
            let Ok(signal) = Signal::try_from(info.ssi_signo as i32) else { continue };
            came.push(signal);
            // from the terminal they have it already
            if info.ssi_code != libc::SI_KERNEL {
                for pid in pids {
                    let _ = kill(*pid, signal);
                }
            }
        }
        came
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // what can't be undone is no reason to fail
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None);
    }
}

/// Starts a process that opens the session and ends with its exit code. It ends with us.
pub(super) fn begin(
    opening: &mut Opening<'_>,
    made: Made,
    boxes: &Boxes,
    signals: &Signals,
    out: impl AsFd,
    err: impl AsFd,
) -> Result<Pid, Error> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let null = nix::fcntl::open(c"/dev/null", flags, Mode::empty()).map_err(failed)?;
    let mut made = Some(made);
    process::fork_into(|| {
        let set_up = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
            .and_then(|()| process::duplicate_to(&null, 0))
            .and_then(|()| process::duplicate_to(&out, 1))
            .and_then(|()| process::duplicate_to(&err, 2))
            .and_then(|()| sigprocmask(SigmaskHow::SIG_SETMASK, Some(&signals.before), None));
        let session = match (set_up, made.take()) {
            (Ok(()), Some(made)) => opening.session(boxes, made),
            (Err(errno), _) => Err(failed(errno)),
            (_, None) => return 0,
        };
        match session {
            Ok(code) => u8::from(code).into(),
            Err(error) => {
                error.report(opening.ui);
                error.exit_code().into()
            }
        }
    })
    .map_err(failed)
}

/// Waits for such a process and gives its exit code, as a shell tells it.
pub(super) fn end(pid: Pid) -> u8 {
    match waitpid(pid, None) {
        Ok(WaitStatus::Exited(_, code)) => code.try_into().unwrap_or(u8::MAX),
        Ok(WaitStatus::Signaled(_, signal, _)) => 128 + signal as u8,
        _ => crate::error::OURS,
    }
}

fn failed(errno: Errno) -> Error {
    Error::Background(errno.into())
}

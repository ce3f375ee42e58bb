//! What an untrusted box lacks beyond what namespaces keep from it: rights, system calls, the caller's keys.
//!
//! All is made ready before the clone. `begin` and `finish` change pid 1 and with it all sessions; `seal` is the last a
//! session does before it becomes the shim. pid 1 itself keeps its rights in the box's user namespace, for it has to
//! unmount, and runs nothing of the box's.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;

use super::wire::Identity;
use super::{Error, filter, refused, wall};
use crate::sys::confine::{self, Instruction};
use crate::sys::process;

/// Killed early when memory runs out, long before the caller's own programs (proc_pid_oom_score_adj(5)).
const OOM_SCORE: i32 = 500;

/// The parts, sent by number when one can't be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Piece {
    Cgroups = 0,
    Memory = 1,
    Cores = 2,
    Keyring = 3,
    Filter = 4,
    Rights = 5,
}

/// Words for a part's number.
pub(super) fn piece_words(number: u16) -> &'static str {
    match number {
        0 => "no cgroup namespace of its own",
        1 => "it can't be made the first to be killed when memory runs out",
        2 => "core dumps can't be switched off",
        3 => "no session keyring of its own",
        4 => "this kernel has no system-call filters",
        _ => "rights can't be taken from its sessions",
    }
}

/// What sessions of an untrusted box are held by.
#[derive(Debug, Clone)]
pub struct Confinement {
    filter: Vec<Instruction>,
    /// The same, asking pid 1 where it would refuse; none before Linux 5.0.
    watched: Option<Vec<Instruction>>,
    /// The kernel has Landlock.
    wall: bool,
}

impl Confinement {
    /// Makes the filter.
    pub fn new() -> Result<Self, Error> {
        let filter = filter::build().map_err(|error| Error::Filter(error.to_string()))?;
        let watched = confine::can_watch().then(|| filter::watched(&filter));
        Ok(Self { filter, watched, wall: wall::version().is_some() })
    }

    /// In the new user namespace, while the host's `/proc` is there and this process's own files in it are its own.
    pub(super) fn begin(&self) -> Result<(), (Piece, Errno)> {
        let at = |piece| move |errno| (piece, errno);
        unshare(CloneFlags::CLONE_NEWCGROUP).map_err(at(Piece::Cgroups))?;
        raise_oom_score().map_err(at(Piece::Memory))?;
        confine::dump_no_core().map_err(at(Piece::Cores))?;
        match confine::join_new_session_keyring() {
            // built without keyrings
            Err(Errno::ENOSYS) => {}
            joined => joined.map_err(at(Piece::Keyring))?,
        }
        confine::can_filter().map_err(at(Piece::Filter))?;
        // The filter keeps sessions from making user namespaces; where it can be said, the kernel does too.
        let _ = write(c"/proc/sys/user/max_user_namespaces", b"0");
        Ok(())
    }

    /// When all is mounted.
    pub(super) fn finish(&self) -> Result<(), (Piece, Errno)> {
        confine::bound_to_nothing().map_err(|errno| (Piece::Rights, errno))
    }

    /// In pid 1, before a session that gets `given` as its standard descriptors: what it will be restricted to besides; none where
    /// the kernel has nothing of the kind.
    pub(super) fn wall(&self, given: &[&OwnedFd]) -> nix::Result<Option<OwnedFd>> {
        self.wall.then(|| wall::build(given)).transpose()
    }

    /// In a session's process, just before it becomes a program. Who watches its filter finds it at `door`.
    pub(super) fn seal(
        &self,
        identity: &Identity,
        wall: Option<&OwnedFd>,
        door: Option<&OwnedFd>,
    ) -> nix::Result<()> {
        // Whoever asks is the box's own user, but may be a devbox that knows less of this box than pid 1 does.
        if *identity != Identity::Me {
            return Err(Errno::EPERM);
        }
        process::keep_rights(&[])?;
        wall.map_or(Ok(()), confine::restrict_by)?;
        if let (Some(watched), Some(door)) = (&self.watched, door) {
            match confine::load_watched_filter(watched) {
                Ok(watcher) => return refused::leave(door.as_fd(), &watcher),
                // This devbox is itself watched by somebody, and the kernel allows one of them.
                Err(Errno::EBUSY) => {}
                Err(errno) => return Err(errno),
            }
        }
        confine::load_filter(&self.filter)
    }
}

fn raise_oom_score() -> nix::Result<()> {
    const FILE: &std::ffi::CStr = c"/proc/self/oom_score_adj";
    let mut text = [0; 16];
    let file = open(FILE, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let length = nix::unistd::read(&file, &mut text)?;
    let now = str::from_utf8(&text[..length]).ok().and_then(|text| text.trim().parse::<i32>().ok());
    if now.is_some_and(|now| now >= OOM_SCORE) {
        return Ok(());
    }
    write(FILE, OOM_SCORE.to_string().as_bytes())
}

fn write(file: &std::ffi::CStr, content: &[u8]) -> nix::Result<()> {
    let file = open(file, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    nix::unistd::write(&file, content).map(drop)
}

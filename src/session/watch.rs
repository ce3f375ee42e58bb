//! Looks at a box from outside, where the kernel holds no limit: its memory and its files. What takes too much is ended,
//! and the reason left in the box's folder for the clients of its sessions.
//!
//! It is a process of ours beside the box, made when the box is started and only where something is to be watched: no
//! program of the box can see or stop it, and it ends with the box. It holds the box's lock. To look at
//! processes and files it joins the box's user namespace, for its rights over them, and where memory is watched the IPC
//! namespaces, whose segments are told of nowhere else.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use nix::sys::resource::{Usage as Spent, UsageWho, getrusage};
use nix::sys::statvfs::{Statvfs, statvfs};
use nix::sys::time::TimeValLike;
use nix::unistd::Pid;

use super::ended;
use crate::limits::{Held, Holder, Limit};
use crate::sandbox::Cgroup;
use crate::store::Usage;
use crate::sys::process;

mod memory;
mod open;

/// A look may take this part of a processor's time.
const DUTY: u32 = 15;
/// Longest time without a look at the memory.
const LONGEST: Duration = Duration::from_secs(1);
/// Time between two looks at how full the file system is, which cost nothing.
const DISK: Duration = Duration::from_millis(200);
/// Longest time without a walk over the box's files.
const WALK: Duration = Duration::from_secs(30);

/// What is to be watched.
#[derive(Debug, Clone)]
pub struct Watch {
    /// The box's folder.
    pub folder: PathBuf,
    /// The box's limits, of which those are watched that nothing else holds.
    pub limits: Vec<Held>,
    /// Its cgroup, which goes with it.
    pub cgroup: Option<Cgroup>,
}

impl Watch {
    /// Begins it, for the box whose pid 1 is `pid`, in a process that lives as long as the box. It holds `watching`, by whose
    /// end pid 1 sees that it has gone.
    pub(super) fn begin(
        &self,
        pid: Pid,
        pidfd: &OwnedFd,
        userns: &OwnedFd,
        lock: &OwnedFd,
        watching: Option<&OwnedFd>,
    ) -> nix::Result<()> {
        let kept = [pidfd, userns, lock, watching.unwrap_or(lock)].map(AsRawFd::as_raw_fd);
        process::in_background_with(kept, || {
            // no folder of the caller's stays in use
            let _ = nix::unistd::chdir("/");
            // A cgroup's own folder may be removed by who has rights outside alone. A box that can't be watched would have no
            // limit.
            if self.limits.iter().any(|held| held.by == Holder::Watch)
                && setns(userns, CloneFlags::CLONE_NEWUSER).is_err()
            {
                let _ = process::kill_by(pidfd);
            }
            if !self.stand_by(pid, pidfd)
                && let Some(held) = self.limits.iter().find(|held| held.limit == Limit::Memory)
                && self.cgroup.as_ref().is_some_and(Cgroup::ran_out_of_memory)
            {
                ended::leave(&self.folder, held);
            }
            if let Some(cgroup) = &self.cgroup {
                cgroup.remove();
            }
        })
    }

    /// Returns when pid 1 and with it all of the box has ended, and whether that was for a limit watched here.
    fn stand_by(&self, pid: Pid, pidfd: &OwnedFd) -> bool {
        let watched = |held: &&Held| held.by == Holder::Watch;
        let amount = |wanted| {
            self.limits.iter().filter(watched).find(|held| held.limit == wanted).map(|held| held.amount)
        };
        let memory = amount(Limit::Memory);
        let mut disk = amount(Limit::Disk).map(|most| Disk::new(&self.folder, pid, most));
        let host = memory::ipc_of("self");
        let mut told = false;
        loop {
            let before = spent();
            let (mut pause, mut over) = (None, None);
            if let Some(most) = memory.filter(|_| !told) {
                let used = memory::of(pid, most, host);
                over = (used > most).then_some(Limit::Memory);
                pause = Some(until_next(most.saturating_sub(used)));
            }
            if let Some(disk) = disk.as_mut().filter(|_| !told) {
                over = over.or_else(|| disk.is_over().then_some(Limit::Disk));
                pause = Some(pause.map_or(DISK, |pause: Duration| pause.min(DISK)));
            }
            if let Some(held) = self.limits.iter().find(|held| Some(held.limit) == over) {
                // The reason is there before anybody can ask for it.
                ended::leave(&self.folder, held);
                let _ = process::kill_by(pidfd);
                (told, pause) = (true, None);
            }
            let pause = pause.map(|pause| pause.max(spent().saturating_sub(before) * DUTY));
            let timeout = pause.map_or(PollTimeout::NONE, |pause| {
                PollTimeout::from(u16::try_from(pause.as_millis() + 1).unwrap_or(u16::MAX))
            });
            match poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(0) | Err(Errno::EINTR) => {}
                _ => return told,
            }
        }
    }
}

/// Processor time of this process: on a busy machine a look lasts longer, and costs no more.
fn spent() -> Duration {
    let micros = |usage: Spent| (usage.user_time() + usage.system_time()).num_microseconds();
    let micros = getrusage(UsageWho::RUSAGE_SELF).map_or(0, micros);
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// When to look again: a program that only fills memory takes some GiB a second.
fn until_next(left: u64) -> Duration {
    Duration::from_millis((left >> 22).max(10)).min(LONGEST)
}

/// The box's own files, walked over only when they can have grown beyond the limit.
struct Disk<'a> {
    folder: &'a Path,
    /// Its pid 1.
    init: Pid,
    most: u64,
    /// At the last walk: what they took, what all of the file system took, when it was, and how long it lasted.
    last: Option<(u64, u64, Instant, Duration)>,
}

impl<'a> Disk<'a> {
    fn new(folder: &'a Path, init: Pid, most: u64) -> Self {
        Self { folder, init, most, last: None }
    }

    fn is_over(&mut self) -> bool {
        let taken = taken(self.folder);
        if let Some((own, before, at, cost)) = self.last {
            // Nobody can have written more than all together; who removes elsewhere meanwhile only puts off the walk.
            let may = own.saturating_add(taken.saturating_sub(before)) > self.most;
            let patience = if may { cost * 4 } else { WALK.max(cost * DUTY) };
            if at.elapsed() < patience {
                return false;
            }
        }
        let at = Instant::now();
        let processes = memory::descendants(self.init).into_iter().map(|(pid, _)| pid);
        let own = own_files(self.folder).saturating_add(open::removed(processes, self.folder));
        self.last = Some((own, taken, at, at.elapsed()));
        own > self.most
    }
}

/// What stands in the box's folder, but for the snapshots, which the box can't write.
fn own_files(folder: &Path) -> u64 {
    let mut usage = Usage::default();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name() != "snapshots" {
            // what goes while we look takes nothing
            let _ = usage.add(&entry.path());
        }
    }
    usage.bytes()
}

/// Bytes in use of the file system that has `folder`.
fn taken(folder: &Path) -> u64 {
    statvfs(folder).map_or(0, |found| in_use(&found))
}

/// Bytes in use of a file system.
fn in_use(found: &Statvfs) -> u64 {
    // some machines have these numbers narrower
    #[allow(clippy::unnecessary_cast)]
    let bytes = (found.blocks() - found.blocks_free()) as u64 * found.fragment_size() as u64;
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_as_rare_as_they_may_be() {
        assert_eq!(until_next(0), Duration::from_millis(10));
        assert_eq!(until_next(400 << 20), Duration::from_millis(100));
        assert_eq!(until_next(64 << 30), LONGEST);
    }

    #[test]
    fn files_are_counted_and_snapshots_not() {
        let folder = tempfile::tempdir().unwrap();
        for part in ["upper/a", "snapshots/b"] {
            std::fs::create_dir_all(folder.path().join(part)).unwrap();
            std::fs::write(folder.path().join(part).join("file"), vec![1; 1 << 20]).unwrap();
        }
        let own = own_files(folder.path());
        let nobody = Pid::from_raw(i32::MAX);
        assert!((1 << 20..2 << 20).contains(&own), "{own}");
        assert!(Disk::new(folder.path(), nobody, 1 << 20).is_over());
        let mut fits = Disk::new(folder.path(), nobody, 4 << 20);
        assert!(!fits.is_over() && fits.last.is_some_and(|(found, ..)| found == own));
    }
}

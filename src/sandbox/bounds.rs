//! What a box is kept to by its own pid 1 and in its sessions, as numbers. What takes a cgroup or a look from outside is
//! `session::watch`'s.

use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::Mode;
use nix::unistd::Pid;

/// The kernel gives out no pid below this a second time (`RESERVED_PIDS`), so they don't count.
const RESERVED_PIDS: u64 = 300;

/// Limits of a box and its sessions; none by default.
#[derive(Debug, Clone, Default)]
pub struct Bounds {
    /// Processes of the box's user namespace at a time.
    pub processes: Option<u64>,
    /// The same by the highest pid of its pid namespace.
    pub pid_max: Option<u64>,
    /// Open files of each process.
    pub files: Option<u64>,
    /// Processors that programs are run on unless they ask for others.
    pub processors: Option<CpuSet>,
    /// How long a session may last.
    pub time: Option<Duration>,
    /// Somebody outside looks at the box's memory and files, and wants its user namespace for that.
    pub watched: bool,
}

impl Bounds {
    /// In pid 1, while the host's `/proc` is there.
    pub(super) fn begin(&self) -> nix::Result<()> {
        if let Some(most) = self.pid_max {
            let file = open(c"/proc/sys/kernel/pid_max", OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
            nix::unistd::write(&file, (most.saturating_add(RESERVED_PIDS + 1)).to_string().as_bytes())?;
        }
        self.processors.as_ref().map_or(Ok(()), |set| sched_setaffinity(Pid::from_raw(0), set))
    }

    /// In a session's process, before it becomes a program: pid 1 itself is to start sessions whatever runs already.
    pub(super) fn seal(&self) -> nix::Result<()> {
        if let Some(most) = self.processes {
            lower(Resource::RLIMIT_NPROC, most)?;
        }
        self.files.map_or(Ok(()), |most| lower(Resource::RLIMIT_NOFILE, most))
    }
}

/// At most as many as the caller itself may have.
fn lower(resource: Resource, most: u64) -> nix::Result<()> {
    let (_, hard) = getrlimit(resource)?;
    let most = most.min(hard);
    setrlimit(resource, most, most)
}

/// `count` of the processors this process may run on, from the `first` of them on, so that boxes don't share them all; none
/// when there are no more than that.
pub fn some_processors(count: usize, first: usize) -> nix::Result<Option<CpuSet>> {
    let own = sched_getaffinity(Pid::from_raw(0))?;
    let numbers: Vec<usize> = (0..CpuSet::count()).filter(|number| own.is_set(*number) == Ok(true)).collect();
    if numbers.is_empty() || count >= numbers.len() {
        return Ok(None);
    }
    let mut set = CpuSet::new();
    for number in numbers.iter().cycle().skip(first % numbers.len()).take(count) {
        set.set(*number).map_err(|_| Errno::EINVAL)?;
    }
    Ok(Some(set))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_the_callers() {
        let own = sched_getaffinity(Pid::from_raw(0)).unwrap();
        let count = |set: &CpuSet| (0..CpuSet::count()).filter(|number| set.is_set(*number).unwrap()).count();
        assert_eq!(some_processors(count(&own), 0).unwrap(), None);
        for first in 0..3 {
            match some_processors(1, first).unwrap() {
                Some(set) => {
                    assert_eq!(count(&set), 1);
                    assert!(
                        (0..CpuSet::count())
                            .all(|number| !set.is_set(number).unwrap() || own.is_set(number).unwrap())
                    );
                }
                None => assert_eq!(count(&own), 1),
            }
        }
    }
}

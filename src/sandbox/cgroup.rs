//! The control group of a box (cgroups(7), the kernel's `cgroup-v2.rst`): a folder below one that is the caller's, in which
//! pid 1 is born. The box's processes see no cgroup file system, so they can't write it.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::Pid;

use crate::limits::{Held, Holder, Limit};

/// What the folders are called by, so that left-over ones are known.
const PREFIX: &str = "devbox-";
/// Length of a period in which processor time is counted, in microseconds.
const PERIOD: u64 = 100_000;
/// The kernel lets go of a group's last process somewhat after that has ended.
const PATIENCE: Duration = Duration::from_secs(1);

/// A box's group.
#[derive(Debug, Clone)]
pub struct Cgroup {
    folder: PathBuf,
}

impl Cgroup {
    /// Makes the group `name` in the folder `parent`, limited as `held` says of what a cgroup holds. One that is left from an
    /// earlier box is removed; one that has processes is an error.
    pub fn make(parent: &Path, name: &str, held: &[Held]) -> io::Result<Self> {
        let held: Vec<&Held> = held.iter().filter(|held| held.by == Holder::Cgroup).collect();
        let enabled = fs::read_to_string(parent.join("cgroup.subtree_control"))?;
        for controller in held.iter().filter_map(|held| controller(held.limit)) {
            if !enabled.split_whitespace().any(|one| one == controller) {
                fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}"))?;
            }
        }
        let folder = parent.join(format!("{PREFIX}{name}"));
        match fs::remove_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir(&folder)?,
        }
        let made = Self { folder };
        made.set(&held).inspect_err(|_| made.remove())?;
        Ok(made)
    }

    fn set(&self, held: &[&Held]) -> io::Result<()> {
        let write = |file: &str, text: String| fs::write(self.folder.join(file), text);
        for Held { limit, amount, .. } in held {
            match limit {
                Limit::Memory => {
                    write("memory.max", amount.to_string())?;
                    match write("memory.swap.max", "0".to_owned()) {
                        // a kernel that does not count it
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        written => written?,
                    }
                    // The box as a whole: one that has lost some of its processes is of no use.
                    write("memory.oom.group", "1".to_owned())?;
                }
                Limit::Cpus => write("cpu.max", format!("{} {PERIOD}", amount * PERIOD / 1000))?,
                // and the box's pid 1
                Limit::Pids => write("pids.max", (amount + 1).to_string())?,
                Limit::Time | Limit::Files | Limit::Disk => {}
            }
        }
        Ok(())
    }

    /// The group that was made earlier in this folder.
    pub fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A handle to be born in it by.
    pub(super) fn handle(&self) -> io::Result<OwnedFd> {
        fs::File::open(&self.folder).map(OwnedFd::from)
    }

    /// Moves a process into it, where none can be born in it.
    pub(super) fn take(&self, pid: Pid) -> io::Result<()> {
        fs::write(self.folder.join("cgroup.procs"), pid.to_string())
    }

    /// Whether the kernel has ended processes of it for want of memory (`memory.events`) of which its limit left them no more:
    /// `oom_kill` alone counts as well who was ended when all of the machine, or a group above, had none left.
    pub fn ran_out_of_memory(&self) -> bool {
        let events = fs::read_to_string(self.folder.join("memory.events")).unwrap_or_default();
        let happened = |event: &str| {
            let count = events.lines().find_map(|line| line.strip_prefix(event)?.strip_prefix(' '));
            count.is_some_and(|count| count.trim() != "0")
        };
        happened("oom") && happened("oom_kill")
    }

    /// Removes it once its last process has gone; one with processes stays.
    pub fn remove(&self) {
        let began = std::time::Instant::now();
        while let Err(error) = fs::remove_dir(&self.folder) {
            if error.raw_os_error() != Some(libc::EBUSY) || began.elapsed() > PATIENCE {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What limits it in the kernel.
fn controller(limit: Limit) -> Option<&'static str> {
    match limit {
        Limit::Memory => Some("memory"),
        Limit::Cpus => Some("cpu"),
        Limit::Pids => Some("pids"),
        Limit::Time | Limit::Files | Limit::Disk => None,
    }
}

/// Removes groups in `parent` that boxes have left behind: the kernel keeps those that have processes.
pub fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would have there: files that take what is written.
    #[test]
    fn limits_are_written_as_the_kernel_reads_them() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("cgroup.subtree_control"), "memory pids\n").unwrap();
        let held = |limit, amount, by| Held { limit, amount, by };
        let all = [
            held(Limit::Memory, 64 << 20, Holder::Cgroup),
            held(Limit::Cpus, 1500, Holder::Cgroup),
            held(Limit::Pids, 10, Holder::Rlimit),
        ];
        let group = Cgroup::make(parent.path(), "box", &all).unwrap();
        let text = |file: &str| fs::read_to_string(group.folder().join(file)).ok();
        assert_eq!(text("memory.max").as_deref(), Some("67108864"));
        assert_eq!(text("memory.oom.group").as_deref(), Some("1"));
        assert_eq!(text("cpu.max").as_deref(), Some("150000 100000"));
        assert_eq!(text("pids.max"), None, "it is held by another");
        let enabled = fs::read_to_string(parent.path().join("cgroup.subtree_control")).unwrap();
        assert_eq!(enabled, "+cpu");
        fs::write(group.folder().join("memory.events"), "low 0\noom 1\noom_kill 0\noom_group_kill 0\n")
            .unwrap();
        assert!(!group.ran_out_of_memory());
        fs::write(group.folder().join("memory.events"), "low 0\noom 1\noom_kill 3\n").unwrap();
        assert!(group.ran_out_of_memory());
        fs::write(group.folder().join("memory.events"), "low 0\noom 0\noom_kill 3\n").unwrap();
        assert!(!group.ran_out_of_memory(), "it was the machine that had none");
        assert!(Cgroup::make(parent.path(), "box", &all).is_err(), "something is in it");
    }
}

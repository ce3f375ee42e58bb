//! What this host can hold limits with.

use std::path::PathBuf;

use nix::unistd::{AccessFlags, access};

use super::System;
use crate::limits::{Limit, Means};

/// The kernel counts processes in each user namespace from here on.
const COUNTS_PROCESSES: (u32, u32) = (5, 14);
/// Where the one hierarchy of version 2 is mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// A group of the unified hierarchy in which others can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegated {
    /// Its folder.
    pub folder: PathBuf,
    /// What those in it can limit.
    pub limits: Vec<Limit>,
}

impl System {
    /// What is there to hold a box's limits with, and the group that its own can be made in.
    pub fn means(&self) -> (Means, Option<Delegated>) {
        let delegated = self.delegated();
        let root = self.uid == 0 && self.is_initial();
        let means = Means {
            cgroup: delegated.as_ref().map(|group| group.limits.clone()).unwrap_or_default(),
            // the kernel counts root's, too, and lets it have more all the same
            counts_processes: !root && self.kernel().is_some_and(|kernel| kernel >= COUNTS_PROCESSES),
            pid_max: root && self.has_own_pid_max(),
        };
        (means, delegated)
    }

    /// The program that asks the user's systemd for a group of their own, and what that could limit; none where there is no
    /// systemd of theirs.
    pub fn manager(&self) -> Option<(PathBuf, Vec<Limit>)> {
        let group = self.manager_group()?;
        let limits = self.limits_of(&format!("{group}/cgroup.controllers"));
        Some((self.program("busctl")?, limits)).filter(|(_, limits)| !limits.is_empty())
    }

    /// The group of the user's systemd, when it is there and theirs.
    pub(super) fn manager_group(&self) -> Option<String> {
        let uid = self.uid;
        let group = format!("{ROOT}/user.slice/user-{uid}.slice/user@{uid}.service");
        self.is_writable(&group).then_some(group)
    }

    fn is_writable(&self, group: &str) -> bool {
        let mut names = [".", "cgroup.procs", "cgroup.subtree_control"].iter();
        names.all(|name| access(&self.path(group).join(name), AccessFlags::W_OK).is_ok())
    }

    /// What the controllers that a file lists can limit.
    fn limits_of(&self, file: &str) -> Vec<Limit> {
        let text = self.text(file).unwrap_or_default();
        let has = |wanted: &str| text.split_whitespace().any(|word| word == wanted);
        let all = [(Limit::Memory, "memory"), (Limit::Cpus, "cpu"), (Limit::Pids, "pids")];
        all.into_iter().filter(|(_, name)| has(name)).map(|(limit, _)| limit).collect()
    }

    /// The nearest group, from the caller's own upward, in which one can be made, limited, and entered.
    fn delegated(&self) -> Option<Delegated> {
        self.text(&format!("{ROOT}/cgroup.controllers"))?;
        let own = super::places::own_cgroup(&self.text("/proc/self/cgroup")?)?;
        // a group outside of what is seen here
        if own.contains("/..") {
            return None;
        }
        let own = PathBuf::from(format!("{ROOT}{own}"));
        own.ancestors().take_while(|group| group.starts_with(ROOT)).find_map(|group| {
            let group = group.to_str()?.trim_end_matches('/');
            // only a group without processes of its own, and the first of all, can hand its controllers down
            let procs = self.text(&format!("{group}/cgroup.procs")).unwrap_or_default();
            let can_enable = procs.is_empty() || group == ROOT;
            let file = if can_enable { "cgroup.controllers" } else { "cgroup.subtree_control" };
            let limits = self.limits_of(&format!("{group}/{file}"));
            (self.is_writable(group) && !limits.is_empty())
                .then(|| Delegated { folder: self.path(group), limits })
        })
    }

    /// Whether this process's ids are the machine's own.
    fn is_initial(&self) -> bool {
        let map = self.text("/proc/self/uid_map").unwrap_or_default();
        map.split_whitespace().eq(["0", "0", "4294967295"])
    }

    /// Whether each pid namespace has a highest pid of its own (Linux 6.14).
    fn has_own_pid_max(&self) -> bool {
        self.kernel().is_some_and(|kernel| kernel >= (6, 14))
            && access(&self.path("/proc/sys/kernel/pid_max"), AccessFlags::W_OK).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(uid: u32, files: &[(&str, &str)]) -> (tempfile::TempDir, System) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let system = System::fake(root.path(), uid);
        (root, system)
    }

    #[test]
    fn processes_are_counted_for_all_but_root() {
        let initial = ("proc/self/uid_map", "         0          0 4294967295\n");
        let pid_max = ("proc/sys/kernel/pid_max", "32768\n");
        for (uid, release, map, counts, max) in [
            (1000, "6.1.0-21-amd64", initial, true, false),
            (1000, "5.13.0", initial, false, false),
            (0, "6.1.0", initial, false, false),
            (0, "6.18.4", initial, false, true),
            // root of a container's namespace is somebody else to the kernel
            (0, "6.18.4", ("proc/self/uid_map", "0 100000 65536\n"), true, false),
        ] {
            let (_root, system) = host(uid, &[("proc/sys/kernel/osrelease", release), map, pid_max]);
            let (means, group) = system.means();
            assert_eq!(
                (means.counts_processes, means.pid_max, group),
                (counts, max, None),
                "{uid} {release}"
            );
        }
    }

    #[test]
    fn the_nearest_group_without_processes_is_taken() {
        let mut files = vec![
            ("sys/fs/cgroup/cgroup.controllers", "cpu memory pids"),
            ("sys/fs/cgroup/me/cgroup.controllers", "cpuset cpu memory pids"),
            ("sys/fs/cgroup/me/cgroup.subtree_control", ""),
            ("sys/fs/cgroup/me/cgroup.procs", ""),
            ("sys/fs/cgroup/me/shell/cgroup.controllers", ""),
            ("sys/fs/cgroup/me/shell/cgroup.subtree_control", ""),
            ("sys/fs/cgroup/me/shell/cgroup.procs", "7\n"),
            ("proc/self/cgroup", "0::/me/shell\n"),
        ];
        let all = vec![Limit::Memory, Limit::Cpus, Limit::Pids];
        let (root, system) = host(1000, &files);
        let folder = root.path().join("sys/fs/cgroup/me");
        assert_eq!(system.means().1, Some(Delegated { folder: folder.clone(), limits: all.clone() }));
        assert_eq!(system.means().0.cgroup, all);
        // processes in it: only what is handed down already
        std::fs::write(folder.join("cgroup.procs"), "8\n").unwrap();
        std::fs::write(folder.join("cgroup.subtree_control"), "memory\n").unwrap();
        assert_eq!(system.means().1.unwrap().limits, [Limit::Memory]);
        for (at, other) in [(7, "0::/../me/shell\n"), (7, "1:name=systemd:/\n"), (3, "")] {
            let kept = std::mem::replace(&mut files[at].1, other);
            let (root, system) = host(1000, &files);
            if at == 3 {
                std::fs::remove_file(root.path().join("sys/fs/cgroup/me/cgroup.procs")).unwrap();
            }
            assert_eq!(system.means(), (Means::default(), None), "{other:?}");
            files[at].1 = kept;
        }
    }
}

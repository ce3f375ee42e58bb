//! How much memory a box takes, from the host's `/proc` (proc(5)): its processes', and its file systems' in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::statvfs::statvfs;
use nix::unistd::{Pid, SysconfVar, sysconf};

use super::open;
use crate::mount::{c_path, mounted};
use crate::sys::fd;

/// Bytes of memory that pid 1 of a box, all that comes of it, and files in memory take: what is not more than `enough` is an
/// upper bound, quickly had; more is counted page by page, each page that several share once. `host` is the IPC namespace that
/// is not the box's.
pub(super) fn of(init: Pid, enough: u64, host: Option<u64>) -> u64 {
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().map_or(4096, |size| size as u64);
    let processes = descendants(init);
    let pids = || processes.iter().map(|(pid, _)| *pid);
    let mounted = pids().skip(1).find_map(in_files).unwrap_or(0);
    let files = mounted + unmounted(pids()) + segments(pids(), host);
    let bound = files + processes.iter().map(|(_, pages)| pages * page).sum::<u64>();
    if bound <= enough {
        return bound;
    }
    let (own, shared) = processes.iter().fold((0, 0), |(own, shared), (pid, _)| {
        let found = exactly(*pid);
        (own + found.0, shared + found.1)
    });
    // files that are mapped are in both
    own + shared.max(files)
}

/// Bytes that the file systems in memory hold which `pid` sees and this process does not; none when it has ended.
fn in_files(pid: i32) -> Option<u64> {
    let mounts = |whose: &str| fs::read(format!("/proc/{whose}/mountinfo")).ok();
    let (host, own) = (mounts("self")?, mounts(&pid.to_string())?);
    let mut seen: BTreeSet<_> = in_memory(&host).map(|(device, _)| device).collect();
    let new = in_memory(&own).filter(|(device, _)| seen.insert(*device));
    let used = |at: &Path| {
        let path = Path::new("/proc").join(pid.to_string()).join("root").join(at.strip_prefix("/").ok()?);
        Some(super::in_use(&statvfs(&path).ok()?))
    };
    Some(new.filter_map(|(_, at)| used(&at)).sum())
}

/// Device and place of each file system in memory that `/proc/PID/mountinfo` lists.
fn in_memory(mounts: &[u8]) -> impl Iterator<Item = ((u32, u32), PathBuf)> + '_ {
    mounted(mounts).filter(|mount| mount.kind == "tmpfs").map(|mount| (mount.device, mount.at))
}

/// Bytes of the files in memory that are mounted nowhere (memfd_create(2)) and that `processes` have open.
fn unmounted(processes: impl Iterator<Item = i32>) -> u64 {
    // all of them are in one file system, which nothing else tells of
    let Some(device) = memfd_create("probe", MFdFlags::MFD_CLOEXEC).ok().and_then(|probe| {
        let path = c_path(format!("/proc/self/fd/{}", probe.as_raw_fd())).ok()?;
        Some(fd::look(&path).ok()?.device)
    }) else {
        return 0;
    };
    open::bytes(processes, |_, file| file.device == device)
}

/// The IPC namespace of a process, by its number; none when it has ended.
pub(super) fn ipc_of(process: &str) -> Option<u64> {
    fs::metadata(format!("/proc/{process}/ns/ipc")).map(|found| found.ino()).ok()
}

/// Bytes of the shared memory segments (shmget(2)) of `processes`, but for those of the namespace `host`. The kernel tells of
/// them in their IPC namespace alone, which this process thereby enters.
fn segments(processes: impl Iterator<Item = i32>, host: Option<u64>) -> u64 {
    let mut seen: BTreeSet<u64> = host.into_iter().collect();
    let mut sum = 0_u64;
    for pid in processes {
        let Some(number) = ipc_of(&pid.to_string()).filter(|number| seen.insert(*number)) else { continue };
        let enter =
            || setns(fs::File::open(format!("/proc/{pid}/ns/ipc")).ok()?, CloneFlags::CLONE_NEWIPC).ok();
        if ipc_of("self") == Some(number) || enter().is_some() {
            let text = fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
            sum = sum.saturating_add(read_segments(&text));
        }
    }
    sum
}

/// The sum of resident and swapped bytes of a text of `/proc/sysvipc/shm`.
fn read_segments(text: &str) -> u64 {
    let bytes = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(14);
        Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
    };
    text.lines().skip(1).filter_map(bytes).sum()
}

/// All processes below `init` and it itself, with the pages each has in memory. Whose parent has ended is a child of the
/// box's pid 1, so that none is missed.
pub(super) fn descendants(init: Pid) -> Vec<(i32, u64)> {
    let mut children: BTreeMap<i32, Vec<(i32, u64)>> = BTreeMap::new();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Some((parent, pages)) =
            fs::read_to_string(format!("/proc/{pid}/stat")).ok().as_deref().and_then(read_stat)
        else {
            continue;
        };
        if pid == init.as_raw() {
            found.push((pid, pages));
        } else {
            children.entry(parent).or_default().push((pid, pages));
        }
    }
    let mut next = 0;
    while let Some((pid, _)) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    found
}

/// Parent and resident pages of a line of `/proc/PID/stat`; the name in it may hold anything.
fn read_stat(line: &str) -> Option<(i32, u64)> {
    let (_, fields) = line.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    Some((parent, fields.nth(19)?.parse().ok()?))
}

/// Bytes of a process's own memory and of memory it shares, pages of several in parts. What can't be had by pages is had as a
/// whole.
fn exactly(pid: i32) -> (u64, u64) {
    let read = |file: &str, own: [&str; 2], shared: &str| {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
        let field = |wanted: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(wanted)?.strip_prefix(':'))?;
            line.trim().trim_end_matches(" kB").parse::<u64>().ok()
        };
        Some((own.iter().filter_map(|name| field(name)).sum::<u64>() << 10, field(shared)? << 10))
    };
    read("smaps_rollup", ["Pss_Anon", "SwapPss"], "Pss_Shmem")
        .or_else(|| read("status", ["RssAnon", "VmSwap"], "RssShmem"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn own_memory_is_seen() {
        assert_eq!(read_stat("7 (a) b) R 3 1 1 0 -1 4 1 0 0 0 0 0 0 0 20 0 1 0 5 1000 42 99"), Some((3, 42)));
        assert_eq!(read_stat("7 (a"), None);
        let (me, host) = (Pid::this(), ipc_of("self"));
        let of = |enough| of(me, enough, host);
        let bound = of(u64::MAX);
        let block = vec![1_u8; 32 << 20];
        let (more, exact) = (of(u64::MAX), of(0));
        assert!(more >= bound + (24 << 20), "{bound} {more}");
        assert!(exact > block.len() as u64 && exact <= more + (8 << 20), "{exact} {more}");
        assert_eq!(super::of(Pid::from_raw(i32::MAX), 0, host), 0);
        // what this process sees itself is not the box's
        assert_eq!(in_files(me.as_raw()), Some(0));
        let text = b"1 0 0:5 / /dev rw - tmpfs x rw\n2 1 8:1 / / rw shared:1 - ext4 /dev/a rw\n3 1 0:7 /s /t\\040mp rw a:1 - tmpfs y rw\n";
        let found = [((0, 5), "/dev".into()), ((0, 7), "/t mp".into())];
        assert_eq!(in_memory(text).collect::<Vec<_>>(), found);
    }

    #[test]
    fn files_and_segments_without_a_mount_are_seen() {
        let me = std::process::id().cast_signed();
        let before = unmounted([me].into_iter());
        let file = memfd_create("large", MFdFlags::MFD_CLOEXEC).unwrap();
        fs::File::from(file.try_clone().unwrap()).write_all_at(&vec![1; 8 << 20], 0).unwrap();
        let after = unmounted([me, me].into_iter());
        assert!(after >= before + (8 << 20) && after < before + (16 << 20), "{before} {after}");
        let text = "key shmid perms size cpid lpid nattch uid gid cuid cgid atime dtime ctime rss swap\n\
                    0 1 600 9999999 1 1 0 0 0 0 0 0 0 0 8192 4096\n 0 2 600 4096 1 1 0 0 0 0 0 0 0 0 4096 0\nshort\n";
        assert_eq!(read_segments(text), 16384);
        // the host's are not the box's
        assert_eq!(segments([me].into_iter(), ipc_of("self")), 0);
    }
}

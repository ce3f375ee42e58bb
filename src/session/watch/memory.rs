//! How much memory a box takes, from the host's `/proc` (proc(5)): its processes', and its file systems' in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use nix::sys::statvfs::statvfs;
use nix::unistd::{Pid, SysconfVar, sysconf};

/// Bytes of memory that pid 1 of a box, all that comes of it, and files in memory take: what is not more than `enough` is an
/// upper bound, quickly had; more is counted page by page, each page that several share once.
pub(super) fn of(init: Pid, enough: u64) -> u64 {
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().map_or(4096, |size| size as u64);
    let processes = descendants(init);
    let files = processes.iter().skip(1).find_map(|(pid, _)| in_files(*pid)).unwrap_or(0);
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
    let mounts = |whose: &str| fs::read_to_string(format!("/proc/{whose}/mountinfo")).ok();
    let (host, own) = (mounts("self")?, mounts(&pid.to_string())?);
    let mut seen: BTreeSet<&str> = in_memory(&host).map(|(device, _)| device).collect();
    let new: Vec<&str> =
        in_memory(&own).filter(|(device, _)| seen.insert(device)).map(|(_, at)| at).collect();
    let used =
        |at: &str| statvfs(format!("/proc/{pid}/root{at}").as_str()).map_or(0, |found| super::in_use(&found));
    Some(new.into_iter().map(used).sum())
}

/// Device and place of each file system in memory that `/proc/PID/mountinfo` lists. Places with white space in their names are
/// written otherwise, and not found.
fn in_memory(mounts: &str) -> impl Iterator<Item = (&str, &str)> {
    let fields = mounts.lines().filter_map(|line| line.split_once(" - "));
    fields.filter(|(_, kind)| kind.starts_with("tmpfs ")).filter_map(|(mount, _)| {
        let mut fields = mount.split(' ').skip(2);
        Some((fields.next()?, fields.nth(1)?))
    })
}

/// All processes below `init` and it itself, with the pages each has in memory. Whose parent has ended is a child of the
/// box's pid 1, so that none is missed.
fn descendants(init: Pid) -> Vec<(i32, u64)> {
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
    use super::*;

    #[test]
    fn own_memory_is_seen() {
        assert_eq!(read_stat("7 (a) b) R 3 1 1 0 -1 4 1 0 0 0 0 0 0 0 20 0 1 0 5 1000 42 99"), Some((3, 42)));
        assert_eq!(read_stat("7 (a"), None);
        let me = Pid::this();
        let bound = of(me, u64::MAX);
        let block = vec![1_u8; 32 << 20];
        let (more, exact) = (of(me, u64::MAX), of(me, 0));
        assert!(more >= bound + (24 << 20), "{bound} {more}");
        assert!(exact > block.len() as u64 && exact <= more + (8 << 20), "{exact} {more}");
        assert_eq!(of(Pid::from_raw(i32::MAX), 0), 0);
        // what this process sees itself is not the box's
        assert_eq!(in_files(me.as_raw()), Some(0));
        let text = "1 0 0:5 / /dev rw - tmpfs x rw\n2 1 8:1 / / rw shared:1 - ext4 /dev/a rw\n3 1 0:7 /s /tmp rw a:1 - tmpfs y rw\n";
        assert_eq!(in_memory(text).collect::<Vec<_>>(), [("0:5", "/dev"), ("0:7", "/tmp")]);
    }
}

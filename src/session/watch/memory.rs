//! How much memory a box's processes take, from the host's `/proc` (proc(5)).

use std::collections::BTreeMap;
use std::fs;

use nix::unistd::{Pid, SysconfVar, sysconf};

/// Bytes of memory that pid 1 of a box and all that comes of it take: not more than `enough` is an upper bound, quickly had;
/// more is counted page by page, each page that several share once.
pub(super) fn of(init: Pid, enough: u64) -> u64 {
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().map_or(4096, |size| size as u64);
    let processes = descendants(init);
    let bound = processes.iter().map(|(_, pages)| pages * page).sum();
    if bound <= enough { bound } else { processes.iter().map(|(pid, _)| exactly(*pid)).sum() }
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

/// Bytes of a process's own memory, shared pages in parts. What can't be had by pages is had as a whole.
fn exactly(pid: i32) -> u64 {
    let sum = |file: &str, fields: &[&str]| {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
        let of = |line: &str| {
            let (name, rest) = line.split_once(':')?;
            fields.contains(&name).then(|| rest.trim().trim_end_matches(" kB").parse::<u64>().ok())?
        };
        let found: Vec<u64> = text.lines().filter_map(of).collect();
        (!found.is_empty()).then(|| found.iter().sum::<u64>() << 10)
    };
    sum("smaps_rollup", &["Pss_Anon", "Pss_Shmem", "SwapPss"])
        .or_else(|| sum("status", &["RssAnon", "RssShmem", "VmSwap"]))
        .unwrap_or(0)
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
    }
}

//! What `ids = "full"` needs: subordinate ids and the helpers that may map them.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::{Check, System};
use crate::sys::xattr;

/// As many ids as images use.
const WANTED: u64 = 65_536;
/// Where tools begin to hand out ranges.
const FIRST: u64 = 100_000;
const HELPERS: [&str; 2] = ["newuidmap", "newgidmap"];

/// What one kind of subordinate id is called, and where it is kept.
struct Kind {
    name: &'static str,
    file: &'static str,
    flag: &'static str,
}

const KINDS: [Kind; 2] = [
    Kind { name: "uids", file: "/etc/subuid", flag: "--add-subuids" },
    Kind { name: "gids", file: "/etc/subgid", flag: "--add-subgids" },
];

/// A range for someone, by name or number (subuid(5)).
struct Range<'a> {
    owner: &'a str,
    start: u64,
    count: u64,
}

/// Whether there are subordinate ids for the caller at all, and the helpers that map them.
pub(super) fn are_usable(system: &System) -> bool {
    let owner = Owner::of(system);
    let has = |kind: &Kind| owner.count(&parse(&system.text(kind.file).unwrap_or_default())) > 0;
    KINDS.iter().all(has)
        && HELPERS.iter().all(|name| system.program(name).is_some_and(|path| is_privileged(&path)))
}

/// Reads `/etc/subuid` and `/etc/subgid`.
pub(super) fn ranges(system: &System) -> Check {
    const NAME: &str = "subordinate ids";
    let owner = Owner::of(system);
    let mut found = Vec::new();
    let mut remedy = Vec::new();
    for kind in &KINDS {
        let text = system.text(kind.file).unwrap_or_default();
        let all = parse(&text);
        let count = owner.count(&all);
        found.push(format!("{count} {}", kind.name));
        if count < WANTED {
            let ends = all.iter().map(|range| range.start.saturating_add(range.count));
            let start = ends.max().unwrap_or(FIRST).max(FIRST);
            remedy.push(format!("{} {start}-{}", kind.flag, start.saturating_add(WANTED - 1)));
        }
    }
    let found = found.join(", ");
    if remedy.is_empty() {
        return Check::pass(NAME, found);
    }
    let found = format!("{found}; `ids = \"full\"` wants {WANTED} of each, all else works without");
    Check::warn(NAME, found, format!("sudo usermod {} {}", remedy.join(" "), owner.name))
}

/// Looks for `newuidmap` and `newgidmap` and whether they may do their work.
pub(super) fn helpers(system: &System) -> Check {
    const NAME: &str = "id helpers";
    let mut missing = Vec::new();
    let mut powerless = Vec::new();
    for name in HELPERS {
        match system.program(name) {
            None => missing.push(name),
            Some(path) if !is_privileged(&path) => powerless.push(path.display().to_string()),
            Some(_) => {}
        }
    }
    if !missing.is_empty() {
        let found = format!("{} not found; `ids = \"full\"` needs it", missing.join(", "));
        return Check::warn(NAME, found, "sudo apt-get install uidmap (or your distribution's shadow-utils)");
    }
    if !powerless.is_empty() {
        let found = format!("{} neither setuid root nor with a capability", powerless.join(", "));
        return Check::warn(NAME, found, format!("sudo chmod u+s {}", powerless.join(" ")));
    }
    Check::pass(NAME, "newuidmap and newgidmap are there and privileged")
}

fn is_privileged(path: &Path) -> bool {
    let setuid =
        path.metadata().is_ok_and(|found| found.uid() == 0 && found.permissions().mode() & 0o4000 != 0);
    setuid || xattr::has(path, c"security.capability")
}

/// The caller as the files may call them.
struct Owner {
    name: String,
    id: String,
}

impl Owner {
    fn of(system: &System) -> Self {
        let id = system.uid.to_string();
        Self { name: system.account().map_or_else(|| id.clone(), |account| account.name), id }
    }

    /// How many ids are theirs.
    fn count(&self, ranges: &[Range<'_>]) -> u64 {
        let mine = ranges.iter().filter(|range| range.owner == self.name || range.owner == self.id);
        mine.fold(0, |sum, range| sum.saturating_add(range.count))
    }
}

/// The lines that are ranges; others are nobody's.
fn parse(text: &str) -> Vec<Range<'_>> {
    text.lines().filter_map(range).collect()
}

fn range(line: &str) -> Option<Range<'_>> {
    let mut parts = line.trim().split(':');
    let (owner, start, count) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Range { owner, start: start.parse().ok()?, count: count.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use std::fs;

    #[test]
    fn ranges_by_name_and_number() {
        let both = "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 me";
        for (uids, gids, remedy) in [
            ("me:100000:65536", "1000:100000:65536", None),
            ("me:100000:1\n1000:200000:65535", "me:1:65536", None),
            ("", "", Some(both)),
            ("# junk\nme:x:1\nme", "me:1", Some(both)),
            ("you:100000:65536", "me:100000:65536", Some("usermod --add-subuids 165536-231071 me")),
            ("me:100000:10", "me:100000:65536", Some("usermod --add-subuids 100010-165545 me")),
        ] {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir(root.path().join("etc")).unwrap();
            fs::write(root.path().join("etc/passwd"), "me:x:1000:1000::/home/me:/bin/sh\n").unwrap();
            fs::write(root.path().join("etc/subuid"), uids).unwrap();
            fs::write(root.path().join("etc/subgid"), gids).unwrap();
            let check = ranges(&System::fake(root.path(), 1000));
            assert_eq!(check.remedy.as_deref(), remedy.map(|text| format!("sudo {text}")).as_deref());
            let verdict = if remedy.is_some() { Verdict::Warn } else { Verdict::Pass };
            assert_eq!(check.verdict, verdict);
        }
    }

    #[test]
    fn helpers_need_power() {
        let root = tempfile::tempdir().unwrap();
        let system = System::fake(root.path(), 1000);
        assert!(helpers(&system).found.contains("newuidmap, newgidmap not found"));
        fs::create_dir(root.path().join("bin")).unwrap();
        for name in ["newuidmap", "newgidmap"] {
            let path = root.path().join("bin").join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let check = helpers(&system);
        assert_eq!(check.verdict, Verdict::Warn);
        assert!(check.remedy.unwrap().starts_with("sudo chmod u+s "));
        assert!(!are_usable(&system));
    }
}

//! The folders devbox keeps things in, and the cgroup it was started in.

use std::io;
use std::path::Path;

use super::{Check, System};
use crate::dirs::{self, Dirs};
use crate::limits::Limit;
use nix::sys::statfs::{FsType, statfs};

/// Less than this is soon filled by images.
const LITTLE_SPACE: u64 = 2 << 30;

/// What a kind of file system means for the store.
enum Kind {
    Good(&'static str),
    /// Gone after a reboot.
    Volatile(&'static str),
    /// The kernel takes no upper on it: boxes are copies.
    NoUpper(&'static str),
    Unknown,
}

/// By `f_type` of statfs(2); see `linux/magic.h`.
fn kind(magic: FsType) -> Kind {
    match magic.0 {
        0xef53 => Kind::Good("ext4"),
        0x5846_5342 => Kind::Good("xfs"),
        0x9123_683e => Kind::Good("btrfs"),
        0x2fc1_2fc1 => Kind::Good("zfs"),
        0xf2f5_2010 => Kind::Good("f2fs"),
        0xca45_1a4e => Kind::Good("bcachefs"),
        0x0102_1994 | 0x8584_58f6 => Kind::Volatile("tmpfs"),
        0x6969 => Kind::NoUpper("NFS"),
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => Kind::NoUpper("SMB"),
        0x0102_1997 => Kind::NoUpper("9p"),
        0x794c_7630 => Kind::NoUpper("an overlay, as in a container"),
        0x4d44 | 0x2011_bab0 => Kind::NoUpper("FAT"),
        0x6573_5546 => Kind::NoUpper("FUSE"),
        _ => Kind::Unknown,
    }
}

/// The store's file system: can it carry overlay uppers and user attributes?
pub(super) fn store(store: &Path, try_xattr: &dyn Fn(&Path) -> io::Result<()>) -> Check {
    const NAME: &str = "store";
    const ELSEWHERE: &str = "set XDG_DATA_HOME to a folder on ext4, xfs or btrfs";
    let folder = nearest(store);
    let place = store.display();
    let found = match statfs(folder) {
        Ok(found) => found,
        Err(errno) => return Check::fail(NAME, format!("{place} can't be looked at ({errno})"), ELSEWHERE),
    };
    let mut uppers = true;
    let (name, volatile) = match kind(found.filesystem_type()) {
        Kind::Good(name) => (name.to_owned(), false),
        Kind::Volatile(name) => (name.to_owned(), true),
        Kind::Unknown => (format!("file system {:#x}", found.filesystem_type().0), false),
        Kind::NoUpper(name) => {
            uppers = false;
            (name.to_owned(), false)
        }
    };
    if let Err(error) = try_xattr(folder) {
        let found = format!("{place} is on {name}, which takes no user attributes ({error})");
        return Check::fail(NAME, found, ELSEWHERE);
    }
    if volatile {
        let found = format!("{place} is on {name}: images and boxes are gone after a reboot");
        return Check::warn(NAME, found, ELSEWHERE);
    }
    if !uppers {
        let found = format!("{place} is on {name}, which can't carry an overlay's files");
        return Check::warn(NAME, found, ELSEWHERE);
    }
    Check::pass(NAME, format!("{place} is on {name}, user attributes work"))
}

/// Room left for images and boxes.
pub(super) fn space(store: &Path) -> Check {
    const NAME: &str = "space";
    let Ok(found) = statfs(nearest(store)) else { return Check::pass(NAME, "not known") };
    let free = found.blocks_available().saturating_mul(u64::try_from(found.block_size()).unwrap_or(0));
    let text = format!("{:.1} GiB free", free as f64 / f64::from(1 << 30));
    if free < LITTLE_SPACE {
        Check::warn(NAME, text, "devbox images and devbox ls show what can go: devbox rmi, devbox rm")
    } else {
        Check::pass(NAME, text)
    }
}

/// The folder of sockets: there or makable, and nobody else's business.
pub(super) fn runtime(dirs: &Dirs) -> Check {
    const NAME: &str = "runtime folder";
    let folder = dirs.runtime.as_path();
    let place = folder.display();
    if folder.starts_with(&dirs.cache) {
        let found = format!("XDG_RUNTIME_DIR is unset, {place} is used");
        return Check::warn(NAME, found, "log in through systemd-logind, or set it to a private folder");
    }
    let parent = folder.parent().unwrap_or(folder);
    let existing = if folder.symlink_metadata().is_ok() { folder } else { parent };
    if existing.symlink_metadata().is_err() {
        let found = format!("XDG_RUNTIME_DIR names {}, which is not there", existing.display());
        return Check::fail(NAME, found, "log in through systemd-logind, or unset XDG_RUNTIME_DIR");
    }
    match dirs::ensure_private(existing) {
        Ok(_) => Check::pass(NAME, format!("{place} is private")),
        Err(error) => Check::fail(NAME, error.to_string(), error.hint().unwrap_or_default()),
    }
}

/// Whether boxes can have a cgroup of their own: version 2, with a group that is ours or a systemd that gives one.
pub(super) fn cgroups(system: &System) -> Check {
    const NAME: &str = "cgroups";
    const WATCHED: &str = "memory of boxes is only watched, and processors are limited as a whole";
    if system.text("/sys/fs/cgroup/cgroup.controllers").is_none() {
        let found = format!("version 2 is not mounted: {WATCHED}");
        return Check::warn(NAME, found, "boot with systemd.unified_cgroup_hierarchy=1");
    }
    let (place, limits) = match (system.means().1, system.manager()) {
        (Some(group), _) => (format!("boxes get one in {}", group.folder.display()), group.limits),
        (None, Some((_, limits))) => ("boxes get one from your systemd".to_owned(), limits),
        (None, None) if system.manager_group().is_some() => {
            let found = format!("your systemd could give one, but there is no busctl to ask it: {WATCHED}");
            return Check::warn(
                NAME,
                found,
                "install systemd's busctl, or work in `systemd-run --user --scope $SHELL`",
            );
        }
        (None, None) => {
            let found = format!("version 2, and no group is yours: {WATCHED}");
            return Check::warn(NAME, found, delegate());
        }
    };
    let wanted = [Limit::Memory, Limit::Cpus, Limit::Pids];
    let missing: Vec<_> =
        wanted.iter().filter(|limit| !limits.contains(limit)).map(|limit| limit.word()).collect();
    if missing.is_empty() {
        return Check::pass(NAME, place);
    }
    Check::warn(NAME, format!("{place}, without a hold on {}", missing.join(", ")), delegate())
}

fn delegate() -> &'static str {
    "sudo mkdir -p /etc/systemd/system/user@.service.d && \
     printf '[Service]\\nDelegate=cpu memory pids\\n' | \
     sudo tee /etc/systemd/system/user@.service.d/delegate.conf && sudo systemctl daemon-reload"
}

/// The path in the unified hierarchy (cgroups(7), `/proc/[pid]/cgroup`).
pub(super) fn own_cgroup(text: &str) -> Option<String> {
    text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

/// The folder itself, or the first above it that exists.
pub(super) fn nearest(folder: &Path) -> &Path {
    folder.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    #[test]
    fn file_systems() {
        assert!(matches!(kind(FsType(0x6969)), Kind::NoUpper("NFS")));
        assert!(matches!(kind(FsType(0x0102_1994)), Kind::Volatile("tmpfs")));
        assert!(matches!(kind(FsType(0xef53)), Kind::Good("ext4")));
        let root = tempfile::tempdir().unwrap();
        let missing = root.path().join("a/b");
        assert_eq!(nearest(&missing), root.path());
        let check = store(&missing, &|_| Err(io::Error::from_raw_os_error(libc::ENOTSUP)));
        assert_eq!(check.verdict, Verdict::Fail);
    }

    #[test]
    fn runtime_folder() {
        let root = tempfile::tempdir().unwrap();
        let dirs = |runtime: PathBuf| Dirs {
            home: root.path().into(),
            config: root.path().join("config"),
            data: root.path().join("data"),
            cache: root.path().join("cache"),
            runtime,
        };
        let run = root.path().join("run");
        assert_eq!(runtime(&dirs(run.join("devbox"))).verdict, Verdict::Fail);
        fs::create_dir(&run).unwrap();
        assert_eq!(runtime(&dirs(run.join("devbox"))).verdict, Verdict::Pass);
        assert!(!run.join("devbox").exists(), "a check makes nothing");
        fs::set_permissions(&run, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(runtime(&dirs(run.join("devbox"))).verdict, Verdict::Fail);
        assert_eq!(runtime(&dirs(root.path().join("cache/run"))).verdict, Verdict::Warn);
    }

    #[test]
    fn delegation() {
        let root = tempfile::tempdir().unwrap();
        let system = System::fake(root.path(), 1000);
        assert!(cgroups(&system).found.contains("not mounted"));
        let make = |group: &Path| {
            fs::create_dir_all(group).unwrap();
            for file in ["cgroup.procs", "cgroup.subtree_control"] {
                fs::write(group.join(file), "").unwrap();
            }
        };
        let group = root.path().join("sys/fs/cgroup/box");
        fs::create_dir_all(root.path().join("proc/self")).unwrap();
        fs::create_dir_all(&group).unwrap();
        fs::write(root.path().join("sys/fs/cgroup/cgroup.controllers"), "cpu memory pids").unwrap();
        fs::write(root.path().join("proc/self/cgroup"), "1:name=x:/y\n0::/box\n").unwrap();
        assert!(cgroups(&system).found.contains("no group is yours"));
        let manager = root.path().join("sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service");
        make(&manager);
        fs::write(manager.join("cgroup.controllers"), "cpu memory pids").unwrap();
        assert!(cgroups(&system).found.contains("no busctl"));
        fs::create_dir(root.path().join("bin")).unwrap();
        fs::write(root.path().join("bin/busctl"), "").unwrap();
        fs::set_permissions(root.path().join("bin/busctl"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(cgroups(&system), Check::pass("cgroups", "boxes get one from your systemd"));
        make(&group);
        fs::write(group.join("cgroup.controllers"), "memory pids").unwrap();
        assert!(cgroups(&system).found.contains("without a hold on cpus"));
        fs::write(group.join("cgroup.controllers"), "cpuset cpu io memory pids").unwrap();
        assert_eq!(cgroups(&system).verdict, Verdict::Pass);
    }
}

//! What the kernel grants: user namespaces, overlay, fuse.

use std::io;

use super::{Check, System, Verdict};

/// The first kernel that mounts an overlay inside a user namespace as boxes need it (`userxattr`).
const OLDEST: (u32, u32) = (5, 11);

/// A profile for one program instead of the switch for all of them.
const APPARMOR: &str = "printf 'abi <abi/4.0>,\\nprofile devbox %s flags=(unconfined) { userns, }\\n' \
                        \"$(command -v devbox)\" | sudo tee /etc/apparmor.d/devbox && \
                        sudo apparmor_parser -r /etc/apparmor.d/devbox";

/// Reads the outcome of a real try together with the switches that could explain it.
pub(super) fn user_namespaces(system: &System, tried: &io::Result<()>) -> Check {
    const NAME: &str = "user namespaces";
    let Err(error) = tried else { return Check::pass(NAME, "one was made") };
    let because = |reason: &str| format!("none can be made: {reason}");
    if system.control("user.max_user_namespaces") == Some(0) {
        let remedy = "sudo sysctl -w user.max_user_namespaces=15000";
        return Check::fail(NAME, because("`user.max_user_namespaces` is 0"), remedy);
    }
    if system.control("kernel.unprivileged_userns_clone") == Some(0) {
        let remedy = "sudo sysctl -w kernel.unprivileged_userns_clone=1";
        return Check::fail(NAME, because("`kernel.unprivileged_userns_clone` is 0"), remedy);
    }
    if system.control("kernel.apparmor_restrict_unprivileged_userns") == Some(1) {
        let reason = "AppArmor grants them only to programs with a profile";
        return Check::fail(NAME, because(reason), APPARMOR);
    }
    if !system.path("/proc/self/ns/user").exists() {
        let remedy = "boot a kernel built with CONFIG_USER_NS";
        return Check::fail(NAME, because("this kernel was built without them"), remedy);
    }
    let reason = format!("a container, a chroot or a security policy around this shell forbids it ({error})");
    Check::fail(NAME, because(&reason), "run devbox outside of it, or allow `unshare` and `mount` there")
}

/// `tried` is none when there was no namespace to try in.
pub(super) fn overlay(system: &System, tried: Option<io::Result<()>>) -> Check {
    const NAME: &str = "overlay";
    let release = system.release();
    match tried {
        None => Check::warn(NAME, "not tried for want of a user namespace", "mend user namespaces first"),
        Some(Ok(())) => Check::pass(NAME, format!("one was mounted; Linux {release}")),
        Some(Err(error)) if system.kernel().is_some_and(|kernel| kernel < OLDEST) => {
            let found = format!("Linux {release} mounts none for users ({error})");
            Check::warn(NAME, found, "boot Linux 5.11 or later")
        }
        Some(Err(error)) => {
            let listed = system.text("/proc/filesystems").is_some_and(|text| {
                text.lines().any(|line| line.split_whitespace().next_back() == Some("overlay"))
            });
            if listed {
                let remedy = "set XDG_DATA_HOME to a folder on ext4, xfs or btrfs";
                Check::warn(NAME, format!("the store's file system can't carry one ({error})"), remedy)
            } else {
                let remedy =
                    "sudo modprobe overlay && echo overlay | sudo tee /etc/modules-load.d/overlay.conf";
                Check::warn(NAME, format!("the kernel module is not loaded ({error})"), remedy)
            }
        }
    }
}

/// What the driver `fuse` needs; of no weight where overlay works.
pub(super) fn fuse(system: &System, overlay_works: bool, tried: Option<&io::Result<()>>) -> Check {
    const NAME: &str = "fuse";
    let device = match tried {
        None => "/dev/fuse was not tried".to_owned(),
        Some(Ok(())) => "/dev/fuse can be mounted".to_owned(),
        Some(Err(error)) => format!("/dev/fuse can't be mounted ({error})"),
    };
    let program = system.program("fuse-overlayfs");
    let found = match &program {
        Some(path) => format!("{device}, {} serves it", path.display()),
        None => format!("{device}, fuse-overlayfs is not installed"),
    };
    match (tried, program) {
        _ if overlay_works => Check::pass(NAME, format!("not needed, overlay works; {found}")),
        (Some(Ok(())), Some(_)) => Check::pass(NAME, found),
        (Some(Ok(())), None) => Check::warn(NAME, found, "sudo apt-get install fuse-overlayfs"),
        (_, _) => Check::warn(NAME, found, "sudo modprobe fuse && sudo chmod 666 /dev/fuse"),
    }
}

/// The second wall of untrusted boxes: its version, when it is of use.
pub(super) fn landlock(version: Option<u32>) -> Check {
    const NAME: &str = "landlock";
    match version {
        Some(version) => {
            Check::pass(NAME, format!("version {version}, a second wall around untrusted boxes"))
        }
        None => Check::warn(
            NAME,
            "none of use, so untrusted boxes do without a second wall",
            "boot Linux 5.19 or later with `landlock` among the kernel's lsm= modules",
        ),
    }
}

/// Which driver new boxes get, and what follows from it.
pub(super) fn driver(userns: &Check, overlay: &Check, fuse: &Check) -> Check {
    const NAME: &str = "driver";
    let works = |check: &Check| check.verdict == Verdict::Pass;
    if !works(userns) {
        return Check::fail(NAME, "none can be had without user namespaces", "mend user namespaces first");
    }
    if works(overlay) {
        return Check::pass(NAME, "overlay, at the speed of the file system below");
    }
    if works(fuse) {
        let found = "fuse: work on many small files takes several times as long as with overlay";
        return Check::warn(NAME, found, "mend overlay");
    }
    let found = "copy: each box takes as much room as its image, and as long to make as that takes to copy";
    Check::warn(NAME, found, "mend overlay, or else fuse")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, System) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let system = System::fake(root.path(), 1000);
        (root, system)
    }

    fn denied() -> io::Error {
        io::Error::from_raw_os_error(libc::EPERM)
    }

    #[test]
    fn forbidden_namespaces_name_their_switch() {
        let namespaces = ("proc/self/ns/user", "");
        for (files, found, remedy) in [
            (vec![("proc/sys/user/max_user_namespaces", "0\n")], "max_user_namespaces", "sysctl -w user.max"),
            (
                vec![("proc/sys/kernel/unprivileged_userns_clone", "0\n")],
                "unprivileged_userns_clone",
                "kernel.unprivileged_userns_clone=1",
            ),
            (
                vec![("proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n")],
                "AppArmor",
                "apparmor_parser",
            ),
            (vec![], "built without", "CONFIG_USER_NS"),
            (vec![namespaces], "container", "outside"),
        ] {
            let (_root, system) = host(&files);
            let check = user_namespaces(&system, &Err(denied()));
            assert_eq!(check.verdict, Verdict::Fail);
            assert!(check.found.contains(found), "{check:?}");
            assert!(check.remedy.as_ref().unwrap().contains(remedy), "{check:?}");
            assert_eq!(user_namespaces(&system, &Ok(())).verdict, Verdict::Pass);
        }
    }

    #[test]
    fn overlay_needs_kernel_module_and_file_system() {
        let new = ("proc/sys/kernel/osrelease", "6.1.0-21-amd64\n");
        let listed = ("proc/filesystems", "nodev\tsysfs\nnodev\toverlay\n\text4\n");
        for (files, tried, verdict, remedy) in [
            (vec![new], Some(Ok(())), Verdict::Pass, None),
            (
                vec![("proc/sys/kernel/osrelease", "5.10.0\n")],
                Some(Err(denied())),
                Verdict::Warn,
                Some("5.11"),
            ),
            // some distributions made it work earlier
            (vec![("proc/sys/kernel/osrelease", "5.10.0\n")], Some(Ok(())), Verdict::Pass, None),
            (vec![new], Some(Err(denied())), Verdict::Warn, Some("modprobe")),
            (vec![new, listed], Some(Err(denied())), Verdict::Warn, Some("XDG_DATA_HOME")),
            (vec![new, listed], None, Verdict::Warn, Some("first")),
        ] {
            let (_root, system) = host(&files);
            let check = overlay(&system, tried);
            assert_eq!(check.verdict, verdict, "{check:?}");
            assert_eq!(check.remedy.is_some(), remedy.is_some());
            assert!(check.remedy.unwrap_or_default().contains(remedy.unwrap_or_default()));
        }
    }

    #[test]
    fn fuse_counts_where_overlay_does_not_work() {
        let (root, system) = host(&[]);
        let found = |overlay, tried: io::Result<()>| fuse(&system, overlay, Some(&tried));
        assert_eq!(found(true, Err(denied())).verdict, Verdict::Pass);
        assert!(found(false, Ok(())).remedy.unwrap().contains("fuse-overlayfs"));
        let program = root.path().join("bin/fuse-overlayfs");
        std::fs::create_dir_all(program.parent().unwrap()).unwrap();
        std::fs::write(&program, "").unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(found(false, Ok(())).verdict, Verdict::Pass);
        assert!(found(false, Err(denied())).remedy.unwrap().contains("/dev/fuse"));
    }

    #[test]
    fn the_best_driver_is_named() {
        let good = || Check::pass("x", "");
        let bad = || Check::warn("x", "", "");
        for (checks, verdict, word) in [
            ([bad(), good(), good()], Verdict::Fail, "none"),
            ([good(), good(), bad()], Verdict::Pass, "overlay"),
            ([good(), bad(), good()], Verdict::Warn, "fuse"),
            ([good(), bad(), bad()], Verdict::Warn, "copy"),
        ] {
            let check = driver(&checks[0], &checks[1], &checks[2]);
            assert_eq!(check.verdict, verdict);
            assert!(check.found.starts_with(word), "{check:?}");
        }
    }
}

//! What the kernel grants: user namespaces, overlay, fuse.

use std::fs::OpenOptions;
use std::io;

use super::{Check, System};

/// The first kernel boxes start on: 5.11 mounts overlay inside a user namespace, 5.12 has `mount_setattr(2)`.
const OLDEST: (u32, u32) = (5, 12);

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
    if system.kernel().is_some_and(|kernel| kernel < OLDEST) {
        let found = format!("Linux {release} is too old: boxes need what 5.12 brought (`mount_setattr`)");
        return Check::fail(NAME, found, "boot Linux 5.12 or later");
    }
    match tried {
        None => Check::warn(NAME, "not tried for want of a user namespace", "mend user namespaces first"),
        Some(Ok(())) => Check::pass(NAME, format!("one was mounted; Linux {release}")),
        Some(Err(error)) => {
            let listed = system.text("/proc/filesystems").is_some_and(|text| {
                text.lines().any(|line| line.split_whitespace().next_back() == Some("overlay"))
            });
            if listed {
                let remedy = "set XDG_DATA_HOME to a folder on ext4, xfs or btrfs";
                Check::fail(NAME, format!("the store's file system can't carry one ({error})"), remedy)
            } else {
                let remedy =
                    "sudo modprobe overlay && echo overlay | sudo tee /etc/modules-load.d/overlay.conf";
                Check::fail(NAME, format!("the kernel module is not loaded ({error})"), remedy)
            }
        }
    }
}

/// For information: boxes start with the kernel's overlay alone.
pub(super) fn fuse(system: &System, overlay_works: bool) -> Check {
    const NAME: &str = "fuse";
    let device = OpenOptions::new().read(true).write(true).open(system.path("/dev/fuse"));
    let device = match device {
        Ok(_) => "/dev/fuse opens".to_owned(),
        Err(error) => format!("/dev/fuse does not open ({error})"),
    };
    let program = match system.program("fuse-overlayfs") {
        Some(path) => format!("fuse-overlayfs is {}", path.display()),
        None => "fuse-overlayfs is not installed".to_owned(),
    };
    if overlay_works {
        Check::pass(NAME, format!("not needed, overlay works; {device}, {program}"))
    } else {
        let remedy = "mend overlay: this version of devbox uses no other driver";
        Check::warn(NAME, format!("{device}, {program}"), remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
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
            // one that mounts overlay for users is too old all the same
            (vec![("proc/sys/kernel/osrelease", "5.11.22\n")], Some(Ok(())), Verdict::Fail, Some("5.12")),
            (vec![("proc/sys/kernel/osrelease", "5.12.0\n")], Some(Ok(())), Verdict::Pass, None),
            (vec![new], Some(Err(denied())), Verdict::Fail, Some("modprobe")),
            (vec![new, listed], Some(Err(denied())), Verdict::Fail, Some("XDG_DATA_HOME")),
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
    fn fuse_never_fails() {
        let (_root, system) = host(&[("dev/fuse", "")]);
        let check = fuse(&system, true);
        assert_eq!(check.verdict, Verdict::Pass);
        assert!(check.found.contains("/dev/fuse opens, fuse-overlayfs is not installed"), "{check:?}");
        assert_eq!(fuse(&system, false).verdict, Verdict::Warn);
    }
}

//! Every package manager works for a root of one id: `demo`, a package of each, comes with a system user, a setgid
//! file, a file with a capability and a script that hands a folder over.
//!
//! One image has all managers, and tiny repositories are made in a box of it by the managers' own tools.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};

use devbox::sys::xattr;

use crate::harness::registry::Registry;
use crate::harness::{Image, Packing, Test, host};

/// What the tests share: an image that is unpacked once, and the repositories.
struct Place {
    test: Test,
    image: String,
    repo: String,
}

impl Place {
    /// The one there is, or a new one.
    fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Place>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let place = Arc::new(Self::make());
            *shared = Arc::downgrade(&place);
            place
        })
    }

    fn make() -> Self {
        let test = Test::new();
        let tar = fs::read(host::managers_tar().unwrap()).unwrap();
        let image = Registry::open().push("managers:1", &Image::empty().tar(tar, Packing::Zstd));
        let repo = test.path("repo");
        fs::create_dir(&repo).unwrap();
        let repo = format!("{}:/repo", repo.display());
        let place = Self { test, image, repo };
        let make = include_str!("packages/make");
        place.run("maker", &["--root", "--", "bash", "-c", make, "make", "deb", "rpm"]);
        place.run("maker", &["--", "bash", "-c", make, "make", "pacman"]);
        place.test.devbox(["rm", "maker"]).output().ok();
        place
    }

    fn run(&self, name: &str, words: &[&str]) -> String {
        let first = ["run", "--image", &self.image, "--name", name, "-v", &self.repo];
        self.test.devbox([&first, words].concat()).output().ok().text()
    }

    /// Installs and removes by two command lines, once as a root from the door and once by `sudo`.
    fn installs(&self, name: &str, set_up: &str, install: &str, remove: &str) {
        self.installs_as(&format!("{name}-root"), "", &["--root"], [set_up, install, remove]);
        self.installs_as(&format!("{name}-sudo"), "sudo", &[], [set_up, install, remove]);
    }

    fn installs_as(&self, name: &str, sudo: &str, root: &[&str], [set_up, install, remove]: [&str; 3]) {
        let sh = |script: &str| self.run(name, &[root, &["--", "bash", "-ec", script]].concat());
        let found = sh(&format!(
            "export DEBIAN_FRONTEND=noninteractive
             {sudo} bash -ec '{set_up}' >&2
             {sudo} {install} >&2
             stat -c '%a %n' /usr/bin/demo-sgid /usr/bin/demo-cap; demo-sgid
             getcap /usr/bin/demo-cap
             id -u demo; getent group demo | cut -d: -f3"
        ));
        let lines: Vec<&str> = found.lines().collect();
        let [sgid, cap, runs, capability, uid, gid] = lines[..] else { panic!("{name}: {found}") };
        assert_eq!([sgid, cap, runs], ["2755 /usr/bin/demo-sgid", "755 /usr/bin/demo-cap", "demo"], "{name}");
        assert_eq!(capability, "/usr/bin/demo-cap cap_net_raw=ep", "{name}");
        assert_eq!(self.recorded(name, "var/lib/demo"), format!("{uid}:{gid}"), "{name}");
        let owner = self.recorded(name, "usr/bin/demo-sgid");
        assert!([format!("0:{gid}"), format!("-1:{gid}")].contains(&owner), "{name}: {owner}");
        let left = sh(&format!(
            "export DEBIAN_FRONTEND=noninteractive
             {sudo} {remove} >&2
             ls -d /usr/bin/demo* /var/lib/demo 2>/dev/null || true; getent passwd demo || true"
        ));
        assert_eq!(left, "", "{name}");
        self.test.devbox(["rm", name]).output().ok();
    }

    fn recorded(&self, name: &str, path: &str) -> String {
        let path: PathBuf = self.test.path(&format!("data/devbox/boxes/{name}/upper/{path}"));
        String::from_utf8(xattr::get(&path, c"user.devbox.owner").unwrap().unwrap_or_default()).unwrap()
    }
}

#[test]
fn apt() {
    needs!(boxes, managers);
    Place::shared().installs(
        "apt",
        "rm -rf /etc/apt/sources.list*; echo deb [trusted=yes] file:/repo/deb ./ >/etc/apt/sources.list; apt-get -q update",
        "apt-get -y -q install demo",
        "apt-get -y -q remove demo",
    );
}

#[test]
fn rpm() {
    needs!(boxes, managers);
    let repo = "/repo/rpm";
    Place::shared().installs(
        "rpm",
        "true",
        &format!("rpm -i {repo}/base-1-1.x86_64.rpm {repo}/demo-1-1.x86_64.rpm")
            .replace("x86_64", std::env::consts::ARCH),
        "rpm -e demo",
    );
}

/// A repository for the managers of rpm.
const RPM_REPO: &str = "printf \"[tiny]\\nname=tiny\\nbaseurl=file:///repo/rpm\\ngpgcheck=0\\nenabled=1\\n\"";

#[test]
fn dnf() {
    needs!(boxes, managers);
    Place::shared().installs(
        "dnf",
        &format!("mkdir -p /etc/yum.repos.d; {RPM_REPO} >/etc/yum.repos.d/tiny.repo"),
        "dnf -y --releasever 1 install demo",
        "dnf -y --releasever 1 --noautoremove remove demo",
    );
}

#[test]
fn zypper() {
    needs!(boxes, managers);
    Place::shared().installs(
        "zypper",
        &format!("mkdir -p /etc/zypp/repos.d; {RPM_REPO} >/etc/zypp/repos.d/tiny.repo"),
        "zypper -n --no-gpg-checks install demo",
        "zypper -n remove demo",
    );
}

/// Arch's own settings: downloads by a user of their own, and a look at the space first.
#[test]
fn pacman() {
    needs!(boxes, managers);
    Place::shared().installs(
        "pacman",
        "useradd -r alpm; printf \"[options]\\nArchitecture = auto\\nCheckSpace\\nDownloadUser = alpm\\n\
         [tiny]\\nSigLevel = Never\\nServer = file:///repo/pacman\\n\" >/etc/pacman.conf",
        "pacman --noconfirm -Sy demo",
        "pacman --noconfirm -Rn demo",
    );
}

//! A Debian box whose user becomes root with nothing on the host but user namespaces, and installs packages.

use crate::harness::image::Packing;
use crate::harness::registry::Registry;
use crate::harness::{Image, Test, host};

const PACKAGES: &str = "cron openssh-client man-db";

/// A test with the Debian image, and flags that hand it the host's proxies.
fn debian() -> (Test, Vec<String>) {
    let tar = std::fs::read(host::debian_tar().unwrap()).unwrap();
    let reference = Registry::open().push("debian:1", &Image::empty().tar(tar, Packing::Zstd));
    let flags =
        host::proxies().into_iter().flat_map(|(name, value)| ["-e".into(), format!("{name}={value}")]);
    (Test::of_image(&reference), flags.collect())
}

fn installs(sudo: &str, root: &[&str]) {
    let (test, proxies) = debian();
    let script = format!(
        "set -e; export DEBIAN_FRONTEND=noninteractive; {sudo} apt-get update -q; {sudo} apt-get install -y -q {PACKAGES}; \
         dpkg --audit; dpkg-query -W -f '${{db:Status-Abbrev}}\\n' {PACKAGES}"
    );
    let proxies: Vec<_> = proxies.iter().map(String::as_str).collect();
    let args = [&["run"], root, &proxies, &["--", "bash", "-c", &script]].concat();
    let said = test.devbox(args).output().ok();
    assert!(said.text().trim_end().ends_with("ii \nii \nii"), "{said}");
    test.sh("man --version >/dev/null && ssh -V 2>/dev/null && echo there").ok().prints("there");
}

#[test]
fn sudo_apt_get_install() {
    needs!(boxes, images, debian, mirror);
    installs("sudo -E", &[]);
}

#[test]
fn apt_get_install_as_root() {
    needs!(boxes, images, debian, mirror);
    installs("", &["--root"]);
}

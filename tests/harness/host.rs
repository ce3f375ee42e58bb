//! What this machine can do, and honest skipping: a test that can't run says why, is counted, and fails under
//! `DEVBOX_TESTS_MUST_RUN=1`.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::{env, thread};

use nix::unistd::{Uid, User};

/// Leaves the test, saying why, unless this machine has everything named: `needs!(boxes, images)`.
macro_rules! needs {
    ($($what:ident),+) => {
        $(if let Err(reason) = $crate::harness::host::$what() {
            return $crate::harness::host::skip(&reason);
        })+
    };
}

type Probe = Result<(), String>;

/// Writes the skip down for `tests/run` to count.
pub fn skip(reason: &str) {
    let name = thread::current().name().unwrap_or("?").to_owned();
    assert!(env::var_os("DEVBOX_TESTS_MUST_RUN").is_none_or(|value| value != "1"), "must run, but {reason}");
    eprintln!("SKIP {name}: {reason}");
    if let Some(list) = env::var_os("DEVBOX_TESTS_SKIPS") {
        let mut list = OpenOptions::new().append(true).create(true).open(list).unwrap();
        writeln!(list, "{name}: {reason}").unwrap();
    }
}

/// User namespaces with overlay in them.
pub fn boxes() -> Probe {
    static PROBE: OnceLock<Probe> = OnceLock::new();
    PROBE
        .get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let script = "cd \"$0\" && mkdir l u w m && mount -t overlay -o lowerdir=l,upperdir=u,workdir=w,userxattr overlay m";
            let unshare = Command::new("unshare").args(["-Urm", "sh", "-c", script]).arg(folder.path()).output();
            let _ = fs::remove_dir(folder.path().join("w/work"));
            match unshare {
                Ok(done) if done.status.success() => Ok(()),
                Ok(done) => Err(format!(
                    "no overlay in a user namespace here ({})",
                    String::from_utf8_lossy(&done.stderr).trim()
                )),
                Err(error) => Err(format!("unshare: {error}")),
            }
        })
        .clone()
}

/// What `harness::probes` is built with.
pub fn compiler() -> Probe {
    super::probes::compiler()
}

/// fuse-overlayfs, and a device it may open.
pub fn fuse() -> Probe {
    program("fuse-overlayfs", "fuse-overlayfs")?;
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse");
    device.map(drop).map_err(|error| format!("/dev/fuse: {error}"))
}

/// All commands run as on an older kernel.
pub fn hides() -> bool {
    env::var("DEVBOX_TESTS_HIDE").is_ok_and(|value| value == "1")
}

/// A registry, and a busybox to make images from.
pub fn images() -> Probe {
    program("docker-registry", "docker-registry")?;
    busybox_and_applets().map(drop)
}

/// A static busybox and the paths of its links.
pub fn busybox_and_applets() -> Result<(PathBuf, Vec<String>), String> {
    let path = which::which("busybox").map_err(|_| missing("busybox", "busybox-static"))?;
    let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    if bytes.windows(9).any(|window| window == b"/ld-linux") {
        return Err(format!("{} is not static (Debian: busybox-static)", path.display()));
    }
    let list = Command::new(&path).arg("--list-full").output().map_err(|error| error.to_string())?;
    Ok((path, String::from_utf8_lossy(&list.stdout).lines().map(str::to_owned).collect()))
}

/// Subordinate ids for the caller, and the helpers that map them.
pub fn subids() -> Probe {
    if hides() {
        return Err("the filter that imitates an older kernel keeps set-id programs from working".into());
    }
    program("newuidmap", "uidmap")?;
    program("newgidmap", "uidmap")?;
    for file in ["/etc/subuid", "/etc/subgid"] {
        let ranges = fs::read_to_string(file).unwrap_or_default();
        let mine = |line: &str| {
            line.starts_with(&format!("{}:", me())) || line.starts_with(&format!("{}:", Uid::current()))
        };
        if !ranges.lines().any(mine) {
            return Err(format!("{file} has no range for {}", me()));
        }
    }
    Ok(())
}

/// The driver all boxes of this run have, when `tests/run` named one.
pub fn driver() -> Option<String> {
    env::var("DEVBOX_TESTS_DRIVER").ok().filter(|driver| !driver.is_empty())
}

/// What makes sense only for an ordinary user: `tests/run` runs everything as one and as root, and says so.
pub fn left_to_the_user() -> bool {
    Uid::current().is_root() && env::var_os("DEVBOX_TESTS_BOTH").is_some()
}

pub fn skopeo() -> Probe {
    program("skopeo", "skopeo")
}

pub fn umoci() -> Probe {
    program("umoci", "umoci")
}

pub fn podman() -> Probe {
    program("podman", "podman")
}

pub fn ssh() -> Probe {
    program("ssh-agent", "openssh-client")
}

pub fn strace() -> Probe {
    program("strace", "strace")
}

pub fn ip() -> Probe {
    program("ip", "iproute2")
}

/// What leads out of a network namespace without rights.
pub fn way_out() -> Probe {
    program("pasta", "passt").or_else(|_| program("slirp4netns", "slirp4netns"))?;
    let tun = OpenOptions::new().read(true).write(true).open("/dev/net/tun");
    tun.map(drop).map_err(|error| format!("/dev/net/tun can't be opened ({error})"))
}

/// A shell that is called as its package.
pub fn shell(name: &str) -> Probe {
    program(name, name)
}

pub fn bash() -> Probe {
    program("bash", "bash")
}

/// The Debian image that `tests/run` made.
pub fn debian() -> Probe {
    debian_tar().map(drop)
}

/// The tar of a Debian root, made by `tests/run`.
pub fn debian_tar() -> Result<PathBuf, String> {
    match env::var_os("DEVBOX_TESTS_DEBIAN").map(PathBuf::from) {
        Some(path) if path.exists() => Ok(path),
        _ => Err("no Debian image (DEVBOX_TESTS_DEBIAN; `tests/run` makes it with mmdebstrap)".into()),
    }
}

/// The image with every package manager that `tests/run` made.
pub fn managers() -> Probe {
    managers_tar().map(drop)
}

/// The tar of such a root, made by `tests/run`.
pub fn managers_tar() -> Result<PathBuf, String> {
    match env::var_os("DEVBOX_TESTS_MANAGERS").map(PathBuf::from) {
        Some(path) if path.exists() => Ok(path),
        _ => Err(
            "no image with package managers (DEVBOX_TESTS_MANAGERS; `tests/run` makes it with mmdebstrap)"
                .into(),
        ),
    }
}

/// Debian's package mirror answers.
pub fn mirror() -> Probe {
    let proxy = proxies().into_iter().find(|(name, _)| name.eq_ignore_ascii_case("http_proxy"));
    let target = match &proxy {
        Some((_, url)) => url.trim_start_matches("http://").trim_end_matches('/').to_owned(),
        None => "deb.debian.org:80".to_owned(),
    };
    let url = "http://deb.debian.org/debian/dists/stable/Release";
    match super::http::request(&target, "HEAD", url, &[], &[]) {
        Ok(answer) if answer.status < 400 => Ok(()),
        Ok(answer) => Err(format!("deb.debian.org answers {}", answer.status)),
        Err(error) => Err(format!("deb.debian.org: {error}")),
    }
}

/// The caller's proxy variables.
pub fn proxies() -> Vec<(String, String)> {
    ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "no_proxy"]
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), env::var(name).ok()?)))
        .collect()
}

/// The project's sources: where they were when the tests were built, or where `tests/run` put a copy.
pub fn source() -> PathBuf {
    env::var_os("DEVBOX_TESTS_SOURCE").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

/// The caller's name.
pub fn me() -> String {
    User::from_uid(Uid::current()).ok().flatten().map_or_else(|| Uid::current().to_string(), |user| user.name)
}

/// Pids of processes with `marker` among their arguments, but for tests' own.
pub fn processes(marker: &str) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            let line = fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).unwrap_or_default();
            line.windows(marker.len()).any(|window| window == marker.as_bytes())
        })
        .collect()
}

/// Some mount of this namespace lies below `root`.
pub fn mounted_below(root: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').nth(4).is_some_and(|at| Path::new(at).starts_with(root)))
}

fn program(name: &str, package: &str) -> Probe {
    which::which(name).map(drop).map_err(|_| missing(name, package))
}

fn missing(name: &str, package: &str) -> String {
    format!("{name} is not installed (Debian: {package})")
}

/// Whether a command, given with its arguments, succeeds silently.
pub fn works(command: &[&str]) -> bool {
    let mut call = Command::new(command[0]);
    call.args(&command[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    call.status().is_ok_and(|status| status.success())
}

//! A scope of the user's systemd (org.freedesktop.systemd1(5), systemd.scope(5)): where this shell's own cgroup is another's, as
//! after a login by ssh, systemd moves this process into one that is the user's.
//!
//! ```text
//!  user@UID.service/…/devbox-PID.scope    delegated to us, without processes of its own
//!  ├ main                                 this process
//!  └ devbox-NAME                          the box (`cgroup`)
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Where the hierarchy is mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// How long systemd may take to move us, once it said that it will.
const PATIENCE: Duration = Duration::from_secs(5);

/// Moves this process into a scope of its own with the help of `busctl` (busctl(1)). Returns when it is there and groups can be
/// made beside it; the scope ends with its last process.
pub fn enter(busctl: &Path) -> io::Result<()> {
    let pid = std::process::id().to_string();
    let unit = format!("devbox-{pid}.scope");
    let output = Command::new(busctl)
        .args(["--user", "--quiet", "--timeout=5", "call"])
        .args(["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"])
        .args(["StartTransientUnit", "ssa(sv)a(sa(sv))", &unit, "fail"])
        .args(["3", "PIDs", "au", "1", &pid, "Delegate", "b", "true"])
        .args(["CollectMode", "s", "inactive-or-failed", "0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()?;
    if !output.status.success() {
        return Err(io::Error::other(
            String::from_utf8_lossy(&output.stderr).trim().escape_debug().to_string(),
        ));
    }
    let began = Instant::now();
    let scope = loop {
        let own = own()?;
        if own.file_name().is_some_and(|name| name == unit.as_str()) {
            break own;
        }
        if began.elapsed() > PATIENCE {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    // only a group without processes hands its controllers down
    let main = scope.join("main");
    fs::create_dir(&main)?;
    fs::write(main.join("cgroup.procs"), pid)
}

fn own() -> io::Result<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup")?;
    let own = text.lines().find_map(|line| line.strip_prefix("0::/"));
    Ok(Path::new(ROOT).join(own.unwrap_or_default()))
}

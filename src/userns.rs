//! User namespaces with more than one id: the set-id helpers of shadow, and work done as root of such a namespace.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::CloneFlags;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::idmap::{IdMap, IdMaps};
use crate::sys::process::{self, Clone};

/// Where helpers are looked for: not in the caller's PATH, for they have privileges.
const PATH: &str = "/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin:/run/wrappers/bin";

/// Why there is no such namespace.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused new namespaces.
    #[error("this host does not let you make user namespaces")]
    Namespaces(#[source] Errno),
    /// newuidmap or newgidmap is missing.
    #[error("`{0}` is not installed, and the box wants more than one id")]
    NoHelper(&'static str),
    /// newuidmap or newgidmap refused.
    #[error("{helper} refused the id map: {}", .said.trim().escape_debug())]
    Helper {
        /// Which one.
        helper: &'static str,
        /// Its own words.
        said: String,
    },
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            // user_namespaces(7): the limit of this or an outer namespace.
            Self::Namespaces(Errno::ENOSPC | Errno::EUSERS) => {
                "`sudo sysctl user.max_user_namespaces=15000` allows more; `devbox doctor` checks the rest"
                    .into()
            }
            Self::Namespaces(_) => {
                "`devbox doctor` tells which setting forbids it and the command that allows it".into()
            }
            Self::NoHelper(_) => {
                "install the package `uidmap` (or `shadow-utils`), or set `ids = \"single\"`".into()
            }
            Self::Helper { .. } => {
                "see `/etc/subuid` and `/etc/subgid` with `devbox doctor`, or set `ids = \"single\"`".into()
            }
        })
    }
}

/// newuidmap(1) and newgidmap(1) with their maps, found before anything is cloned.
pub struct Helpers([Helper; 2]);

struct Helper {
    name: &'static str,
    path: PathBuf,
    arguments: Vec<String>,
}

impl Helpers {
    /// Finds both.
    pub fn find(uids: &[IdMap], gids: &[IdMap]) -> Result<Self, Error> {
        Ok(Self([Helper::find("newuidmap", uids)?, Helper::find("newgidmap", gids)?]))
    }

    /// Writes the maps of `pid`, which waits for it. Both helpers side by side: each costs about a millisecond.
    pub fn write(&self, pid: Pid) -> Result<(), Error> {
        let spawned = self.0.each_ref().map(|helper| (helper.name, helper.spawn(pid)));
        for (helper, child) in spawned {
            let failed = |said: String| Error::Helper { helper, said };
            let output =
                child.and_then(Child::wait_with_output).map_err(|error| failed(error.to_string()))?;
            if !output.status.success() {
                return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
            }
        }
        Ok(())
    }
}

impl Helper {
    fn find(name: &'static str, maps: &[IdMap]) -> Result<Self, Error> {
        let found = which::which_in_global(name, Some(PATH)).ok().and_then(|mut found| found.next());
        let ids = maps.iter().flat_map(|map| [map.container_id, map.host_id, map.size]);
        Ok(Self {
            name,
            path: found.ok_or(Error::NoHelper(name))?,
            arguments: ids.map(|id| id.to_string()).collect(),
        })
    }

    /// Absolute path, empty environment: the helper has privileges that we have not.
    fn spawn(&self, pid: Pid) -> std::io::Result<Child> {
        Command::new(&self.path)
            .arg(pid.to_string())
            .args(&self.arguments)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
    }
}

/// Maps the caller's one id, in a namespace just made.
///
/// `setgroups` must be denied before an unprivileged process may map a group (user_namespaces(7), CVE-2014-8989).
pub fn write_own_maps(uid: IdMap, gid: IdMap) -> nix::Result<()> {
    let write = |path: &CStr, text: &str| {
        let file = open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        nix::unistd::write(&file, text.as_bytes()).map(drop)
    };
    write(c"/proc/self/setgroups", "deny")?;
    write(c"/proc/self/uid_map", &uid.line())?;
    write(c"/proc/self/gid_map", &gid.line())
}

/// Does `work` in a process that has all rights over files of the ids in `maps`, and tells `hear` what it writes. The
/// process ends with the caller. What the work changes in memory is lost.
pub fn within<R>(maps: &IdMaps, work: impl FnOnce(File), hear: impl FnOnce(File) -> R) -> Result<R, Error> {
    let helpers = match maps {
        IdMaps::Single { .. } => None,
        IdMaps::Full { uids, gids } => Some(Helpers::find(uids, gids)?),
    };
    let pipe = || nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(Error::Namespaces);
    let (maps_read, maps_write) = pipe()?;
    let (read, write) = pipe()?;
    match process::clone_namespaces(CloneFlags::CLONE_NEWUSER).map_err(Error::Namespaces)? {
        Clone::Child => {
            drop((maps_write, read));
            let mapped = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).and_then(|()| match *maps {
                IdMaps::Single { uid, gid } => write_own_maps(uid, gid),
                IdMaps::Full { .. } => await_maps(&maps_read),
            });
            if mapped.is_ok() {
                work(write.into());
            }
            process::exit_now(0);
        }
        Clone::Parent(pid, _) => {
            drop((maps_read, write));
            let written = helpers.map_or(Ok(()), |helpers| helpers.write(pid));
            if written.is_err() {
                let _ = kill(pid, Signal::SIGKILL);
            }
            drop(maps_write);
            let heard = hear(read.into());
            let _ = waitpid(pid, None);
            written.map(|()| heard)
        }
    }
}

/// The child's side of waiting for its maps: the end of the pipe means written. A launcher that gives up kills the
/// child instead.
pub fn await_maps(pipe: &OwnedFd) -> nix::Result<()> {
    match nix::unistd::read(pipe, &mut [0])? {
        0 => become_root(),
        _ => Err(Errno::EPROTO),
    }
}

/// Root of the namespace, without the caller's supplementary groups.
fn become_root() -> nix::Result<()> {
    nix::unistd::setgroups(&[])?;
    nix::unistd::setresgid(0.into(), 0.into(), 0.into())?;
    nix::unistd::setresuid(0.into(), 0.into(), 0.into())
}

/// Does `work` in a process that is root of a namespace with these maps, and gives its answer. What the work
/// changes in memory is lost.
pub fn as_root(uids: &[IdMap], gids: &[IdMap], work: impl FnOnce() -> bool) -> Result<bool, Error> {
    let helpers = Helpers::find(uids, gids)?;
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(Error::Namespaces)?;
    match process::clone_namespaces(CloneFlags::CLONE_NEWUSER).map_err(Error::Namespaces)? {
        Clone::Child => {
            drop(write);
            process::exit_now(i32::from(!(await_maps(&read).is_ok() && work())));
        }
        Clone::Parent(pid, _) => {
            drop(read);
            let written = helpers.write(pid);
            if written.is_err() {
                let _ = kill(pid, Signal::SIGKILL);
            }
            drop(write);
            let status = waitpid(pid, None);
            written?;
            Ok(matches!(status, Ok(WaitStatus::Exited(_, 0))))
        }
    }
}

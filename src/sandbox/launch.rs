//! The outer side: clone, write the maps when helpers must, hand over.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::unistd::Pid;

use crate::idmap::{IdMap, IdMaps};
use crate::sys::process::{self, Clone};
use crate::sys::shim;

use super::{Error, Spec, child, init};

/// What the new box takes over from the launcher.
pub struct Ends {
    /// Listens for clients.
    pub listener: OwnedFd,
    /// Locked exclusively for as long as the box's root is in use.
    pub lock: OwnedFd,
    /// The launcher's own connection, already open.
    pub connection: UnixStream,
}

/// A started box, seen from outside.
pub struct Launched {
    /// Its pid 1 on the host.
    pub pid: Pid,
    /// Readable when pid 1 and everything in the box has ended.
    pub pidfd: OwnedFd,
}

/// Starts a box. Returns when its pid 1 exists; a set-up that fails later is told over the connection.
///
/// `arguments` are the launcher's own, whose copy in pid 1 is erased.
pub fn launch(spec: &Spec, ends: Ends, arguments: usize) -> Result<Launched, Error> {
    let mut flags = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    if spec.own_network {
        flags |= CloneFlags::CLONE_NEWNET;
    }
    // Made here, for a sealed program can only be made where memfd_create is allowed to.
    let shim = process::sealed_program(c"devbox-exec", shim::PROGRAM).map_err(Error::Talk)?;
    let helpers = match &spec.ids {
        IdMaps::Single { .. } => None,
        IdMaps::Full { uids, gids } => {
            Some((Helper::find("newuidmap", uids)?, Helper::find("newgidmap", gids)?))
        }
    };
    let (maps_read, maps_write) = match &helpers {
        Some(_) => {
            nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map(|(read, write)| (Some(read), Some(write)))
        }
        None => Ok((None, None)),
    }
    .map_err(Error::Talk)?;

    match process::clone_namespaces(flags).map_err(Error::Namespaces)? {
        Clone::Child => {
            drop(maps_write);
            if let Err(failure) = child::set_up(spec, || wait_for_maps(maps_read), arguments) {
                child::report(&ends.connection, &failure);
                process::exit_now(1);
            }
            init::run(ends, shim, spec)
        }
        Clone::Parent(pid, pidfd) => {
            drop((maps_read, ends));
            if let Some((uids, gids)) = helpers {
                if let Err(error) = write_maps(pid, &uids, &gids) {
                    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
                    let _ = nix::sys::wait::waitpid(pid, None);
                    return Err(error);
                }
                // Closing tells the child.
                drop(maps_write);
            }
            Ok(Launched { pid, pidfd })
        }
    }
}

/// The end of the file means written; a launcher that gives up kills this process instead.
fn wait_for_maps(read: Option<OwnedFd>) -> nix::Result<()> {
    let Some(read) = read else { return Ok(()) };
    match nix::unistd::read(&read, &mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => Err(Errno::EPROTO),
        Err(errno) => Err(errno),
    }
}

/// A set-id helper of shadow, found before the clone so that its absence changes nothing.
struct Helper {
    name: &'static str,
    path: PathBuf,
    arguments: Vec<String>,
}

impl Helper {
    fn find(name: &'static str, maps: &[IdMap]) -> Result<Self, Error> {
        let path = which::which_in_global(name, Some("/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin"))
            .ok()
            .and_then(|mut found| found.next())
            .ok_or(Error::NoHelper(name))?;
        let arguments =
            maps.iter().flat_map(|map| [map.container_id, map.host_id, map.size]).map(|id| id.to_string());
        Ok(Self { name, path, arguments: arguments.collect() })
    }

    /// Absolute path, empty environment: the helper has privileges that we have not.
    fn spawn(&self, pid: Pid) -> std::io::Result<std::process::Child> {
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

/// Both helpers side by side: each costs about a millisecond.
fn write_maps(pid: Pid, uids: &Helper, gids: &Helper) -> Result<(), Error> {
    let spawned = [uids, gids].map(|helper| (helper.name, helper.spawn(pid)));
    for (helper, child) in spawned {
        let failed = |said: String| Error::Helper { helper, said };
        let output = child
            .and_then(std::process::Child::wait_with_output)
            .map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
    }
    Ok(())
}

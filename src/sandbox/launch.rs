//! The outer side: clone, write the maps when helpers must, hand over.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::unistd::Pid;

use crate::audit::Log;
use crate::idmap::IdMaps;
use crate::mount::Root;
use crate::sys::process::{self, Clone};
use crate::sys::shim;
use crate::userns::{self, Helpers};

use super::{Error, Spec, child, fuse, init};

/// What the new box takes over from the launcher.
pub struct Ends {
    /// Listens for clients.
    pub listener: OwnedFd,
    /// Locked exclusively for as long as the box's root is in use.
    pub lock: OwnedFd,
    /// The launcher's own connection, already open.
    pub connection: UnixStream,
    /// Gets what an untrusted box is refused.
    pub log: Option<Log>,
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
        IdMaps::Full { uids, gids } => Some(Helpers::find(uids, gids)?),
    };
    let (maps_read, maps_write) = match &helpers {
        Some(_) => {
            nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map(|(read, write)| (Some(read), Some(write)))
        }
        None => Ok((None, None)),
    }
    .map_err(Error::Talk)?;

    let (from_child, to_launcher) = match &spec.root {
        Root::Fuse(_) => UnixStream::pair()
            .map(|(ours, theirs)| (Some(ours), Some(theirs)))
            .map_err(|error| Error::Talk(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))))?,
        _ => (None, None),
    };

    match process::clone_namespaces(flags).map_err(userns::Error::Namespaces)? {
        Clone::Child => {
            drop((maps_write, from_child));
            let maps_written = || maps_read.as_ref().map_or(Ok(()), userns::await_maps);
            if let Err(failure) = child::set_up(spec, maps_written, to_launcher.as_ref(), arguments) {
                child::report(&ends.connection, &failure);
                process::exit_now(1);
            }
            init::run(ends, shim, spec)
        }
        Clone::Parent(pid, pidfd) => {
            let Ends { lock, .. } = ends;
            drop((maps_read, to_launcher));
            if let Some(helpers) = helpers {
                if let Err(error) = helpers.write(pid) {
                    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
                    let _ = nix::sys::wait::waitpid(pid, None);
                    return Err(error.into());
                }
                // Closing tells the child.
                drop(maps_write);
            }
            if let (Root::Fuse(fuse), Some(child)) = (&spec.root, from_child) {
                fuse::serve(fuse, &child, &lock).map_err(Error::Serve)?;
            }
            Ok(Launched { pid, pidfd })
        }
    }
}

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

use super::child::{self, ToLauncher};
use super::network::{Network, Waiting};
use super::{Cgroup, Error, Spec, fuse, handles, init};

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
    /// The cgroup it is to be born in.
    pub cgroup: Option<Cgroup>,
    /// Hangs up when nobody holds the box's limits any more; the box then ends.
    pub watcher: Option<OwnedFd>,
}

/// A started box, seen from outside.
pub struct Launched {
    /// Its pid 1 on the host.
    pub pid: Pid,
    /// Readable when pid 1 and everything in the box has ended.
    pub pidfd: OwnedFd,
    /// Its user namespace, when it is watched and its set-up came that far.
    pub userns: Option<OwnedFd>,
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
    if spec.network.is_some() {
        flags |= CloneFlags::CLONE_NEWNET;
    }
    // Made here, for a sealed program can only be made where memfd_create is allowed to.
    let shim = process::sealed_program(c"devbox-exec", shim::PROGRAM).map_err(Error::Talk)?;
    let helpers = match &spec.ids {
        IdMaps::Single { .. } => None,
        IdMaps::Full { uids, gids } => Some(Helpers::find(uids, gids)?),
    };
    let (wait_read, wait_write) = match helpers.is_some() || ends.cgroup.is_some() {
        true => {
            nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map(|(read, write)| (Some(read), Some(write)))
        }
        false => Ok((None, None)),
    }
    .map_err(Error::Talk)?;

    let (from_child, to_launcher) = pair_if(spec.bounds.watched || matches!(spec.root, Root::Fuse(_)))?;
    let outside = spec.network.as_ref().map(Network::prepare).transpose()?.flatten();
    let (outside, network_theirs) = outside.unzip();

    let (cloned, placed) = clone(flags, ends.cgroup.as_ref())?;
    match cloned {
        Clone::Child => {
            drop((wait_write, from_child));
            let released = || wait_read.as_ref().map_or(Ok(()), userns::await_end);
            let served = ToLauncher { handles: to_launcher.as_ref(), network: network_theirs.as_ref() };
            if let Err(failure) = child::set_up(spec, released, served, arguments) {
                child::report(&ends.connection, &failure);
                process::exit_now(1);
            }
            init::run(ends, shim, spec)
        }
        Clone::Parent(pid, pidfd) => {
            let Ends { lock, cgroup, .. } = ends;
            drop((wait_read, to_launcher, network_theirs));
            let placed = match cgroup.filter(|_| !placed) {
                Some(cgroup) => cgroup.take(pid).map_err(Error::Cgroup),
                None => Ok(()),
            };
            let serve = || {
                placed?;
                helpers.map_or(Ok(()), |helpers| helpers.write(pid))?;
                // Closing tells the child.
                drop(wait_write);
                let userns = match &from_child {
                    Some(child) if spec.bounds.watched => handles::receive(child).map_err(Error::Talk)?,
                    _ => None,
                };
                let network = match (&spec.network, outside) {
                    (Some(network), Some(outside)) => Some(outside.serve(network, &pidfd)?),
                    _ => None,
                };
                if let (Root::Fuse(fuse), Some(child)) = (&spec.root, from_child) {
                    fuse::serve(fuse, &child, &lock).map_err(Error::Serve)?;
                }
                network.map_or(Ok(()), Waiting::finish)?;
                Ok(userns)
            };
            match serve() {
                Ok(userns) => {
                    Ok(Launched { pid, pidfd, userns: userns.map(|[userns]: [OwnedFd; 1]| userns) })
                }
                Err(error) => {
                    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
                    let _ = nix::sys::wait::waitpid(pid, None);
                    Err(error)
                }
            }
        }
    }
}

/// The child, and whether it is in the cgroup already. Where there is no clone3(2), it has to be moved there.
fn clone(flags: CloneFlags, cgroup: Option<&Cgroup>) -> Result<(Clone, bool), Error> {
    if let Some(cgroup) = cgroup {
        let handle = cgroup.handle().map_err(Error::Cgroup)?;
        match process::clone_into_cgroup(flags, handle) {
            // older kernels, and filters that can't see its flags
            Err(Errno::ENOSYS | Errno::EPERM) => {}
            cloned => return Ok((cloned.map_err(userns::Error::Namespaces)?, true)),
        }
    }
    Ok((process::clone_namespaces(flags).map_err(userns::Error::Namespaces)?, false))
}

/// A connection between launcher and child, where one is needed: the launcher's end and the child's.
fn pair_if(needed: bool) -> Result<(Option<UnixStream>, Option<UnixStream>), Error> {
    if !needed {
        return Ok((None, None));
    }
    let pair = UnixStream::pair().map(|(ours, theirs)| (Some(ours), Some(theirs)));
    pair.map_err(|error| Error::Talk(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))))
}

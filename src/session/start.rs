//! Starts a stopped box: lock, socket, clone, and the first session over its own connection.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use nix::fcntl::OFlag;

use crate::audit::Log;
use crate::limits::Holder;
use crate::plan::Plan;
use crate::sandbox::wire::Open;
use crate::sandbox::{self, Cgroup, Ends, Launched, Spec};
use crate::sys::process;

use super::watch::Watch;
use super::{Boxes, Error, Limited, client, ended};

/// A box that was just started, with its first session asked for.
pub struct Started {
    /// The first session's connection.
    pub connection: UnixStream,
    /// Which of 0, 1 and 2 are terminals.
    pub terminals: u8,
    /// Its pid 1.
    pub launched: Launched,
}

/// Starts the box `name`, whose lock is `lock`, with the limits `limited` noted, and asks for its first session. `arguments`
/// is the length of the caller's own argument strings, which pid 1 erases.
pub fn start(
    boxes: &Boxes,
    name: &str,
    lock: OwnedFd,
    spec: &Spec,
    open: Open,
    limited: &Limited,
    arguments: usize,
) -> Result<Started, Error> {
    let folder = boxes.folder(name)?;
    let cgroup = limited.cgroup.clone().map(Cgroup::at);
    ended::begin(&folder, limited)?;
    let own_lock = spec.bounds.watched.then(|| lock.try_clone()).transpose();
    let own_lock = own_lock.map_err(super::at("keep", &folder.join("lock")))?;
    let listener = boxes.listen(name)?;
    let (ours, theirs) =
        UnixStream::pair().map_err(super::at("make a connection to", std::path::Path::new(name)))?;
    // The box is none the less safe without it.
    let log = match spec.confinement {
        Some(_) => Log::open(&folder).ok(),
        None => None,
    };
    let (watcher, watching) = match limited.held.iter().any(|held| held.by == Holder::Watch) {
        true => {
            let ends = nix::unistd::pipe2(OFlag::O_CLOEXEC);
            let (read, write) = ends.map_err(|source| Error::Watch { name: name.to_owned(), source })?;
            (Some(read), Some(write))
        }
        false => (None, None),
    };
    let ends = Ends { listener, lock, connection: theirs, log, cgroup: cgroup.clone(), watcher };
    let launched = sandbox::launch(spec, ends, arguments).map_err(|source| {
        cgroup.iter().for_each(Cgroup::remove);
        Error::Start { name: name.to_owned(), source }
    })?;
    match (&launched.userns, own_lock) {
        (Some(userns), Some(lock)) => {
            let limits = limited.held.clone();
            let watch = Watch { folder, limits, cgroup };
            let begun = watch.begin(launched.pid, &launched.pidfd, userns, &lock, watching.as_ref());
            begun.map_err(|source| {
                let _ = process::kill_by(&launched.pidfd);
                Error::Watch { name: name.to_owned(), source }
            })?;
        }
        // its set-up failed, and nobody looks after its group
        _ => cgroup.iter().for_each(Cgroup::remove),
    }
    let terminals = client::ask(&ours, open)?;
    Ok(Started { connection: ours, terminals, launched })
}

/// A number that changes with all a running box can't change any more: what its root is made of and where it
/// lives. Variables, user, command and folder are each session's own.
pub fn fingerprint(plan: &Plan) -> u64 {
    let Plan {
        name,
        image,
        platform,
        ids,
        driver,
        isolation,
        home,
        project,
        hostname,
        mounts,
        network,
        limits,
        allow,
        ports,
        ssh_agent,
        setup,
        ..
    } = plan;
    let network = (network, allow, ports, ssh_agent, &setup.steps);
    let mut hasher = DefaultHasher::new();
    let parts =
        (name, image, platform, ids, driver, isolation, home, project, hostname, mounts, network, limits);
    format!("{parts:?}").hash(&mut hasher);
    hasher.finish()
}

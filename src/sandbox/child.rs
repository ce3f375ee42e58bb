//! The inner side: one straight line from the clone to the init loop.
//!
//! All that comes from the host is taken as detached mounts first; then the root is changed and the host's is let
//! go of; only then are paths of the image used. There is never a moment in which both are in reach: the old root
//! would lie on top of the new one, and any `..` of the image's links would lead there.

use std::io::Write;
use std::mem::ManuallyDrop;
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;

use crate::idmap::IdMaps;
use crate::mount::{Op, Root};
use crate::{sys, userns};

use super::mounts::Taken;
use super::{Spec, Stage, classic, fuse, handles, mounts};

/// What stopped the set-up: stage, index of the operation, reason.
pub(super) struct Failure(pub(super) Stage, pub(super) u16, pub(super) Errno);

/// Connections to the launcher, for what is done by it or by processes outside of the box.
#[derive(Clone, Copy)]
pub(super) struct ToLauncher<'a> {
    /// Where a FUSE connection and the user namespace go.
    pub(super) handles: Option<&'a UnixStream>,
    /// With a network that is served.
    pub(super) network: Option<&'a UnixStream>,
}

/// Turns this process, fresh from the clone, into the inside of a box. `released` blocks until the launcher
/// has done its part: written the maps of many ids, put it into its cgroup; `ends` is where goes what the launcher gets;
/// `arguments` is the length of the argument strings to erase.
pub(super) fn set_up(
    spec: &Spec,
    released: impl FnOnce() -> nix::Result<()>,
    ends: ToLauncher<'_>,
    arguments: usize,
) -> Result<(), Failure> {
    let at = |stage| move |errno| Failure(stage, 0, errno);
    // A launcher that dies half-way takes the half-made box with it.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(at(Stage::Attributes))?;
    released()
        .and_then(|()| match spec.ids {
            IdMaps::Single { uid, gid } => userns::write_own_maps(uid, gid),
            IdMaps::Full { .. } => userns::become_root(),
        })
        .map_err(at(Stage::Maps))?;
    if let (true, Some(launcher)) = (spec.bounds.watched, ends.handles) {
        handles::user_namespace()
            .and_then(|namespace| handles::send(launcher, [&namespace]))
            .map_err(at(Stage::Limits))?;
    }
    spec.bounds.begin().map_err(at(Stage::Limits))?;
    if let Some(confinement) = &spec.confinement {
        confinement.begin().map_err(|(piece, errno)| Failure(Stage::Confinement, piece as u16, errno))?;
    }
    set_attributes(arguments).map_err(at(Stage::Attributes))?;
    if let Some(network) = &spec.network {
        network.set_up(ends.network).map_err(at(Stage::Network))?;
    }

    sys::mount::make_private().map_err(at(Stage::Private))?;
    match take_all(spec, mounts::take) {
        Ok(taken) => {
            mount_root(spec, ends.handles).map_err(at(Stage::Root))?;
            change_root(spec).map_err(at(Stage::Pivot))?;
            carry_out(spec, &taken)?;
        }
        // kernels before 5.12, and filters that know no newer calls
        Err(Failure(_, _, Errno::ENOSYS | Errno::EPERM)) => classic::set_up(spec, ends.handles)?,
        Err(failure) => return Err(failure),
    }
    match nix::unistd::sethostname(std::ffi::OsStr::new(&*spec.hostname.to_string_lossy())) {
        // the filter of a container around us; the box is none the weaker for another name
        Err(Errno::EPERM) => {}
        named => named.map_err(at(Stage::Names))?,
    }
    if let Some(confinement) = &spec.confinement {
        confinement.finish().map_err(|(piece, errno)| Failure(Stage::Confinement, piece as u16, errno))?;
    }
    if let Some(network) = &spec.network {
        network.await_way_out(ends.network).map_err(at(Stage::Network))?;
    }
    nix::sys::prctl::set_pdeathsig(None).map_err(at(Stage::Attributes))
}

/// What each operation brings from the host. init closes it with all else the launcher had open.
pub(super) fn take_all(
    spec: &Spec,
    mut take: impl FnMut(&Op) -> nix::Result<Vec<Taken>>,
) -> Result<ManuallyDrop<Vec<Vec<Taken>>>, Failure> {
    let mut taken = ManuallyDrop::new(Vec::with_capacity(spec.ops.len()));
    for (index, op) in spec.ops.iter().enumerate() {
        taken.push(take(op).map_err(|errno| Failure(Stage::Operation, index as u16, errno))?);
    }
    Ok(taken)
}

/// All operations, in a root that is the box's.
pub(super) fn carry_out(spec: &Spec, taken: &[Vec<Taken>]) -> Result<(), Failure> {
    for (index, (op, taken)) in spec.ops.iter().zip(taken).enumerate() {
        mounts::carry_out(op, taken).map_err(|errno| Failure(Stage::Operation, index as u16, errno))?;
    }
    Ok(())
}

/// Nothing of the caller is readable in pid 1 and its terminal and pipes are let go of, no set-id bit works below it,
/// and sessions start from defaults: umask 022, no ignored signal, no controlling terminal.
fn set_attributes(arguments: usize) -> nix::Result<()> {
    restore_ignored_signals()?;
    let null = open(c"/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
    (0..3).try_for_each(|number| sys::process::duplicate_to(&null, number))?;
    sys::process::set_undumpable()?;
    nix::sys::prctl::set_no_new_privs()?;
    sys::process::erase_arguments(arguments);
    nix::unistd::setsid()?;
    // The caller's has tokens of its logins. A kernel without keyrings, and a filter that knows none, give none away.
    let _ = sys::confine::join_new_session_keyring();
    nix::sys::stat::umask(Mode::from_bits_truncate(0o022));
    Ok(())
}

/// Signals the caller ignored would stay ignored in every session (execve(2)); the mask is empty already.
fn restore_ignored_signals() -> nix::Result<()> {
    let status = sys::fd::read_small("/proc/self/status".as_ref(), 1 << 16)
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    let status = String::from_utf8_lossy(&status);
    let ignored = status
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok())
        .unwrap_or(0);
    for candidate in Signal::iterator().filter(|signal| ignored & (1 << (*signal as u32 - 1)) != 0) {
        sys::process::reset_signal(candidate)?;
    }
    Ok(())
}

fn mount_root(spec: &Spec, launcher: Option<&UnixStream>) -> nix::Result<()> {
    match &spec.root {
        Root::Overlay(overlay) => mounts::mount_overlay(overlay, &spec.mount_point),
        Root::Fuse(_) => fuse::mount(&spec.mount_point, launcher.ok_or(Errno::EINVAL)?),
        Root::Tree(tree) => mounts::mount_tree(tree, &spec.mount_point),
        Root::Host => mounts::mount_host(&spec.mount_point),
    }
}

/// The new root in, the old one out (pivot_root(2), "pivot_root(".", ".")").
fn change_root(spec: &Spec) -> nix::Result<()> {
    nix::unistd::chdir(spec.mount_point.as_c_str())?;
    sys::mount::pivot_to_current()?;
    sys::mount::detach(c".")?;
    nix::unistd::chdir(c"/")
}

/// Sends what stopped the set-up; nothing can be done when even that fails.
pub(super) fn report(mut connection: impl Write, failure: &Failure) {
    let Failure(stage, index, errno) = *failure;
    let frame = super::wire::Reply::SetUpFailed { stage: stage as u8, index, errno }.encode();
    let _ = connection.write_all(&frame);
}

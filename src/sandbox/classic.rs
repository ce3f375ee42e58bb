//! The root set up by mount(2) alone, where the kernel or a filter around us lacks the newer mount calls.
//!
//! What comes from the host can't stand nowhere here. It stands in a file system in memory that is the root for a while:
//!
//! ```text
//!  /            tmpfs; the host's root is let go of
//!  ├ 0 1 2 …    what comes from the host: the working directory is here
//!  └ root       the box's: chroot, so that links of the image resolve in it, and moves go from `.` to it
//! ```
//!
//! At the end `root` becomes `/` and the rest is let go of. A mount is made read-only one by one with all below it, as
//! the kernel lists them (mountinfo): only `mount_setattr` does a tree at once.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::sys::stat::{Mode, SFlag, mknod, stat};
use nix::unistd::{chdir, chroot, mkdir};

use super::child::{self, Failure};
use super::mounts::{self, HeldOverlay, LOCKED_DOWN, NODES, Source, Taken};
use super::{Spec, Stage, fuse};
use crate::mount::{Mounted, Op, Overlay, Root, c_path, mounted};
use crate::sys;

/// Does what the newer calls do in `child::set_up`: takes, mounts the root, changes to it, carries out.
pub(super) fn set_up(spec: &Spec, launcher: Option<&UnixStream>) -> Result<(), Failure> {
    let at = |stage| move |errno| Failure(stage, 0, errno);
    let place = spec.mount_point.as_c_str();
    let below = |name: &str| joined(place, name);
    prepare(place).map_err(at(Stage::Root))?;
    let mut number = 0;
    let taken = child::take_all(spec, |op| {
        take(op, |make| {
            number += 1;
            make(&below(&number.to_string())?).map(|()| Taken::Aside(name(number)))
        })
    })?;
    below("root").and_then(|root| mount_root(spec, &root, launcher)).map_err(at(Stage::Root))?;
    chdir(place).map_err(at(Stage::Pivot))?;
    change_root().map_err(at(Stage::Pivot))?;
    chroot(c"root").map_err(at(Stage::Pivot))?;
    child::carry_out(spec, &taken)?;
    // out of the box's root again, for which nothing of the image is looked up
    chroot(c".").and_then(|()| chdir(c"root")).and_then(|()| change_root()).map_err(at(Stage::Pivot))
}

fn prepare(place: &CStr) -> nix::Result<()> {
    let options = Some(c"mode=700,size=1m");
    sys::mount::mount(Some(c"tmpfs"), place, Some(c"tmpfs"), LOCKED_DOWN, options)?;
    mkdir(joined(place, "root")?.as_c_str(), Mode::S_IRWXU)
}

/// The working directory becomes the root (pivot_root(2), "pivot_root(".", ".")").
fn change_root() -> nix::Result<()> {
    sys::mount::pivot_to_current()?;
    sys::mount::detach(c".")?;
    chdir(c"/")
}

fn mount_root(spec: &Spec, at: &CStr, launcher: Option<&UnixStream>) -> nix::Result<()> {
    match &spec.root {
        Root::Overlay(overlay) => mounts::mount_overlay(overlay, at),
        Root::Fuse(_) => fuse::mount(at, launcher.ok_or(Errno::EINVAL)?),
        Root::Tree(tree) => {
            sys::mount::mount(Some(tree), at, None, MsFlags::MS_BIND, None)?;
            restrict(at, false, LOCKED_DOWN)
        }
        Root::Host => {
            sys::mount::mount(Some(c"/"), at, None, MsFlags::MS_BIND | MsFlags::MS_REC, None)?;
            // our own place came along, and is no part of the host
            let own = [at.to_bytes(), spec.mount_point.to_bytes()].concat();
            sys::mount::detach(&CString::new(own).map_err(|_| Errno::EINVAL)?)?;
            restrict(at, true, LOCKED_DOWN | MsFlags::MS_RDONLY)
        }
    }
}

/// Mounts what `op` brings from the host, each at a new place given by `aside`.
fn take(
    op: &Op,
    mut aside: impl FnMut(&dyn Fn(&CStr) -> nix::Result<()>) -> nix::Result<Taken>,
) -> nix::Result<Vec<Taken>> {
    match op {
        Op::Bind { from, readonly, recursive, devices, exact, .. } => {
            let from = Source::of(from, *exact)?;
            let mut flags = MsFlags::MS_NOSUID;
            flags.set(MsFlags::MS_NODEV, !devices);
            flags.set(MsFlags::MS_RDONLY, *readonly);
            let taken =
                aside(&|at| bind(&from.path, at, *recursive).and_then(|()| restrict(at, *recursive, flags)))?;
            Ok(vec![taken])
        }
        Op::Overlay { overlay, exact, .. } => {
            let overlay = HeldOverlay::of(overlay, *exact)?;
            Ok(vec![aside(&|at| mount_overlay(&overlay.overlay, at))?])
        }
        Op::Dev => NODES.iter().map(|(from, _)| aside(&|at| bind(from, at, false))).collect(),
        Op::MaskFile(_) => Ok(vec![aside(&|at| bind(c"/dev/null", at, false))?]),
        Op::Proc => {
            let flags = LOCKED_DOWN | MsFlags::MS_NOEXEC;
            let mount = |at: &CStr| {
                mkdir(at, Mode::S_IRWXU)?;
                sys::mount::mount(Some(c"proc"), at, Some(c"proc"), flags, None)
            };
            Ok(vec![aside(&mount)?])
        }
        _ => Ok(Vec::new()),
    }
}

fn bind(from: &CStr, at: &CStr, recursive: bool) -> nix::Result<()> {
    if mounts::is_folder(stat(from)?.st_mode) {
        mkdir(at, Mode::S_IRWXU)?;
    } else {
        mknod(at, SFlag::S_IFREG, Mode::S_IRUSR, 0)?;
    }
    let mut flags = MsFlags::MS_BIND;
    flags.set(MsFlags::MS_REC, recursive);
    sys::mount::mount(Some(from), at, None, flags, None)
}

fn mount_overlay(overlay: &Overlay, at: &CStr) -> nix::Result<()> {
    mkdir(at, Mode::S_IRWXU)?;
    let [lower] = overlay.lowers.as_slice() else { return Err(Errno::EINVAL) };
    let base = overlay.base.clone();
    let (lower, upper, work) =
        (mounts::escaped(lower), mounts::escaped(&overlay.upper), mounts::escaped(&overlay.work));
    mounts::mount_overlay(&Overlay { base, lowers: vec![lower], upper, work, data: None, ..*overlay }, at)
}

/// Adds `flags` to the mount at `at`, and to all below it when `recursive`. Those it has stay, for the kernel lets no
/// user take them away.
fn restrict(at: &CStr, recursive: bool, flags: MsFlags) -> nix::Result<()> {
    let text = std::fs::read("/proc/self/mountinfo")
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    let place = Path::new(std::ffi::OsStr::from_bytes(at.to_bytes()));
    let own: Vec<Mounted> =
        mounted(&text).filter(|one| one.at == place || (recursive && one.at.starts_with(place))).collect();
    // what another mount lies on can't be reached, here or in the box
    for one in own.iter().filter(|one| !is_hidden(one, &own)) {
        let all = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | flags | kept(&one.options);
        let path = c_path(&one.at).map_err(|_| Errno::EINVAL)?;
        match sys::mount::mount(None, &path, None, all, None) {
            // behind a folder that is closed to the caller, and so to all in the box
            Err(Errno::EACCES) if one.at != place => {}
            set => set?,
        }
    }
    // none at all would be a mount that was not restricted
    if own.is_empty() { Err(Errno::ENOENT) } else { Ok(()) }
}

/// Whether another mount lies on this one, or on a folder that leads to it.
fn is_hidden(one: &Mounted, all: &[Mounted]) -> bool {
    let on_it = |other: &Mounted| other.parent == one.id && other.at == one.at;
    // had it been there first, this one would be in it
    let on_its_way =
        |other: &Mounted| other.parent == one.parent && other.at != one.at && one.at.starts_with(&other.at);
    if all.iter().any(|other| on_it(other) || on_its_way(other)) {
        return true;
    }
    // what lies on the mount it is in covers it too, unless that is what it is in
    let parent = all.iter().find(|other| other.id == one.parent);
    parent.is_some_and(|parent| {
        let covers = |other: &Mounted| {
            other.parent == parent.parent && other.at != parent.at && parent.at.starts_with(&other.at)
        };
        all.iter().any(covers)
    })
}

/// The flags that a mount has already. Times of access stay as they are when nothing is said of them.
fn kept(options: &str) -> MsFlags {
    options.split(',').fold(MsFlags::empty(), |flags, option| {
        flags
            | match option {
                "ro" => MsFlags::MS_RDONLY,
                "nosuid" => MsFlags::MS_NOSUID,
                "nodev" => MsFlags::MS_NODEV,
                "noexec" => MsFlags::MS_NOEXEC,
                _ => MsFlags::empty(),
            }
    })
}

fn name(number: u32) -> CString {
    CString::new(number.to_string()).unwrap_or_default()
}

fn joined(place: &CStr, name: &str) -> nix::Result<CString> {
    CString::new([place.to_bytes(), b"/", name.as_bytes()].concat()).map_err(|_| Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_below_another_mount_is_hidden() {
        let one = |id, parent, at: &str| Mounted { id, parent, at: at.into(), ..Mounted::default() };
        // listed in no order of time
        let all = [
            one(3, 2, "/t/dev"),
            one(4, 3, "/t/dev/pts"),
            one(2, 1, "/t"),
            one(5, 4, "/t/dev/pts"), // twice
            one(6, 2, "/t/a/b"),
            one(7, 2, "/t/a"), // over what leads to the former
            one(8, 6, "/t/a/b/c"),
            one(9, 2, "/t/ab"),
        ];
        let hidden: Vec<_> = all.iter().filter(|one| is_hidden(one, &all)).map(|one| one.id).collect();
        assert_eq!(hidden, [4, 6, 8]);
    }

    #[test]
    fn flags_are_kept() {
        assert_eq!(kept("rw,relatime"), MsFlags::empty());
        assert_eq!(
            kept("ro,nosuid,noexec,relatime"),
            MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC
        );
    }
}

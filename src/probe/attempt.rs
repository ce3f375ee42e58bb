//! Real tries, without a child: the caller gives up its own namespaces. For a process that ends soon after.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, getegid, geteuid};

use crate::sys::fd;

/// Moves this process into a user and a mount namespace of its own, where its one id is mapped to itself.
///
/// The mount proves that the namespace has rights: AppArmor may grant one without. Fails with `EINVAL` when the
/// process has more than one thread.
pub fn user_namespace() -> io::Result<()> {
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
    Ok(mount(None::<&str>, "/", None::<&str>, MsFlags::MS_PRIVATE | MsFlags::MS_REC, None::<&str>)?)
}

/// Mounts an overlay with its upper in `folder` and uses it once. Only after [`user_namespace`]; leaves nothing.
pub fn overlay(folder: &Path) -> io::Result<()> {
    let before = crate::dirs::current()?;
    let scratch = Scratch::new(folder)?;
    for name in ["lower", "upper", "work", "root"] {
        fs::create_dir(scratch.0.join(name))?;
    }
    // short relative names, so that no path needs escaping
    chdir(&scratch.0)?;
    let options = "userxattr,lowerdir=lower,upperdir=upper,workdir=work";
    let tried = mount(Some("overlay"), "root", Some("overlay"), MsFlags::empty(), Some(options))
        .map_err(io::Error::from)
        .and_then(|()| {
            let used = fs::create_dir("root/folder");
            nix::mount::umount("root")?;
            used
        });
    chdir(&before)?;
    tried
}

/// Whether files of an overlay's only layer may have their content in another, without being root of the host (Linux 6.16).
/// For root of a user namespace, which gets a mount namespace of its own here; leaves nothing in `folder`.
pub fn data_layers(folder: &Path) -> bool {
    let tried = || -> io::Result<bool> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_PRIVATE | MsFlags::MS_REC, None::<&str>)?;
        let before = crate::dirs::current()?;
        let scratch = Scratch::new(folder)?;
        for name in ["tree", "data", "root"] {
            fs::create_dir(scratch.0.join(name))?;
        }
        fs::write(scratch.0.join("data/0"), "content")?;
        let file = fs::File::create(scratch.0.join("tree/file"))?;
        file.set_len(7)?;
        for (name, value) in [(&b"user.overlay.metacopy"[..], &b""[..]), (b"user.overlay.redirect", b"/0")] {
            fd::fsetxattr(file.as_fd(), name, value).map_err(|error| io::Error::from(error.errno))?;
        }
        chdir(&scratch.0)?;
        let options = "userxattr,lowerdir=tree::data";
        let read = mount(Some("overlay"), "root", Some("overlay"), MsFlags::MS_RDONLY, Some(options))
            .map_err(io::Error::from)
            .and_then(|()| {
                let read = fs::read("root/file");
                nix::mount::umount("root")?;
                read
            });
        chdir(&before)?;
        Ok(read? == b"content")
    };
    tried().unwrap_or(false)
}

/// Mounts a FUSE nobody serves on a folder in `folder`. Only after [`user_namespace`]; leaves nothing.
pub fn fuse(folder: &Path) -> io::Result<()> {
    let scratch = Scratch::new(folder)?;
    let device = fs::OpenOptions::new().read(true).write(true).open("/dev/fuse")?;
    let (uid, gid) = (geteuid(), getegid());
    let options = format!("fd={},rootmode=40000,user_id={uid},group_id={gid}", device.as_raw_fd());
    mount(Some("fuse"), &scratch.0, Some("fuse"), MsFlags::MS_NODEV, Some(options.as_str()))?;
    Ok(nix::mount::umount2(&scratch.0, nix::mount::MntFlags::MNT_DETACH)?)
}

/// Sets a user attribute on a folder made for it in `folder`.
pub fn xattr(folder: &Path) -> io::Result<()> {
    let scratch = Scratch::new(folder)?;
    let handle = fs::File::open(&scratch.0)?;
    fd::fsetxattr(handle.as_fd(), b"user.overlay.opaque", b"y").map_err(|error| error.errno.into())
}

/// A folder of ours in another, removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(folder: &Path) -> io::Result<Self> {
        let path = folder.join(format!(".devbox-doctor-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // the kernel's own folder in `work` has no permissions; its owner may still remove it
        let _ = fs::remove_dir(self.0.join("work/work"));
        let _ = fs::remove_dir_all(&self.0);
    }
}

//! Mount calls: mount(2), pivot_root(2), and those of the newer API that nix has no wrapper for.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags};

/// Makes the whole tree private: nothing mounted later travels either way (mount_namespaces(7)).
pub fn make_private() -> nix::Result<()> {
    mount(None, c"/", None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None)
}

/// mount(2) with C strings, so that nothing is allocated.
pub fn mount(
    source: Option<&CStr>,
    target: &CStr,
    kind: Option<&CStr>,
    flags: MsFlags,
    data: Option<&CStr>,
) -> nix::Result<()> {
    nix::mount::mount(source, target, kind, flags, data)
}

/// umount2(2) with `MNT_DETACH`: gone from the tree now, ended when nobody uses it.
pub fn detach(target: &CStr) -> nix::Result<()> {
    nix::mount::umount2(target, MntFlags::MNT_DETACH)
}

/// `pivot_root(".", ".")`: the working directory becomes the root, the old root lies on top of it until detached
/// (pivot_root(2), "pivot_root(".", ".")").
pub fn pivot_to_current() -> nix::Result<()> {
    nix::unistd::pivot_root(c".", c".")
}

/// Mount attributes of `mount_setattr(2)` (Linux 5.12).
#[derive(Debug, Clone, Copy, Default)]
pub struct Attributes {
    /// Writes are refused.
    pub readonly: bool,
    /// Device nodes do not work.
    pub nodev: bool,
    /// Programs can't be run.
    pub noexec: bool,
}

impl Attributes {
    fn bits(self) -> u64 {
        [
            (true, libc::MOUNT_ATTR_NOSUID),
            (self.readonly, libc::MOUNT_ATTR_RDONLY),
            (self.nodev, libc::MOUNT_ATTR_NODEV),
            (self.noexec, libc::MOUNT_ATTR_NOEXEC),
        ]
        .into_iter()
        .filter(|(wanted, _)| *wanted)
        .fold(0, |bits, (_, bit)| bits | bit)
    }
}

/// A detached copy of the mount at `source`, with all mounts below it when `recursive`: open_tree(2) (Linux 5.2).
pub fn open_tree(source: &CStr, recursive: bool) -> nix::Result<OwnedFd> {
    let recursive = if recursive { libc::AT_RECURSIVE as libc::c_uint } else { 0 };
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | recursive;
    // SAFETY: source is a C string that outlives the call.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, source.as_ptr(), flags) })
}

/// Adds `nosuid` and `attributes` to a mount, and to all below it when `recursive`.
pub fn mount_setattr(mount: impl AsFd, recursive: bool, attributes: Attributes) -> nix::Result<()> {
    let request = libc::mount_attr { attr_set: attributes.bits(), attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a C string and request a mount_attr whose size is passed; both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const request,
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(result).map(drop)
}

/// A filesystem being configured: fsopen(2) (Linux 5.2).
pub struct Filesystem(OwnedFd);

impl Filesystem {
    /// Starts one of type `kind`.
    pub fn open(kind: &CStr) -> nix::Result<Self> {
        // SAFETY: kind is a C string that outlives the call.
        let result = unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), libc::FSOPEN_CLOEXEC) };
        owned(result).map(Self)
    }

    /// Sets `key` to `value`.
    pub fn set(&self, key: &CStr, value: &CStr) -> nix::Result<()> {
        self.config(libc::FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr())
    }

    /// Sets the flag `key`.
    pub fn flag(&self, key: &CStr) -> nix::Result<()> {
        self.config(libc::FSCONFIG_SET_FLAG, key.as_ptr(), std::ptr::null())
    }

    /// Makes the filesystem and a detached mount of it, `nosuid` and with `attributes`.
    pub fn mount(&self, attributes: Attributes) -> nix::Result<OwnedFd> {
        self.config(libc::FSCONFIG_CMD_CREATE, std::ptr::null(), std::ptr::null())?;
        // SAFETY: no pointers are passed.
        let result = unsafe {
            libc::syscall(
                libc::SYS_fsmount,
                self.0.as_raw_fd(),
                libc::FSMOUNT_CLOEXEC,
                attributes.bits() as libc::c_uint,
            )
        };
        owned(result)
    }

    fn config(
        &self,
        command: libc::c_uint,
        key: *const libc::c_char,
        value: *const libc::c_char,
    ) -> nix::Result<()> {
        // SAFETY: key and value are null or C strings borrowed by the callers above for the time of the call.
        let result = unsafe { libc::syscall(libc::SYS_fsconfig, self.0.as_raw_fd(), command, key, value, 0) };
        Errno::result(result).map(drop)
    }
}

/// Puts a detached mount at `target`, links in it followed: move_mount(2).
pub fn move_mount(mount: impl AsFd, target: &CStr) -> nix::Result<()> {
    // SAFETY: both strings are C strings that outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_SYMLINKS,
        )
    };
    Errno::result(result).map(drop)
}

fn owned(result: libc::c_long) -> nix::Result<OwnedFd> {
    let number = Errno::result(result)?;
    // SAFETY: the kernel just gave us this descriptor; nobody else has it. Descriptors fit in an i32.
    Ok(unsafe { OwnedFd::from_raw_fd(number as i32) })
}

//! What a process can have taken from it for good: rights, system calls, its caller's keys.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;

/// One instruction of a filter, as seccomp(2) takes it (`struct sock_filter`).
pub use libc::sock_filter as Instruction;

/// A session keyring of this process's own, instead of its caller's (keyctl(2), KEYCTL_JOIN_SESSION_KEYRING).
pub fn join_new_session_keyring() -> nix::Result<()> {
    const NO_NAME: usize = 0;
    // SAFETY: a null name asks for an anonymous keyring.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, NO_NAME) };
    Errno::result(result).map(drop)
}

/// Takes every capability out of the bounding set: nobody below has one again by running a program (capabilities(7)).
pub fn bound_to_nothing() -> nix::Result<()> {
    for capability in 0..64_usize {
        // SAFETY: no pointers.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        match Errno::result(result) {
            // after the last one that this kernel knows
            Err(Errno::EINVAL) if capability > 0 => return Ok(()),
            dropped => dropped?,
        };
    }
    Ok(())
}

/// Whether filters can answer a call with an error number (seccomp(2), SECCOMP_GET_ACTION_AVAIL).
pub fn can_filter() -> nix::Result<()> {
    has_action(libc::SECCOMP_RET_ERRNO)
}

/// Whether filters can ask a watcher (Linux 5.0).
pub fn can_watch() -> bool {
    has_action(libc::SECCOMP_RET_USER_NOTIF).is_ok()
}

fn has_action(action: u32) -> nix::Result<()> {
    // SAFETY: the kernel reads one number, which outlives the call.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) };
    Errno::result(result).map(drop)
}

/// Puts `program` before every system call of this process and of all that comes of it. It can't be taken away again, and
/// needs no_new_privs (seccomp(2), SECCOMP_SET_MODE_FILTER).
pub fn load_filter(program: &[Instruction]) -> nix::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    // The kernel does not write to it.
    let filter = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: filter points at `len` instructions that are borrowed for longer than the call.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter) };
    Errno::result(result).map(drop)
}

/// As [`load_filter`], for a program that asks a watcher: gives the watcher's end. EBUSY when this process already has such
/// a one (seccomp(2), SECCOMP_FILTER_FLAG_NEW_LISTENER).
pub fn load_watched_filter(program: &[Instruction]) -> nix::Result<OwnedFd> {
    /// Since Linux 5.19: only a deadly signal takes a caller out of a call that is dealt with.
    const WAIT_KILLABLE: libc::c_ulong = 32;
    let len = u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let filter = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    let load = |flags: libc::c_ulong| {
        // SAFETY: as in `load_filter`.
        let result = unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const filter)
        };
        Errno::result(result)
    };
    let number = load(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | WAIT_KILLABLE)
        .or_else(|_| load(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER))?;
    Ok(super::process::adopt(number as i32))
}

/// A call that waits for its watcher's answer.
#[derive(Debug)]
pub struct Asked {
    id: u64,
    /// Its number, on this machine.
    pub number: libc::c_long,
    /// Its arguments.
    pub arguments: [u64; 6],
}

/// The next call of `watcher`, which poll(2) has said is there. ENOENT when its caller has died meanwhile.
pub fn asked(watcher: &OwnedFd) -> nix::Result<Asked> {
    const RECEIVE: libc::c_ulong = 0xc050_2100;
    // SAFETY: a struct of plain numbers.
    let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills one struct, which outlives the call.
    let result = unsafe { libc::ioctl(watcher.as_raw_fd(), RECEIVE as _, &raw mut call) };
    Errno::result(result)?;
    Ok(Asked { id: call.id, number: call.data.nr.into(), arguments: call.data.args })
}

/// Lets the call fail with `errno`. Its caller may have died meanwhile.
pub fn refuse(watcher: &OwnedFd, call: &Asked, errno: Errno) {
    const SEND: libc::c_ulong = 0xc018_2101;
    let answer = libc::seccomp_notif_resp { id: call.id, val: 0, error: -(errno as i32), flags: 0 };
    // SAFETY: the kernel reads one struct, which outlives the call.
    unsafe { libc::ioctl(watcher.as_raw_fd(), SEND as _, &raw const answer) };
}

/// The version of Landlock that this kernel has; none when it has none (landlock_create_ruleset(2)).
pub fn landlock_version() -> Option<u32> {
    /// linux/landlock.h
    const LANDLOCK_CREATE_RULESET_VERSION: libc::c_uint = 1;
    let nothing = std::ptr::null::<libc::c_void>();
    // SAFETY: with this flag the kernel takes no attributes and gives a number.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, LANDLOCK_CREATE_RULESET_VERSION)
    };
    u32::try_from(version).ok()
}

/// Restricts this process and all that comes of it to what a ruleset allows, besides what it was restricted to already
/// (landlock_restrict_self(2)); needs no_new_privs.
pub fn restrict_by(ruleset: impl AsFd) -> nix::Result<()> {
    // SAFETY: no pointers.
    let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_fd().as_raw_fd(), 0) };
    Errno::result(result).map(drop)
}

/// No file is written, and no program of the machine run, when a process of this one's line crashes (core(5)).
pub fn dump_no_core() -> nix::Result<()> {
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0)
}

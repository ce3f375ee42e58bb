//! What a process can have taken from it for good: rights, system calls, its caller's keys.

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
    let action: u32 = libc::SECCOMP_RET_ERRNO;
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

/// No file is written, and no program of the machine run, when a process of this one's line crashes (core(5)).
pub fn dump_no_core() -> nix::Result<()> {
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0)
}

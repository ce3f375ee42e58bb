//! Kernels that lack system calls, imitated by a filter (seccomp(2)).

#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What Linux 5.2 to 5.12 and later ones brought for mounts.
pub const MOUNT_CALLS: [libc::c_long; 7] = [
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
];

/// Further calls that older kernels, or filters around a container, do not know.
pub const OTHER_CALLS: [libc::c_long; 6] = [
    libc::SYS_openat2,
    libc::SYS_clone3,
    libc::SYS_close_range,
    libc::SYS_pidfd_open,
    libc::SYS_faccessat2,
    libc::SYS_epoll_pwait2,
];

/// Both.
pub fn all() -> Vec<libc::c_long> {
    MOUNT_CALLS.into_iter().chain(OTHER_CALLS).collect()
}

/// Makes `calls` fail with `ENOSYS` in the command and all its children. Set-id programs gain nothing there.
pub fn from(command: &mut Command, calls: &[libc::c_long]) {
    load(command, filter(calls));
}

/// Lets no filter of the command have a listener, as a kernel before 5.0 or a container with one of its own.
pub fn listeners(command: &mut Command) {
    let flags = 16 + 8; // the low half of the second argument in struct seccomp_data
    load(
        command,
        vec![
            step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
            step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 3, libc::SYS_seccomp as u32),
            step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, flags),
            step(
                libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K,
                0,
                1,
                libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32,
            ),
            answer(libc::SECCOMP_RET_ERRNO | libc::EINVAL as u32),
            answer(libc::SECCOMP_RET_ALLOW),
        ],
    );
}

fn load(command: &mut Command, program: Vec<libc::sock_filter>) {
    let load = move || {
        let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
        // SAFETY: the program outlives both calls, which read it and change this process alone.
        let loaded = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
        };
        if loaded { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec it makes two system calls and allocates nothing.
    unsafe { command.pre_exec(load) };
}

/// Load the call's number, compare it with each, answer.
fn filter(calls: &[libc::c_long]) -> Vec<libc::sock_filter> {
    let mut steps = vec![step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)];
    for (index, call) in calls.iter().enumerate() {
        let to_refusal = (calls.len() - index) as u8;
        steps.push(step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, to_refusal, 0, *call as u32));
    }
    steps.push(answer(libc::SECCOMP_RET_ALLOW));
    steps.push(answer(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32));
    steps
}

fn step(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}

fn answer(k: u32) -> libc::sock_filter {
    step(libc::BPF_RET | libc::BPF_K, 0, 0, k)
}

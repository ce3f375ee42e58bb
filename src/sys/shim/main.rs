//! The shim: a static program of a few kilobytes that works in any image, for it needs no library at all.
//!
//! * As `exec`, run from a sealed file in memory, it stands between pid 1 and a session's command. Without it, an
//!   image that names `/proc/self/exe` as its command or as a `#!` interpreter would get a process whose
//!   executable is the host's devbox binary, and could change that file (the class of CVE-2019-5736).
//! * As `sudo`, `su` and `doas` it makes the caller root of a nested user namespace, with the filter of
//!   `fakeroot`: root without root, for package managers. No set-id bit is involved.
//!
//! Built by `src/sys/build.rs` and embedded; not part of the crate.

#![no_std]
#![no_main]

#[path = "../fakeroot.rs"]
#[allow(dead_code, missing_docs)]
mod fakeroot;
mod kernel;
mod root;
mod text;

use kernel::{Arguments, exit};

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(125)
}

/// Called by the entry point with the stack as execve(2) laid it out.
extern "C" fn start(stack: *const usize) -> ! {
    let arguments = Arguments::from_stack(stack);
    match text::base_name(arguments.get(0).unwrap_or(b"")) {
        b"exec" => exec(&arguments),
        name => root::become_root(name, &arguments),
    }
}

/// `exec MODE STATUS_FD PROGRAM ARGV0 [ARGUMENT…]`: becomes PROGRAM. MODE is `plain`, or `root` of a nested user
/// namespace, with the filter of `fakeroot`. When it fails, a frame as
/// `sandbox::wire` reads it goes to STATUS_FD, which PROGRAM does not get.
fn exec(arguments: &Arguments) -> ! {
    let status = arguments.get(2).map_or(-1, text::number);
    kernel::close_on_exec(status);
    let mode = arguments.get(1).unwrap_or(b"");
    if mode == b"root" {
        let (uid, gid) = kernel::ids();
        root::enter_namespace(uid, gid);
    }
    if mode == b"root"
        && let Err(errno) = kernel::load_filter()
    {
        report(status, STEP_FILTER, errno);
    }
    let errno = match arguments.pointer(3) {
        Some(program) => kernel::execve(program, arguments.after(4), arguments.environment()),
        None => kernel::EINVAL,
    };
    report(status, STEP_EXEC, errno)
}

/// Tag and steps of `sandbox::wire`, which has a test that holds them equal.
const TAG_FAILED: u8 = 2;
const STEP_FILTER: u8 = 4;
const STEP_EXEC: u8 = 5;

fn report(status: i32, step: u8, errno: i32) -> ! {
    let mut frame = [0; 10];
    let (length, rest) = frame.split_at_mut(4);
    length.copy_from_slice(&6_u32.to_ne_bytes());
    rest[0] = TAG_FAILED;
    rest[1] = step;
    rest[2..].copy_from_slice(&errno.to_ne_bytes());
    kernel::write(status, &frame);
    exit(126)
}

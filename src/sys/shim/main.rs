//! The shim: a static program of a few kilobytes that works in any image, for it needs no library at all.
//!
//! * As `exec`, run from a sealed file in memory, it stands between pid 1 and a session's command, and does what may
//!   wait for a file system, so that pid 1 never does. It stays as the parent of a command that is a terminal's job.
//!   Without it, an image that names `/proc/self/exe` as its command or as a `#!` interpreter would get a process whose
//!   executable is the host's devbox binary, and could change that file (the class of CVE-2019-5736).
//! * As `sudo`, `su` and `doas` it makes the caller root of a nested user namespace, with the filter of
//!   `fakeroot`: root without root, for package managers. No set-id bit is involved.
//! * For such a root a process of it stays behind and writes down owners (`owners`).
//!
//! Built by `src/sys/build.rs` and embedded; not part of the crate.

#![no_std]
#![no_main]

#[path = "../fakeroot.rs"]
#[allow(dead_code, missing_docs)]
mod fakeroot;
mod job;
mod kernel;
mod notify;
mod options;
mod owners;
mod path;
mod root;
mod session;
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
        b"exec" => session::start(&arguments),
        name => root::become_root(name, &arguments),
    }
}

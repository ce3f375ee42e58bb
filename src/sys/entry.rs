//! The way into the program, in place of the standard library's.
//!
//! That one reads `/proc/self/maps` to guard a stack which the kernel guards already, and installs handlers which say
//! that a stack overflowed: a sixth of the time the whole program needs to join a box.

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::os::fd::IntoRawFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::stat::Mode;

use super::process;

/// The exit code of devbox's own failures.
const FAILED: i32 = 125;

/// Length of the argument strings with their NULs, as the kernel laid them out.
static ARGUMENTS_LENGTH: AtomicUsize = AtomicUsize::new(0);

/// Defines the program's `main`, which hands its arguments to a `fn(&[OsString]) -> u8` and ends with that status.
#[macro_export]
macro_rules! entry {
    ($run:path) => {
        // SAFETY: the C library calls `main`, once, with the arguments of the process; there is no other.
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        extern "C" fn main(
            count: std::ffi::c_int,
            arguments: *const *const std::ffi::c_char,
        ) -> std::ffi::c_int {
            // SAFETY: as above.
            unsafe { $crate::sys::entry::start(count, arguments, $run) }
        }
    };
}

/// What the standard library does before `main` that is worth it: the standard descriptors are open, so that no file
/// of ours gets one of their numbers, and a reader that went away is an error instead of a signal.
///
/// # Safety
/// `arguments` must point at `count` C strings that live as long as the process.
pub unsafe fn start(count: c_int, arguments: *const *const c_char, run: fn(&[OsString]) -> u8) -> c_int {
    if open_standard_descriptors().is_err() {
        process::exit_now(FAILED);
    }
    // SAFETY: ignoring a signal runs no code.
    let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) };
    let argv: Vec<OsString> = (0..usize::try_from(count).unwrap_or(0))
        // SAFETY: the caller vouches for the pointers.
        .map(|index| unsafe { CStr::from_ptr(*arguments.add(index)) })
        .map(|argument| OsStr::from_bytes(argument.to_bytes()).to_owned())
        .collect();
    ARGUMENTS_LENGTH.store(argv.iter().map(|argument| argument.len() + 1).sum(), Ordering::Relaxed);
    run(&argv).into()
}

/// Length in bytes of this process's argument strings with their NULs; 0 when `main` is not ours.
pub fn arguments_length() -> usize {
    ARGUMENTS_LENGTH.load(Ordering::Relaxed)
}

fn open_standard_descriptors() -> nix::Result<()> {
    let mut standard = [0, 1, 2].map(|number| PollFd::new(process::standard(number), PollFlags::empty()));
    poll(&mut standard, PollTimeout::ZERO)?;
    for one in standard {
        if one.revents().is_some_and(|events| events.contains(PollFlags::POLLNVAL)) {
            // the lowest free number, which is the one that is closed
            let _ = open(c"/dev/null", OFlag::O_RDWR, Mode::empty())?.into_raw_fd();
        }
    }
    Ok(())
}

//! The ground floor: system calls, and the only `unsafe` of the crate.
//!
//! Wrappers bear the call's name, take and give owned or borrowed descriptors, and always close on exec. What works
//! on files gives an [`Error`] that reads like a line of strace; what runs between clone and exec gives a bare errno.

#![allow(unsafe_code)]

use nix::errno::Errno;

pub mod confine;
pub mod copy;
pub mod entry;
pub mod fakeroot;
pub mod fd;
mod math;
pub mod mount;
pub mod packet;
pub mod process;
pub mod route;
pub mod shim;
pub mod tty;
pub mod xattr;

/// A system call that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{call}({args}): {}", .errno.desc())]
pub struct Error {
    /// The call's name, as in section 2 of the manual.
    pub call: &'static str,
    /// Its telling arguments, names from outside escaped.
    pub args: String,
    /// Why it failed.
    pub errno: Errno,
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        Self::from_raw_os_error(error.errno as i32)
    }
}

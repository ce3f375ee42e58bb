//! Handles that pid 1 gives to its launcher while it sets up the box.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::fcntl::{OFlag, open};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use nix::sys::stat::Mode;

use crate::sys::process;

/// Gives copies of `handles`.
pub(super) fn send<const N: usize>(to: &UnixStream, handles: [&OwnedFd; N]) -> nix::Result<()> {
    let numbers = handles.map(AsRawFd::as_raw_fd);
    let control = [ControlMessage::ScmRights(&numbers)];
    sendmsg::<()>(to.as_raw_fd(), &[IoSlice::new(b"h")], &control, MsgFlags::MSG_NOSIGNAL, None).map(drop)
}

/// Waits for as many handles as were sent together; none when the other end has gone.
pub(super) fn receive<const N: usize>(from: &UnixStream) -> nix::Result<Option<[OwnedFd; N]>> {
    let mut byte = [0];
    let mut space = nix::cmsg_space!([i32; N]);
    let mut bytes = [IoSliceMut::new(&mut byte)];
    let message = recvmsg::<()>(from.as_raw_fd(), &mut bytes, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut found = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            found.extend(numbers.into_iter().map(process::adopt));
        }
    }
    Ok(found.try_into().ok())
}

/// This process's user namespace; to be had by its own process alone once that is not to be looked into.
pub(super) fn user_namespace() -> nix::Result<OwnedFd> {
    open(c"/proc/self/ns/user", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
}

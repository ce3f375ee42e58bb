//! Looking at the packets of this process's network namespace, by packet(7).

use std::mem::size_of_val;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

use super::confine::Instruction;

/// A socket on which comes a copy, from the network header on, of each packet of the loopback device that `filter` lets
/// through, cut to what it says. Takes the right to (CAP_NET_RAW) only while it is made.
pub fn watch_loopback(filter: &[Instruction]) -> nix::Result<OwnedFd> {
    // of no protocol until the filter is in place: nothing comes
    // SAFETY: no pointers.
    let number = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    // SAFETY: the kernel just gave us this descriptor.
    let socket = unsafe { OwnedFd::from_raw_fd(Errno::result(number)?) };
    let len = u16::try_from(filter.len()).map_err(|_| Errno::EINVAL)?;
    // The kernel does not write to it.
    let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut() };
    let length = size_of_val(&program) as libc::socklen_t;
    // SAFETY: program points at `len` instructions; both are borrowed for longer than the call.
    let result = unsafe {
        let value = (&raw const program).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, value, length)
    };
    Errno::result(result)?;
    // SAFETY: sockaddr_ll is plain data for which all zeroes are valid.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    // the same in every network namespace
    address.sll_ifindex = 1;
    let length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: address outlives the call, and has the length that is given.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    Errno::result(result).map(|_| socket)
}

//! Addresses and routes of this process's network namespace, by rtnetlink(7).

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send, socket,
};

/// Number of the loopback device in every network namespace.
const LOOPBACK: u32 = 1;
const REQUEST: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;

/// Gives the loopback device a further address.
pub fn add_loopback_address(address: Ipv4Addr) -> nix::Result<()> {
    // struct ifaddrmsg: family, prefix length, flags, scope, device
    let mut body = vec![libc::AF_INET as u8, 32, 0, libc::RT_SCOPE_UNIVERSE];
    body.extend(LOOPBACK.to_ne_bytes());
    for kind in [libc::IFA_LOCAL, libc::IFA_ADDRESS] {
        attribute(&mut body, kind, &address.octets());
    }
    ask(libc::RTM_NEWADDR, &body)
}

/// Makes every address of a family (`AF_INET`, `AF_INET6`) that nothing else is known of an address of this namespace
/// ("AnyIP").
pub fn claim_all(family: i32) -> nix::Result<()> {
    // struct rtmsg: family, lengths of destination and source, service, table, protocol, scope, type, flags
    let scope = if family == libc::AF_INET { libc::RT_SCOPE_HOST } else { libc::RT_SCOPE_UNIVERSE };
    let mut body =
        vec![family as u8, 0, 0, 0, libc::RT_TABLE_LOCAL, libc::RTPROT_BOOT, scope, libc::RTN_LOCAL];
    body.extend(0_u32.to_ne_bytes());
    attribute(&mut body, libc::RTA_OIF, &LOOPBACK.to_ne_bytes());
    ask(libc::RTM_NEWROUTE, &body)
}

/// struct rtattr: length, type, value. All values here are of four bytes, so that nothing needs padding.
fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8; 4]) {
    body.extend(8_u16.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
}

/// Sends one request and reads what the kernel says to it.
fn ask(kind: u16, body: &[u8]) -> nix::Result<()> {
    let channel: OwnedFd =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    connect(channel.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    // struct nlmsghdr: length, type, flags, sequence, port
    let length = 16 + body.len() as u32;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    send(channel.as_raw_fd(), &message, MsgFlags::empty())?;
    let mut answer = [0; 512];
    let length = recv(channel.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    // struct nlmsgerr behind the header: an errno, negative or none
    match answer[..length].get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(error) => Err(Errno::from_raw(-error)),
        None => Err(Errno::EBADMSG),
    }
}

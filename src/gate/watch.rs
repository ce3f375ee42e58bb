//! What leads nowhere, seen and noted: attempts to reach ports and addresses at which nobody listens, and datagrams. The box's
//! own kernel refuses them; a copy of their first packet tells us.

use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{MsgFlags, recv};

use super::Gate;
use super::names::Names;
use crate::network::Target;
use crate::sys::confine::Instruction;

/// Of each packet this much is looked at: the longest header of version 4 and two ports, more than one of version 6.
const LONGEST: usize = 64;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Lets through what begins a connection (SYN without ACK) and all datagrams, but for those to 127.0.0.0/8.
pub fn filter() -> Vec<Instruction> {
    // linux/filter.h; jumps count the instructions that are passed over
    let step = |code: u32, jt: u8, jf: u8, k: u32| Instruction { code: code as u16, jt, jf, k };
    let byte = |at: u32| step(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, at);
    let equals = |k: u32, jt: u8, jf: u8| step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, jt, jf, k);
    let and = |k: u32| step(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, k);
    let give = |length: u32| step(libc::BPF_RET | libc::BPF_K, 0, 0, length);
    vec![
        byte(0),
        and(0xf0),
        equals(0x40, 0, 8), // else 11
        byte(16),
        equals(127, 13, 0), // 18
        byte(9),
        equals(UDP.into(), 12, 0),                                  // 19
        equals(TCP.into(), 0, 10),                                  // else 18
        step(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0, 0, 0), // the header's length
        step(libc::BPF_LD | libc::BPF_B | libc::BPF_IND, 0, 0, 13),
        step(libc::BPF_JMP | libc::BPF_JA, 0, 0, 5), // 16
        equals(0x60, 0, 6),                          // 11: version 6; else 18
        byte(6),
        equals(UDP.into(), 5, 0), // 19
        equals(TCP.into(), 0, 3), // else 18
        byte(40 + 13),
        and(0x12),            // 16: SYN and ACK
        equals(0x02, 1, 0),   // 19
        give(0),              // 18
        give(LONGEST as u32), // 19
    ]
}

/// Where a packet goes to.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    datagram: bool,
    to: IpAddr,
    port: u16,
}

fn read(packet: &[u8]) -> Option<Seen> {
    let (protocol, to, head): (u8, IpAddr, usize) = match packet.first()? >> 4 {
        4 => {
            let to: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
            (*packet.get(9)?, to.into(), usize::from(packet[0] & 0xf) * 4)
        }
        6 => {
            let to: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
            (*packet.get(6)?, Ipv6Addr::from(to).into(), 40)
        }
        _ => return None,
    };
    let port = packet.get(head + 2..head + 4)?;
    Some(Seen { datagram: protocol == UDP, to, port: u16::from_be_bytes([port[0], port[1]]) })
}

impl Gate {
    /// Notes what is to be seen on `socket` now.
    pub(super) fn watch(&self, socket: &OwnedFd) {
        let mut packet = [0; LONGEST];
        while let Ok(length) = recv(socket.as_raw_fd(), &mut packet, MsgFlags::MSG_DONTWAIT) {
            if let Some(seen) = read(&packet[..length]) {
                self.saw(&seen);
            }
        }
    }

    fn saw(&self, seen: &Seen) {
        let Seen { datagram, to, port } = *seen;
        let to = to.to_canonical();
        // what listens there decides itself, and the box's own is its own
        let heard = !datagram && self.rules.ports().contains(&port);
        if heard || to.is_loopback() || to.is_multicast() || to.is_unspecified() || Names::is_own(to) {
            return;
        }
        let name = match to {
            IpAddr::V4(ip) => self.names().name(ip).map(str::to_owned),
            IpAddr::V6(_) => None,
        };
        let target = name.map_or(Target::Address(to), Target::Name);
        let what = format!("{target}:{port}");
        if datagram {
            self.notes.refused(&format!("{what}/udp"), "datagrams are not let through", None);
        } else {
            self.notes.refused(&what, "no entry of `allow` has it", Some(&what));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The filter's verdict, by the few instructions it has (linux, Documentation/networking/filter.rst).
    fn passes(packet: &[u8]) -> bool {
        let (program, mut at, mut a, mut x) = (filter(), 0, 0_u32, 0_usize);
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            at += 1;
            let byte = |index: usize| packet.get(index).copied().map(u32::from);
            match u32::from(code) {
                code if code == libc::BPF_LD | libc::BPF_B | libc::BPF_ABS => match byte(k as usize) {
                    Some(value) => a = value,
                    None => return false,
                },
                code if code == libc::BPF_LD | libc::BPF_B | libc::BPF_IND => match byte(x + k as usize) {
                    Some(value) => a = value,
                    None => return false,
                },
                code if code == libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH => {
                    x = (packet[k as usize] & 0xf) as usize * 4;
                }
                code if code == libc::BPF_ALU | libc::BPF_AND | libc::BPF_K => a &= k,
                code if code == libc::BPF_JMP | libc::BPF_JA => at += k as usize,
                code if code == libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K => {
                    at += usize::from(if a == k { jt } else { jf });
                }
                _ => return k > 0,
            }
        }
    }

    fn v4(protocol: u8, to: [u8; 4], flags: u8) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 127, 0, 0, 1];
        packet.extend(to);
        packet.extend([0x9c, 0x40, 1, 0xbb, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags]);
        packet
    }

    fn v6(protocol: u8, flags: u8) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
        packet.extend([0; 16]);
        packet.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        packet.extend([0x9c, 0x40, 1, 0xbb, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags]);
        packet
    }

    #[test]
    fn beginnings_and_datagrams_are_seen() {
        let far = [192, 0, 2, 1];
        for (packet, passed) in [
            (v4(TCP, far, 0x02), true),
            (v4(TCP, far, 0x12), false),
            (v4(TCP, far, 0x14), false),
            (v4(TCP, [127, 0, 0, 1], 0x02), false),
            (v4(UDP, far, 0), true),
            (v4(UDP, [127, 0, 0, 1], 0), false),
            (v4(1, far, 0x02), false),
            (v6(TCP, 0x02), true),
            (v6(TCP, 0x10), false),
            (v6(UDP, 0), true),
            (v6(58, 0x02), false),
            (vec![0x45, 0], false),
            (vec![0x20; 60], false),
        ] {
            assert_eq!(passes(&packet), passed, "{packet:x?}");
        }
    }

    #[test]
    fn where_they_go() {
        let to = |text: &str| text.parse::<IpAddr>().unwrap();
        let seen = |datagram, ip| Some(Seen { datagram, to: to(ip), port: 443 });
        assert_eq!(read(&v4(TCP, [192, 0, 2, 1], 2)), seen(false, "192.0.2.1"));
        assert_eq!(read(&v4(UDP, [192, 0, 2, 1], 0)), seen(true, "192.0.2.1"));
        assert_eq!(read(&v6(UDP, 0)), seen(true, "2001:db8::1"));
        let packet = v6(TCP, 2);
        for length in 0..44 {
            assert_eq!(read(&packet[..length]), None);
        }
        assert_eq!(read(&[0x4f, 0, 0, 0]), None);
    }
}

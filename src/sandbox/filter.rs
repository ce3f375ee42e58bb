//! Builds the system-call filter of an untrusted box from the table in `calls`.
//!
//! The crate compiles rules on one machine's own calls. A call by another ABI (i386, arm) would kill the process there, and
//! x32 would pass for the machine's own: so instructions of ours come first, and let nothing through but what the
//! rules are about.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BackendError as Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::calls::{
    CLONE3, FAMILIES, FORBIDDEN, NAMESPACES, NETLINK_ROUTE, NEW_TIME, NEWEST, PERSONALITIES, RAW, TYPE,
    TYPING,
};
use crate::sys::confine::Instruction;

/// Instructions of classic BPF, and where what they look at stands in `struct seccomp_data`.
const LOAD: u16 = 0x20;
const EQUAL: u16 = 0x15;
const MORE_THAN: u16 = 0x25;
const RETURN: u16 = 0x06;
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const REFUSED: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
const NOT_THERE: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

#[cfg(target_arch = "x86_64")]
const MACHINE: (TargetArch, u32) = (TargetArch::x86_64, 0xc000_003e);
#[cfg(target_arch = "aarch64")]
const MACHINE: (TargetArch, u32) = (TargetArch::aarch64, 0xc000_00b7);

/// The whole program, for this machine.
pub(super) fn build() -> Result<Vec<Instruction>, Error> {
    let (machine, arch) = MACHINE;
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(rules()?, SeccompAction::Allow, refuse, machine)?;
    let compiled: seccompiler::BpfProgram = filter.try_into()?;
    let compiled = compiled.iter().map(|one| instruction(one.code, one.jt, one.jf, one.k));
    Ok(first(arch).into_iter().chain(compiled).collect())
}

/// `program`, asking its watcher where it would refuse (seccomp_unotify(2)).
pub(super) fn watched(program: &[Instruction]) -> Vec<Instruction> {
    let ask = |one: &Instruction| match (one.code, one.k) {
        (RETURN, REFUSED) => instruction(RETURN, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
        _ => *one,
    };
    program.iter().map(ask).collect()
}

/// Calls of other ABIs, unknown ones, and clone3 are not there. x32 has numbers far above all others.
fn first(arch: u32) -> [Instruction; 6] {
    [
        instruction(LOAD, 0, 0, ARCH),
        instruction(EQUAL, 0, 3, arch),
        instruction(LOAD, 0, 0, NUMBER),
        instruction(MORE_THAN, 1, 0, NEWEST),
        instruction(EQUAL, 0, 1, CLONE3),
        instruction(RETURN, 0, 0, NOT_THERE),
    ]
}

fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code, jt, jf, k }
}

/// By call: refused when one of its rules holds, or when it has none.
fn rules() -> Result<BTreeMap<c_long, Vec<SeccompRule>>, Error> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> =
        FORBIDDEN.iter().map(|(call, _)| (*call, Vec::new())).collect();

    let flag = |flag: i32| SeccompRule::new(vec![masked(0, flag, flag)?]);
    let namespaces = NAMESPACES.into_iter().map(flag).collect::<Result<Vec<_>, _>>()?;
    rules.insert(
        libc::SYS_unshare,
        namespaces.iter().cloned().map(Ok).chain([flag(NEW_TIME)]).collect::<Result<_, _>>()?,
    );
    rules.insert(libc::SYS_clone, namespaces);

    let typing = TYPING.into_iter().map(|request| SeccompRule::new(vec![is(1, request)?]));
    rules.insert(libc::SYS_ioctl, typing.collect::<Result<_, _>>()?);

    let harmless = PERSONALITIES.into_iter().map(|persona| is_not(0, persona));
    rules.insert(libc::SYS_personality, vec![SeccompRule::new(harmless.collect::<Result<_, _>>()?)?]);

    let strange = FAMILIES.into_iter().map(|family| is_not(0, family as u32));
    let mut sockets = vec![SeccompRule::new(strange.collect::<Result<_, _>>()?)?];
    sockets.push(SeccompRule::new(vec![is(0, libc::AF_NETLINK as u32)?, is_not(2, NETLINK_ROUTE as u32)?])?);
    for family in [libc::AF_INET, libc::AF_INET6] {
        for kind in RAW {
            sockets.push(SeccompRule::new(vec![is(0, family as u32)?, masked(1, TYPE, kind)?])?);
        }
    }
    rules.insert(libc::SYS_socketpair, sockets.clone());
    rules.insert(libc::SYS_socket, sockets);
    Ok(rules)
}

/// The low half of an argument is `value`; the kernel takes no more of any that is looked at here.
fn is(argument: u8, value: u32) -> Result<SeccompCondition, Error> {
    condition(argument, SeccompCmpOp::Eq, value)
}

fn is_not(argument: u8, value: u32) -> Result<SeccompCondition, Error> {
    condition(argument, SeccompCmpOp::Ne, value)
}

fn masked(argument: u8, mask: i32, value: i32) -> Result<SeccompCondition, Error> {
    condition(argument, SeccompCmpOp::MaskedEq(u64::from(mask as u32)), value as u32)
}

fn condition(argument: u8, test: SeccompCmpOp, value: u32) -> Result<SeccompCondition, Error> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, test, value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const REFUSE: u32 = REFUSED;

    /// What the program answers, found by running it as the kernel does.
    fn answer(arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let program = build().unwrap();
        let mut data = [number, arch, 0, 0].to_vec();
        data.extend(arguments.iter().flat_map(|word| [*word as u32, (*word >> 32) as u32]));
        let (mut at, mut accumulator) = (0, 0_u32);
        loop {
            let one = program[at];
            at += 1;
            let jump = |holds: bool| usize::from(if holds { one.jt } else { one.jf });
            match one.code {
                0x20 => accumulator = data[one.k as usize / 4],
                0x54 => accumulator &= one.k,
                0x05 => at += one.k as usize,
                0x15 => at += jump(accumulator == one.k),
                0x25 => at += jump(accumulator > one.k),
                0x35 => at += jump(accumulator >= one.k),
                0x06 => return one.k,
                code => panic!("an instruction nobody expected: {code:#x}"),
            }
        }
    }

    fn ours(call: c_long, arguments: &[u64]) -> u32 {
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        answer(MACHINE.1, call as u32, all)
    }

    #[test]
    fn forbidden_calls_are_refused_and_others_are_not() {
        for (call, name) in FORBIDDEN {
            assert_eq!(ours(*call, &[]), REFUSE, "{name}");
        }
        for call in [libc::SYS_read, libc::SYS_execve, libc::SYS_ptrace, libc::SYS_openat2, libc::SYS_seccomp]
        {
            assert_eq!(ours(call, &[]), ALLOW, "{call}");
        }
    }

    #[test]
    fn a_watcher_is_asked_where_else_would_be_refused() {
        let program = build().unwrap();
        let asks = watched(&program);
        assert_eq!(asks.len(), program.len());
        let differ: Vec<_> = program.iter().zip(&asks).filter(|(one, other)| one.k != other.k).collect();
        assert!(!differ.is_empty());
        for (one, other) in differ {
            assert_eq!((one.k, other.k, other.code), (REFUSED, libc::SECCOMP_RET_USER_NOTIF, RETURN));
        }
        assert!(!asks.iter().any(|one| one.code == RETURN && one.k == REFUSED));
    }

    #[test]
    fn no_other_door() {
        for arch in [0x4000_0003, 0x4000_0028, 0, u32::MAX] {
            assert_eq!(answer(arch, libc::SYS_read as u32, [0; 6]), NOT_THERE, "{arch:#x}");
        }
        for number in [NEWEST + 1, 0x4000_0000, 0x4000_0000 + libc::SYS_keyctl as u32, u32::MAX, CLONE3] {
            assert_eq!(answer(MACHINE.1, number, [0; 6]), NOT_THERE, "{number:#x}");
        }
    }

    #[test]
    fn arguments_decide() {
        const HIGH: u64 = 0xdead_beef << 32;
        let (unix, inet, inet6, netlink, vsock, packet) = (1, 2, 10, 16, 40, 17);
        let (stream, raw, cloexec) = (1, 3, 0o2_000_000);
        for (call, arguments, allowed) in [
            (libc::SYS_clone, &[0x11][..], true),
            (libc::SYS_clone, &[libc::CLONE_VM as u64 | libc::CLONE_THREAD as u64], true),
            (libc::SYS_clone, &[0x1000_0011], false),
            (libc::SYS_clone, &[0x0002_0000], false),
            (libc::SYS_unshare, &[libc::CLONE_FS as u64], true),
            (libc::SYS_unshare, &[libc::CLONE_FS as u64 | libc::CLONE_NEWNET as u64], false),
            (libc::SYS_unshare, &[0x80], false),
            (libc::SYS_ioctl, &[0, 0x5413], true),
            (libc::SYS_ioctl, &[0, 0x5412], false),
            (libc::SYS_ioctl, &[0, HIGH | 0x5412], false),
            (libc::SYS_ioctl, &[0, HIGH | 0x541c], false),
            (libc::SYS_personality, &[u32::MAX as u64], true),
            (libc::SYS_personality, &[8], true),
            (libc::SYS_personality, &[0x40_0000], false),
            (libc::SYS_socket, &[unix, raw], true),
            (libc::SYS_socket, &[inet, stream | cloexec], true),
            (libc::SYS_socket, &[inet6, stream], true),
            (libc::SYS_socket, &[netlink, raw | cloexec, 0], true),
            (libc::SYS_socket, &[netlink, raw, 9], false),
            (libc::SYS_socket, &[inet, raw | cloexec, 1], false),
            (libc::SYS_socket, &[inet6, raw, 58], false),
            (libc::SYS_socket, &[inet, 10, 0], false),
            (libc::SYS_socket, &[vsock, stream], false),
            (libc::SYS_socket, &[HIGH | vsock, stream], false),
            (libc::SYS_socket, &[packet, raw], false),
            (libc::SYS_socketpair, &[unix, stream], true),
            (libc::SYS_socketpair, &[30, stream], false),
        ] {
            assert_eq!(ours(call, arguments), if allowed { ALLOW } else { REFUSE }, "{call} {arguments:x?}");
        }
    }
}

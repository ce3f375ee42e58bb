//! The system-call filter that lets package managers work with a single id: changing ids and making devices succeeds
//! without doing anything (seccomp(2), `SECCOMP_RET_ERRNO` with errno 0), and changing owners is handed to a watcher
//! that writes them down (`SECCOMP_RET_USER_NOTIF`; `shim/owners.rs`), or succeeds like the rest where there is none.
//!
//! With one mapped id every other owner is EINVAL, and dpkg, rpm and their scripts stop at the first such error.
//! This file is also compiled into the in-box shim, so it uses `core` alone.

/// One instruction of classic BPF (`struct sock_filter`).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Instruction {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

/// What seccomp(2) takes (`struct sock_fprog`).
#[repr(C)]
pub struct Program {
    len: u16,
    filter: *const Instruction,
}

impl Program {
    /// The filter for this machine, with a watcher for owners or without.
    pub const fn of_this_machine(watched: bool) -> Self {
        let filter = if watched { &WATCHED } else { &UNWATCHED };
        Self { len: filter.len as u16, filter: filter.code.as_ptr() }
    }
}

/// How a call names what gets a new owner, and whom.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Chown {
    /// A path and two ids, links followed.
    Path,
    /// A path and two ids, the last link not followed.
    Link,
    /// A descriptor and two ids.
    Descriptor,
    /// A folder's descriptor, a path, two ids and flags.
    At,
    /// As `Path`, `Link` and `Descriptor`, with ids of 16 bits.
    ShortPath,
    /// See `ShortPath`.
    ShortLink,
    /// See `ShortPath`.
    ShortDescriptor,
}

/// Which call that changes owners `number` is under `arch`, as a filter or its watcher is told them.
pub fn chown_call(arch: u32, number: u32) -> Option<Chown> {
    let abi = ABIS.iter().find(|abi| abi.arch == arch)?;
    abi.chowns.iter().find(|(of, _)| *of == number).map(|(_, call)| *call)
}

/// The calls of one ABI.
struct Abi {
    /// `AUDIT_ARCH_*` of linux/audit.h.
    arch: u32,
    /// Numbers from here up belong to another ABI with the same `arch` and get ENOSYS (x32).
    end: u32,
    /// Calls that change owners.
    chowns: &'static [(u32, Chown)],
    /// Calls that change ids.
    ids: &'static [u32],
    /// `mknod` and its kin: number, and which argument is the mode.
    mknods: &'static [(u32, u32)],
}

#[cfg(target_arch = "x86_64")]
const ABIS: [Abi; 2] = [
    Abi {
        arch: 0xc000_003e,
        end: 0x4000_0000,
        chowns: &[(92, Chown::Path), (93, Chown::Descriptor), (94, Chown::Link), (260, Chown::At)],
        ids: &[105, 106, 113, 114, 116, 117, 119, 122, 123],
        mknods: &[(133, 1), (259, 2)],
    },
    Abi {
        arch: 0x4000_0003,
        end: u32::MAX,
        chowns: &chowns_32(298),
        ids: &IDS_32,
        mknods: &[(14, 1), (297, 2)],
    },
];

#[cfg(target_arch = "aarch64")]
const ABIS: [Abi; 2] = [
    Abi {
        arch: 0xc000_00b7,
        end: u32::MAX,
        chowns: &[(54, Chown::At), (55, Chown::Descriptor)],
        ids: &[143, 144, 145, 146, 147, 149, 151, 152, 159],
        mknods: &[(33, 2)],
    },
    Abi {
        arch: 0x4000_0028,
        end: u32::MAX,
        chowns: &chowns_32(325),
        ids: &IDS_32,
        mknods: &[(14, 1), (324, 2)],
    },
];

/// i386 and arm agree on all of these but `fchownat`: lchown, fchown, chown; then the same with 32-bit ids.
const fn chowns_32(fchownat: u32) -> [(u32, Chown); 7] {
    [
        (16, Chown::ShortLink),
        (95, Chown::ShortDescriptor),
        (182, Chown::ShortPath),
        (198, Chown::Link),
        (207, Chown::Descriptor),
        (212, Chown::Path),
        (fchownat, Chown::At),
    ]
}

/// set*id and setgroups; then the same with 32-bit ids.
const IDS_32: [u32; 18] =
    [23, 46, 70, 71, 81, 138, 139, 164, 170, 213, 214, 203, 204, 206, 208, 210, 215, 216];

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const EQUAL: u16 = 0x15;
const AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7fff_0000;
/// `SECCOMP_RET_ERRNO` with errno 0: the call returns 0.
const SUCCEED: u32 = 0x0005_0000;
/// `SECCOMP_RET_USER_NOTIF`: the watcher says what the call returns.
const NOTIFY: u32 = 0x7fc0_0000;
const ENOSYS: u32 = 0x0005_0000 | 38;

/// Offsets in `struct seccomp_data`; arguments are eight bytes each, low half first on both machines.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

const S_IFMT: u32 = 0o170_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFBLK: u32 = 0o060_000;

const CAPACITY: usize = 96;

struct Filter {
    code: [Instruction; CAPACITY],
    len: usize,
}

static WATCHED: Filter = assemble(NOTIFY);
static UNWATCHED: Filter = assemble(SUCCEED);

const fn assemble(chown: u32) -> Filter {
    let mut filter =
        Filter { code: [Instruction { code: RETURN, jt: 0, jf: 0, k: ALLOW }; CAPACITY], len: 0 };
    let mut index = 0;
    while index < ABIS.len() {
        filter = block(filter, &ABIS[index], chown);
        index += 1;
    }
    put(filter, RETURN, 0, 0, ENOSYS)
}

/// If the call is of this ABI: `chown` for those that change owners, succeed for those that change ids and for making
/// devices, allow all others.
const fn block(filter: Filter, abi: &Abi, chown: u32) -> Filter {
    let each_mknod = 6;
    // After the jump on `arch`: load, range check, one test a call, the mknods, then the four ends.
    let size = 2 + abi.chowns.len() + abi.ids.len() + each_mknod * abi.mknods.len() + 4;
    let mut filter = put(filter, LOAD, 0, 0, ARCH);
    filter = put(filter, EQUAL, 0, size as u8, abi.arch);
    let changed = filter.len + size - 3;
    let succeed = changed + 1;
    filter = put(filter, LOAD, 0, 0, NUMBER);
    filter = jump(filter, AT_LEAST, abi.end, succeed + 1, 0);
    let mut index = 0;
    while index < abi.chowns.len() {
        filter = jump(filter, EQUAL, abi.chowns[index].0, changed, 0);
        index += 1;
    }
    let mut index = 0;
    while index < abi.ids.len() {
        filter = jump(filter, EQUAL, abi.ids[index], succeed, 0);
        index += 1;
    }
    let mut index = 0;
    while index < abi.mknods.len() {
        let (number, mode) = abi.mknods[index];
        filter = put(filter, EQUAL, 0, each_mknod as u8 - 1, number);
        filter = put(filter, LOAD, 0, 0, ARGUMENTS + 8 * mode);
        filter = put(filter, AND, 0, 0, S_IFMT);
        filter = jump(filter, EQUAL, S_IFCHR, succeed, 0);
        filter = jump(filter, EQUAL, S_IFBLK, succeed, 0);
        filter = put(filter, RETURN, 0, 0, ALLOW);
        index += 1;
    }
    filter = put(filter, RETURN, 0, 0, ALLOW);
    filter = put(filter, RETURN, 0, 0, chown);
    filter = put(filter, RETURN, 0, 0, SUCCEED);
    put(filter, RETURN, 0, 0, ENOSYS)
}

const fn jump(filter: Filter, test: u16, value: u32, to: usize, otherwise: u8) -> Filter {
    let distance = to - filter.len - 1;
    assert!(distance < 256, "a BPF jump reaches 255 instructions");
    put(filter, test, distance as u8, otherwise, value)
}

const fn put(mut filter: Filter, code: u16, jt: u8, jf: u8, k: u32) -> Filter {
    filter.code[filter.len] = Instruction { code, jt, jf, k };
    filter.len += 1;
    filter
}

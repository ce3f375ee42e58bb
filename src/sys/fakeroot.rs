//! The system-call filter that lets package managers work with a single id: changing owners and making devices
//! succeeds without doing anything (seccomp(2), `SECCOMP_RET_ERRNO` with errno 0).
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
    /// The filter for this machine.
    pub const fn of_this_machine() -> Self {
        Self { len: FILTER.len as u16, filter: FILTER.code.as_ptr() }
    }
}

/// The calls of one ABI.
struct Abi {
    /// `AUDIT_ARCH_*` of linux/audit.h.
    arch: u32,
    /// Numbers from here up belong to another ABI with the same `arch` and get ENOSYS (x32).
    end: u32,
    /// Calls that change owners or ids.
    owners: &'static [u32],
    /// `mknod` and its kin: number, and which argument is the mode.
    mknods: &'static [(u32, u32)],
}

#[cfg(target_arch = "x86_64")]
const ABIS: [Abi; 2] = [
    Abi {
        arch: 0xc000_003e,
        end: 0x4000_0000,
        owners: &[92, 93, 94, 260, 105, 106, 113, 114, 116, 117, 119, 122, 123],
        mknods: &[(133, 1), (259, 2)],
    },
    Abi { arch: 0x4000_0003, end: u32::MAX, owners: &OWNERS_32, mknods: &[(14, 1), (297, 2)] },
];
#[cfg(target_arch = "x86_64")]
const FCHOWNAT_32: u32 = 298;

#[cfg(target_arch = "aarch64")]
const ABIS: [Abi; 2] = [
    Abi {
        arch: 0xc000_00b7,
        end: u32::MAX,
        owners: &[54, 55, 143, 144, 145, 146, 147, 149, 151, 152, 159],
        mknods: &[(33, 2)],
    },
    Abi { arch: 0x4000_0028, end: u32::MAX, owners: &OWNERS_32, mknods: &[(14, 1), (324, 2)] },
];
#[cfg(target_arch = "aarch64")]
const FCHOWNAT_32: u32 = 325;

/// i386 and arm agree on all of these: lchown, fchown, chown, set*id, setgroups; then the same with 32-bit ids.
const OWNERS_32: [u32; 25] = [
    16,
    95,
    182,
    23,
    46,
    70,
    71,
    81,
    138,
    139,
    164,
    170,
    198,
    207,
    212,
    213,
    214,
    203,
    204,
    206,
    208,
    210,
    215,
    216,
    FCHOWNAT_32,
];

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const EQUAL: u16 = 0x15;
const AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7fff_0000;
/// `SECCOMP_RET_ERRNO` with errno 0: the call returns 0.
const SUCCEED: u32 = 0x0005_0000;
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

static FILTER: Filter = assemble();

const fn assemble() -> Filter {
    let mut filter =
        Filter { code: [Instruction { code: RETURN, jt: 0, jf: 0, k: ALLOW }; CAPACITY], len: 0 };
    let mut index = 0;
    while index < ABIS.len() {
        filter = block(filter, &ABIS[index]);
        index += 1;
    }
    put(filter, RETURN, 0, 0, ENOSYS)
}

/// If the call is of this ABI: succeed for its owner calls and for making devices, allow all others.
const fn block(filter: Filter, abi: &Abi) -> Filter {
    let each_mknod = 6;
    let owners = abi.owners.len();
    // After the jump on `arch`: load, range check, one test an owner call, the mknods, allow, succeed, refuse.
    let size = 2 + owners + each_mknod * abi.mknods.len() + 3;
    let mut filter = put(filter, LOAD, 0, 0, ARCH);
    filter = put(filter, EQUAL, 0, size as u8, abi.arch);
    let succeed = filter.len + size - 2;
    filter = put(filter, LOAD, 0, 0, NUMBER);
    filter = jump(filter, AT_LEAST, abi.end, succeed + 1, 0);
    let mut index = 0;
    while index < owners {
        filter = jump(filter, EQUAL, abi.owners[index], succeed, 0);
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

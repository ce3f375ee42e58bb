//! Which system calls an untrusted box can't make: the table that `filter` builds the filter from.
//!
//! What is listed here serves the machine, not a program that builds something: each has been a way out of boxes, or
//! shows what others do. All that is not listed can be made; calls newer than the newest known here can't.

use libc::{c_int, c_long};

macro_rules! call {
    ($name:ident) => {
        (libc::$name, stringify!($name))
    };
}

/// Refused with EPERM, whatever the arguments: number, and name as the C library has it.
pub(super) const FORBIDDEN: &[(c_long, &str)] = &[
    // keys of the caller's
    call!(SYS_add_key),
    call!(SYS_keyctl),
    call!(SYS_request_key),
    // large and often faulty parts of the kernel
    call!(SYS_bpf),
    call!(SYS_io_uring_enter),
    call!(SYS_io_uring_register),
    call!(SYS_io_uring_setup),
    call!(SYS_perf_event_open),
    call!(SYS_userfaultfd),
    // files by number, past every folder on the way
    call!(SYS_open_by_handle_at),
    // mounts, by the old calls and the new
    call!(SYS_chroot),
    call!(SYS_fsconfig),
    call!(SYS_fsmount),
    call!(SYS_fsopen),
    call!(SYS_fspick),
    call!(SYS_mount),
    call!(SYS_mount_setattr),
    call!(SYS_move_mount),
    call!(SYS_open_tree),
    (OPEN_TREE_ATTR, "SYS_open_tree_attr"),
    call!(SYS_pivot_root),
    call!(SYS_umount2),
    // namespaces; see also `NAMESPACES`
    call!(SYS_setns),
    // the kernel itself
    call!(SYS_delete_module),
    call!(SYS_finit_module),
    call!(SYS_init_module),
    call!(SYS_kexec_load),
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    call!(SYS_kexec_file_load),
    // the machine
    call!(SYS_acct),
    call!(SYS_adjtimex),
    call!(SYS_clock_adjtime),
    call!(SYS_clock_settime),
    call!(SYS_quotactl),
    call!(SYS_quotactl_fd),
    call!(SYS_reboot),
    call!(SYS_setdomainname),
    call!(SYS_sethostname),
    call!(SYS_settimeofday),
    call!(SYS_swapoff),
    call!(SYS_swapon),
    call!(SYS_syslog),
    call!(SYS_vhangup),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_ioperm),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_iopl),
    // left over, and nobody's any more
    #[cfg(target_arch = "x86_64")]
    call!(SYS__sysctl),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_uselib),
    call!(SYS_lookup_dcookie),
    call!(SYS_nfsservctl),
];

/// Not in the libc crate yet (Linux 6.15); from 424 on all machines number alike.
const OPEN_TREE_ATTR: c_long = 467;
/// The newest call that was looked at, `file_setattr` of Linux 6.17. Those above answer ENOSYS, as on an older kernel.
pub(super) const NEWEST: u32 = 469;
/// Its flags stand in memory, where no filter sees them: it answers ENOSYS, and C libraries fall back to clone(2).
pub(super) const CLONE3: u32 = libc::SYS_clone3 as u32;

/// Any of these in the first argument of clone(2) and unshare(2) makes a namespace.
pub(super) const NAMESPACES: [c_int; 7] = [
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWUTS,
];
/// The same for unshare(2) alone: to clone(2) it is part of a signal's number.
pub(super) const NEW_TIME: c_int = 0x80;

/// ioctl(2) requests by which what is written to a terminal becomes typed on it, low half: the kernel looks at no more.
pub(super) const TYPING: [u32; 2] = [0x5412, 0x541c];

/// Kinds of sockets that there are: among the box's processes, to networks, and for the box's own addresses and routes.
pub(super) const FAMILIES: [c_int; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
/// The only subject of netlink(7).
pub(super) const NETLINK_ROUTE: c_int = libc::NETLINK_ROUTE;
/// socket(2) has flags in the same argument above the type.
pub(super) const TYPE: c_int = 0xf;
/// Types that see or forge what belongs to others; the second is what packet sockets were before they were a family
/// (linux/net.h, SOCK_PACKET).
pub(super) const RAW: [c_int; 2] = [libc::SOCK_RAW, 10];

/// What personality(2) may be asked for: nothing, 32-bit names, old version numbers, both, and what it is now. Others
/// weaken the process's own protections.
pub(super) const PERSONALITIES: [u32; 5] = [0, 0x8, 0x2_0000, 0x2_0008, u32::MAX];

/// Words for a call that was refused, from its number and arguments.
pub(super) fn words(number: c_long, arguments: &[u64; 6]) -> String {
    let low = |argument: usize| arguments[argument] as u32;
    let name = |namespace: &c_int| match *namespace {
        libc::CLONE_NEWCGROUP => "cgroup",
        libc::CLONE_NEWIPC => "ipc",
        libc::CLONE_NEWNET => "network",
        libc::CLONE_NEWNS => "mount",
        libc::CLONE_NEWPID => "pid",
        libc::CLONE_NEWUSER => "user",
        _ => "uts",
    };
    match number {
        libc::SYS_clone | libc::SYS_unshare => {
            let asked: Vec<_> =
                NAMESPACES.iter().filter(|flag| low(0) & **flag as u32 != 0).map(name).collect();
            let which = if asked.is_empty() { "time".to_owned() } else { asked.join(", ") };
            let call = if number == libc::SYS_clone { "clone" } else { "unshare" };
            format!("{call}(2) of a new {which} namespace")
        }
        libc::SYS_ioctl if low(1) == TYPING[0] => "ioctl(2) TIOCSTI, typing on a terminal".to_owned(),
        libc::SYS_ioctl => "ioctl(2) TIOCLINUX, typing on a terminal".to_owned(),
        libc::SYS_personality => format!("personality(2) {:#x}", low(0)),
        libc::SYS_socket | libc::SYS_socketpair => {
            let kind = match low(0) as c_int {
                libc::AF_INET | libc::AF_INET6 => "raw packets".to_owned(),
                libc::AF_NETLINK => format!("netlink subject {}", low(2)),
                libc::AF_VSOCK => "family AF_VSOCK".to_owned(),
                libc::AF_PACKET => "family AF_PACKET".to_owned(),
                libc::AF_ALG => "family AF_ALG".to_owned(),
                family => format!("family {family}"),
            };
            format!("socket(2) of {kind}")
        }
        _ => {
            let name = FORBIDDEN.iter().find(|(call, _)| *call == number).map(|(_, name)| *name);
            name.map_or_else(
                || format!("system call {number}"),
                |name| format!("{}(2)", name.trim_start_matches("SYS_").trim_start_matches('_')),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_call_has_a_name() {
        let of = |number, first: u64, second: u64| words(number, &[first, second, 0, 0, 0, 0]);
        for (said, expected) in [
            (of(libc::SYS_mount, 0, 0), "mount(2)"),
            (of(OPEN_TREE_ATTR, 0, 0), "open_tree_attr(2)"),
            (of(libc::SYS_unshare, 0x1002_0000, 0), "unshare(2) of a new mount, user namespace"),
            (of(libc::SYS_unshare, 0x80, 0), "unshare(2) of a new time namespace"),
            (of(libc::SYS_clone, 0x4000_0011, 0), "clone(2) of a new network namespace"),
            (of(libc::SYS_ioctl, 0, 0xdead_0000_5412), "ioctl(2) TIOCSTI, typing on a terminal"),
            (of(libc::SYS_socket, 40, 1), "socket(2) of family AF_VSOCK"),
            (of(libc::SYS_socket, 2, 3), "socket(2) of raw packets"),
            (of(libc::SYS_socketpair, 30, 1), "socket(2) of family 30"),
            (of(9999, 0, 0), "system call 9999"),
        ] {
            assert_eq!(said, expected);
        }
    }
}

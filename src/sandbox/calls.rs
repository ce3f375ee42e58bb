//! Which system calls an untrusted box can't make: the table that `filter` builds the filter from.
//!
//! What is listed here serves the machine, not a program that builds something: each has been a way out of boxes, or
//! shows what others do. All that is not listed can be made; calls newer than the newest known here can't.

use libc::{c_int, c_long};

/// Refused with EPERM, whatever the arguments.
pub(super) const FORBIDDEN: &[c_long] = &[
    // keys of the caller's
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    // large and often faulty parts of the kernel
    libc::SYS_bpf,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    // files by number, past every folder on the way
    libc::SYS_open_by_handle_at,
    // mounts, by the old calls and the new
    libc::SYS_chroot,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    OPEN_TREE_ATTR,
    libc::SYS_pivot_root,
    libc::SYS_umount2,
    // namespaces; see also `NAMESPACES`
    libc::SYS_setns,
    // the kernel itself
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_kexec_load,
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    libc::SYS_kexec_file_load,
    // the machine
    libc::SYS_acct,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_reboot,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    // left over, and nobody's any more
    #[cfg(target_arch = "x86_64")]
    libc::SYS__sysctl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
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

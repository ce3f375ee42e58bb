//! What the kernel shows of the machine in `/proc` and `/sys`, and what of it an untrusted box does not get to see or write.
//! Namespaces do not cover these: they are the same for all.

use std::ffi::CStr;

use crate::mount::Op;

/// Memory, keys, addresses and the doings of others.
const FILES: [&CStr; 9] = [
    c"/proc/kcore",
    c"/proc/keys",
    c"/proc/key-users",
    c"/proc/kallsyms",
    c"/proc/interrupts",
    c"/proc/latency_stats",
    c"/proc/sched_debug",
    c"/proc/timer_list",
    c"/proc/timer_stats",
];
/// Hardware, its power meters, and the names of the machine's services.
const FOLDERS: [&CStr; 6] = [
    c"/proc/acpi",
    c"/proc/asound",
    c"/proc/scsi",
    c"/sys/firmware",
    c"/sys/devices/virtual/powercap",
    c"/sys/fs/cgroup",
];
/// Settings of the machine.
const READ_ONLY: [&CStr; 5] = [c"/proc/bus", c"/proc/fs", c"/proc/irq", c"/proc/sys", c"/proc/sysrq-trigger"];

/// What covers them, to be done after `/proc` is there.
pub(super) fn all() -> impl Iterator<Item = Op> {
    let files = FILES.into_iter().map(|at| Op::MaskFile(at.into()));
    let folders = FOLDERS.into_iter().map(|at| Op::MaskFolder(at.into()));
    let read_only = READ_ONLY.into_iter().map(|at| Op::ReadOnly(at.into()));
    files.chain(folders).chain(read_only)
}

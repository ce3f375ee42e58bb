//! What the watcher of `owners` asks of the kernel: a filter's listener (seccomp_unotify(2)), the caller's side of a
//! call, and files by descriptor.

use core::ffi::CStr;

use crate::kernel::{call, checked};

pub const EBADF: i32 = 9;
pub const EFAULT: i32 = 14;
pub const ENAMETOOLONG: i32 = 36;

#[cfg(target_arch = "x86_64")]
mod number {
    pub const READ: usize = 0;
    pub const SIGPROCMASK: usize = 14;
    pub const IOCTL: usize = 16;
    pub const CLONE: usize = 56;
    pub const WAIT4: usize = 61;
    pub const FCHDIR: usize = 81;
    pub const SETSID: usize = 112;
    pub const SETGROUPS: usize = 116;
    pub const PRCTL: usize = 157;
    pub const CHROOT: usize = 161;
    pub const SETXATTR: usize = 188;
    pub const GETXATTR: usize = 191;
    pub const OPENAT: usize = 257;
    pub const FCHOWNAT: usize = 260;
    pub const PPOLL: usize = 271;
    pub const UNSHARE: usize = 272;
    pub const DUP3: usize = 292;
    pub const PIPE2: usize = 293;
    pub const PROCESS_VM_READV: usize = 310;
    pub const STATX: usize = 332;
    pub const CLOSE_RANGE: usize = 436;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const SETXATTR: usize = 5;
    pub const GETXATTR: usize = 8;
    pub const DUP3: usize = 24;
    pub const IOCTL: usize = 29;
    pub const FCHDIR: usize = 50;
    pub const CHROOT: usize = 51;
    pub const FCHOWNAT: usize = 54;
    pub const OPENAT: usize = 56;
    pub const PIPE2: usize = 59;
    pub const READ: usize = 63;
    pub const PPOLL: usize = 73;
    pub const UNSHARE: usize = 97;
    pub const SIGPROCMASK: usize = 135;
    pub const SETSID: usize = 157;
    pub const SETGROUPS: usize = 159;
    pub const PRCTL: usize = 167;
    pub const CLONE: usize = 220;
    pub const WAIT4: usize = 260;
    pub const PROCESS_VM_READV: usize = 270;
    pub const STATX: usize = 291;
    pub const CLOSE_RANGE: usize = 436;
}

pub const O_NOFOLLOW: usize = if cfg!(target_arch = "aarch64") { 0o100_000 } else { 0o400_000 };
pub const O_DIRECTORY: usize = if cfg!(target_arch = "aarch64") { 0o40_000 } else { 0o200_000 };
const O_CLOEXEC: usize = 0o2_000_000;
const O_PATH: usize = 0o10_000_000;
const AT_EMPTY_PATH: usize = 0x1000;

/// A child with the caller's table of descriptors; its id, or 0 in the child.
pub fn fork_with_descriptors() -> Result<usize, i32> {
    const CLONE_FILES: usize = 0x400;
    const SIGCHLD: usize = 17;
    checked(call(number::CLONE, [CLONE_FILES | SIGCHLD]))
}

pub fn wait_for(child: usize) {
    call(number::WAIT4, [child]);
}

/// A pipe's two ends, which close on exec.
pub fn pipe() -> Result<[i32; 2], i32> {
    let mut ends = [0_i32; 2];
    checked(call(number::PIPE2, [ends.as_mut_ptr() as usize, O_CLOEXEC])).map(|_| ends)
}

pub fn read(fd: i32, bytes: &mut [u8]) -> Result<usize, i32> {
    checked(call(number::READ, [fd as usize, bytes.as_mut_ptr() as usize, bytes.len()]))
}

/// Reads from another's memory, to the end of what is there.
pub fn read_memory(thread: u32, address: u64, bytes: &mut [u8]) -> Result<usize, i32> {
    let local = [bytes.as_mut_ptr() as usize, bytes.len()];
    let remote = [address as usize, bytes.len()];
    let [local, remote] = [&local, &remote].map(|vector| vector.as_ptr() as usize);
    checked(call(number::PROCESS_VM_READV, [thread as usize, local, 1, remote, 1, 0]))
}

/// Whether setting no groups succeeds, which it does under the filter of `fakeroot` and nowhere else: where it is
/// loaded, groups may not be set.
pub fn is_filtered() -> bool {
    call(number::SETGROUPS, [0, 0]) == 0
}

/// Takes this process out of its caller's job, out of reach of all signals but the last, with descriptors of its own
/// of which only `kept` stay, and a name for ps(1).
pub fn stand_apart(name: &CStr, mut kept: [i32; 2]) {
    const CLONE_FILES: usize = 0x400;
    const SIG_BLOCK: usize = 0;
    const PR_SET_NAME: usize = 15;
    call(number::SETSID, []);
    let all = u64::MAX;
    call(number::SIGPROCMASK, [SIG_BLOCK, &raw const all as usize, 0, 8]);
    call(number::PRCTL, [PR_SET_NAME, name.as_ptr() as usize]);
    call(number::UNSHARE, [CLONE_FILES]);
    // Links such as /dev/stdout must lead somewhere, and not to a terminal or pipe that waits for its last holder.
    let null = crate::kernel::open(c"/dev/null", 2).unwrap_or(-1);
    for standard in 0..3 {
        call(number::DUP3, [null as usize, standard, 0]);
    }
    kept.sort_unstable();
    close_range(3, kept[0] - 1);
    close_range(kept[0] + 1, kept[1] - 1);
    close_range(kept[1] + 1, i32::MAX);
}

/// close_range(2), or one by one before Linux 5.9, as far as descriptors usually go.
fn close_range(from: i32, to: i32) {
    if from <= to && call(number::CLOSE_RANGE, [from as usize, to as usize]) != 0 {
        (from..=to.min(1 << 16)).for_each(crate::kernel::close);
    }
}

pub fn close_from(first: i32) {
    close_range(first.max(0), i32::MAX);
}

/// `struct seccomp_notif`, with room for what later kernels add.
#[repr(C)]
pub struct Notification {
    id: u64,
    pub thread: u32,
    flags: u32,
    pub number: u32,
    pub arch: u32,
    instruction: u64,
    pub arguments: [u64; 6],
    later: [u64; 16],
}

/// `struct seccomp_notif_resp`, likewise.
#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
    later: [u64; 16],
}

/// The descriptor that tells of a filter's calls.
#[derive(Clone, Copy)]
pub struct Listener(pub i32);

impl Listener {
    /// A watched filter for this process and all it starts: its listener, or why there is none.
    pub fn load() -> Result<Self, i32> {
        const NEW_LISTENER: usize = 8;
        /// Since Linux 5.19: only a deadly signal takes a caller out of a call that is dealt with.
        const WAIT_KILLABLE: usize = 32;
        crate::kernel::load_filter(true, NEW_LISTENER | WAIT_KILLABLE)
            .or_else(|_| crate::kernel::load_filter(true, NEW_LISTENER))
            .map(|fd| Self(fd as i32))
    }

    /// Since Linux 6.6: caller and watcher share a processor while one waits for the other.
    pub fn hand_over(self) {
        const SET_FLAGS: usize = 0x4008_2104;
        const SYNC_WAKE_UP: usize = 1;
        call(number::IOCTL, [self.0 as usize, SET_FLAGS, SYNC_WAKE_UP]);
    }

    /// Waits for the next call. None when no filtered process is left.
    pub fn next(self) -> Option<Notification> {
        const RECEIVE: usize = 0xc050_2100;
        const POLLIN: u64 = 1 << 32;
        loop {
            // struct pollfd: the descriptor, asked events and those that are there
            let mut waited = POLLIN | u64::from(self.0 as u32);
            if call(number::PPOLL, [&raw mut waited as usize, 1, 0, 0]) < 1 {
                continue;
            }
            if waited & POLLIN << 16 == 0 {
                return None;
            }
            let mut notification = Notification {
                id: 0,
                thread: 0,
                flags: 0,
                number: 0,
                arch: 0,
                instruction: 0,
                arguments: [0; 6],
                later: [0; 16],
            };
            // The caller may have died meanwhile.
            if call(number::IOCTL, [self.0 as usize, RECEIVE, &raw mut notification as usize]) == 0 {
                return Some(notification);
            }
        }
    }

    /// Whether the call still waits: if not, its thread's number may be another's by now.
    pub fn is_waiting(self, notification: &Notification) -> bool {
        const ID_VALID: usize = 0x8008_2102;
        call(number::IOCTL, [self.0 as usize, ID_VALID, &raw const notification.id as usize]) == 0
    }

    /// Lets the call return 0 or an errno.
    pub fn answer(self, notification: &Notification, result: Result<(), i32>) {
        const SEND: usize = 0xc018_2101;
        let error = -result.err().unwrap_or(0);
        let response = Response { id: notification.id, value: 0, error, flags: 0, later: [0; 16] };
        call(number::IOCTL, [self.0 as usize, SEND, &raw const response as usize]);
    }
}

/// A descriptor that closes at the end of its scope.
pub struct Handle(i32);

impl Handle {
    /// openat(2) with O_PATH: `path` from `folder`.
    pub fn open(folder: i32, path: &CStr, flags: usize) -> Result<Self, i32> {
        let arguments = [folder as usize, path.as_ptr() as usize, flags | O_PATH | O_CLOEXEC];
        checked(call(number::OPENAT, arguments)).map(|fd| Self(fd as i32))
    }

    pub fn number(&self) -> i32 {
        self.0
    }

    /// Kind and permissions, and the id of the mount it lies on.
    pub fn status(&self) -> Result<(u32, u64), i32> {
        const STATX_MODE_AND_MOUNT: usize = 0x1003;
        let mut status = [0_u64; 32];
        let arguments =
            [self.0 as usize, c"".as_ptr() as usize, AT_EMPTY_PATH, STATX_MODE_AND_MOUNT, &raw mut status as usize];
        // struct statx: stx_mode at 28, stx_mnt_id at 144
        checked(call(number::STATX, arguments)).map(|_| ((status[3] >> 32) as u32 & 0xffff, status[18]))
    }

    /// fchownat(2) of the thing itself.
    pub fn chown(&self, uid: u32, gid: u32) -> Result<(), i32> {
        let arguments =
            [self.0 as usize, c"".as_ptr() as usize, uid as usize, gid as usize, AT_EMPTY_PATH];
        checked(call(number::FCHOWNAT, arguments)).map(drop)
    }

    pub fn change_root(&self) -> Result<(), i32> {
        change_folder(self.0)?;
        checked(call(number::CHROOT, [c".".as_ptr() as usize])).map(drop)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        crate::kernel::close(self.0);
    }
}

pub fn change_folder(folder: i32) -> Result<(), i32> {
    checked(call(number::FCHDIR, [folder as usize])).map(drop)
}

/// The length of the attribute's value, of which `value` gets what fits or nothing.
pub fn attribute(path: &CStr, name: &CStr, value: &mut [u8]) -> Result<usize, i32> {
    let arguments =
        [path.as_ptr() as usize, name.as_ptr() as usize, value.as_mut_ptr() as usize, value.len()];
    checked(call(number::GETXATTR, arguments))
}

pub fn set_attribute(path: &CStr, name: &CStr, value: &[u8]) -> Result<(), i32> {
    let arguments =
        [path.as_ptr() as usize, name.as_ptr() as usize, value.as_ptr() as usize, value.len(), 0];
    checked(call(number::SETXATTR, arguments)).map(drop)
}

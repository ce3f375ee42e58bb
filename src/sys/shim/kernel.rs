//! The calls the shim makes, the program's entry point, and its arguments, straight from the kernel.

use core::arch::{asm, global_asm};
use core::ffi::{CStr, c_char};

pub const ENOENT: i32 = 2;
pub const EACCES: i32 = 13;
pub const ENOTDIR: i32 = 20;
pub const EINVAL: i32 = 22;

#[cfg(target_arch = "x86_64")]
mod number {
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const EXECVE: usize = 59;
    pub const EXIT_GROUP: usize = 231;
    pub const GETUID: usize = 102;
    pub const GETGID: usize = 104;
    pub const UNSHARE: usize = 272;
    pub const OPENAT: usize = 257;
    pub const PRCTL: usize = 157;
    pub const SECCOMP: usize = 317;
    pub const CHDIR: usize = 80;
    pub const FCNTL: usize = 72;
    pub const FACCESSAT: usize = 269;
    pub const GETCWD: usize = 79;
    pub const GETPID: usize = 39;
    pub const CLONE: usize = 56;
    pub const WAIT4: usize = 61;
    pub const KILL: usize = 62;
    pub const SETPGID: usize = 109;
    pub const IOCTL: usize = 16;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const RT_SIGTIMEDWAIT: usize = 128;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const WRITE: usize = 64;
    pub const CLOSE: usize = 57;
    pub const EXECVE: usize = 221;
    pub const EXIT_GROUP: usize = 94;
    pub const GETUID: usize = 174;
    pub const GETGID: usize = 176;
    pub const UNSHARE: usize = 97;
    pub const OPENAT: usize = 56;
    pub const PRCTL: usize = 167;
    pub const SECCOMP: usize = 277;
    pub const CHDIR: usize = 49;
    pub const FCNTL: usize = 25;
    pub const FACCESSAT: usize = 48;
    pub const GETCWD: usize = 17;
    pub const GETPID: usize = 172;
    pub const CLONE: usize = 220;
    pub const WAIT4: usize = 260;
    pub const KILL: usize = 129;
    pub const SETPGID: usize = 154;
    pub const IOCTL: usize = 29;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const RT_SIGTIMEDWAIT: usize = 137;
}

#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start:", "mov rdi, rsp", "and rsp, -16", "call {start}", "ud2", start = sym super::start);

#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x0, sp", "and sp, x0, #-16", "bl {start}", "brk #1", start = sym super::start);

/// What is not given is zero: prctl(2) insists on its fifth.
#[cfg(target_arch = "x86_64")]
pub fn call<const N: usize>(number: usize, given: [usize; N]) -> isize {
    let [a, b, c, d, e, f] = six(given);
    let result;
    // SAFETY: each caller passes what its call takes; rcx and r11 are all the kernel changes besides rax.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
             in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

#[cfg(target_arch = "aarch64")]
pub fn call<const N: usize>(number: usize, given: [usize; N]) -> isize {
    let [a, b, c, d, e, f] = six(given);
    let result;
    // SAFETY: each caller passes what its call takes; x0 is all the kernel changes.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d, in("x4") e,
             in("x5") f, options(nostack));
    }
    result
}

fn six<const N: usize>(given: [usize; N]) -> [usize; 6] {
    let mut all = [0; 6];
    for (to, from) in all.iter_mut().zip(given) {
        *to = from;
    }
    all
}

pub fn checked(result: isize) -> Result<usize, i32> {
    if result < 0 { Err(-result as i32) } else { Ok(result as usize) }
}

pub fn exit(status: i32) -> ! {
    call(number::EXIT_GROUP, [status as usize, 0, 0, 0]);
    loop {}
}

pub fn write(fd: i32, bytes: &[u8]) {
    call(number::WRITE, [fd as usize, bytes.as_ptr() as usize, bytes.len(), 0]);
}

const AT_FDCWD: isize = -100;

/// Opens with O_CLOEXEC and the given flags.
pub fn open(path: &CStr, flags: usize) -> Result<i32, i32> {
    const O_CLOEXEC: usize = 0o2_000_000;
    checked(call(number::OPENAT, [AT_FDCWD as usize, path.as_ptr() as usize, flags | O_CLOEXEC, 0]))
        .map(|fd| fd as i32)
}

pub fn close(fd: i32) {
    call(number::CLOSE, [fd as usize, 0, 0, 0]);
}

/// Returns only on failure.
pub fn execve(program: *const c_char, argv: *const *const c_char, envp: *const *const c_char) -> i32 {
    checked(call(number::EXECVE, [program as usize, argv as usize, envp as usize, 0])).err().unwrap_or(EINVAL)
}

/// Whether something is at `path`, links followed.
pub fn exists(path: &CStr) -> bool {
    call(number::FACCESSAT, [AT_FDCWD as usize, path.as_ptr() as usize, 0, 0]) == 0
}

/// Nobody may trace this process or look at its descriptors, until it runs a program (prctl(2), PR_SET_DUMPABLE).
pub fn set_undumpable() {
    const PR_SET_DUMPABLE: usize = 4;
    call(number::PRCTL, [PR_SET_DUMPABLE, 0, 0, 0]);
}

pub fn ids() -> (u32, u32) {
    (call(number::GETUID, [0; 4]) as u32, call(number::GETGID, [0; 4]) as u32)
}

pub fn chdir(path: *const c_char) -> Result<usize, i32> {
    checked(call(number::CHDIR, [path as usize, 0, 0, 0]))
}

/// Whether the working folder lies below the root: a descriptor may lead to one that does not (CVE-2024-21626).
pub fn is_inside() -> bool {
    let mut path = [0_u8; 4096];
    call(number::GETCWD, [path.as_mut_ptr() as usize, path.len(), 0, 0]) > 0 && path[0] == b'/'
}

pub fn close_on_exec(fd: i32) {
    const F_SETFD: usize = 2;
    const FD_CLOEXEC: usize = 1;
    call(number::FCNTL, [fd as usize, F_SETFD, FD_CLOEXEC, 0]);
}

pub fn unshare_user() -> Result<usize, i32> {
    const CLONE_NEWUSER: usize = 0x1000_0000;
    checked(call(number::UNSHARE, [CLONE_NEWUSER, 0, 0, 0]))
}

/// Loads the filter of `fakeroot`, with `flags` of seccomp(2); without SPEC_ALLOW older kernels slow the whole process
/// down. For a watched one the listener's descriptor comes back, which closes on exec.
pub fn load_filter(watched: bool, flags: usize) -> Result<usize, i32> {
    const PR_SET_NO_NEW_PRIVS: usize = 38;
    const SECCOMP_SET_MODE_FILTER: usize = 1;
    const SECCOMP_FILTER_FLAG_SPEC_ALLOW: usize = 4;
    let program = super::fakeroot::Program::of_this_machine(watched);
    checked(call(number::PRCTL, [PR_SET_NO_NEW_PRIVS, 1]))?;
    let program = &raw const program as usize;
    checked(call(number::SECCOMP, [SECCOMP_SET_MODE_FILTER, flags | SECCOMP_FILTER_FLAG_SPEC_ALLOW, program]))
}

pub const SIGHUP: i32 = 1;
pub const SIGINT: i32 = 2;
pub const SIGQUIT: i32 = 3;
const SIGKILL: i32 = 9;
pub const SIGCHLD: i32 = 17;
pub const SIGCONT: i32 = 18;
pub const SIGSTOP: i32 = 19;
pub const SIGTSTP: i32 = 20;

/// The kernel's `sigset_t`.
type SignalSet = u64;
const SIG_SETMASK: usize = 2;
const SET_SIZE: usize = size_of::<SignalSet>();

/// Blocks every signal that can be blocked; the set that was blocked before.
pub fn block_all_signals() -> SignalSet {
    let all = SignalSet::MAX;
    let mut former: SignalSet = 0;
    let (all, former_at) = (&raw const all as usize, &raw mut former as usize);
    call(number::RT_SIGPROCMASK, [SIG_SETMASK, all, former_at, SET_SIZE]);
    former
}

pub fn restore_signals(blocked: SignalSet) {
    call(number::RT_SIGPROCMASK, [SIG_SETMASK, &raw const blocked as usize, 0, SET_SIZE]);
}

/// Waits for any blocked signal and takes it; 0 when the wait was interrupted.
pub fn wait_for_signal() -> i32 {
    let all = SignalSet::MAX;
    let result = call(number::RT_SIGTIMEDWAIT, [&raw const all as usize, 0, 0, SET_SIZE]);
    checked(result).map_or(0, |signal| signal as i32)
}

/// fork(2): the child's id, or 0 in the child.
pub fn fork() -> Result<i32, i32> {
    checked(call(number::CLONE, [SIGCHLD as usize, 0, 0, 0])).map(|pid| pid as i32)
}

/// SIGKILL for the caller when its parent ends (PR_SET_PDEATHSIG).
pub fn die_with_parent() {
    const PR_SET_PDEATHSIG: usize = 1;
    call(number::PRCTL, [PR_SET_PDEATHSIG, SIGKILL as usize, 0, 0]);
}

/// Puts a process, 0 for the caller, into a process group of its own.
pub fn set_process_group(pid: i32) {
    call(number::SETPGID, [pid as usize, 0, 0, 0]);
}

/// Makes the caller's process group, which bears the caller's id, the foreground job of the terminal at `fd`.
pub fn set_foreground(fd: i32) {
    const TIOCSPGRP: usize = 0x5410;
    let group = call(number::GETPID, [0; 4]) as i32;
    call(number::IOCTL, [fd as usize, TIOCSPGRP, &raw const group as usize, 0]);
}

pub fn signal_process(pid: i32, signal: i32) {
    call(number::KILL, [pid as usize, signal as usize, 0, 0]);
}

pub fn signal_group(group: i32, signal: i32) {
    signal_process(-group, signal);
}

/// What became of a child.
pub enum Change {
    /// Nothing that was not told before.
    None,
    /// A signal stopped it.
    Stopped,
    /// It ended: its exit code, or 128 and the signal.
    Ended(i32),
}

/// wait4(2), without waiting.
pub fn wait(pid: i32) -> Change {
    const WNOHANG: usize = 1;
    const WUNTRACED: usize = 2;
    let mut status = 0_i32;
    let result = call(number::WAIT4, [pid as usize, &raw mut status as usize, WNOHANG | WUNTRACED, 0]);
    match (result, status & 0x7f) {
        (..=0, _) => Change::None,
        (_, 0x7f) => Change::Stopped,
        (_, 0) => Change::Ended(status >> 8 & 0xff),
        (_, signal) => Change::Ended(128 + signal),
    }
}

/// argc, argv and envp as execve(2) left them; they stay where they are for the life of the process.
pub struct Arguments {
    count: usize,
    argv: *const *const c_char,
}

impl Arguments {
    pub fn from_stack(stack: *const usize) -> Self {
        // SAFETY: the kernel puts argc at the top of a new program's stack, then argv, NULL, envp, NULL.
        unsafe { Self { count: *stack, argv: stack.add(1).cast() } }
    }

    pub fn pointer(&self, index: usize) -> Option<*const c_char> {
        // SAFETY: index is below argc.
        (index < self.count).then(|| unsafe { *self.argv.add(index) })
    }

    pub fn get(&self, index: usize) -> Option<&'static [u8]> {
        // SAFETY: each of argc pointers is a C string that is never changed.
        self.pointer(index).map(|text| unsafe { CStr::from_ptr(text) }.to_bytes())
    }

    /// The arguments from `index` on, null-terminated.
    pub fn after(&self, index: usize) -> *const *const c_char {
        // SAFETY: at most argc, where the null is.
        unsafe { self.argv.add(index.min(self.count)) }
    }

    /// Overwrites the arguments, which `/proc/PID/cmdline` shows.
    pub fn erase(&self) {
        for index in 0..self.count {
            // SAFETY: index is below argc, and the stack that the strings stand on is ours to write.
            unsafe {
                let text = (*self.argv.add(index)).cast_mut();
                text.write_bytes(0, CStr::from_ptr(text).count_bytes());
            }
        }
    }

    pub fn environment(&self) -> *const *const c_char {
        // SAFETY: envp follows the null behind argv.
        unsafe { self.argv.add(self.count + 1) }
    }

    /// Hands over each variable: the C string, and its bytes.
    pub fn each_variable(&self, mut each: impl FnMut(*const c_char, &'static [u8])) {
        let mut index = 0;
        loop {
            // SAFETY: envp is null-terminated.
            let entry = unsafe { *self.environment().add(index) };
            if entry.is_null() {
                return;
            }
            // SAFETY: each pointer before the null is a C string that is never changed.
            each(entry, unsafe { CStr::from_ptr(entry) }.to_bytes());
            index += 1;
        }
    }

    /// The value of a variable, a C string.
    pub fn variable(&self, name: &[u8]) -> Option<&'static CStr> {
        let mut index = 0;
        loop {
            // SAFETY: envp is null-terminated and each pointer before the null is a C string.
            let entry = unsafe { *self.environment().add(index) };
            if entry.is_null() {
                return None;
            }
            let text = unsafe { CStr::from_ptr(entry) };
            if let Some(rest) = text.to_bytes_with_nul().strip_prefix(name)
                && rest[0] == b'='
            {
                return CStr::from_bytes_with_nul(&rest[1..]).ok();
            }
            index += 1;
        }
    }
}

// The compiler calls these for copies; there is no C library to bring them.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    let mut index = 0;
    while index < count {
        // SAFETY: the caller vouches for both ranges; volatile keeps this from becoming a call of itself.
        unsafe { to.add(index).write_volatile(*from.add(index)) };
        index += 1;
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    let mut index = 0;
    while index < count {
        // SAFETY: the caller vouches for the range.
        unsafe { to.add(index).write_volatile(byte as u8) };
        index += 1;
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: the caller vouches for a NUL.
    while unsafe { text.add(length).read_volatile() } != 0 {
        length += 1;
    }
    length
}

/// Named by the precompiled `core`; with `panic=abort` nobody calls it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    // SAFETY: as the caller's.
    unsafe { memcmp(a, b, count) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    let mut index = 0;
    while index < count {
        // SAFETY: the caller vouches for both ranges.
        let (x, y) = unsafe { (a.add(index).read_volatile(), b.add(index).read_volatile()) };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
        index += 1;
    }
    0
}

//! Processes: clone with namespaces, fork, exec, process attributes.

use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::unistd::Pid;

/// Which side of a clone we are on.
pub enum Clone {
    /// The caller, with the child's id and a descriptor for it (pidfd_open(2)).
    Parent(Pid, OwnedFd),
    /// The new process.
    Child,
}

/// clone(2) as fork: a copy of the caller in new namespaces.
///
/// The plain call and not `clone3`: it can do all that is asked of it here, and hosts that filter `clone3` away
/// need no second path. The caller must have one thread, so that the child may allocate.
pub fn clone_namespaces(flags: CloneFlags) -> nix::Result<Clone> {
    debug_assert_eq!(threads(), 1, "the launcher clones with one thread");
    let mut pidfd: RawFd = -1;
    let flags =
        flags.bits() as libc::c_ulong | libc::CLONE_PIDFD as libc::c_ulong | libc::SIGCHLD as libc::c_ulong;
    // SAFETY: no stack and no shared memory: the child runs on a copy of this stack, like fork. The kernel writes
    // the descriptor to pidfd before it returns in the parent.
    let result = unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, &raw mut pidfd, 0_usize, 0_usize) };
    cloned(result, pidfd)
}

/// The same into a cgroup, given by its folder: clone3(2) with CLONE_INTO_CGROUP (Linux 5.7).
pub fn clone_into_cgroup(flags: CloneFlags, cgroup: impl AsFd) -> nix::Result<Clone> {
    debug_assert_eq!(threads(), 1, "the launcher clones with one thread");
    /// linux/sched.h; beyond the older call's flags
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is plain numbers, for which all zeroes are valid.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = flags.bits() as u64 | libc::CLONE_PIDFD as u64 | CLONE_INTO_CGROUP;
    arguments.pidfd = &raw mut pidfd as u64;
    arguments.exit_signal = libc::SIGCHLD as u64;
    arguments.cgroup = cgroup.as_fd().as_raw_fd() as u64;
    // SAFETY: as for `clone_namespaces`; the arguments outlive the call.
    let result =
        unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) };
    cloned(result, pidfd)
}

fn cloned(result: libc::c_long, pidfd: RawFd) -> nix::Result<Clone> {
    match Errno::result(result)? {
        0 => Ok(Clone::Child),
        pid if pidfd < 0 => {
            // Linux before 5.2 ignores the flag
            let _ =
                nix::sys::signal::kill(Pid::from_raw(pid as libc::pid_t), nix::sys::signal::Signal::SIGKILL);
            Err(Errno::ENOSYS)
        }
        pid => {
            // SAFETY: CLONE_PIDFD gave us this descriptor; nobody else has it.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Clone::Parent(Pid::from_raw(pid as libc::pid_t), pidfd))
        }
    }
}

/// SIGKILL for the process behind a descriptor (pidfd_send_signal(2)).
pub fn kill_by(pidfd: impl AsFd) -> nix::Result<()> {
    let number = pidfd.as_fd().as_raw_fd();
    // SAFETY: no memory is passed: a null pointer asks for what kill(2) would say of the sender.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            number,
            libc::SIGKILL,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    Errno::result(result).map(drop)
}

/// Whether two threads have one table of descriptors (kcmp(2)); not where that can't be told.
pub fn share_descriptors(one: i32, other: i32) -> bool {
    /// linux/kcmp.h
    const KCMP_FILES: libc::c_int = 2;
    // SAFETY: numbers alone.
    unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_FILES, 0_usize, 0_usize) == 0 }
}

/// fork(2) from a process with one thread.
pub fn fork() -> nix::Result<nix::unistd::ForkResult> {
    debug_assert_eq!(threads(), 1, "init forks with one thread");
    // SAFETY: with one thread no lock can be held by another, so the child may do all the parent may.
    unsafe { nix::unistd::fork() }
}

/// A child that runs `child` and ends with the status it gives, unless it becomes a program before: fork(2).
pub fn fork_into(mut child: impl FnMut() -> i32) -> nix::Result<Pid> {
    match fork()? {
        nix::unistd::ForkResult::Parent { child } => Ok(child),
        nix::unistd::ForkResult::Child => exit_now(child()),
    }
}

/// As `fork_into`, but the caller stands still until the child is a program or gone, for the child uses its memory: no
/// page table is copied (vfork(2); the stack of its own is what makes it sound, as in posix_spawn(3)).
///
/// `child` must not wait for anything that may not come, and must let go of nothing of the caller's.
pub fn vfork_into(mut child: impl FnMut() -> i32) -> nix::Result<Pid> {
    extern "C" fn run<F: FnMut() -> i32>(child: *mut libc::c_void) -> libc::c_int {
        // SAFETY: `vfork_into` passes its own `child`, which lives in a frame that stands still meanwhile.
        unsafe { (*child.cast::<F>())() }
    }
    fn entry<F: FnMut() -> i32>(_: &F) -> extern "C" fn(*mut libc::c_void) -> libc::c_int {
        run::<F>
    }
    debug_assert_eq!(threads(), 1, "init forks with one thread");
    const WORDS: usize = 4096;
    let mut stack = vec![0_u128; WORDS];
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let run = entry(&child);
    // SAFETY: the child starts at the end of a stack that is aligned, large enough for what callers do, and freed only
    // after the child let go of this memory, because CLONE_VFORK holds us here until then.
    let result = unsafe {
        let top = stack.as_mut_ptr().add(WORDS).cast();
        libc::clone(run, top, flags, (&raw mut child).cast())
    };
    Errno::result(result).map(Pid::from_raw)
}

/// Does `work` in a process of its own that nobody waits for and that holds nothing of the caller's. For what may
/// be lost without harm.
pub fn in_background(work: impl FnOnce()) -> nix::Result<()> {
    in_background_with([], work)
}

/// As `in_background`, with copies of `kept` under the same numbers.
pub fn in_background_with<const N: usize>(kept: [RawFd; N], work: impl FnOnce()) -> nix::Result<()> {
    if let nix::unistd::ForkResult::Child = fork()? {
        let quiet = nix::unistd::setsid().and_then(|_| {
            let flags = nix::fcntl::OFlag::O_RDWR;
            let null = nix::fcntl::open(c"/dev/null", flags, nix::sys::stat::Mode::empty())?;
            (0..3).try_for_each(|number| duplicate_to(&null, number))
        });
        // nothing of the caller's stays open: not its locks, not its pipes
        if quiet.is_ok() && close_all_but(&kept).is_ok() {
            work();
        }
        exit_now(0);
    }
    Ok(())
}

/// Lets this process have only what no other wants, of processors and disks. What the kernel refuses is left as it is.
pub fn yield_to_others() {
    // ioprio_set(2): this process, the idle class
    const WHO_PROCESS: libc::c_int = 1;
    const IDLE: libc::c_int = 3 << 13;
    // SAFETY: numbers alone; what fails changes nothing.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, IDLE) };
}

/// Threads of this process. One that was joined may be listed for a moment longer.
fn threads() -> usize {
    let count = || std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    for _ in 0..100 {
        if count() == 1 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    count()
}

/// Strings as execve(2) wants them: a null-terminated array of pointers.
pub struct Strings<'a> {
    pointers: Vec<*const c_char>,
    _strings: std::marker::PhantomData<&'a CStr>,
}

impl<'a> Strings<'a> {
    /// Borrows `strings`.
    pub fn new(strings: impl IntoIterator<Item = &'a CStr>) -> Self {
        let mut pointers: Vec<_> = strings.into_iter().map(CStr::as_ptr).collect();
        pointers.push(std::ptr::null());
        Self { pointers, _strings: std::marker::PhantomData }
    }
}

/// execveat(2) of an open file; returns only on failure.
pub fn execveat(program: impl AsFd, argv: &Strings<'_>, envp: &Strings<'_>) -> Errno {
    // SAFETY: both arrays are null-terminated and point at C strings that are borrowed for longer than the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_fd().as_raw_fd(),
            c"".as_ptr(),
            argv.pointers.as_ptr(),
            envp.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    Errno::last()
}

/// A sealed file in memory that holds a program: memfd_create(2), file sealing in fcntl(2).
pub fn sealed_program(name: &CStr, bytes: &[u8]) -> nix::Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: name is a C string that outlives the call. MFD_EXEC is new in Linux 6.3 and refused before.
    let result = unsafe {
        match Errno::result(libc::memfd_create(name.as_ptr(), flags | libc::MFD_EXEC)) {
            Err(Errno::EINVAL) => Errno::result(libc::memfd_create(name.as_ptr(), flags)),
            result => result,
        }
    };
    // SAFETY: the kernel just gave us this descriptor.
    let file = unsafe { OwnedFd::from_raw_fd(result?) };
    if nix::unistd::write(&file, bytes)? != bytes.len() {
        return Err(Errno::EIO);
    }
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    nix::fcntl::fcntl(
        &file,
        nix::fcntl::FcntlArg::F_ADD_SEALS(nix::fcntl::SealFlag::from_bits_retain(seals)),
    )?;
    Ok(file)
}

/// A descriptor of this process by number, taken over by the caller.
///
/// Used where descriptors arrive by number: after a clone, the child owns copies of those its parent made for it.
pub fn adopt(number: RawFd) -> OwnedFd {
    // SAFETY: callers pass numbers that were put in place for them and that no other owner in this process has.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// dup2(2) onto a standard descriptor; without close-on-exec.
pub fn duplicate_to(source: impl AsFd, number: RawFd) -> nix::Result<()> {
    debug_assert!((0..3).contains(&number));
    // SAFETY: 0, 1 and 2 have no owner in this process; replacing them is what callers are here for.
    Errno::result(unsafe { libc::dup2(source.as_fd().as_raw_fd(), number) }).map(drop)
}

/// Standard descriptors, which outlive every caller.
pub fn standard(number: RawFd) -> BorrowedFd<'static> {
    debug_assert!((0..3).contains(&number));
    // SAFETY: 0, 1 and 2 are never closed by this program, only replaced (dup2).
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// Gives a signal its default action again.
pub fn reset_signal(signal: nix::sys::signal::Signal) -> nix::Result<()> {
    // SAFETY: the default action runs no code of ours.
    unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigDfl) }.map(drop)
}

/// Nobody may trace this process, read its memory or its `/proc` links (prctl(2), PR_SET_DUMPABLE).
pub fn set_undumpable() -> nix::Result<()> {
    nix::sys::prctl::set_dumpable(false)
}

/// Ends this process now, without anything that runs at exit: for children that share nothing but a copy.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit runs no code of this process.
    unsafe { libc::_exit(status) }
}

/// Closes every descriptor from 3 up but `kept`.
///
/// Only for a child after a clone, which owns copies of all of them and uses none but `kept` from here on.
pub fn close_all_but(kept: &[RawFd]) -> nix::Result<()> {
    match close_ranges_but(kept) {
        Err(Errno::ENOSYS | Errno::EPERM) => close_each_but(kept),
        closed => closed,
    }
}

/// The same by the list the kernel has of them, for kernels before 5.9.
fn close_each_but(kept: &[RawFd]) -> nix::Result<()> {
    let failed = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
    let numbers: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")
        .map_err(failed)?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for number in numbers.into_iter().filter(|number| *number > 2 && !kept.contains(number)) {
        // SAFETY: as for `close_all_but`; the list's own descriptor is closed already, which is no error.
        unsafe { libc::close(number) };
    }
    Ok(())
}

fn close_ranges_but(kept: &[RawFd]) -> nix::Result<()> {
    let mut kept: Vec<_> = kept.iter().map(|number| *number as libc::c_uint).collect();
    kept.sort_unstable();
    let mut first = 3;
    for number in kept {
        close_range(first, number.saturating_sub(1))?;
        first = number + 1;
    }
    close_range(first, libc::c_uint::MAX)
}

/// close_range(2) (Linux 5.9).
fn close_range(first: libc::c_uint, last: libc::c_uint) -> nix::Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: no pointers; see `close_all_but` for who owns the descriptors.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    Errno::result(result).map(drop)
}

/// For a child that is about to become a program: that finds `given` as descriptor `number`, holds a copy of `held`,
/// and has no other descriptor from 3 up.
pub fn hand_over(given: impl AsFd, held: impl AsFd, number: RawFd) -> nix::Result<()> {
    debug_assert!(number >= 3);
    let copy = |descriptor: RawFd| {
        // SAFETY: no pointers; the copy has no owner but the program that comes.
        Errno::result(unsafe { libc::fcntl(descriptor, libc::F_DUPFD, number + 1) })
    };
    let (given, held) = (copy(given.as_fd().as_raw_fd())?, copy(held.as_fd().as_raw_fd())?);
    // SAFETY: whatever has this number is closed by the next call, were it not replaced here.
    Errno::result(unsafe { libc::dup2(given, number) })?;
    close_all_but(&[number, held])
}

/// Gives up all rights in this user namespace but those of `capabilities`, by number (linux/capability.h), and keeps
/// these when this process becomes a program, whoever it runs as (capabilities(7), "Ambient").
pub fn keep_rights(capabilities: &[u32]) -> nix::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Rights {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    // linux/securebits.h: root is nobody special, and that stays so
    const NO_ROOT: libc::c_ulong = 0b11;
    let kept = capabilities.iter().fold(0_u64, |bits, capability| bits | 1 << capability);
    let rights = [kept as u32, (kept >> 32) as u32].map(|half| Rights {
        effective: half,
        permitted: half,
        inheritable: half,
    });
    let header = Header { version: VERSION_3, pid: 0 };
    // SAFETY: no pointers.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_SECUREBITS, NO_ROOT, 0, 0, 0) })?;
    // SAFETY: capset(2) reads a header and, in version 3, two structures of rights, which outlive the call.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw const header, rights.as_ptr()) })?;
    for capability in capabilities {
        let number = libc::c_ulong::from(*capability);
        // SAFETY: no pointers.
        let raised = unsafe {
            libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, number, 0_usize, 0_usize)
        };
        Errno::result(raised)?;
    }
    Ok(())
}

/// Takes CAP_SYS_ADMIN out of the bounding set: no later exec gets it back, root's neither (capabilities(7)). A user
/// namespace made later has it for itself.
pub fn never_administer() -> nix::Result<()> {
    /// linux/capability.h
    const CAP_SYS_ADMIN: libc::c_ulong = 21;
    // SAFETY: no pointers.
    Errno::result(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, CAP_SYS_ADMIN, 0, 0, 0) }).map(drop)
}

/// Overwrites this process's argument strings, which `/proc/PID/cmdline` shows to everybody.
///
/// `length` is the sum of the arguments' lengths with their NULs, as they were at the start.
pub fn erase_arguments(length: usize) {
    unsafe extern "C" {
        static program_invocation_name: *mut c_char;
    }
    // SAFETY: the C library points program_invocation_name at argv[0], and execve(2) lays the arguments out one
    // after the other from there; the caller measured them. Nothing reads them again in this process.
    unsafe {
        let first = program_invocation_name;
        if !first.is_null() {
            std::ptr::write_bytes(first, 0, length);
        }
    }
}

/// Brings up the loopback device of this network namespace (netdevice(7)).
pub fn bring_loopback_up() -> nix::Result<()> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    let control = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: ifreq is plain data for which all zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as c_char;
    request.ifr_name[1] = b'o' as c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: SIOCSIFFLAGS reads one ifreq.
    let result = unsafe { libc::ioctl(control.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    Errno::result(result).map(drop)
}

/// Owned copies of strings, ready for `Strings`.
pub fn c_strings<I: IntoIterator<Item = S>, S: Into<Vec<u8>>>(
    strings: I,
) -> Result<Vec<CString>, std::ffi::NulError> {
    strings.into_iter().map(CString::new).collect()
}

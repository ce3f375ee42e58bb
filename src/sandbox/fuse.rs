//! The root served by fuse-overlayfs: mounted by the box's pid 1, served from outside.
//!
//! ```text
//!  launcher                                  pid 1
//!    │ ◄──── /dev/fuse, user namespace ────── open, mount at the mount point
//!    fork: join the user namespace,           first look at the root waits for the server
//!          fuse-overlayfs on /dev/fd/3
//! ```
//!
//! The program has the box's ids and rights over its files, and none of its processes can see it: it is in the host's
//! pid namespace, where no session can trace it or take its handles of the store. It ends when the connection does:
//! the kernel cuts that when the box's mount namespace goes, however it goes. Until then it holds the box's lock.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::MsFlags;
use nix::sched::CloneFlags;
use nix::sys::stat::Mode;

use super::handles;
use crate::mount::Fuse;
use crate::sys::{self, process};

/// Where the server finds its connection (libfuse since 3.3: the mount point `/dev/fd/N` stands for an open one).
const CONNECTION: i32 = 3;
/// Rights over the files of the box's user namespace; see capabilities(7) and linux/capability.h.
const RIGHTS: [u32; 6] = [
    0,  // CAP_CHOWN
    1,  // CAP_DAC_OVERRIDE
    3,  // CAP_FOWNER
    4,  // CAP_FSETID
    27, // CAP_MKNOD
    31, // CAP_SETFCAP
];

/// Pid 1's part: mounts, and hands the connection over to the launcher at the other end of `launcher`.
///
/// The kernel wants `/dev/fuse` opened in the user namespace it is mounted in (`fuse_fill_super`).
pub(super) fn mount(at: &CStr, launcher: &UnixStream) -> nix::Result<()> {
    let device = open(c"/dev/fuse", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    let options = format!(
        "fd={},rootmode=40000,user_id={uid},group_id={gid},default_permissions,allow_other",
        device.as_raw_fd()
    );
    let options = CString::new(options).map_err(|_| Errno::EINVAL)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOATIME;
    sys::mount::mount(Some(c"fuse-overlayfs"), at, Some(c"fuse.fuse-overlayfs"), flags, Some(&options))?;
    handles::send(launcher, [&device, &handles::user_namespace()?])
}

/// The launcher's part: waits for the connection and starts the server. Nothing is started when the box failed
/// before; why, it says itself.
pub(super) fn serve(fuse: &Fuse, child: &UnixStream, lock: &OwnedFd) -> nix::Result<()> {
    let Some([device, namespace]) = handles::receive(child)? else { return Ok(()) };
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let log = open(fuse.log.as_c_str(), flags, Mode::from_bits_truncate(0o600))?;
    let arguments = arguments(fuse)?;
    // Nobody waits for it: it outlives this process when the box does.
    process::fork_into(|| match become_server(fuse, &arguments, [&device, &namespace, &log, lock]) {
        Ok(()) => 0,
        Err(errno) => {
            let text = format!("cannot run {}: {}\n", fuse.program.to_string_lossy(), errno.desc());
            let _ = nix::unistd::write(process::standard(2), text.as_bytes());
            1
        }
    })
    .map(drop)
}

/// The last lines of what the server said, after its connection was cut.
pub(super) fn last_words(fuse: &Fuse) -> String {
    const ENOUGH: usize = 400;
    let path = std::path::Path::new(std::ffi::OsStr::from_bytes(fuse.log.as_bytes()));
    let said = sys::fd::read_small(path, 1 << 20).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    // of every run as root
    let lines = said.lines().filter(|line| !line.starts_with("unknown argument ignored"));
    let said = lines.collect::<Vec<_>>().join("; ");
    let from = said.len().saturating_sub(ENOUGH);
    let from = (from..said.len()).find(|at| said.is_char_boundary(*at)).unwrap_or(0);
    if said.is_empty() { "it ended without a word".to_owned() } else { said[from..].to_owned() }
}

fn arguments(fuse: &Fuse) -> nix::Result<Vec<CString>> {
    let overlay = &fuse.overlay;
    let mut options = b"lowerdir=".to_vec();
    for (index, lower) in overlay.lowers.iter().enumerate() {
        options.extend_from_slice(if index == 0 { b"" } else { b":" });
        options.extend_from_slice(lower.as_bytes());
    }
    for (key, value) in [(",upperdir=", &overlay.upper), (",workdir=", &overlay.work)] {
        options.extend_from_slice(key.as_bytes());
        options.extend_from_slice(value.as_bytes());
    }
    if overlay.volatile {
        options.extend_from_slice(b",volatile");
    }
    let text = |bytes: Vec<u8>| CString::new(bytes).map_err(|_| Errno::EINVAL);
    let connection = format!("/dev/fd/{CONNECTION}").into_bytes();
    Ok(vec![c"fuse-overlayfs".into(), c"-f".into(), c"-o".into(), text(options)?, text(connection)?])
}

/// Turns this process into the server; returns only on failure.
fn become_server(
    fuse: &Fuse,
    arguments: &[CString],
    [device, namespace, log, lock]: [&OwnedFd; 4],
) -> nix::Result<()> {
    // not of the caller's terminal, whose signals are for sessions
    nix::unistd::setsid()?;
    {
        let null = open(c"/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
        for (number, target) in [&null, &null, log].into_iter().enumerate() {
            process::duplicate_to(target, number as i32)?;
        }
    }
    nix::unistd::chdir(fuse.overlay.base.as_c_str())?;
    nix::sched::setns(namespace, CloneFlags::CLONE_NEWUSER)?;
    nix::sys::prctl::set_no_new_privs()?;
    process::keep_rights(&RIGHTS)?;
    process::hand_over(device, lock, CONNECTION)?;
    // what it is told by variables is not the caller's to say
    let environment: [&CStr; 0] = [];
    nix::unistd::execve(fuse.program.as_c_str(), arguments, &environment).map(drop)
}

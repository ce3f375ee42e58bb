//! User namespaces with more than one id: the set-id helpers of shadow, and work done as root of such a namespace.

use std::cell::Cell;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, open};
use nix::sched::CloneFlags;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::idmap::{IdMap, IdMaps};
use crate::sys::process::{self, Clone};

/// Where helpers are looked for: not in the caller's PATH, for they have privileges.
const PATH: &str = "/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin:/run/wrappers/bin";

/// Why there is no such namespace.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused new namespaces.
    #[error("this host does not let you make user namespaces")]
    Namespaces(#[source] Errno),
    /// newuidmap or newgidmap is missing.
    #[error("`{0}` is not installed, and the box wants more than one id")]
    NoHelper(&'static str),
    /// newuidmap or newgidmap refused.
    #[error("{helper} refused the id map: {}", .said.trim().escape_debug())]
    Helper {
        /// Which one.
        helper: &'static str,
        /// Its own words.
        said: String,
    },
    /// The work itself failed.
    #[error("{}", .0.words)]
    Work(Failed),
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Work(Failed { errno: libc::ENOSPC, .. }) => {
                "the disk is full: `devbox rm`, `devbox prune` and `devbox df` help to make room".into()
            }
            Self::Work(_) => return None,
            // user_namespaces(7): the limit of this or an outer namespace.
            Self::Namespaces(Errno::ENOSPC | Errno::EUSERS) => {
                "`sudo sysctl user.max_user_namespaces=15000` allows more; `devbox doctor` checks the rest"
                    .into()
            }
            Self::Namespaces(_) => {
                "`devbox doctor` tells which setting forbids it and the command that allows it".into()
            }
            Self::NoHelper(_) => {
                "install the package `uidmap` (or `shadow-utils`), or set `ids = \"single\"`".into()
            }
            Self::Helper { .. } => {
                "see `/etc/subuid` and `/etc/subgid` with `devbox doctor`, or set `ids = \"single\"`".into()
            }
        })
    }
}

/// newuidmap(1) and newgidmap(1) with their maps, found before anything is cloned.
pub struct Helpers([Helper; 2]);

struct Helper {
    name: &'static str,
    path: PathBuf,
    arguments: Vec<String>,
}

impl Helpers {
    /// Finds both.
    pub fn find(uids: &[IdMap], gids: &[IdMap]) -> Result<Self, Error> {
        Ok(Self([Helper::find("newuidmap", uids)?, Helper::find("newgidmap", gids)?]))
    }

    /// Writes the maps of `pid`, which waits for it. Both helpers side by side: each costs about a millisecond.
    pub fn write(&self, pid: Pid) -> Result<(), Error> {
        let spawned = self.0.each_ref().map(|helper| (helper.name, helper.spawn(pid)));
        for (helper, child) in spawned {
            let failed = |said: String| Error::Helper { helper, said };
            let output =
                child.and_then(Child::wait_with_output).map_err(|error| failed(error.to_string()))?;
            if !output.status.success() {
                return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
            }
        }
        Ok(())
    }
}

impl Helper {
    fn find(name: &'static str, maps: &[IdMap]) -> Result<Self, Error> {
        let found = which::which_in_global(name, Some(PATH)).ok().and_then(|mut found| found.next());
        let ids = maps.iter().flat_map(|map| [map.container_id, map.host_id, map.size]);
        Ok(Self {
            name,
            path: found.ok_or(Error::NoHelper(name))?,
            arguments: ids.map(|id| id.to_string()).collect(),
        })
    }

    /// Absolute path, empty environment: the helper has privileges that we have not.
    fn spawn(&self, pid: Pid) -> io::Result<Child> {
        Command::new(&self.path)
            .arg(pid.to_string())
            .args(&self.arguments)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
    }
}

/// Maps the caller's one id, in a namespace just made.
///
/// `setgroups` must be denied before an unprivileged process may map a group (user_namespaces(7), CVE-2014-8989).
pub fn write_own_maps(uid: IdMap, gid: IdMap) -> nix::Result<()> {
    let write = |path: &CStr, text: &str| {
        let file = open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        nix::unistd::write(&file, text.as_bytes()).map(drop)
    };
    write(c"/proc/self/setgroups", "deny")?;
    write(c"/proc/self/uid_map", &uid.line())?;
    write(c"/proc/self/gid_map", &gid.line())
}

/// Does `work` in a process that has all rights over files of the ids in `maps`, and tells `hear` what it writes. The
/// process ends with the caller. What the work changes in memory is lost.
pub fn within<R>(maps: &IdMaps, work: impl FnOnce(File), hear: impl FnOnce(File) -> R) -> Result<R, Error> {
    let helpers = match maps {
        IdMaps::Single { .. } => None,
        IdMaps::Full { uids, gids } => Some(Helpers::find(uids, gids)?),
    };
    let pipe = || nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(Error::Namespaces);
    let (maps_read, maps_write) = pipe()?;
    let (read, write) = pipe()?;
    match process::clone_namespaces(CloneFlags::CLONE_NEWUSER).map_err(Error::Namespaces)? {
        Clone::Child => {
            drop((maps_write, read));
            let mapped = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).and_then(|()| match *maps {
                IdMaps::Single { uid, gid } => write_own_maps(uid, gid),
                IdMaps::Full { .. } => await_maps(&maps_read),
            });
            if mapped.is_ok() {
                raise_limit();
                work(write.into());
            }
            process::exit_now(0);
        }
        Clone::Parent(pid, _) => {
            drop((maps_read, write));
            let written = helpers.map_or(Ok(()), |helpers| helpers.write(pid));
            if written.is_err() {
                let _ = kill(pid, Signal::SIGKILL);
            }
            drop(maps_write);
            let heard = hear(read.into());
            let _ = waitpid(pid, None);
            written.map(|()| heard)
        }
    }
}

/// Does `work` as [`within`] does. What it writes to its file is what `take` reads, meanwhile; work that fails ends in an
/// error in place of the end.
///
/// # Errors
///
/// [`Error::Work`] when `take` met such an error; another failure of `take` comes back as its answer.
pub fn piped<T>(
    maps: &IdMaps,
    work: impl FnOnce(File) -> Result<(), Failed>,
    take: impl FnOnce(&mut Output) -> T,
) -> Result<T, Error> {
    let (words_out, words_in) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(Error::Namespaces)?;
    // each side takes its own end and lets go of the other's
    let (ours, theirs) = (Cell::new(Some(File::from(words_out))), Cell::new(Some(File::from(words_in))));
    let work = |data: File| {
        ours.take();
        // fewer changes between the two; the kernel may grant less
        let _ = nix::fcntl::fcntl(&data, FcntlArg::F_SETPIPE_SZ(1 << 20));
        let told = match work(data) {
            Ok(()) => DONE.to_vec(),
            Err(Failed { words, errno }) => [&errno.to_le_bytes()[..], words.as_bytes()].concat(),
        };
        // nobody listens any more when this fails
        let _ = theirs.take().map(|mut words| words.write_all(&told));
    };
    let hear = |data: File| {
        theirs.take();
        let mut output = Output { data, words: ours.take(), failed: None };
        (take(&mut output), output.failed)
    };
    match within(maps, work, hear)? {
        (taken, None) => Ok(taken),
        (_, Some(failed)) => Err(Error::Work(failed)),
    }
}

/// What work that is done says: an error number that is none.
const DONE: [u8; 4] = (-1_i32).to_le_bytes();

/// What work in another namespace gives out.
#[derive(Debug)]
pub struct Output {
    data: File,
    words: Option<File>,
    failed: Option<Failed>,
}

impl Read for Output {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.data.read(buffer)?;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        if let Some(mut words) = self.words.take() {
            let mut told = Vec::new();
            words.read_to_end(&mut told)?;
            self.failed = match told.split_first_chunk() {
                Some((&DONE, _)) => None,
                Some((errno, words)) => Some(Failed {
                    words: String::from_utf8_lossy(words).into_owned(),
                    errno: i32::from_le_bytes(*errno),
                }),
                None => Some(Failed::killed()),
            };
        }
        match &self.failed {
            None => Ok(0),
            Some(failed) => Err(io::Error::other(failed.words.clone())),
        }
    }
}

/// Why work in another namespace failed.
#[derive(Debug)]
pub struct Failed {
    /// The error and what caused it, in a line.
    pub words: String,
    /// The system's number for it, or 0.
    pub errno: i32,
}

impl Failed {
    fn killed() -> Self {
        Self { words: "the process that read the box's files was killed".into(), errno: 0 }
    }
}

impl<E: std::error::Error> From<E> for Failed {
    fn from(error: E) -> Self {
        let mut words = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            words = format!("{words}: {error}");
            cause = error.source();
        }
        let full = ["No space left on device", "no space left", "quota exceeded"];
        let errno = if full.iter().any(|sign| words.contains(sign)) { libc::ENOSPC } else { 0 };
        Self { words, errno }
    }
}

/// The child's side of waiting for its maps: the end of the pipe means written. A launcher that gives up kills the
/// child instead.
fn await_maps(pipe: &OwnedFd) -> nix::Result<()> {
    await_end(pipe).and_then(|()| become_root())
}

/// The same without a word on ids: waits for the end of the pipe.
pub fn await_end(pipe: &OwnedFd) -> nix::Result<()> {
    match nix::unistd::read(pipe, &mut [0])? {
        0 => Ok(()),
        _ => Err(Errno::EPROTO),
    }
}

/// As many open files as the caller may have: a walk over a tree has one or more a level, and one a layer of the image.
/// What can't be raised is met as EMFILE.
fn raise_limit() {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map(|(_, most)| most);
    let _ = limit.and_then(|most| setrlimit(Resource::RLIMIT_NOFILE, most, most));
}

/// Root of the namespace, without the caller's supplementary groups.
pub fn become_root() -> nix::Result<()> {
    nix::unistd::setgroups(&[])?;
    nix::unistd::setresgid(0.into(), 0.into(), 0.into())?;
    nix::unistd::setresuid(0.into(), 0.into(), 0.into())
}

/// Does `work` in a process that is root of a namespace with these maps, and gives its answer. What the work
/// changes in memory is lost.
pub fn as_root(uids: &[IdMap], gids: &[IdMap], work: impl FnOnce() -> bool) -> Result<bool, Error> {
    let helpers = Helpers::find(uids, gids)?;
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(Error::Namespaces)?;
    match process::clone_namespaces(CloneFlags::CLONE_NEWUSER).map_err(Error::Namespaces)? {
        Clone::Child => {
            drop(write);
            raise_limit();
            process::exit_now(i32::from(!(await_maps(&read).is_ok() && work())));
        }
        Clone::Parent(pid, _) => {
            drop(read);
            let written = helpers.write(pid);
            if written.is_err() {
                let _ = kill(pid, Signal::SIGKILL);
            }
            drop(write);
            let status = waitpid(pid, None);
            written?;
            Ok(matches!(status, Ok(WaitStatus::Exited(_, 0))))
        }
    }
}

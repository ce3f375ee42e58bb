//! Locks between processes: `flock` on files of the private store, so no one else can hold them.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::error::{At, Error};
use crate::cancel::Cancel;

/// How long a lock is waited for in silence.
const PATIENCE: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(20);

/// Who keeps us waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The process, when it could be learnt.
    pub pid: Option<u32>,
    /// What it was called with, shortened.
    pub command: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "`{}` (process {pid})", self.command.escape_debug()),
            None => f.write_str("another process"),
        }
    }
}

/// A lock, given back when dropped.
#[derive(Debug)]
pub(super) struct Lock {
    /// Removed when the lock is given back.
    path: Option<PathBuf>,
    _file: Flock<File>,
}

impl Lock {
    /// Takes the lock file at `path` for ourselves alone; the file goes away with the lock. `None` when the wait for
    /// it was cancelled.
    pub(super) fn alone(
        path: &Path,
        cancel: &Cancel,
        waiting: &mut dyn FnMut(Holder),
    ) -> Result<Option<Self>, Error> {
        let mut wait = Wait::begin(waiting);
        loop {
            match attempt(path, FlockArg::LockExclusiveNonblock)? {
                Attempt::Taken(file) => return Ok(Some(Self { path: Some(path.to_owned()), _file: file })),
                Attempt::Busy(file) => wait.goes_on(&file),
                Attempt::Gone => continue,
            }
            if !cancel.pause(POLL) {
                return Ok(None);
            }
        }
    }

    /// Takes the lasting lock file at `path` together with others who share it.
    pub(super) fn shared(path: &Path, waiting: &mut dyn FnMut(Holder)) -> Result<Self, Error> {
        let file = take(path, FlockArg::LockShared, FlockArg::LockSharedNonblock, waiting)?;
        Ok(Self { path: None, _file: file })
    }

    /// Takes the lasting lock file at `path` against all who share it, if no one does.
    pub(super) fn try_exclusive(path: &Path) -> Result<Option<Self>, Error> {
        match attempt(path, FlockArg::LockExclusiveNonblock)? {
            Attempt::Taken(file) => Ok(Some(Self { path: None, _file: file })),
            Attempt::Busy(_) | Attempt::Gone => Ok(None),
        }
    }

    /// Takes the lasting lock file at `path` against all who share it.
    pub(super) fn exclusive(path: &Path, waiting: &mut dyn FnMut(Holder)) -> Result<Self, Error> {
        let file = take(path, FlockArg::LockExclusive, FlockArg::LockExclusiveNonblock, waiting)?;
        Ok(Self { path: None, _file: file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // still ours here; who waits on the nameless file finds it so and makes a new one
            let _ = fs::remove_file(path);
        }
    }
}

fn take(
    path: &Path,
    patient: FlockArg,
    at_once: FlockArg,
    waiting: &mut dyn FnMut(Holder),
) -> Result<Flock<File>, Error> {
    let mut wait = Wait::begin(waiting);
    loop {
        match attempt(path, if wait.said { patient } else { at_once })? {
            Attempt::Taken(file) => return Ok(file),
            Attempt::Busy(file) => {
                wait.goes_on(&file);
                thread::sleep(POLL);
            }
            Attempt::Gone => {}
        }
    }
}

/// A wait, said aloud once it is a long one.
struct Wait<'a> {
    begun: Instant,
    waiting: &'a mut dyn FnMut(Holder),
    said: bool,
}

impl<'a> Wait<'a> {
    fn begin(waiting: &'a mut dyn FnMut(Holder)) -> Self {
        Self { begun: Instant::now(), waiting, said: false }
    }

    fn goes_on(&mut self, file: &File) {
        if !self.said && self.begun.elapsed() >= PATIENCE {
            (self.waiting)(holder(file));
            self.said = true;
        }
    }
}

enum Attempt {
    Taken(Flock<File>),
    Busy(File),
    /// The file lost its name while we waited for it.
    Gone,
}

fn attempt(path: &Path, how: FlockArg) -> Result<Attempt, Error> {
    let mut options = File::options();
    options.read(true).write(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let file = match options.open(path) {
        // no one can write there, but others may hold it against those who could
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            File::open(path).or_else(|_| File::open(path.parent().unwrap_or(path)))
        }
        opened => opened,
    };
    let file = file.at("open", path)?;
    match Flock::lock(file, how) {
        Ok(mut file) => {
            if file.metadata().at("look at", path)?.nlink() == 0 {
                return Ok(Attempt::Gone);
            }
            // only for the eyes of who waits; a lock that can't say its holder is still a lock
            let _ = file.rewind().and_then(|()| file.set_len(0)).and_then(|()| file.write_all(&own_name()));
            Ok(Attempt::Taken(file))
        }
        Err((file, Errno::EWOULDBLOCK | Errno::EINTR)) => Ok(Attempt::Busy(file)),
        Err((_, errno)) => Err(io::Error::from(errno)).at("lock", path),
    }
}

/// Process id and the words of the command line before the first option, which may hold a secret.
fn own_name() -> Vec<u8> {
    let words = std::env::args().take_while(|word| !word.starts_with('-')).take(4);
    let program = |word: &str| word.rsplit('/').next().unwrap_or(word).to_owned();
    let command: Vec<String> =
        words.enumerate().map(|(at, word)| if at == 0 { program(&word) } else { word }).collect();
    format!("{}\n{}\n", std::process::id(), command.join(" ")).into_bytes()
}

/// Whether there is such a process of the caller's.
fn is_ours(pid: u32) -> bool {
    i32::try_from(pid).is_ok_and(|pid| pid > 0 && kill(Pid::from_raw(pid), None).is_ok())
}

fn holder(mut file: &File) -> Holder {
    use std::io::Read;
    let mut text = String::new();
    let _ = file.rewind().and_then(|()| file.take(4096).read_to_string(&mut text));
    let mut lines = text.lines();
    let pid: Option<u32> = lines.next().and_then(|pid| pid.parse().ok());
    match pid.filter(|pid| is_ours(*pid)) {
        // the last to share the lock had given it back: the others did not write their names
        None => Holder { pid: None, command: String::new() },
        pid => Holder { pid, command: lines.next().unwrap_or_default().chars().take(200).collect() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_waits_and_is_told_for_whom() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        let cancel = Cancel::default();
        let first = Lock::alone(&path, &cancel, &mut |_| panic!("nobody to wait for")).unwrap().unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        thread::scope(|scope| {
            let mut tell = |holder| tell.send(holder).unwrap();
            let (path, cancel) = (&path, &cancel);
            let second = scope.spawn(move || Lock::alone(path, cancel, &mut tell).unwrap().unwrap());
            let start = Instant::now();
            let holder = told.recv_timeout(Duration::from_secs(60)).unwrap();
            assert!(start.elapsed() >= PATIENCE / 2, "it waits in silence at first");
            assert_eq!(holder.pid, Some(std::process::id()));
            assert!(!holder.command.is_empty());
            drop(first);
            let _lock = second.join().unwrap();
            assert!(path.exists(), "the second holds the new file");
        });
        assert!(told.try_recv().is_err(), "once is enough");
        assert!(!path.exists());
    }

    #[test]
    fn a_wait_can_be_cancelled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        let cancel = Cancel::default();
        let first = Lock::alone(&path, &cancel, &mut |_| {}).unwrap().unwrap();
        // its holder is told while it waits; so it ends by nothing else
        assert!(Lock::alone(&path, &cancel, &mut |_| cancel.cancel()).unwrap().is_none());
        drop(first);
        assert!(
            Lock::alone(&path, &cancel, &mut |_| {}).unwrap().is_some(),
            "what is free is not waited for"
        );
    }

    #[test]
    fn who_is_gone_is_not_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let one = Lock::shared(&path, &mut |_| {}).unwrap();
        let file = || File::open(&path).unwrap();
        assert_eq!(holder(&file()).pid, Some(std::process::id()));
        // the first is one more than there can be
        for gone in ["4194305", "0", "-1", "4294967295", "junk"] {
            fs::write(&path, format!("{gone}\ndevbox pull\n")).unwrap();
            assert_eq!(holder(&file()).to_string(), "another process", "{gone}");
        }
        drop(one);
    }

    #[test]
    fn sharing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let one = Lock::shared(&path, &mut |_| {}).unwrap();
        let two = Lock::shared(&path, &mut |_| {}).unwrap();
        assert!(Lock::try_exclusive(&path).unwrap().is_none());
        drop((one, two));
        assert!(Lock::try_exclusive(&path).unwrap().is_some());
        Lock::exclusive(&path, &mut |_| panic!("free")).unwrap();
        assert!(path.exists());
    }
}

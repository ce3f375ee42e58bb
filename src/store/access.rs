//! Opening files of a layer whatever the modes in the image are.
//!
//! Every inode is the caller's own, but an image may have files even their owner can't read. Such a one is made
//! readable for the moment of its opening, such a folder for as long as files are opened in it; a crash in between
//! leaves one bit too much, which `verify` finds and takes away.
//!
//! Who lends rights has a lock meanwhile, one for all layers, or else two readers would take each other's away: on the
//! folder all layers are in. What is open because another one lent it may close any time, so that whatever is
//! denied is tried once more under the lock, where all is as the image has it.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};

use crate::sys::{self, fd};

/// Opens files below a folder, best in the order of their folders.
#[derive(Debug)]
pub(super) struct Access {
    root: OwnedFd,
    /// The folder used last, and those opened up on the way to it.
    last: Option<(Vec<u8>, OwnedFd)>,
    opened_up: Vec<(OwnedFd, u32)>,
    /// Whether what is closed may be opened up.
    lends: bool,
    /// Held as long as something is lent.
    lock: Option<Flock<OwnedFd>>,
}

impl Access {
    /// `root` is a layer's folder, its parent's lock the one that all readers of layers take.
    pub(super) fn new(root: &Path) -> std::io::Result<Self> {
        Self::open_root(root, true)
    }

    /// The same for any folder, but what is closed stays so.
    pub(super) fn looking(root: &Path) -> std::io::Result<Self> {
        Self::open_root(root, false)
    }

    fn open_root(root: &Path, lends: bool) -> std::io::Result<Self> {
        let root = File::open(root)?.into();
        Ok(Self { root, last: None, opened_up: Vec::new(), lends, lock: None })
    }

    /// The folder at `path`, and the last name of it to use there. No link is followed on the way. What is lent for it
    /// is so until another folder is asked for, or [`Access::give_back`].
    pub(super) fn parent<'p>(&mut self, path: &'p [u8]) -> Result<(&OwnedFd, &'p [u8]), sys::Error> {
        let (parent, name) = split(path);
        if let Err(error) = self.reach(parent) {
            self.lock_after(error)?;
            self.reach(parent)?;
        }
        if self.opened_up.is_empty() {
            self.lock = None;
        }
        let folder = self.last.as_ref().map_or(&self.root, |(_, folder)| folder);
        Ok((folder, name))
    }

    /// Makes a call on the last name of `path` in its folder; once more, under the lock, when that is denied.
    pub(super) fn at<T>(
        &mut self,
        path: &[u8],
        mut call: impl FnMut(BorrowedFd<'_>, &[u8]) -> Result<T, sys::Error>,
    ) -> Result<T, sys::Error> {
        let (folder, name) = self.parent(path)?;
        match call(folder.as_fd(), name) {
            Err(error) if error.errno == Errno::EACCES && self.lends && self.lock.is_none() => {
                self.locked(path, call)
            }
            called => called,
        }
    }

    /// Makes a call on a folder, as [`Access::at`] does.
    pub(super) fn at_folder<T>(
        &mut self,
        path: &[u8],
        mut call: impl FnMut(BorrowedFd<'_>) -> Result<T, sys::Error>,
    ) -> Result<T, sys::Error> {
        self.at(&[path, b"/"].concat(), |folder, _| call(folder))
    }

    /// Makes a call on the last name of `path` in its folder while nobody else lends anything.
    pub(super) fn locked<T>(
        &mut self,
        path: &[u8],
        call: impl FnOnce(BorrowedFd<'_>, &[u8]) -> Result<T, sys::Error>,
    ) -> Result<T, sys::Error> {
        let (parent, name) = split(path);
        if self.lock.is_none() {
            self.lock()?;
        }
        self.reach(parent)?;
        let folder = self.last.as_ref().map_or(&self.root, |(_, folder)| folder);
        let called = call(folder.as_fd(), name);
        if self.opened_up.is_empty() {
            self.lock = None;
        }
        called
    }

    /// Opens the file at `path` for reading. Nothing is lent any more afterwards.
    pub(super) fn open(&mut self, path: &[u8]) -> Result<File, sys::Error> {
        // whatever stands there instead of a file must not block
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
        let mut opened = self.at(path, |folder, name| fd::openat(folder, name, flags, 0));
        if self.lends && opened.as_ref().is_err_and(|error| error.errno == Errno::EACCES) {
            opened = self.locked(path, |folder, name| {
                let handle = fd::openat(folder, name, OFlag::O_PATH, 0)?;
                let mode = fd::mode(handle.as_fd())?;
                fd::chmod_handle(handle.as_fd(), mode | 0o400)?;
                let opened = fd::openat(folder, name, flags, 0);
                fd::chmod_handle(handle.as_fd(), mode)?;
                opened
            });
        }
        self.give_back();
        opened.map(File::from)
    }

    /// Takes back what is lent, so that others may have it.
    pub(super) fn give_back(&mut self) {
        if self.lock.is_some() {
            self.close_up();
            self.lock = None;
        }
    }

    /// Opens the folder `parent`, from the last one down, or else anew from the root.
    fn reach(&mut self, parent: &[u8]) -> Result<(), sys::Error> {
        if self.last.as_ref().is_some_and(|(last, _)| last == parent) {
            return Ok(());
        }
        let below = |last: &[u8]| Some(parent.strip_prefix(last)?.strip_prefix(b"/")?.len());
        let (mut folder, left) = match self.last.take() {
            Some((last, folder)) if below(&last).is_some() => (folder, below(&last).unwrap_or_default()),
            _ => {
                self.close_up();
                (self.root()?, parent.len())
            }
        };
        let rest = &parent[parent.len() - left..];
        for component in rest.split(|byte| *byte == b'/').filter(|component| !component.is_empty()) {
            folder = self.step(&folder, component)?;
        }
        self.last = Some((parent.to_owned(), folder));
        Ok(())
    }

    fn root(&self) -> Result<OwnedFd, sys::Error> {
        self.root.try_clone().map_err(|error| sys::Error {
            call: "dup",
            args: String::new(),
            errno: Errno::from_raw(error.raw_os_error().unwrap_or_default()),
        })
    }

    /// Opens a folder in another; fails with `EACCES` when it is closed and we have no lock.
    fn step(&mut self, folder: &OwnedFd, name: &[u8]) -> Result<OwnedFd, sys::Error> {
        let opened = fd::open_folder(folder.as_fd(), name);
        let closed = match &opened {
            Ok(opened) => fd::mode(opened.as_fd())? & 0o500 != 0o500,
            Err(error) => error.errno == Errno::EACCES,
        };
        if !closed || !self.lends {
            return opened;
        }
        if self.lock.is_none() {
            return Err(sys::Error { call: "openat", args: String::new(), errno: Errno::EACCES });
        }
        let handle = fd::openat(folder.as_fd(), name, OFlag::O_PATH | OFlag::O_DIRECTORY, 0)?;
        let mode = fd::mode(handle.as_fd())?;
        fd::chmod_handle(handle.as_fd(), mode | 0o500)?;
        self.opened_up.push((handle, mode));
        fd::open_folder(folder.as_fd(), name)
    }

    /// Takes the lock when a call was denied that may be granted with it.
    fn lock_after(&mut self, error: sys::Error) -> Result<(), sys::Error> {
        match error.errno == Errno::EACCES && self.lends && self.lock.is_none() {
            true => self.lock(),
            false => Err(error),
        }
    }

    /// Waits for the lock. What was reached without it may have been lent, so the way begins anew.
    fn lock(&mut self) -> Result<(), sys::Error> {
        self.last = None;
        let mut folder = fd::open_folder(self.root.as_fd(), b"..")?;
        loop {
            match Flock::lock(folder, FlockArg::LockExclusive) {
                Ok(lock) => {
                    self.lock = Some(lock);
                    return Ok(());
                }
                Err((unlocked, Errno::EINTR)) => folder = unlocked,
                Err((_, errno)) => return Err(sys::Error { call: "flock", args: String::new(), errno }),
            }
        }
    }

    fn close_up(&mut self) {
        self.last = None;
        while let Some((handle, mode)) = self.opened_up.pop() {
            // what fails is left too open to its owner, and seen by `verify`
            let _ = fd::chmod_handle(handle.as_fd(), mode);
        }
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        self.close_up();
    }
}

/// The folder a path lies in, empty for the root, and its last name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let slash = path.iter().rposition(|byte| *byte == b'/');
    slash.map_or((&b""[..], path), |at| (&path[..at], &path[at + 1..]))
}

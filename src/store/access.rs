//! Opening files of a layer whatever the modes in the image are.
//!
//! Every inode is the caller's own, but an image may have files even their owner can't read. Such a one is made
//! readable for the moment of its opening, such a folder for as long as files are opened in it; a crash in between
//! leaves one bit too much, which `verify` finds and takes away.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;

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
}

impl Access {
    pub(super) fn new(root: &Path) -> std::io::Result<Self> {
        Self::open_root(root, true)
    }

    /// The same, but what is closed stays so.
    pub(super) fn looking(root: &Path) -> std::io::Result<Self> {
        Self::open_root(root, false)
    }

    fn open_root(root: &Path, lends: bool) -> std::io::Result<Self> {
        Ok(Self { root: File::open(root)?.into(), last: None, opened_up: Vec::new(), lends })
    }

    /// The folder at `path`, and the last name of it to use there. No link is followed on the way.
    pub(super) fn parent<'p>(&mut self, path: &'p [u8]) -> Result<(&OwnedFd, &'p [u8]), sys::Error> {
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let (parent, name) = slash.map_or((&b""[..], path), |at| (&path[..at], &path[at + 1..]));
        if self.last.as_ref().is_none_or(|(last, _)| last != parent) {
            // from the last folder down, or else anew from the root
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
        }
        let folder = self.last.as_ref().map_or(&self.root, |(_, folder)| folder);
        Ok((folder, name))
    }

    /// A folder itself, as [`Access::parent`] would open it for what is in it.
    pub(super) fn folder(&mut self, path: &[u8]) -> Result<&OwnedFd, sys::Error> {
        Ok(self.parent(&[path, b"/"].concat())?.0)
    }

    /// Opens the file at `path` for reading.
    pub(super) fn open(&mut self, path: &[u8]) -> Result<File, sys::Error> {
        let lends = self.lends;
        let (folder, name) = self.parent(path)?;
        // whatever stands there instead of a file must not block
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
        match fd::openat(folder.as_fd(), name, flags, 0) {
            Err(error) if error.errno == Errno::EACCES && lends => {
                let handle = fd::openat(folder.as_fd(), name, OFlag::O_PATH, 0)?;
                let mode = fd::mode(handle.as_fd())?;
                fd::chmod_handle(handle.as_fd(), mode | 0o400)?;
                let opened = fd::openat(folder.as_fd(), name, flags, 0);
                fd::chmod_handle(handle.as_fd(), mode)?;
                opened.map(File::from)
            }
            opened => opened.map(File::from),
        }
    }

    fn root(&self) -> Result<OwnedFd, sys::Error> {
        self.root.try_clone().map_err(|error| sys::Error {
            call: "dup",
            args: String::new(),
            errno: Errno::from_raw(error.raw_os_error().unwrap_or_default()),
        })
    }

    fn step(&mut self, folder: &OwnedFd, name: &[u8]) -> Result<OwnedFd, sys::Error> {
        let opened = fd::open_folder(folder.as_fd(), name);
        let closed = match &opened {
            Ok(opened) => fd::mode(opened.as_fd())? & 0o500 != 0o500,
            Err(error) => error.errno == Errno::EACCES,
        };
        if !closed || !self.lends {
            return opened;
        }
        let handle = fd::openat(folder.as_fd(), name, OFlag::O_PATH | OFlag::O_DIRECTORY, 0)?;
        let mode = fd::mode(handle.as_fd())?;
        fd::chmod_handle(handle.as_fd(), mode | 0o500)?;
        self.opened_up.push((handle, mode));
        fd::open_folder(folder.as_fd(), name)
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

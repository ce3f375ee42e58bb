//! Named files in a folder or in a tar archive, opened for reading.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{SFlag, fstat};

use super::error::Error;
use super::members::{Found, Members};
use crate::sys::fd;

/// A folder or archive with files in it.
#[derive(Debug)]
pub(super) struct Files {
    shown: String,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Folder(OwnedFd),
    Archive(Arc<File>, Members),
}

/// A part of a file, read from its beginning to its end without moving the file's own position.
#[derive(Debug)]
pub(super) struct Piece {
    file: Arc<File>,
    start: u64,
    end: u64,
}

impl Piece {
    /// How many bytes are left of it.
    pub(super) fn len(&self) -> u64 {
        self.end - self.start
    }
}

impl Read for Piece {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.len()).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(&mut buffer[..most], self.start)?;
        if count == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.start += count as u64;
        Ok(count)
    }
}

impl Files {
    /// Those of the folder `path`.
    pub(super) fn folder(path: &Path) -> Result<Self, Error> {
        let shown = path.display().to_string();
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let folder = nix::fcntl::open(path, flags, nix::sys::stat::Mode::empty());
        let folder = folder.map_err(|errno| Error::File {
            action: "open",
            shown: shown.clone(),
            source: errno.into(),
        })?;
        Ok(Self { shown, place: Place::Folder(folder) })
    }

    /// Those of the tar archive `file`.
    pub(super) fn archive(file: File, shown: &str) -> Result<Self, Error> {
        let members = Members::of(&file, shown)?;
        Ok(Self { shown: shown.to_owned(), place: Place::Archive(Arc::new(file), members) })
    }

    /// What the user calls the folder or archive.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether there is something of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        !matches!(self.open(name), Err(Error::Missing { .. }))
    }

    /// The whole of a file of at most `limit` bytes.
    pub(super) fn small(&self, name: &str, limit: usize) -> Result<Vec<u8>, Error> {
        let mut piece = self.open(name)?;
        if piece.len() > limit as u64 {
            return Err(Error::TooLarge {
                shown: self.shown.clone(),
                name: name.to_owned(),
                size: piece.len(),
                limit: limit as u64,
            });
        }
        let mut bytes = Vec::new();
        piece.read_to_end(&mut bytes).map_err(|source| Error::File {
            action: "read",
            shown: self.shown.clone(),
            source,
        })?;
        Ok(bytes)
    }

    /// Opens the regular file `name`.
    pub(super) fn open(&self, name: &str) -> Result<Piece, Error> {
        match &self.place {
            Place::Folder(folder) => self.open_in(folder, name),
            Place::Archive(file, members) => match members.find(name) {
                Found::File { offset, size } => {
                    Ok(Piece { file: file.clone(), start: offset, end: offset + size })
                }
                Found::Nothing => Err(self.missing(name)),
                Found::Other(why) => Err(self.member(name, why)),
            },
        }
    }

    /// One component at a time, no link followed: a layout has none.
    fn open_in(&self, folder: &OwnedFd, name: &str) -> Result<Piece, Error> {
        let failed = |error: crate::sys::Error| match error.errno {
            Errno::ENOENT => self.missing(name),
            Errno::ELOOP => self.member(name, "is or lies behind a symbolic link"),
            Errno::ENOTDIR => self.member(name, "lies below something that is not a folder"),
            errno => {
                Error::File { action: "open", shown: format!("{}/{name}", self.shown), source: errno.into() }
            }
        };
        let mut parts = name.split('/').peekable();
        let mut at: Option<OwnedFd> = None;
        while let Some(part) = parts.next() {
            let dir = at.as_ref().unwrap_or(folder).as_fd();
            at = Some(match parts.peek() {
                Some(_) => fd::open_folder(dir, part.as_bytes()).map_err(failed)?,
                // without O_NONBLOCK a FIFO would be waited for
                None => fd::openat(dir, part.as_bytes(), OFlag::O_RDONLY | OFlag::O_NONBLOCK, 0)
                    .map_err(failed)?,
            });
        }
        let Some(file) = at else { return Err(self.missing(name)) };
        let found = fstat(&file).map_err(|errno| Error::File {
            action: "look at",
            shown: format!("{}/{name}", self.shown),
            source: errno.into(),
        })?;
        if found.st_mode & libc::S_IFMT != SFlag::S_IFREG.bits() {
            return Err(self.member(name, "is not a regular file"));
        }
        Ok(Piece { file: Arc::new(file.into()), start: 0, end: found.st_size.unsigned_abs() })
    }

    fn missing(&self, name: &str) -> Error {
        Error::Missing { shown: self.shown.clone(), name: name.chars().take(200).collect() }
    }

    fn member(&self, name: &str, why: &'static str) -> Error {
        Error::Member { shown: self.shown.clone(), name: name.chars().take(200).collect(), why }
    }
}

//! Paths below a folder, gone to by one name after the other, no link followed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use crate::sys;
use crate::sys::fd;

/// A tree, with the folder used last kept open.
#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
    last: Option<(Vec<u8>, OwnedFd)>,
}

impl Tree {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self { root, last: None }
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The folder that `path` lies in, and its last name. `ENOENT`, `ENOTDIR` or `ELOOP` when there is none.
    pub(super) fn parent<'p>(&mut self, path: &'p [u8]) -> Result<(BorrowedFd<'_>, &'p [u8]), sys::Error> {
        let (folder, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&path[..0], path),
        };
        if folder.is_empty() {
            return Ok((self.root.as_fd(), name));
        }
        if self.last.as_ref().is_none_or(|(last, _)| last != folder) {
            self.last = None;
            let mut opened: Option<OwnedFd> = None;
            for name in folder.split(|byte| *byte == b'/') {
                let above = opened.as_ref().map_or(self.root.as_fd(), AsFd::as_fd);
                opened = Some(fd::open_folder(above, name)?);
            }
            self.last = opened.map(|opened| (folder.to_vec(), opened));
        }
        let folder = self.last.as_ref().map_or(self.root.as_fd(), |(_, folder)| folder.as_fd());
        Ok((folder, name))
    }

    /// What stands at `path`; none when nothing does, or when what should be a folder above it is none.
    pub(super) fn stat(&mut self, path: &[u8]) -> Result<Option<libc::stat>, sys::Error> {
        let found = self.parent(path).and_then(|(folder, name)| fd::stat_at(folder, name));
        match found {
            Ok(found) => Ok(Some(found)),
            Err(error) if matches!(error.errno, Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the folder used last is `path` or below it.
    pub(super) fn is_below(&self, path: &[u8]) -> bool {
        let last = self.last.as_ref().and_then(|(last, _)| last.strip_prefix(path));
        last.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    }

    /// Forgets the folder used last: what it is called may have changed.
    pub(super) fn moved(&mut self) {
        self.last = None;
    }
}

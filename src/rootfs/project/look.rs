//! How a thing of the project looks, so that it is told from what the host makes of it meanwhile: by what can be seen
//! without reading it.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use sha2::{Digest, Sha256};

use crate::sys;
use crate::sys::fd;

use super::handles::Tree;
use super::seen::Moment;

/// What stood at a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) ino: u64,
    /// With the kind.
    pub(super) mode: u32,
    size: i64,
    modified: Moment,
    changed: Moment,
    /// It is one of several names of a file: what is done to another of them changes its mode and its change time.
    linked: bool,
    /// Of all that is in a folder; 0 when nobody looked.
    below: u64,
}

impl Look {
    /// Of what stands at a name now; with `deep`, also of all that is in a folder. None when nothing stands there.
    pub(super) fn at(folder: BorrowedFd<'_>, name: &[u8], deep: bool) -> Result<Option<Self>, sys::Error> {
        let stat = match fd::stat_at(folder, name) {
            Err(error) if error.errno == Errno::ENOENT => return Ok(None),
            found => found?,
        };
        let mut look = Self {
            ino: stat.st_ino,
            mode: stat.st_mode,
            size: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
            linked: stat.st_nlink > 1,
            below: 0,
        };
        if deep && look.is_folder() {
            let digest = below(fd::open_folder(folder, name)?.as_fd())?;
            look.below = digest.first_chunk().map_or(0, |first| u64::from_le_bytes(*first)) | 1;
        }
        Ok(Some(look))
    }

    fn is_folder(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }

    /// Whether the same stands at a name, untouched. A rename of our own, `moved`, changes the change time alone.
    pub(super) fn is_at(&self, folder: BorrowedFd<'_>, name: &[u8], moved: bool) -> Result<bool, sys::Error> {
        let now = Self::at(folder, name, self.below != 0)?;
        Ok(now.is_some_and(|now| self.is(&now, moved)))
    }

    fn is(&self, now: &Self, moved: bool) -> bool {
        if self.ino != now.ino || (self.mode ^ now.mode) & libc::S_IFMT != 0 {
            return false;
        }
        if self.is_folder() {
            return self.mode == now.mode && self.below == now.below;
        }
        (self.size, self.modified) == (now.size, now.modified)
            && (self.linked || self.mode == now.mode && (moved || self.changed == now.changed))
    }

    /// Nine numbers.
    pub(super) fn text(&self) -> String {
        let Self { ino, mode, size, modified, changed, linked, below } = self;
        let ((a, b), (c, d)) = (modified, changed);
        format!("{ino} {mode} {size} {a} {b} {c} {d} {} {below}", u8::from(*linked))
    }

    /// Reads what [`Look::text`] wrote off the words of a text.
    pub(super) fn read<'t>(words: &mut impl Iterator<Item = &'t str>) -> Option<Self> {
        fn next<'t, T: std::str::FromStr>(words: &mut impl Iterator<Item = &'t str>) -> Option<T> {
            words.next()?.parse().ok()
        }
        Some(Self {
            ino: next(words)?,
            mode: next(words)?,
            size: next(words)?,
            modified: (next(words)?, next(words)?),
            changed: (next(words)?, next(words)?),
            linked: next::<u8>(words)? != 0,
            below: next(words)?,
        })
    }
}

impl Tree {
    /// As [`Look::at`], of a path; also none when there is no folder for it.
    pub(super) fn look(&mut self, path: &[u8], deep: bool) -> Result<Option<Look>, sys::Error> {
        let found = self.parent(path).and_then(|(folder, name)| Look::at(folder, name, deep));
        match found {
            Err(error) if matches!(error.errno, Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
            found => found,
        }
    }
}

/// A digest of names and looks, of all that is in a folder.
fn below(folder: BorrowedFd<'_>) -> Result<Vec<u8>, sys::Error> {
    let mut names = fd::names(folder, usize::MAX)?;
    names.sort_unstable();
    let mut digest = Sha256::new();
    for name in names {
        let stat = fd::stat_at(folder, &name)?;
        digest.update(&name);
        digest.update([0]);
        digest.update(stat.st_ino.to_le_bytes());
        if stat.st_mode & libc::S_IFMT == libc::S_IFDIR {
            digest.update(stat.st_mode.to_le_bytes());
            digest.update(below(fd::open_folder(folder, &name)?.as_fd())?);
            continue;
        }
        for number in [stat.st_size, stat.st_mtime, stat.st_mtime_nsec] {
            digest.update(number.to_le_bytes());
        }
        if stat.st_nlink == 1 {
            digest.update(stat.st_mode.to_le_bytes());
            digest.update(stat.st_ctime.to_le_bytes());
            digest.update(stat.st_ctime_nsec.to_le_bytes());
        }
    }
    Ok(digest.finalize().to_vec())
}

//! A file's content into another, by the cheapest way the file system has.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::copy_file_range;
use nix::unistd::{Whence, lseek};

use super::fd::ftruncate;
use super::{Error, fd};

/// How much is copied between two reports.
const PIECE: usize = 8 << 20;

/// Makes `to`, which is empty, share the blocks of `from`: ioctl_ficlone(2). False where the file system can't.
pub fn share(from: impl AsFd, to: impl AsFd) -> Result<bool, Error> {
    let (from, to) = (from.as_fd().as_raw_fd(), to.as_fd().as_raw_fd());
    // SAFETY: FICLONE takes a descriptor by value.
    match Errno::result(unsafe { libc::ioctl(to, libc::FICLONE, from) }) {
        Ok(_) => Ok(true),
        Err(Errno::EOPNOTSUPP | Errno::ENOTTY | Errno::EXDEV | Errno::EINVAL | Errno::ENOSYS) => Ok(false),
        Err(errno) => Err(Error { call: "ioctl(FICLONE)", args: String::new(), errno }),
    }
}

/// Copies `size` bytes of `from` into `to`, which is empty, and leaves holes where `from` has some. `advance` is told
/// the bytes copied, holes left out.
pub fn copy<E: From<Error>>(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    size: u64,
    advance: &mut dyn FnMut(u64) -> Result<(), E>,
) -> Result<(), E> {
    let mut at = 0;
    while at < size {
        let Some((start, end)) = segment(from, at, size)? else { break };
        let mut offset = start;
        while offset < end {
            let count = piece(from, to, offset, (end - offset).min(PIECE as u64) as usize)?;
            if count == 0 {
                // it became shorter meanwhile
                return Ok(());
            }
            advance(count)?;
            offset += count;
        }
        at = end;
    }
    Ok(ftruncate(to, size)?)
}

/// The next run of data at or after `at`; all of the rest where the file system knows no holes.
fn segment(file: BorrowedFd<'_>, at: u64, size: u64) -> Result<Option<(u64, u64)>, Error> {
    let seek = |offset: u64, whence| lseek(file, offset as libc::off_t, whence).map(|found| found as u64);
    match seek(at, Whence::SeekData) {
        Err(Errno::ENXIO) => Ok(None),
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => Ok(Some((at, size))),
        Err(errno) => Err(Error { call: "lseek", args: String::new(), errno }),
        Ok(start) => Ok(Some((start, seek(start, Whence::SeekHole).unwrap_or(size).min(size)))),
    }
}

/// Copies at most `length` bytes at `offset`; how many.
fn piece(from: BorrowedFd<'_>, to: BorrowedFd<'_>, offset: u64, length: usize) -> Result<u64, Error> {
    let (mut source, mut target) = (offset as libc::off_t, offset as libc::off_t);
    match copy_file_range(from, Some(&mut source), to, Some(&mut target), length) {
        Ok(count) => Ok(count as u64),
        Err(Errno::EXDEV | Errno::ENOSYS | Errno::EOPNOTSUPP | Errno::EINVAL | Errno::EPERM) => {
            let mut buffer = vec![0; length.min(1 << 20)];
            let count = nix::sys::uio::pread(from, &mut buffer, offset as libc::off_t)
                .map_err(|errno| Error { call: "pread", args: String::new(), errno })?;
            fd::pwrite(to, &buffer[..count], offset)?;
            Ok(count as u64)
        }
        Err(errno) => Err(Error { call: "copy_file_range", args: String::new(), errno }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn holes_stay_holes() {
        let place = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let options =
                std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).clone();
            options.open(place.path().join(name)).unwrap()
        };
        let (from, to) = (file("from"), file("to"));
        fd::pwrite(from.as_fd(), b"begin", 0).unwrap();
        fd::pwrite(from.as_fd(), b"end", 50 << 20).unwrap();
        ftruncate(from.as_fd(), 100 << 20).unwrap();
        let mut copied = 0;
        let mut advance = |bytes| -> Result<(), Error> {
            copied += bytes;
            Ok(())
        };
        copy(from.as_fd(), to.as_fd(), 100 << 20, &mut advance).unwrap();
        assert!(copied < 1 << 20, "{copied}");
        let found = to.metadata().unwrap();
        assert_eq!(found.size(), 100 << 20);
        assert!(found.blocks() * 512 < 1 << 20, "{}", found.blocks());
        assert_eq!(
            std::fs::read(place.path().join("to")).unwrap(),
            std::fs::read(place.path().join("from")).unwrap()
        );
    }
}

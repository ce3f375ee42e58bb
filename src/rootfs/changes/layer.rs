//! The changes of a box as one OCI layer (image-spec `layer.md`): a `.wh.` entry for what is gone, every folder on the
//! way with its own attributes, hard links as such, holes left out.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{major, minor};

use super::{Change, Entry, Error, Files, walk};
use crate::store::{Head, Kind, TarWriter};
use crate::sys::fd;

/// Holes shorter than this are written as zeros.
const SHORTEST_HOLE: u64 = 64 << 10;
/// More pieces than this, and a file is written whole.
const MOST_SEGMENTS: usize = 4096;

/// How a layer is written.
#[derive(Debug, Clone, Default)]
pub struct Packing {
    /// Times after this one, in seconds since the epoch, become it (`SOURCE_DATE_EPOCH`).
    pub latest: Option<i64>,
    /// Before every name and link target, for layers within a larger archive.
    pub prefix: Vec<u8>,
}

/// Writes the changes of a box, in order of path, after what `tar` has already.
pub fn write_layer<W: Write>(
    files: &Files<'_>,
    tar: &mut TarWriter<W>,
    packing: &Packing,
) -> Result<(), Error> {
    let mut layer = Layer { tar, packing, linked: HashMap::new() };
    walk(files, &mut |change| layer.add(change))
}

struct Layer<'a, W> {
    tar: &'a mut TarWriter<W>,
    packing: &'a Packing,
    /// First names of files with several.
    linked: HashMap<(u64, u64), Vec<u8>>,
}

impl<W: Write> Layer<'_, W> {
    fn add(&mut self, change: &Change<'_>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let path = [self.packing.prefix.as_slice(), change.path].concat();
        let Some(entry) = change.entry else {
            let (folder, name) =
                path.split_at(path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1));
            let path = [folder, b".wh.", name].concat();
            let modified = self.packing.latest.map_or(0, |latest| latest.min(0));
            return Ok(self.tar.file(&head(&path, Kind::File(0), modified), io::empty())?);
        };
        if entry.name.starts_with(b".wh.") {
            return Err(Reserved(path).into());
        }
        self.entry(&path, entry)
    }

    fn entry(
        &mut self,
        path: &[u8],
        entry: &Entry<'_>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let stat = &entry.stat;
        let size = entry.content.as_ref().map_or(stat.st_size as u64, |content| content.len() as u64);
        let kind = match stat.st_mode & libc::S_IFMT {
            libc::S_IFREG => Kind::File(size),
            libc::S_IFDIR => Kind::Folder,
            libc::S_IFLNK => Kind::Symlink,
            libc::S_IFIFO => Kind::Fifo,
            libc::S_IFCHR => Kind::CharDevice(major(stat.st_rdev) as u32, minor(stat.st_rdev) as u32),
            libc::S_IFBLK => Kind::BlockDevice(major(stat.st_rdev) as u32, minor(stat.st_rdev) as u32),
            // sockets never come here
            _ => return Ok(()),
        };
        let modified = stat.st_mtime.min(self.packing.latest.unwrap_or(i64::MAX));
        let target =
            if kind == Kind::Symlink { fd::readlinkat(entry.folder, entry.name)? } else { Vec::new() };
        let head = Head {
            mode: if kind == Kind::Symlink { 0o777 } else { stat.st_mode & 0o7777 },
            owner: entry.owner,
            target: &target,
            xattrs: &entry.xattrs,
            ..head(path, kind, modified)
        };
        if kind != Kind::Folder && stat.st_nlink > 1 {
            let inode = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.linked.get(&inode) {
                let head = Head { kind: Kind::HardLink, target: first, xattrs: &[], ..head };
                return Ok(self.tar.entry(&head)?);
            }
            self.linked.insert(inode, path.to_vec());
        }
        match (&entry.content, kind) {
            (Some(content), _) => Ok(self.tar.file(&head, content.as_slice())?),
            (None, Kind::File(0)) => Ok(self.tar.file(&head, io::empty())?),
            (None, Kind::File(size)) => {
                let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
                let file = File::from(fd::openat(entry.folder, entry.name, flags, 0)?);
                let whole = stat.st_blocks as u64 * 512 >= size;
                match if whole { None } else { segments(&file, size)? } {
                    Some(segments) => {
                        let body =
                            Segments { file: &file, segments: segments.clone().into_iter(), now: (0, 0) };
                        Ok(self.tar.sparse(&head, &segments, body)?)
                    }
                    None => Ok(self.tar.file(&head, file)?),
                }
            }
            _ => Ok(self.tar.entry(&head)?),
        }
    }
}

fn head(path: &[u8], kind: Kind, modified: i64) -> Head<'_> {
    Head { path, kind, mode: 0o644, owner: (0, 0), modified, target: b"", xattrs: &[] }
}

/// A name that means a deletion in every layer.
#[derive(Debug, thiserror::Error)]
#[error("`{}` can't be in an image: names that begin with `.wh.` stand for deletions there", .0.escape_ascii())]
struct Reserved(Vec<u8>);

/// Where a file has data, if it has holes worth the trouble (lseek(2), `SEEK_DATA`).
fn segments(file: &File, size: u64) -> io::Result<Option<Vec<(u64, u64)>>> {
    use nix::unistd::{Whence, lseek};
    let mut found: Vec<(u64, u64)> = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match lseek(file.as_fd(), at as i64, Whence::SeekData) {
            Err(Errno::ENXIO) => break,
            // a file system without holes
            Err(Errno::EINVAL) => return Ok(None),
            start => start? as u64,
        };
        let end = (lseek(file.as_fd(), start as i64, Whence::SeekHole)? as u64).min(size);
        match found.last_mut() {
            Some((offset, length)) if start - (*offset + *length) < SHORTEST_HOLE => *length = end - *offset,
            _ => found.push((start.min(size), end.saturating_sub(start))),
        }
        at = end;
        if found.len() > MOST_SEGMENTS {
            lseek(file.as_fd(), 0, Whence::SeekSet)?;
            return Ok(None);
        }
    }
    lseek(file.as_fd(), 0, Whence::SeekSet)?;
    let data: u64 = found.iter().map(|(_, length)| length).sum();
    Ok((size - data >= SHORTEST_HOLE).then_some(found))
}

/// The data of a file, one segment after the other.
struct Segments<'a> {
    file: &'a File,
    segments: std::vec::IntoIter<(u64, u64)>,
    now: (u64, u64),
}

impl io::Read for Segments<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.now.1 == 0 {
            match self.segments.next() {
                Some(next) => self.now = next,
                None => return Ok(0),
            }
        }
        let most = buffer.len().min(usize::try_from(self.now.1).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut buffer[..most], self.now.0)?;
        self.now = (self.now.0 + count as u64, self.now.1 - count as u64);
        Ok(count)
    }
}

//! Tar archives as a bounded stream of entries, over all the formats layers come in: v7, ustar, GNU, PAX.
//!
//! The `tar` crate names the header's fields; the reading is ours, because a layer is hostile until its digest
//! is known: no record larger than [`limits::METADATA`] is held, no number is believed before its bytes are here,
//! and where the formats leave a choice we choose as Go's `archive/tar`, the reader of the other engines, so
//! that a layer means the same everywhere. A PAX size always wins over the header's. An archive may end without
//! its two zero blocks and without the padding of its last body, as theirs may; whether it is whole is for the digest
//! to say.

use std::io::Read;

use nix::sys::time::TimeSpec;
use tar::Header;

use self::pax::Records;
use self::sparse::Sparse;
use self::stream::Stream;
use super::error::Error;
use super::{framing, limits};
use crate::oci::digest::Digest;

mod header;
mod pax;
pub(super) mod sparse;
mod stream;
pub(super) mod write;

/// Unit of the format.
const BLOCK: usize = 512;

/// One entry: what its header and the records before it say, nothing checked but the form.
#[derive(Debug)]
pub(super) struct Entry {
    /// Where its header begins in the uncompressed layer.
    pub(super) offset: u64,
    pub(super) path: Vec<u8>,
    pub(super) kind: Kind,
    /// Target of a link.
    pub(super) target: Vec<u8>,
    /// Permission bits, with setuid, setgid and sticky.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) modified: TimeSpec,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the bytes of the body belong, when the file has holes.
    pub(super) sparse: Option<Sparse>,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Symlink,
    HardLink,
    Fifo,
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    /// A type we don't know.
    Other(u8),
}

/// Reads entries off `R` and hashes all that passes.
pub(super) struct Archive<R> {
    stream: Stream<R>,
    /// Bytes of the present body still to come, and the padding after it.
    left: u64,
    padding: u64,
}

/// What came before a header and belongs to it.
#[derive(Default)]
struct Before {
    name: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    records: Records,
    /// Whether any of these was there.
    any: bool,
}

impl<R: Read> Archive<R> {
    pub(super) fn new(input: R) -> Self {
        Self { stream: Stream::new(input, None), left: 0, padding: 0 }
    }

    /// Reads as [`Archive::new`] does, and writes the framing.
    pub(super) fn framed(input: R, framing: framing::Writer) -> Self {
        Self { stream: Stream::new(input, Some(framing)), left: 0, padding: 0 }
    }

    /// The framing of what was read so far, if it is written.
    pub(super) fn framing(&mut self) -> Option<&mut framing::Writer> {
        self.stream.framing.as_mut()
    }

    /// The next entry, past what was not read of the former one's body; `None` at the end of the archive.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, Error> {
        self.skip_body()?;
        let mut before = Before::default();
        loop {
            let offset = self.stream.offset();
            let malformed = |why: &str| Error::Malformed { offset, why: why.into() };
            let block = match self.stream.block()? {
                Some(block) if block != [0; BLOCK] => block,
                end => {
                    if before.any {
                        return Err(malformed("the archive ends where an entry should follow"));
                    }
                    if end.is_some() && self.stream.block()?.is_some_and(|block| block != [0; BLOCK]) {
                        return Err(malformed("there is a lone zero block"));
                    }
                    return Ok(None);
                }
            };
            let header = Header::from_byte_slice(&block);
            header::check(header).map_err(malformed)?;
            let size = header::size(header).map_err(malformed)?;
            let flag = header.as_old().linkflag[0];
            before.any |= flag != b'g';
            match flag {
                b'L' => before.name = Some(until_nul(self.metadata(size)?)),
                b'K' => before.target = Some(until_nul(self.metadata(size)?)),
                b'x' => before.records = pax::parse(&self.metadata(size)?).map_err(|why| malformed(&why))?,
                b'g' => {
                    let records = self.metadata(size)?;
                    pax::check_global(&records).map_err(|why| malformed(&why))?;
                }
                _ => return self.entry(offset, header, flag, size, before).map(Some),
            }
        }
    }

    /// The next bytes of the present entry's body, no more than `most`, which go to `offset` of its file; empty at
    /// the body's end.
    ///
    /// What fits the buffer comes in one piece.
    pub(super) fn body(&mut self, offset: u64, most: u64) -> Result<&[u8], Error> {
        let Self { stream, left, .. } = self;
        let piece = stream.content(offset, most.min(*left))?;
        *left -= piece.len() as u64;
        Ok(piece)
    }

    /// Reads on to the end of the input; digest and count of all its bytes.
    pub(super) fn finish(self) -> Result<(Digest, u64), Error> {
        self.finish_with(|_| {})
    }

    /// The same, with a last look at what was read from.
    pub(super) fn finish_with(self, look: impl FnOnce(&mut R)) -> Result<(Digest, u64), Error> {
        self.stream.finish(look)
    }

    /// Bytes of the file that the present entry is, before any of its body was read.
    pub(super) fn size(&self, entry: &Entry) -> u64 {
        entry.sparse.as_ref().map_or(self.left, |sparse| sparse.size)
    }

    fn entry(
        &mut self,
        offset: u64,
        header: &Header,
        flag: u8,
        size: u64,
        before: Before,
    ) -> Result<Entry, Error> {
        let malformed = |why: String| Error::Malformed { offset, why };
        let Before { name, target, records, .. } = before;
        let fields = header::fields(header).map_err(|why| malformed(why.into()))?;
        let path = records.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let mut path = name.unwrap_or(path);
        let in_header = || header.link_name_bytes().map(|target| target.into_owned()).unwrap_or_default();
        let kind = kind(flag, &path, header).map_err(|why| malformed(why.into()))?;
        // links, folders and devices have no body, whatever size they bear
        let has_body = matches!(kind, Kind::File | Kind::Other(_));
        let size = if has_body { records.size.unwrap_or(size) } else { 0 };
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        let sparse = if kind != Kind::File {
            None
        } else if flag == b'S' {
            Some(self.old_sparse(header)?)
        } else if let Some(keys) = &records.sparse {
            if let Some(name) = &keys.name {
                path.clone_from(name);
            }
            Some(self.pax_sparse(keys)?)
        } else {
            None
        };
        if let Some(sparse) = &sparse {
            sparse.check(self.left).map_err(|why| malformed(why.into()))?;
        }
        Ok(Entry {
            offset,
            path,
            kind,
            target: target.or(records.target).unwrap_or_else(in_header),
            mode: fields.mode,
            uid: records.uid.unwrap_or(fields.uid),
            gid: records.gid.unwrap_or(fields.gid),
            modified: records.modified.unwrap_or(TimeSpec::new(fields.modified, 0)),
            xattrs: records.xattrs,
            sparse,
        })
    }

    /// The body of a record that describes the next entry.
    fn metadata(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        if size > limits::METADATA {
            let why = format!("a name or record of {size} bytes is beyond the limit of {}", limits::METADATA);
            return Err(Error::Malformed { offset: self.stream.offset(), why });
        }
        let mut bytes = Vec::new();
        let mut left = size;
        while left > 0 {
            let piece = self.stream.some(left)?;
            left -= piece.len() as u64;
            bytes.extend_from_slice(piece);
        }
        self.stream.padding(size.next_multiple_of(BLOCK as u64) - size)?;
        Ok(bytes)
    }

    fn skip_body(&mut self) -> Result<(), Error> {
        self.stream.skip(self.left)?;
        self.stream.padding(self.padding)?;
        (self.left, self.padding) = (0, 0);
        Ok(())
    }
}

fn kind(flag: u8, path: &[u8], header: &Header) -> Result<Kind, &'static str> {
    Ok(match flag {
        // before ustar a slash told folders from files
        0 if path.ends_with(b"/") => Kind::Folder,
        0 | b'0' | b'7' | b'S' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => header::device(header).map(|(major, minor)| Kind::CharDevice { major, minor })?,
        b'4' => header::device(header).map(|(major, minor)| Kind::BlockDevice { major, minor })?,
        b'5' => Kind::Folder,
        b'6' => Kind::Fifo,
        other => Kind::Other(other),
    })
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    bytes
}

//! The framing of a layer: all of its tar archive but the files' contents, and where in the tree those lie.
//!
//! With it the archive can be made again byte for byte, so that a layer's digest can be checked at any time, and a
//! layer saved or pushed, without a copy of the blob. It is a zstd frame with a checksum of its own; in it a record
//! follows the other, a tag each and numbers in little endian:
//!
//! ```text
//! B length:4 bytes          bytes as they are: headers, padding, what follows the archive
//! P length:4 path           the entry those bytes ended in stands at this path of the tree; its links are resolved
//! W length:4 path           or it hides this name of lower layers
//! O length:4 path           or all of lower layers in this folder
//! D length:4 path           or it is a device, which is not made, in the folder of this path
//! N                         or nothing comes of it
//! C offset:8 length:8 crc:4 bytes of the file of the last P, and their CRC-32, by which damage is found
//! A length:4 path           what stood at this path was set aside as `replaced/N`, the first with N = 0
//! E                         the end
//! ```
//!
//! An entry that is replaced by a later one of the same layer can't be seen in any root, but its bytes are part of
//! the archive: therefore it is set aside instead of removed. Hardly any image has one.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::error::{At, Error};

mod records;

pub(super) use records::{Record, Records};

/// What comes of an entry; paths are of the tree, their links resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// It stands there.
    At(Vec<u8>),
    /// It hides this name of lower layers.
    Hides(Vec<u8>),
    /// It hides all of lower layers in this folder.
    HidesAll(Vec<u8>),
    /// A device, which is not made.
    Device(Vec<u8>),
    /// Nothing.
    Nowhere,
}

/// Folder of a layer with what was replaced.
pub(super) const REPLACED: &str = "replaced";

/// The framing's name in the layer's folder.
pub(super) const FILE: &str = "framing";

/// Bytes gathered before they are compressed: each call of the compressor costs more than a record.
const GATHERED: usize = 64 << 10;

/// Fast, for it is on the hot path; headers are mostly zeros.
const LEVEL: i32 = 1;
/// Power of two of the bytes looked back on: more would only take caches away from others.
const WINDOW: u32 = 17;

/// Writes a framing while a layer is unpacked.
pub(super) struct Writer {
    path: PathBuf,
    out: zstd::Encoder<'static, File>,
    gathered: Vec<u8>,
    /// Where the bytes of the last record in `gathered` begin, while more may join them.
    literal: Option<usize>,
    content: Option<Content>,
}

struct Content {
    offset: u64,
    length: u64,
    crc: crc32fast::Hasher,
}

impl Writer {
    /// Makes the file in a layer's folder.
    pub(super) fn create(layer: &Path) -> Result<Self, Error> {
        let path = layer.join(FILE);
        let file = File::create_new(&path).at("make", &path)?;
        let mut out = zstd::Encoder::new(file, LEVEL).at("write", &path)?;
        out.include_checksum(true).at("write", &path)?;
        out.window_log(WINDOW).at("write", &path)?;
        Ok(Self { path, out, gathered: Vec::with_capacity(2 * GATHERED), literal: None, content: None })
    }

    /// Bytes of the archive that lie nowhere else.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.end_content()?;
        for piece in bytes.chunks(GATHERED) {
            if self.literal.is_none() {
                self.record(b'B', &[0; 4])?;
                self.literal = Some(self.gathered.len());
            }
            self.gathered.extend_from_slice(piece);
            if self.gathered.len() >= GATHERED {
                self.end_literal();
            }
        }
        Ok(())
    }

    /// What comes of the entry whose header was the last.
    pub(super) fn place(&mut self, place: &Place) -> Result<(), Error> {
        match place {
            Place::At(path) => self.path_record(b'P', path),
            Place::Hides(path) => self.path_record(b'W', path),
            Place::HidesAll(path) => self.path_record(b'O', path),
            Place::Device(path) => self.path_record(b'D', path),
            Place::Nowhere => {
                self.end_content()?;
                self.record(b'N', &[])
            }
        }
    }

    /// `bytes` of the archive lie at `offset` of the file last placed.
    pub(super) fn content(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        match &self.content {
            Some(content) if content.offset + content.length == offset => {}
            _ => {
                self.end_content()?;
                self.content = Some(Content { offset, length: 0, crc: crc32fast::Hasher::new() });
            }
        }
        if let Some(content) = &mut self.content {
            content.length += bytes.len() as u64;
            content.crc.update(bytes);
        }
        Ok(())
    }

    /// What stood at `path` was set aside.
    pub(super) fn aside(&mut self, path: &[u8]) -> Result<(), Error> {
        self.path_record(b'A', path)
    }

    pub(super) fn finish(mut self) -> Result<(), Error> {
        self.end_content()?;
        self.record(b'E', &[])?;
        self.compress()?;
        self.out.finish().map(drop).at("write", &self.path)
    }

    fn path_record(&mut self, tag: u8, path: &[u8]) -> Result<(), Error> {
        self.end_content()?;
        self.record(tag, &(path.len() as u32).to_le_bytes())?;
        self.gathered.extend_from_slice(path);
        Ok(())
    }

    fn end_content(&mut self) -> Result<(), Error> {
        let Some(Content { offset, length, crc }) = self.content.take() else { return Ok(()) };
        self.record(b'C', &offset.to_le_bytes())?;
        self.gathered.extend_from_slice(&length.to_le_bytes());
        self.gathered.extend_from_slice(&crc.finalize().to_le_bytes());
        Ok(())
    }

    /// Begins a record, with what is fixed of it.
    fn record(&mut self, tag: u8, head: &[u8]) -> Result<(), Error> {
        self.end_literal();
        if self.gathered.len() >= GATHERED {
            self.compress()?;
        }
        self.gathered.push(tag);
        self.gathered.extend_from_slice(head);
        Ok(())
    }

    /// Writes the length before the bytes.
    fn end_literal(&mut self) {
        let Some(start) = self.literal.take() else { return };
        let length = (self.gathered.len() - start) as u32;
        self.gathered[start - 4..start].copy_from_slice(&length.to_le_bytes());
    }

    fn compress(&mut self) -> Result<(), Error> {
        self.out.write_all(&self.gathered).at("write", &self.path)?;
        self.gathered.clear();
        Ok(())
    }
}

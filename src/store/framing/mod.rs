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
use std::io::{self, Write};
use std::path::PathBuf;

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

/// Literal bytes gathered into one record.
const GATHERED: usize = 64 << 10;

/// Fast, for it is on the hot path; headers are mostly zeros.
const LEVEL: i32 = 1;

/// Writes a framing while a layer is unpacked.
pub(super) struct Writer {
    path: PathBuf,
    out: zstd::Encoder<'static, File>,
    literal: Vec<u8>,
    content: Option<Content>,
}

struct Content {
    offset: u64,
    length: u64,
    crc: crc32fast::Hasher,
}

impl Writer {
    /// Makes the file in a layer's folder.
    pub(super) fn create(layer: &std::path::Path) -> Result<Self, Error> {
        let path = layer.join(FILE);
        let file = File::create_new(&path).at("make", &path)?;
        let mut out = zstd::Encoder::new(file, LEVEL).at("write", &path)?;
        out.include_checksum(true).at("write", &path)?;
        Ok(Self { path, out, literal: Vec::with_capacity(GATHERED), content: None })
    }

    /// Bytes of the archive that lie nowhere else.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.end_content()?;
        for piece in bytes.chunks(GATHERED) {
            if self.literal.len() + piece.len() > GATHERED {
                self.end_literal()?;
            }
            self.literal.extend_from_slice(piece);
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
                self.end_literal()?;
                self.put(|out| out.write_all(b"N"))
            }
        }
    }

    /// `bytes` of the archive lie at `offset` of the file last placed.
    pub(super) fn content(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.end_literal()?;
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
        self.end_literal()?;
        self.put(|out| out.write_all(b"E"))?;
        self.out.finish().map(drop).at("write", &self.path)
    }

    fn path_record(&mut self, tag: u8, path: &[u8]) -> Result<(), Error> {
        self.end_content()?;
        self.end_literal()?;
        self.put(|out| {
            out.write_all(&[tag])?;
            out.write_all(&(path.len() as u32).to_le_bytes())?;
            out.write_all(path)
        })
    }

    fn end_literal(&mut self) -> Result<(), Error> {
        if self.literal.is_empty() {
            return Ok(());
        }
        let literal = std::mem::take(&mut self.literal);
        self.put(|out| {
            out.write_all(b"B")?;
            out.write_all(&(literal.len() as u32).to_le_bytes())?;
            out.write_all(&literal)
        })?;
        self.literal = literal;
        self.literal.clear();
        Ok(())
    }

    fn end_content(&mut self) -> Result<(), Error> {
        let Some(Content { offset, length, crc }) = self.content.take() else { return Ok(()) };
        self.put(|out| {
            let mut record = [b'C'; 21];
            record[1..9].copy_from_slice(&offset.to_le_bytes());
            record[9..17].copy_from_slice(&length.to_le_bytes());
            record[17..].copy_from_slice(&crc.finalize().to_le_bytes());
            out.write_all(&record)
        })
    }

    fn put(
        &mut self,
        put: impl FnOnce(&mut zstd::Encoder<'static, File>) -> io::Result<()>,
    ) -> Result<(), Error> {
        put(&mut self.out).at("write", &self.path)
    }
}

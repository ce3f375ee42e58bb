//! One walk over the headers of a tar archive.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use tar::{Header, PaxExtensions};

use crate::layout::error::Error;

const BLOCK: u64 = 512;
/// Bytes of one long name or set of PAX records, which are held in memory.
const MAX_METADATA: u64 = 64 << 10;

/// What the records before a header say.
#[derive(Default)]
pub(super) struct Before {
    pub(super) name: Option<Vec<u8>>,
    pub(super) target: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) sparse: bool,
}

/// The way over the headers.
pub(super) struct Walk<'a> {
    pub(super) file: &'a File,
    pub(super) shown: &'a str,
    pub(super) length: u64,
    /// Where the next block or body stands.
    pub(super) at: u64,
}

impl Walk<'_> {
    /// The next header; `None` at the end of the archive, with or without its two zero blocks.
    pub(super) fn header(&mut self) -> Result<Option<Header>, Error> {
        let mut block = [0; BLOCK as usize];
        if self.at == self.length && self.at > 0 {
            return Ok(None);
        }
        self.read(&mut block)?;
        if block == [0; BLOCK as usize] {
            return if self.at > BLOCK { Ok(None) } else { Err(self.wrong("it is empty")) };
        }
        let header = Header::from_byte_slice(&block).clone();
        let sum: u32 = (block.iter().enumerate())
            .map(|(at, byte)| u32::from(if (148..156).contains(&at) { b' ' } else { *byte }))
            .sum();
        match header.cksum() {
            Ok(stated) if stated == sum => Ok(Some(header)),
            _ => Err(self.wrong("a header's checksum is wrong")),
        }
    }

    /// The body of a record that describes the next member.
    pub(super) fn metadata(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        if size > MAX_METADATA {
            return Err(self.wrong("a name or record is longer than 64 KiB"));
        }
        let mut body = vec![0; size as usize];
        self.read(&mut body)?;
        self.at -= size;
        self.skip(size)?;
        Ok(body)
    }

    /// Past a body and its padding; the last padding may be missing.
    pub(super) fn skip(&mut self, size: u64) -> Result<(), Error> {
        let end = self.at.checked_add(size).filter(|end| *end <= self.length);
        let end = end.ok_or_else(|| self.wrong("it is cut off"))?;
        self.at = end.next_multiple_of(BLOCK).min(self.length);
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        self.file.read_exact_at(buffer, self.at).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => self.wrong("it is cut off"),
            _ => Error::File { action: "read", shown: self.shown.to_owned(), source },
        })?;
        self.at += buffer.len() as u64;
        Ok(())
    }

    pub(super) fn wrong(&self, why: &'static str) -> Error {
        Error::NoArchive { shown: self.shown.to_owned(), offset: self.at, why }
    }
}

impl Before {
    /// Takes PAX records; `None` when one is malformed.
    pub(super) fn records(&mut self, body: &[u8]) -> Option<()> {
        for record in PaxExtensions::new(body) {
            let record = record.ok()?;
            match record.key_bytes() {
                b"path" => self.name = Some(record.value_bytes().to_owned()),
                b"linkpath" => self.target = Some(record.value_bytes().to_owned()),
                b"size" => self.size = Some(record.value().ok()?.parse().ok()?),
                key => self.sparse |= key.starts_with(b"GNU.sparse."),
            }
        }
        Some(())
    }
}

pub(super) fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    bytes
}

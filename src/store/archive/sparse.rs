//! Files with holes: the old GNU form and the PAX forms 0.0, 0.1 and 1.0.

use std::io::Read;

use tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

use super::pax::decimal;
use super::{Archive, BLOCK, header};
use crate::store::error::Error;
use crate::store::limits;

/// A file of `size` bytes that are zero but for the segments, whose bytes are the body, one after the other.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct Sparse {
    pub(in crate::store) size: u64,
    pub(in crate::store) segments: Vec<Segment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Segment {
    pub(in crate::store) offset: u64,
    pub(in crate::store) length: u64,
}

/// The `GNU.sparse.` records of an entry.
#[derive(Debug, Default)]
pub(super) struct Keys {
    pub(super) name: Option<Vec<u8>>,
    version: (u64, u64),
    size: Option<u64>,
    map: Vec<u64>,
}

impl Keys {
    /// Takes one record; `None` when it is malformed.
    pub(super) fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"name" => self.name = Some(value.to_owned()).filter(|name| !name.is_empty()),
            b"major" => self.version.0 = decimal(value)?,
            b"minor" => self.version.1 = decimal(value)?,
            b"size" | b"realsize" => self.size = Some(decimal(value)?),
            b"map" => {
                let numbers = value.split(|byte| *byte == b',').filter(|number| !number.is_empty());
                self.map = numbers.map(decimal).collect::<Option<_>>()?;
            }
            // form 0.0 has a pair of records a segment
            b"offset" if self.map.len().is_multiple_of(2) => self.map.push(decimal(value)?),
            b"numbytes" if !self.map.len().is_multiple_of(2) => self.map.push(decimal(value)?),
            b"numblocks" => {}
            _ => return None,
        }
        Some(())
    }
}

impl Sparse {
    /// Segments in order, within the file, and `body` bytes in all.
    pub(super) fn check(&self, body: u64) -> Result<(), &'static str> {
        let (mut end, mut sum) = (0, 0u64);
        for segment in &self.segments {
            if segment.offset < end {
                return Err("a sparse file's segments overlap");
            }
            let after = segment.offset.checked_add(segment.length).filter(|after| *after <= self.size);
            end = after.ok_or("a sparse file's segment lies beyond its end")?;
            sum += segment.length;
        }
        if sum == body { Ok(()) } else { Err("a sparse file's segments do not add up to its body") }
    }

    fn push(&mut self, offset: u64, length: u64) -> Result<(), &'static str> {
        if self.segments.len() == limits::SEGMENTS {
            return Err("a sparse file has too many segments");
        }
        self.segments.push(Segment { offset, length });
        Ok(())
    }

    fn push_headers(&mut self, headers: &[GnuSparseHeader]) -> Result<(), &'static str> {
        let unsigned = |field| u64::try_from(header::number(field)?).map_err(|_| "a segment is negative");
        for header in headers.iter().take_while(|header| header.offset[0] != 0 && header.numbytes[0] != 0) {
            self.push(unsigned(&header.offset)?, unsigned(&header.numbytes)?)?;
        }
        Ok(())
    }
}

impl<R: Read> Archive<R> {
    /// Four segments in the header, more in blocks between it and the body.
    pub(super) fn old_sparse(&mut self, header: &Header) -> Result<Sparse, Error> {
        let offset = self.stream.offset();
        let malformed = |why: &str| Error::Malformed { offset, why: why.into() };
        let header = header.as_gnu().ok_or_else(|| malformed("a sparse file has no GNU header"))?;
        let size = header::number(&header.realsize).map_err(malformed)?;
        let size = u64::try_from(size).map_err(|_| malformed("a size is negative"))?;
        let mut sparse = Sparse { size, segments: Vec::new() };
        sparse.push_headers(&header.sparse).map_err(malformed)?;
        let mut more = header.is_extended();
        while more {
            let mut block = GnuExtSparseHeader::new();
            *block.as_mut_bytes() =
                self.stream.block()?.ok_or_else(|| malformed("the archive is cut off"))?;
            sparse.push_headers(block.sparse()).map_err(malformed)?;
            more = block.is_extended();
        }
        Ok(sparse)
    }

    /// The map in the records, or (1.0) at the head of the body.
    pub(super) fn pax_sparse(&mut self, keys: &Keys) -> Result<Sparse, Error> {
        let offset = self.stream.offset();
        let malformed = |why: &str| Error::Malformed { offset, why: why.into() };
        let size = keys.size.ok_or_else(|| malformed("a sparse file has no size"))?;
        let mut sparse = Sparse { size, segments: Vec::new() };
        match keys.version {
            (0, 0 | 1) => {
                let (pairs, rest) = keys.map.as_chunks();
                if !rest.is_empty() {
                    return Err(malformed("a sparse file's map is cut off"));
                }
                pairs.iter().try_for_each(|&[at, length]| sparse.push(at, length)).map_err(malformed)?;
            }
            (1, 0) => {
                let mut map = Map { archive: self, block: [0; BLOCK], at: BLOCK };
                for _ in 0..map.number()? {
                    let (at, length) = (map.number()?, map.number()?);
                    sparse.push(at, length).map_err(malformed)?;
                }
            }
            _ => return Err(malformed("a sparse file has an unknown form")),
        }
        Ok(sparse)
    }
}

/// Reader of the 1.0 map: a decimal number a line, padded to a whole block.
struct Map<'a, R> {
    archive: &'a mut Archive<R>,
    block: [u8; BLOCK],
    at: usize,
}

impl<R: Read> Map<'_, R> {
    fn number(&mut self) -> Result<u64, Error> {
        let offset = self.archive.stream.offset();
        let malformed = || Error::Malformed { offset, why: "a sparse file's map is malformed".into() };
        let mut value = 0u64;
        let mut digits = 0;
        loop {
            if self.at == BLOCK {
                self.archive.left = self.archive.left.checked_sub(BLOCK as u64).ok_or_else(malformed)?;
                self.block = self.archive.stream.block()?.ok_or_else(malformed)?;
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            match byte {
                b'0'..=b'9' if digits < 19 => {
                    value = value * 10 + u64::from(byte - b'0');
                    digits += 1;
                }
                b'\n' if digits > 0 => return Ok(value),
                _ => return Err(malformed()),
            }
        }
    }
}

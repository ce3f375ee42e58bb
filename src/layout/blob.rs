//! A blob or layer as a reader that tells where its bytes are wrong.

use std::io::{self, BufRead, Read};

use super::error::Error;
use super::files::Piece;
use crate::oci::digest::{Digest, Hasher};

/// What is read at a time.
const SIZE: usize = 256 << 10;

/// Reads a file of a layout or archive. Every error holds an [`Error`]; where a digest is known, the end comes only
/// when it is right.
pub struct Blob {
    piece: Piece,
    /// Digest to be met, and the way to it; none once it was.
    wanted: Option<(Digest, Hasher)>,
    buffer: Box<[u8]>,
    /// The bytes at hand are `buffer[start..end]`.
    start: usize,
    end: usize,
    shown: String,
    name: String,
}

impl Blob {
    /// One that must have the digest `wanted`.
    pub(super) fn verified(piece: Piece, shown: &str, name: &str, wanted: Digest) -> Self {
        Self { wanted: Some((wanted, Hasher::default())), ..Self::plain(piece, shown, name) }
    }

    /// One of which only the size is known.
    pub(super) fn plain(piece: Piece, shown: &str, name: &str) -> Self {
        let buffer = vec![0; SIZE].into();
        let (shown, name) = (shown.to_owned(), name.to_owned());
        Self { piece, wanted: None, buffer, start: 0, end: 0, shown, name }
    }

    /// At the end of the bytes: whether they are the right ones.
    fn check(&mut self) -> Result<(), Error> {
        let Some((wanted, hasher)) = &self.wanted else { return Ok(()) };
        let (wanted, found) = (*wanted, hasher.clone().finish());
        if found != wanted {
            let (shown, name) = (self.shown.clone(), self.name.clone());
            return Err(Error::WrongDigest { shown, name, wanted, found });
        }
        self.wanted = None;
        Ok(())
    }
}

impl BufRead for Blob {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            let count = self.piece.read(&mut self.buffer).map_err(|source| {
                let shown = format!("{} in {}", self.name, self.shown);
                io::Error::other(Error::File { action: "read", shown, source })
            })?;
            if count == 0 {
                self.check().map_err(io::Error::other)?;
            }
            if let Some((_, hasher)) = &mut self.wanted {
                hasher.update(&self.buffer[..count]);
            }
            self.end = count;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
    }
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

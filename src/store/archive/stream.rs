//! The layer's bytes: hashed as they come, handed out without a copy.

use std::io::{ErrorKind, Read};

use super::BLOCK;
use crate::oci::digest::{Digest, Hasher};
use crate::store::error::Error;
use crate::store::framing;

/// Also the largest single write to a file.
const CAPACITY: usize = 512 << 10;

pub(super) struct Stream<R> {
    input: R,
    hasher: Hasher,
    buffer: Box<[u8]>,
    /// The bytes at hand are `buffer[start..end]`.
    start: usize,
    end: usize,
    read: u64,
    /// Where all goes that is handed out and lies nowhere else.
    pub(super) framing: Option<framing::Writer>,
}

impl<R: Read> Stream<R> {
    pub(super) fn new(input: R, framing: Option<framing::Writer>) -> Self {
        let buffer = vec![0; CAPACITY].into_boxed_slice();
        Self { input, hasher: Hasher::default(), buffer, start: 0, end: 0, read: 0, framing }
    }

    /// Where the next byte handed out stands in the layer.
    pub(super) fn offset(&self) -> u64 {
        self.read - (self.end - self.start) as u64
    }

    /// The next block; `None` at the end of the input.
    pub(super) fn block(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        self.fill(BLOCK)?;
        if self.start == self.end {
            return Ok(None);
        }
        let offset = self.offset();
        let Some(block) = self.buffer[self.start..self.end].first_chunk() else { return Err(cut(offset)) };
        self.start += BLOCK;
        if let Some(framing) = &mut self.framing {
            framing.bytes(block)?;
        }
        Ok(Some(*block))
    }

    /// Between 1 and `most` bytes, all `most` if the buffer holds so many; none only when `most` is 0.
    pub(super) fn some(&mut self, most: u64) -> Result<&[u8], Error> {
        self.take(most, |framing, bytes| framing.bytes(bytes))
    }

    /// The same, of bytes that go to `offset` of the file last placed.
    pub(super) fn content(&mut self, offset: u64, most: u64) -> Result<&[u8], Error> {
        self.take(most, |framing, bytes| framing.content(offset, bytes))
    }

    fn take(
        &mut self,
        most: u64,
        keep: impl FnOnce(&mut framing::Writer, &[u8]) -> Result<(), Error>,
    ) -> Result<&[u8], Error> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        if most <= CAPACITY {
            self.fill(most)?;
        } else if self.start == self.end {
            self.fill(CAPACITY)?;
        }
        let count = most.min(self.end - self.start);
        if count < most && (count == 0 || most <= CAPACITY) {
            return Err(cut(self.read));
        }
        let bytes = &self.buffer[self.start..self.start + count];
        self.start += count;
        if let Some(framing) = &mut self.framing
            && count > 0
        {
            keep(framing, bytes)?;
        }
        Ok(bytes)
    }

    pub(super) fn skip(&mut self, mut count: u64) -> Result<(), Error> {
        while count > 0 {
            count -= self.some(count)?.len() as u64;
        }
        Ok(())
    }

    /// Passes over less than a block of padding; some writers leave it out at the end of the input.
    pub(super) fn padding(&mut self, count: u64) -> Result<(), Error> {
        self.fill(count as usize)?;
        self.skip(count.min((self.end - self.start) as u64))
    }

    /// Reads to the end of the input, and looks at it once more; digest and count of all its bytes.
    pub(super) fn finish(mut self, look: impl FnOnce(&mut R)) -> Result<(Digest, u64), Error> {
        loop {
            if let Some(framing) = &mut self.framing {
                framing.bytes(&self.buffer[self.start..self.end])?;
            }
            (self.start, self.end) = (0, 0);
            if !self.read_more()? {
                break;
            }
        }
        look(&mut self.input);
        self.framing.map_or(Ok(()), framing::Writer::finish)?;
        Ok((self.hasher.finish(), self.read))
    }

    /// Has `count` bytes at hand, fewer only where the input ends.
    fn fill(&mut self, count: usize) -> Result<(), Error> {
        if self.start + count > CAPACITY {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        while self.end - self.start < count && self.read_more()? {}
        Ok(())
    }

    /// One read behind the bytes at hand; false at the end of the input.
    fn read_more(&mut self) -> Result<bool, Error> {
        loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(count) => {
                    self.hasher.update(&self.buffer[self.end..self.end + count]);
                    self.end += count;
                    self.read += count as u64;
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Input(error)),
            }
        }
    }
}

fn cut(offset: u64) -> Error {
    Error::Malformed { offset, why: "the archive is cut off".into() }
}

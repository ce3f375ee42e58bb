//! Layers compressed anew.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::thread;

use flate2::Compression;
use flate2::read::GzEncoder;

use super::Counted;
use super::each::each;
use super::error::Why;
use crate::oci::digest::{Digest, HashingReader};
use crate::pull::Progress;
use crate::store::{self, Store};

/// As gzip has it; what every registry and engine takes.
const LEVEL: u32 = 6;

/// The bytes of `tar` as gzip; the same ones give the same, however they come and are asked for.
pub(super) fn gzip<R: Read>(tar: R) -> HashingReader<Gzip<R>> {
    let encoder = GzEncoder::new(Filled(tar), Compression::new(LEVEL));
    HashingReader::new(Gzip { encoder, buffer: vec![0; 64 << 10], given: 0, filled: 0 })
}

/// A compressor with a buffer of its own: what it makes of bytes depends on how many it is given and on how much room
/// it has at a time.
pub(super) struct Gzip<R: Read> {
    encoder: GzEncoder<Filled<R>>,
    buffer: Vec<u8>,
    given: usize,
    filled: usize,
}

impl<R: Read> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.filled {
            self.filled = self.encoder.read(&mut self.buffer)?;
            self.given = 0;
        }
        let count = buffer.len().min(self.filled - self.given);
        buffer[..count].copy_from_slice(&self.buffer[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

/// Reads as much as is asked for, unless the end comes.
struct Filled<R>(R);

impl<R: Read> Read for Filled<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// A layer as gzip, in a file without a name.
pub(super) struct Packed {
    pub(super) digest: Digest,
    pub(super) size: u64,
    file: File,
}

impl Packed {
    /// The bytes from their beginning; one reader at a time.
    pub(super) fn reader(&self) -> io::Result<File> {
        let mut file = self.file.try_clone()?;
        file.rewind()?;
        Ok(file)
    }
}

/// Packs layers given by their number in the image and diff id, as many at a time as there are processors. The same
/// layer gives the same bytes each time.
pub(super) fn pack_all(
    store: &Store,
    wanted: &[(usize, Digest)],
    progress: &dyn Progress,
) -> Result<Vec<Packed>, Why> {
    let at_once = thread::available_parallelism().map_or(1, usize::from);
    each(wanted.len(), at_once, |at| {
        let (number, diff_id) = wanted[at];
        pack(store, &diff_id, number, progress)
    })
}

fn pack(store: &Store, diff_id: &Digest, number: usize, progress: &dyn Progress) -> Result<Packed, Why> {
    let told = |count| progress.advance(number, count);
    let tar = Counted { inner: store.layer_tar(diff_id)?, told };
    let mut packed = gzip(tar);
    let file = store.spool(&mut packed).map_err(|error| match error {
        store::Error::Input(error) => Why::of_bytes(error, *diff_id),
        error => Why::Store(error),
    })?;
    let (digest, size) = packed.finish();
    Ok(Packed { digest, size, file })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes in pieces of growing size.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = self.1 % 5000 + 1;
            let most = buffer.len().min(self.1);
            self.0.read(&mut buffer[..most])
        }
    }

    #[test]
    fn the_same_bytes_pack_alike_however_they_come() {
        let bytes: Vec<u8> = (0..1_000_000_u32).flat_map(|number| (number / 7 * 31).to_le_bytes()).collect();
        let packed = |reader: &mut dyn Read, room| {
            let mut packed = gzip(reader);
            let mut buffer = vec![0; room];
            while packed.read(&mut buffer).unwrap() > 0 {}
            packed.finish()
        };
        let expected = packed(&mut &bytes[..], 512 << 10);
        assert_eq!(packed(&mut Drip(&bytes, 0), 512 << 10), expected);
        assert_eq!(packed(&mut &bytes[..], 77), expected);
    }
}

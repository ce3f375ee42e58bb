//! Layers compressed anew.

use std::fs::File;
use std::io::{self, Seek};
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
    let mut packed = HashingReader::new(GzEncoder::new(tar, Compression::new(LEVEL)));
    let file = store.spool(&mut packed).map_err(|error| match error {
        store::Error::Input(error) => Why::of_bytes(error, *diff_id),
        error => Why::Store(error),
    })?;
    let (digest, size) = packed.finish();
    Ok(Packed { digest, size, file })
}

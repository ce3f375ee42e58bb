//! Layers compressed anew, several at a time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Seek;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use flate2::Compression;
use flate2::read::GzEncoder;

use super::Counted;
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
    /// At its beginning.
    pub(super) file: File,
}

/// Packs layers given by their number in the image and diff id. The same layer gives the same bytes each time.
pub(super) fn pack_all(
    store: &Store,
    wanted: &[(usize, Digest)],
    progress: &dyn Progress,
) -> Result<BTreeMap<usize, Packed>, Why> {
    let workers = thread::available_parallelism().map_or(1, usize::from).min(wanted.len());
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, Packed)>, Why> {
        let mut done = Vec::new();
        while let Some((number, diff_id)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
            match pack(store, diff_id, *number, progress) {
                Ok(packed) => done.push((*number, packed)),
                Err(why) => {
                    // the others find nothing more to do
                    next.store(wanted.len(), Ordering::Relaxed);
                    return Err(why);
                }
            }
        }
        Ok(done)
    };
    thread::scope(|scope| {
        let start = |_| thread::Builder::new().name("pack".into()).spawn_scoped(scope, work);
        let workers: Vec<_> = (0..workers).map(start).collect();
        let mut packed = BTreeMap::new();
        for worker in workers {
            packed.extend(worker.map_err(Why::Thread)?.join().unwrap_or(Err(Why::Stopped))?);
        }
        Ok(packed)
    })
}

fn pack(store: &Store, diff_id: &Digest, number: usize, progress: &dyn Progress) -> Result<Packed, Why> {
    let tar = Counted::new(store.layer_tar(diff_id)?, progress, number);
    let mut packed = HashingReader::new(GzEncoder::new(tar, Compression::new(LEVEL)));
    let mut file = store.spool(&mut packed).map_err(|error| match error {
        store::Error::Input(error) => Why::of_bytes(error, *diff_id),
        error => Why::Store(error),
    })?;
    let (digest, size) = packed.finish();
    file.rewind().map_err(|source| Why::Pack { layer: *diff_id, source })?;
    Ok(Packed { digest, size, file })
}

//! The layers that are missing, several at a time.

use std::collections::HashSet;
use std::io::{self, BufRead, Read};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::ahead::read_ahead;
use super::blobs::{Blobs, Stream};
use super::decode::Decoder;
use super::error::Why;
use super::{LayerInfo, Progress, Pulled};
use crate::fetch::retry;
use crate::oci::digest::Digest;
use crate::oci::manifest::Descriptor;
use crate::store::{self, Hold, LayerLock, Store};

/// Layers on their way at the same time.
const AT_ONCE: usize = 4;

/// What was fetched.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) layers: usize,
    /// As sent.
    pub(super) bytes: u64,
}

impl Done {
    /// As a pull of the image tells it.
    pub(super) fn pulled(self, manifest_digest: Digest) -> Pulled {
        Pulled { manifest_digest, layers_fetched: self.layers, bytes: self.bytes, unchanged: false }
    }
}

/// What all workers share.
struct Work<'a> {
    store: &'a Store,
    hold: &'a Hold,
    blobs: &'a dyn Blobs,
    progress: &'a dyn Progress,
    /// Largest first.
    missing: Vec<(&'a Descriptor, &'a Digest)>,
    next: AtomicUsize,
    failed: AtomicBool,
}

/// Fetches, unpacks and publishes those of `layers` whose diff id is not in the store. When one fails the others
/// stop, and that failure is given.
pub(super) fn fetch(
    store: &Store,
    hold: &Hold,
    blobs: &dyn Blobs,
    layers: &[Descriptor],
    diff_ids: &[Digest],
    progress: &dyn Progress,
) -> Result<Done, Why> {
    let mut seen = HashSet::new();
    let mut is_missing = |diff_id: &Digest| seen.insert(*diff_id) && !store.has_layer(diff_id);
    let mut missing: Vec<_> =
        layers.iter().zip(diff_ids).filter(|(_, diff_id)| is_missing(diff_id)).collect();
    missing.sort_by_key(|(layer, _)| std::cmp::Reverse(layer.size));
    let infos: Vec<_> =
        missing.iter().map(|(layer, _)| LayerInfo { digest: layer.digest, size: layer.size }).collect();
    progress.layers(&infos);

    let workers = missing.len().min(AT_ONCE);
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = Work { store, hold, blobs, progress, missing, next, failed };
    thread::scope(|scope| {
        let start = |_| thread::Builder::new().name("layer".into()).spawn_scoped(scope, || work.run());
        let workers: Vec<_> = (0..workers).map(start).collect();
        let mut done = Ok(Done::default());
        for worker in workers {
            let result = match worker {
                Ok(worker) => worker.join().unwrap_or(Err(Why::Stopped)),
                Err(error) => Err(Why::Thread(error)),
            };
            done = match (done, result) {
                (Ok(done), Ok(more)) => {
                    Ok(Done { layers: done.layers + more.layers, bytes: done.bytes + more.bytes })
                }
                (Ok(_) | Err(Why::Stopped), Err(why)) | (Err(why), _) => Err(why),
            };
        }
        done
    })
}

impl Work<'_> {
    /// Takes layers until there are no more or one has failed.
    fn run(&self) -> Result<Done, Why> {
        let mut done = Done::default();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some((layer, diff_id)) = self.missing.get(number) else { return Ok(done) };
            match self.bring(number, layer, diff_id) {
                Ok(true) => done = Done { layers: done.layers + 1, bytes: done.bytes + layer.size },
                Ok(false) => {}
                Err(why) => {
                    self.failed.store(true, Ordering::Relaxed);
                    return Err(why);
                }
            }
            self.progress.layer_done(number);
        }
    }

    /// Whether it was us who fetched the layer.
    fn bring(&self, number: usize, layer: &Descriptor, diff_id: &Digest) -> Result<bool, Why> {
        let note = |text: &str| self.progress.note(text);
        let lock = self.store.lock_layer(self.hold, diff_id, &mut |holder| {
            note(&format!("waiting for {holder}, which fetches the same layer {}", layer.digest.short()));
        })?;
        if self.store.has_layer(diff_id) {
            return Ok(false);
        }
        let mut shown = 0;
        retry(&note, Why::fetch, || self.unpack(number, layer, &lock, &mut shown))?;
        Ok(true)
    }

    fn unpack(
        &self,
        number: usize,
        layer: &Descriptor,
        lock: &LayerLock,
        shown: &mut u64,
    ) -> Result<(), Why> {
        let of_bytes = |error| match self.failed.load(Ordering::Relaxed) {
            true => Why::Stopped,
            false => Why::of_bytes(error, layer.digest),
        };
        let of_store = |error| match error {
            store::Error::Input(error) => of_bytes(error),
            source => Why::Layer { layer: layer.digest, source },
        };
        let blob = self.blobs.blob(layer).map_err(of_bytes)?;
        let blob = Watched { blob, work: self, number, done: 0, shown };
        let decoder = Decoder::new(blob).map_err(of_bytes)?;
        let staged = thread::scope(|scope| {
            let tar = read_ahead(scope, decoder).map_err(Why::Thread)?;
            self.store.unpack_layer(lock, tar).map_err(of_store)
        })?;
        self.store.publish_layer(staged).map_err(of_store)?;
        Ok(())
    }
}

/// A blob whose reading is told to the user, and which ends when another layer has failed.
struct Watched<'a> {
    blob: Box<dyn Stream>,
    work: &'a Work<'a>,
    number: usize,
    done: u64,
    /// What the user was told, by this try or one before it.
    shown: &'a mut u64,
}

impl BufRead for Watched<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.work.failed.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        self.blob.ready(&|text| self.work.progress.note(text))?;
        self.blob.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.blob.consume(count);
        self.done += count as u64;
        if self.done > *self.shown {
            self.work.progress.advance(self.number, self.done - *self.shown);
            *self.shown = self.done;
        }
    }
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

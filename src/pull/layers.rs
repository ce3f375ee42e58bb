//! The layers that are missing, several at a time.

use std::collections::HashSet;
use std::io::{self, BufRead, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::ahead::read_ahead;
use super::blobs::{Blobs, Stream};
use super::decode::Decoder;
use super::error::Why;
use super::{LayerInfo, Progress, Pulled};
use crate::cancel::Cancel;
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
    /// What ended the pull: the first failure there was.
    failed: Mutex<Option<Why>>,
    /// Cancelled with it.
    cancel: Cancel,
}

/// Fetches, unpacks and publishes those of `layers` whose diff id is not in the store. When one fails the others
/// end at once, whatever they wait for, and that failure is given.
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
    let (next, failed) = (AtomicUsize::new(0), Mutex::default());
    let work = Work { store, hold, blobs, progress, missing, next, failed, cancel: Cancel::default() };
    let done = thread::scope(|scope| {
        let start = |_| {
            let worker = thread::Builder::new().name("layer".into()).spawn_scoped(scope, || work.run());
            worker.map_err(|error| work.fail(Why::Thread(error))).ok()
        };
        let workers: Vec<_> = (0..workers).map_while(start).collect();
        let mut done = Done::default();
        for worker in workers {
            match worker.join() {
                Ok(more) => {
                    done = Done { layers: done.layers + more.layers, bytes: done.bytes + more.bytes };
                }
                Err(_) => work.fail(Why::Stopped),
            }
        }
        done
    });
    match work.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(why) => Err(why),
        None => Ok(done),
    }
}

impl Work<'_> {
    /// Takes layers until there are no more or one has failed.
    fn run(&self) -> Done {
        let mut done = Done::default();
        while !self.cancel.is_cancelled() {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some((layer, diff_id)) = self.missing.get(number) else { break };
            match self.bring(number, layer, diff_id) {
                Ok(true) => done = Done { layers: done.layers + 1, bytes: done.bytes + layer.size },
                Ok(false) => {}
                Err(why) => {
                    self.fail(why);
                    break;
                }
            }
            self.progress.layer_done(number);
        }
        done
    }

    /// Ends all workers; what they give as their failure then is of no interest.
    fn fail(&self, why: Why) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.cancel.cancel();
    }

    /// Whether it was us who fetched the layer.
    fn bring(&self, number: usize, layer: &Descriptor, diff_id: &Digest) -> Result<bool, Why> {
        let note = |text: &str| self.progress.note(text);
        let lock = self.store.lock_layer(self.hold, diff_id, &self.cancel, &mut |holder| {
            note(&format!("waiting for {holder}, which fetches the same layer {}", layer.digest.short()));
        })?;
        let Some(lock) = lock else { return Err(Why::Stopped) };
        if self.store.has_layer(diff_id) {
            return Ok(false);
        }
        let mut shown = 0;
        retry(&self.cancel, &note, Why::fetch, || self.unpack(number, layer, &lock, &mut shown))?;
        Ok(true)
    }

    fn unpack(
        &self,
        number: usize,
        layer: &Descriptor,
        lock: &LayerLock,
        shown: &mut u64,
    ) -> Result<(), Why> {
        let of_bytes = |error| Why::of_bytes(error, layer.digest);
        let of_store = |error| match error {
            store::Error::Input(error) => of_bytes(error),
            source => Why::Layer { layer: layer.digest, source },
        };
        let blob = self.blobs.blob(layer, &self.cancel).map_err(of_bytes)?;
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
        if self.work.cancel.is_cancelled() {
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

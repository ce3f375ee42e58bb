//! Layers that are here and yet to be fetched again. All others go on using them until their successors are whole.

use std::collections::BTreeSet;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Store;
use super::error::Error;
use crate::oci::digest::Digest;

/// What keeps others from a layer while it is replaced, or the reason why it can't be.
pub type Free = Result<Vec<OwnedFd>, String>;

/// What one [`Store`] value takes for missing.
pub(super) struct Doubt {
    layers: Mutex<BTreeSet<Digest>>,
    free: Box<dyn Fn(&Digest) -> Free + Send + Sync>,
}

/// While this lives a layer may be replaced; one at a time, for boxes stand on several.
pub(super) struct Replacing<'a> {
    layers: MutexGuard<'a, BTreeSet<Digest>>,
    _locks: Vec<OwnedFd>,
}

impl Store {
    /// The same store, in which `layers` count as missing until they were published anew. Nothing on the disk
    /// says so: when that does not come about they are what they were.
    ///
    /// `free` is asked at the moment a layer is replaced.
    #[must_use]
    pub fn doubting(
        self,
        layers: BTreeSet<Digest>,
        free: impl Fn(&Digest) -> Free + Send + Sync + 'static,
    ) -> Self {
        Self { doubt: Some(Doubt { layers: Mutex::new(layers), free: Box::new(free) }), ..self }
    }

    pub(super) fn doubts(&self, layer: &Digest) -> bool {
        self.doubt.as_ref().is_some_and(|doubt| doubt.layers().contains(layer))
    }

    /// To be held while a layer is replaced; `None` when it is not one in doubt.
    pub(super) fn replacing(&self, layer: &Digest) -> Result<Option<Replacing<'_>>, Error> {
        let Some(doubt) = &self.doubt else { return Ok(None) };
        let layers = doubt.layers();
        if !layers.contains(layer) {
            return Ok(None);
        }
        let locks = (doubt.free)(layer).map_err(|why| Error::InUse { layer: *layer, why })?;
        Ok(Some(Replacing { layers, _locks: locks }))
    }
}

impl Doubt {
    fn layers(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Replacing<'_> {
    /// It is replaced, and in doubt no longer.
    pub(super) fn done(mut self, layer: &Digest) {
        self.layers.remove(layer);
    }
}

impl fmt::Debug for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.layers().fmt(f)
    }
}

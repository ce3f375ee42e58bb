//! Removing images and what no image or box needs any more.

use std::collections::BTreeSet;
use std::fs;
use std::time::SystemTime;

use super::error::{At, Error};
use super::image::RESULTS;
use super::lock::{Holder, Lock};
use super::usage::Usage;
use super::{Store, record};
use crate::oci::digest::Digest;

/// What `devbox rmi` was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One reference; other names of the same image stay.
    Reference(String),
    /// An image with all its references.
    Image(Digest),
}

/// Which names a removal takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// None.
    Nameless,
    /// Those of results of set-ups that were recorded before this, and that no box stands on.
    Results(SystemTime),
    /// All that no box stands on.
    All,
}

/// What boxes stand on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InUse {
    /// Manifests of the images they were made of.
    pub images: BTreeSet<Digest>,
    /// Their layers.
    pub layers: BTreeSet<Digest>,
}

/// What a removal did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// References taken away.
    pub references: Vec<String>,
    /// Images dropped.
    pub images: Vec<Digest>,
    /// Layers dropped.
    pub layers: Vec<Digest>,
    /// Merged layers dropped, by chain id.
    pub stacks: Vec<Digest>,
    /// Half-made things dropped: what interrupted commands left.
    pub leftovers: usize,
    /// Bytes of the disk that came free.
    pub bytes: u64,
}

/// The store to ourselves: nobody pulls, and no box is being made. To learn what is in use only now is what
/// keeps a removal from taking away what a new box stands on.
#[derive(Debug)]
pub struct Alone<'a> {
    store: &'a Store,
    _lock: Lock,
}

impl Store {
    /// Waits for pulls and boxes in the making; `waiting` is called once after a second.
    pub fn alone(&self, waiting: &mut dyn FnMut(Holder)) -> Result<Alone<'_>, Error> {
        Ok(Alone { store: self, _lock: Lock::exclusive(&self.root.join("lock"), waiting)? })
    }
}

impl Alone<'_> {
    /// Takes names away, then collects as [`Alone::collect`] does.
    pub fn remove(&self, target: &Target, in_use: &InUse) -> Result<Removed, Error> {
        let store = self.store;
        let (references, name): (Vec<String>, String) = match target {
            Target::Reference(reference) => (
                store.resolve(reference)?.map(|_| reference.clone()).into_iter().collect(),
                reference.clone(),
            ),
            Target::Image(manifest) => {
                let refs = store.refs()?;
                (
                    refs.into_iter().filter(|(_, of)| of == manifest).map(|(name, _)| name).collect(),
                    manifest.to_string(),
                )
            }
        };
        let recorded = matches!(target, Target::Image(manifest) if store.image_path(manifest).exists());
        if references.is_empty() && !recorded {
            return Err(Error::NoImage { name });
        }
        for reference in &references {
            store.remove_ref(reference)?;
        }
        Ok(Removed { references, ..self.collect(in_use)? })
    }

    /// Drops images without a name that no box stands on, layers of no image and no box, and half-made things.
    pub fn collect(&self, in_use: &InUse) -> Result<Removed, Error> {
        let removed = self.unneeded(in_use, Extent::Nameless)?;
        self.carry_out(&removed)?;
        Ok(removed)
    }

    /// As [`Alone::collect`], and with the images go names as far as `extent` says.
    pub fn prune(&self, in_use: &InUse, extent: Extent) -> Result<Removed, Error> {
        let removed = self.unneeded(in_use, extent)?;
        for reference in &removed.references {
            self.store.remove_ref(reference)?;
        }
        self.carry_out(&removed)?;
        Ok(removed)
    }

    /// Drops those of `layers` that no image and no box has; gives them.
    pub fn drop_unneeded(&self, layers: &BTreeSet<Digest>, in_use: &InUse) -> Result<Vec<Digest>, Error> {
        let mut needed = in_use.layers.clone();
        for manifest in self.store.manifests()? {
            needed.extend(self.store.layers_of(&manifest)?);
        }
        let unneeded: Vec<Digest> = layers.difference(&needed).copied().collect();
        unneeded.iter().try_for_each(|layer| self.store.drop_layer(layer))?;
        Ok(unneeded)
    }

    /// What [`Alone::prune`] would remove.
    pub fn unneeded(&self, in_use: &InUse, extent: Extent) -> Result<Removed, Error> {
        let store = self.store;
        let mut removed = Removed::default();
        let mut kept = in_use.images.clone();
        for (reference, manifest) in store.refs()? {
            let is_result = reference.strip_prefix(RESULTS).is_some_and(|rest| rest.starts_with(':'));
            let goes = match extent {
                Extent::Nameless => false,
                // those below a box's are used again when a later step changes
                Extent::Results(_) | Extent::All if is_result => {
                    let layers = store.layers_of(&manifest)?;
                    let recent = match extent {
                        Extent::Results(before) => store.recorded(&manifest)?.is_some_and(|at| at >= before),
                        _ => false,
                    };
                    !recent && layers.last().is_none_or(|top| !in_use.layers.contains(top))
                }
                Extent::Results(_) => false,
                Extent::All => !in_use.images.contains(&manifest),
            };
            if goes {
                removed.references.push(reference);
            } else {
                kept.insert(manifest);
            }
        }
        let mut usage = Usage::default();
        for manifest in store.manifests()? {
            if !kept.contains(&manifest) {
                usage.add(&store.image_path(&manifest))?;
                removed.images.push(manifest);
            }
        }
        let mut needed = in_use.layers.clone();
        for manifest in &kept {
            needed.extend(store.layers_of(manifest)?);
        }
        for layer in store.layers()? {
            if !needed.contains(&layer) {
                usage.add_layer(&store.layer_folder(&layer))?;
                removed.layers.push(layer);
            }
        }
        for (stack, layers) in store.stacks()? {
            if layers.is_none_or(|layers| layers.iter().any(|layer| !needed.contains(layer))) {
                usage.add_layer(&store.stack_folder(&stack))?;
                removed.stacks.push(stack);
            }
        }
        let staging = store.staging();
        for entry in fs::read_dir(&staging).at("read", &staging)? {
            usage.add(&entry.at("read", &staging)?.path())?;
            removed.leftovers += 1;
        }
        removed.bytes = usage.freed();
        Ok(removed)
    }

    /// Names first, so that at any instant what has a name is whole.
    fn carry_out(&self, removed: &Removed) -> Result<(), Error> {
        for manifest in &removed.images {
            record::remove(&self.store.image_path(manifest))?;
        }
        for stack in &removed.stacks {
            self.store.drop_stack(stack)?;
        }
        for layer in &removed.layers {
            self.store.drop_layer(layer)?;
        }
        self.store.empty_staging()
    }
}

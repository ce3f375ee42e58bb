//! Removing images and what no image or box needs any more.

use std::collections::BTreeSet;

use super::error::Error;
use super::lock::{Holder, Lock};
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

/// What a removal did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// References taken away.
    pub references: Vec<String>,
    /// Images dropped.
    pub images: Vec<Digest>,
    /// Layers dropped.
    pub layers: Vec<Digest>,
    /// Bytes of file content in those layers.
    pub bytes: u64,
}

impl Store {
    /// Takes names away, then collects. Images in `in_use` (the manifests boxes are made of) and their layers
    /// stay, without a name if need be. Waits for pulls at work; `waiting` is called once after a second.
    pub fn remove(
        &self,
        target: &Target,
        in_use: &[Digest],
        waiting: &mut dyn FnMut(Holder),
    ) -> Result<Removed, Error> {
        let _alone = Lock::exclusive(&self.root.join("lock"), waiting)?;
        let (references, name): (Vec<String>, String) = match target {
            Target::Reference(reference) => {
                (self.resolve(reference)?.map(|_| reference.clone()).into_iter().collect(), reference.clone())
            }
            Target::Image(manifest) => {
                let refs = self.refs()?;
                (
                    refs.into_iter().filter(|(_, of)| of == manifest).map(|(name, _)| name).collect(),
                    manifest.to_string(),
                )
            }
        };
        let recorded = matches!(target, Target::Image(manifest) if self.image_path(manifest).exists());
        if references.is_empty() && !recorded {
            return Err(Error::NoImage { name });
        }
        for reference in &references {
            self.remove_ref(reference)?;
        }
        Ok(Removed { references, ..self.collect_alone(in_use)? })
    }

    /// Drops images without a name that are not in `in_use`, layers of no image, and half-made things.
    pub fn collect(&self, in_use: &[Digest], waiting: &mut dyn FnMut(Holder)) -> Result<Removed, Error> {
        let _alone = Lock::exclusive(&self.root.join("lock"), waiting)?;
        self.collect_alone(in_use)
    }

    fn collect_alone(&self, in_use: &[Digest]) -> Result<Removed, Error> {
        let mut kept: BTreeSet<Digest> = self.refs()?.into_values().collect();
        kept.extend(in_use);
        let mut removed = Removed::default();
        for manifest in self.recorded()? {
            if !kept.contains(&manifest) {
                record::remove(&self.image_path(&manifest))?;
                removed.images.push(manifest);
            }
        }
        let mut needed = BTreeSet::new();
        for manifest in &kept {
            needed.extend(self.layers_of(manifest)?);
        }
        for layer in self.layers()? {
            if !needed.contains(&layer) {
                removed.bytes += self.meta(&layer).map_or(0, |meta| meta.tally.bytes);
                self.drop_layer(&layer)?;
                removed.layers.push(layer);
            }
        }
        self.empty_staging()?;
        Ok(removed)
    }
}

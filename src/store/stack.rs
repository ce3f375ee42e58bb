//! Stacks: the lowest layers of an image that has more of them than an overlay takes, merged.
//!
//! ```text
//! stacks/sha256/<chain_id>/
//!   tree/ index     as a layer has them; files are links to those of the layers
//!   meta            its layers, and the boot it was made in
//!   durable         as a layer has it
//! ```
//!
//! A stack is no layer of anything: images name their layers as ever, and it is made at the start of a box that needs
//! it, again when it is gone. It goes with the first of its layers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Store;
use super::error::{At, Error};
use super::index::{self, Owner};
use super::layer::Draft;
use super::lock::{Holder, Lock};
use super::merge::merge;
use super::tree::remove_tree;
use super::usage::Usage;
use crate::cancel::Cancel;
use crate::oci::digest::Digest;

/// One lower of an overlay: a layer, or a stack of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lower {
    folder: PathBuf,
}

impl Lower {
    /// The folder an overlay takes.
    pub fn tree(&self) -> PathBuf {
        self.folder.join("tree")
    }

    /// Its entries whose owner in the image is not 0:0, with that owner.
    pub fn foreign_owners(&self) -> Result<Vec<Owner>, Error> {
        index::foreign_owners(&self.folder.join("index"))
    }
}

/// What is told while a stack is made.
pub trait Stacking {
    /// Somebody else makes it, or removes things from the store.
    fn waiting(&mut self, holder: Holder);
    /// So many layers are merged now.
    fn merging(&mut self, layers: usize);
}

#[derive(Serialize, Deserialize)]
struct Meta {
    /// Bottom first.
    layers: Vec<Digest>,
    boot_id: String,
}

impl Store {
    /// What a root of these layers, bottom first, all here, is made of, topmost first and at most `most` of them:
    /// where there are more, the lowest are merged, unless they were before.
    pub fn lowers(
        &self,
        layers: &[Digest],
        most: usize,
        told: &mut dyn Stacking,
    ) -> Result<Vec<Lower>, Error> {
        // An overlay takes no folder twice, and all of a layer is in the topmost of its kind.
        let mut seen = BTreeSet::new();
        let mut once: Vec<Digest> =
            layers.iter().rev().filter(|layer| seen.insert(**layer)).copied().collect();
        let mut rest = once.split_off(if once.len() > most { most - 1 } else { once.len() });
        rest.reverse();
        let lower = |layer| Lower { folder: self.layer_folder(layer) };
        let mut lowers: Vec<Lower> = once.iter().map(lower).collect();
        if !rest.is_empty() {
            lowers.push(self.stack(rest, told)?);
        }
        Ok(lowers)
    }

    /// The stacks that are here, with their layers; none for one whose record can't be read.
    pub fn stacks(&self) -> Result<BTreeMap<Digest, Option<Vec<Digest>>>, Error> {
        let path = self.root.join("stacks/sha256");
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            entries => entries.at("read", &path)?,
        };
        let mut stacks = BTreeMap::new();
        for entry in entries {
            let name = entry.at("read", &path)?.file_name();
            if let Some(id) = name.to_str().and_then(|name| Digest::from_hex(name).ok()) {
                stacks.insert(id, self.stack_meta(&id).map(|meta| meta.layers));
            }
        }
        Ok(stacks)
    }

    /// What a stack takes beside its layers, and what it shares with them.
    pub fn stack_usage(&self, id: &Digest) -> Result<Usage, Error> {
        let mut usage = Usage::default();
        usage.add_layer(&self.stack_folder(id))?;
        Ok(usage)
    }

    /// Takes a stack away. No box may run on it.
    pub fn drop_stack(&self, id: &Digest) -> Result<(), Error> {
        let folder = self.stack_folder(id);
        let aside = self.staging().join(format!("{}.old", id.hex()));
        remove_tree(&aside)?;
        match fs::rename(&folder, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            moved => moved.at("remove", &folder).and_then(|()| remove_tree(&aside)),
        }
    }

    /// Takes away the stacks a layer is in.
    pub(super) fn drop_stacks_of(&self, layer: &Digest) -> Result<(), Error> {
        for (id, layers) in self.stacks()? {
            if layers.is_none_or(|layers| layers.contains(layer)) {
                self.drop_stack(&id)?;
            }
        }
        Ok(())
    }

    pub(super) fn stack_folder(&self, id: &Digest) -> PathBuf {
        self.root.join("stacks/sha256").join(id.hex())
    }

    /// Whether the stack is here and known to be whole, as a layer is.
    pub(super) fn has_stack(&self, id: &Digest) -> bool {
        self.stack_meta(id).is_some_and(|meta| {
            self.stack_folder(id).join("durable").exists() || Some(&meta.boot_id) == self.boot_id()
        })
    }

    fn stack_meta(&self, id: &Digest) -> Option<Meta> {
        let bytes = fs::read(self.stack_folder(id).join("meta")).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    fn stack(&self, layers: Vec<Digest>, told: &mut dyn Stacking) -> Result<Lower, Error> {
        let id = chain_id(&layers);
        let lower = Lower { folder: self.stack_folder(&id) };
        if self.has_stack(&id) {
            return Ok(lower);
        }
        let _hold = self.hold(&mut |holder| told.waiting(holder))?;
        let path = self.staging().join(format!("{}.lock", id.hex()));
        let _lock = Lock::alone(&path, &Cancel::default(), &mut |holder| told.waiting(holder))?;
        if self.has_stack(&id) {
            return Ok(lower);
        }
        told.merging(layers.len());
        let boot_id = self.this_boot()?;
        let mut draft = Draft::create(self.staging().join(format!("{}.new", id.hex())))?;
        let folders: Vec<PathBuf> = layers.iter().map(|layer| self.layer_folder(layer)).collect();
        merge(&folders, &draft.path)?;
        let path = draft.path.join("meta");
        let text = serde_json::to_vec(&Meta { layers, boot_id }).map_err(io::Error::other);
        text.and_then(|text| fs::write(&path, text)).at("write", &path)?;
        let parent = self.root.join("stacks/sha256");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&parent).at("make", &parent)?;
        // one of an earlier boot that did not reach the disk in time
        self.drop_stack(&id)?;
        fs::rename(&draft.path, &lower.folder).at("make", &lower.folder)?;
        draft.published = true;
        Ok(lower)
    }
}

/// The name of layers stacked in this order, bottom first (image-spec, "Layer ChainID"): equal for equal roots.
pub fn chain_id(layers: &[Digest]) -> Digest {
    let chain = |below: Digest, layer: &Digest| Digest::of(format!("{below} {layer}").as_bytes());
    match layers.split_first() {
        Some((first, rest)) => rest.iter().fold(*first, chain),
        None => Digest::of(b""),
    }
}

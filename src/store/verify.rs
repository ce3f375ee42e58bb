//! Is a layer still what it was unpacked from?
//!
//! The archive made again from tree and framing must have the layer's digest: that speaks for the framing and for the
//! content of every file. Then each of its entries is looked for in the tree (kind, mode, time, target), and whatever
//! is in the tree must have an entry. What a crash in the middle of reading a closed file leaves (its owner's right to
//! read) is set right on the way.

use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::Store;
use super::archive::Archive;
use super::error::{Error, shown};
use super::framing::{Place, Record, Records};
use crate::oci::digest::Digest;

#[cfg(test)]
mod tests;
mod tree;

use tree::Tree;

/// Something that is not as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Where in the layer, escaped and shortened; `None` for the layer as a whole.
    pub entry: Option<String>,
    /// What is wrong; reads on from the entry's name.
    pub why: String,
}

/// Layers read at the same time.
const AT_ONCE: usize = 4;

/// So many damages of one layer are told apart.
const TOLD: usize = 1000;

impl Store {
    /// Reads a layer that is here and compares it with what was unpacked; gives all that differs.
    ///
    /// `advance` is told the bytes of the archive as they are done with. Takes the time of reading all files; the
    /// memory is some twenty bytes an entry.
    pub fn verify_layer(&self, layer: &Digest, advance: &mut dyn FnMut(u64)) -> Vec<Damage> {
        let mut found = Vec::new();
        if let Err(error) = self.compare(layer, advance, &mut found) {
            found.push(Damage { entry: None, why: chain(&error) });
        }
        if found.len() > TOLD {
            let more = found.len() - TOLD;
            found.truncate(TOLD);
            found.push(Damage { entry: None, why: format!("has {more} more that differ") });
        }
        found
    }

    /// Verifies layers, several at a time; `done` is given each with what differs.
    pub fn verify_layers(
        &self,
        layers: &[Digest],
        advance: &(dyn Fn(u64) + Sync),
        done: &(dyn Fn(Digest, Vec<Damage>) + Sync),
    ) {
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(layer) = layers.get(next.fetch_add(1, Ordering::Relaxed)) {
                done(*layer, self.verify_layer(layer, &mut |bytes| advance(bytes)));
            }
        };
        let processors = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            for _ in 1..processors.min(layers.len()).min(AT_ONCE) {
                // with fewer threads it only takes longer
                let _ = thread::Builder::new().name("verify".into()).spawn_scoped(scope, work);
            }
            work();
        });
    }

    fn compare(
        &self,
        layer: &Digest,
        advance: &mut dyn FnMut(u64),
        found: &mut Vec<Damage>,
    ) -> Result<(), Error> {
        let whole = |why: &str| Damage { entry: None, why: why.to_owned() };
        let folder = self.layer_folder(layer);
        let meta = self.meta(layer)?;
        if meta.diff_id != *layer {
            found.push(whole("has the record of another layer"));
        }
        let mut tree = Tree::open(&folder)?;
        if tree.read_index(&folder.join("index"))? != meta.tally.foreign_owners {
            found.push(whole("does not have as many owners in its index as were recorded"));
        }
        let mut records = Records::open(&folder)?;
        let mut archive = Archive::new(Counted { tar: self.damaged_layer_tar(layer)?, advance });
        let (mut number, mut outside) = (0, Vec::new());
        while let Some(entry) = archive.next()? {
            number += 1;
            let place = next_place(&mut records)?;
            let size = archive.size(&entry);
            if let Some((path, why)) = tree.compare(number, &place, &entry, size) {
                outside.push(Damage { entry: Some(shown(&path)), why });
            }
            tree.give_back();
        }
        let (digest, _) = archive.finish_with(|counted| {
            for (path, why) in counted.tar.damage() {
                found.push(Damage { entry: Some(shown(&path)), why });
            }
        })?;
        // wrong bytes are the better news of a file that is wrong outside, too
        let inside: HashSet<_> = found.iter().filter_map(|damage| damage.entry.clone()).collect();
        outside.retain(|damage| damage.entry.as_ref().is_none_or(|entry| !inside.contains(entry)));
        found.append(&mut outside);
        for path in tree.strange_owners() {
            let why = "has an owner in the index that it does not have in the image".into();
            found.push(Damage { entry: Some(shown(path)), why });
        }
        tree.find_strangers(found)?;
        if digest != *layer && found.is_empty() {
            found.push(whole(
                "does not have its digest, though every file is as recorded: its framing is wrong",
            ));
        }
        Ok(())
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

fn next_place(records: &mut Records) -> Result<Place, Error> {
    loop {
        match records.next()? {
            Record::Place(place) => return Ok(place),
            Record::Bytes(count) => records.skip(count)?,
            Record::Content { .. } | Record::Aside(_) => {}
            Record::End => return Ok(Place::Nowhere),
        }
    }
}

/// Tells of the bytes that pass.
struct Counted<'a> {
    tar: super::LayerTar,
    advance: &'a mut dyn FnMut(u64),
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.tar.read(buffer)?;
        (self.advance)(count as u64);
        Ok(count)
    }
}

//! Equal files of different images made one, by hard links.
//!
//! Files share an inode only where all else about them is equal too: mode, time of change and attributes. Owners stand
//! in the index of each layer and so may differ. Two files of one box never do, for programs would take them for one
//! (`cp a b` fails when both are): not two of a layer, nor of layers that an image or a box stacks. So all that can be
//! seen in a box is a higher count of links. An image that is pulled later may stack layers that share files already;
//! they stay as they are.
//!
//! An overlay's layers must not change under it, so those of running boxes are left alone, and no box on a layer starts
//! while a file of it is replaced. A file with several names is never replaced, for all its names would have to follow.
//! Each link is made aside and renamed over the other file, so that at any instant both names have the bytes; a crash
//! leaves at most a name in staging, rights that [`super::access`] lends, and a folder's new time of change.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::access::Access;
use super::error::{At, Error};
use super::lock::{Holder, Lock};
use super::{Hold, Store};
use crate::cancel::Cancel;
use crate::oci::digest::Digest;
use crate::sys::fd;

mod link;
#[cfg(test)]
mod tests;

use link::Linking;

/// What was gained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deduped {
    /// Files looked at.
    pub files: u64,
    /// Files that now share the inode of another.
    pub linked: u64,
    /// Bytes of the disk that came free.
    pub bytes: u64,
}

/// Smaller files are not worth the reading.
const SMALLEST: i64 = 4096;

/// Files of the same size, mode and time of change are candidates.
type Outside = (i64, u32, i64, i64);

/// Keeps boxes from starting on some layers while the value lives; none when one runs on them.
pub type Quiet<'a> = dyn FnMut(&[Digest]) -> Option<Vec<OwnedFd>> + 'a;

/// A file of a layer, by the layer's number and its path there.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    layer: u32,
    path: Box<[u8]>,
}

/// A file, by all its names that are known.
struct Inode {
    number: u64,
    names: Vec<Name>,
    /// How many names it has, known or not.
    links: u64,
}

/// A layer that takes part.
struct Layer {
    digest: Digest,
    folder: PathBuf,
    /// Numbers of the images and boxes that have it.
    stacks: BTreeSet<usize>,
}

impl Store {
    /// Links equal files of all layers that are here and that nothing stacks on each other: no image, and none of
    /// `stacks`, the layers of boxes. `advance` is told the bytes looked at. When another run
    /// is waited for, `waiting` is called once after a second. May be killed at any time.
    ///
    /// Reads only files that have the size, mode and time of another. The memory is some hundred bytes for each file of
    /// at least 4 KiB.
    pub fn dedupe(
        &self,
        _hold: &Hold,
        stacks: &[Vec<Digest>],
        quiet: &mut Quiet<'_>,
        advance: &mut dyn FnMut(u64),
        waiting: &mut dyn FnMut(Holder),
    ) -> Result<Deduped, Error> {
        let mut done = Deduped::default();
        // of two at once neither would know what the other links
        let _alone = Lock::alone(&self.staging().join("dedupe.lock"), &Cancel::default(), waiting)?;
        // or else a power cut could take from a layer on the disk what it now shares with one that is not
        self.sync()?;
        let mut layers = self.layers()?;
        layers.retain(|layer| self.layer_folder(layer).join("durable").exists());
        layers.retain(|layer| quiet(&[*layer]).is_some());
        layers.sort_unstable();
        let layers = self.stacked(layers, stacks)?;
        let mut groups = HashMap::new();
        for (number, layer) in layers.iter().enumerate() {
            gather(&layer.folder, number as u32, &mut groups, &mut done.files)?;
        }
        let mut groups: Vec<Vec<Inode>> = groups.into_values().map(sorted).collect();
        groups.retain(|group| may_share(&layers, group));
        // in the order of the disk's folders as far as groups allow, and the same at each run
        groups.sort_by(|a, b| a[0].names.cmp(&b[0].names));
        let staging = self.staging();
        let mut linking = Linking { layers: &layers, staging: &staging, quiet, advance, done };
        for group in groups {
            linking.group(&group)?;
        }
        Ok(linking.done)
    }

    /// The layers with what has them.
    fn stacked(&self, layers: Vec<Digest>, boxes: &[Vec<Digest>]) -> Result<Vec<Layer>, Error> {
        let mut stacks = boxes.to_vec();
        for manifest in self.manifests()? {
            stacks.push(self.layers_of(&manifest)?);
        }
        let mut of: HashMap<Digest, BTreeSet<usize>> = HashMap::new();
        for (number, stack) in stacks.iter().enumerate() {
            for layer in stack {
                of.entry(*layer).or_default().insert(number);
            }
        }
        let layer = |digest: Digest| {
            let folder = self.layer_folder(&digest);
            Layer { digest, folder, stacks: of.remove(&digest).unwrap_or_default() }
        };
        Ok(layers.into_iter().map(layer).collect())
    }
}

/// The files of a group, first those whose names can't follow another's.
fn sorted(group: BTreeMap<u64, Inode>) -> Vec<Inode> {
    let mut group: Vec<Inode> = group.into_values().collect();
    group.sort_by(|a, b| b.names.len().cmp(&a.names.len()).then_with(|| a.names.cmp(&b.names)));
    group
}

/// Whether no box can see both layers.
fn apart(layers: &[Layer], one: u32, other: u32) -> bool {
    one != other && layers[one as usize].stacks.is_disjoint(&layers[other as usize].stacks)
}

/// Whether reading the files may lead to anything.
fn may_share(layers: &[Layer], group: &[Inode]) -> bool {
    let of: BTreeSet<u32> = group.iter().flat_map(|inode| &inode.names).map(|name| name.layer).collect();
    group.len() > 1 && of.iter().any(|one| of.iter().any(|other| apart(layers, *one, *other)))
}

/// Adds the files of a layer.
fn gather(
    folder: &Path,
    layer: u32,
    groups: &mut HashMap<Outside, BTreeMap<u64, Inode>>,
    files: &mut u64,
) -> Result<(), Error> {
    let mut access = Access::new(folder).at("open", folder)?;
    let mut todo = vec![b"tree".to_vec()];
    while let Some(at) = todo.pop() {
        let names = access.at_folder(&at, |folder| fd::names(folder, usize::MAX));
        for name in names.at("read", folder)? {
            let below = [&at[..], b"/", &name].concat();
            let found = access.at(&below, fd::stat_at).at("look at", folder)?;
            match found.st_mode & libc::S_IFMT {
                libc::S_IFDIR => todo.push(below),
                libc::S_IFREG => {
                    *files += 1;
                    if found.st_size >= SMALLEST {
                        let outside = (found.st_size, found.st_mode, found.st_mtime, found.st_mtime_nsec);
                        let new = || Inode { number: found.st_ino, names: Vec::new(), links: found.st_nlink };
                        let group = groups.entry(outside).or_default();
                        let inode = group.entry(found.st_ino).or_insert_with(new);
                        inode.names.push(Name { layer, path: below.into() });
                    }
                }
                _ => {}
            }
        }
    }
    Ok(())
}

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
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::time::TimeSpec;

use super::access::Access;
use super::error::{At, Error};
use super::lock::{Holder, Lock};
use super::{Hold, Store};
use crate::cancel::Cancel;
use crate::oci::digest::Digest;
use crate::sys::fd;

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
        let mut linking = Linking { layers: &layers, staging: &self.staging(), quiet, advance, done };
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

/// A file others may become links of, and the layers its names are in.
struct Master<'a> {
    inode: &'a Inode,
    layers: Vec<u32>,
}

struct Linking<'a> {
    layers: &'a [Layer],
    staging: &'a Path,
    quiet: &'a mut Quiet<'a>,
    advance: &'a mut dyn FnMut(u64),
    done: Deduped,
}

impl Linking<'_> {
    /// Links what is equal in a group.
    fn group(&mut self, group: &[Inode]) -> Result<(), Error> {
        let mut masters: HashMap<u64, Vec<Master<'_>>> = HashMap::new();
        let hasher = RandomState::new();
        for inode in group {
            let name = &inode.names[0];
            let folder = &self.layers[name.layer as usize].folder;
            let mut access = Access::new(folder).at("open", folder)?;
            let Some(file) = open(&mut access, inode).at("look at", folder)? else { continue };
            (self.advance)(file.metadata().at("look at", folder)?.size());
            let sum = hasher.hash_one((contents(&file).at("read", folder)?, attributes(&file)));
            let masters = masters.entry(sum).or_default();
            if inode.links == 1 && self.join(masters, inode, &file, &mut access)? {
                continue;
            }
            // a name that is not known may be one of another layer
            if inode.links == inode.names.len() as u64 {
                masters.push(Master { inode, layers: inode.names.iter().map(|name| name.layer).collect() });
            }
        }
        Ok(())
    }

    /// Makes a file a link of the first master it can be one of; false when it stays a file of its own.
    fn join(
        &mut self,
        masters: &mut [Master<'_>],
        inode: &Inode,
        file: &File,
        access: &mut Access,
    ) -> Result<bool, Error> {
        let Name { layer, path } = &inode.names[0];
        let layers = self.layers;
        let own = &layers[*layer as usize];
        for master in masters {
            if !master.layers.iter().all(|other| apart(layers, *other, *layer)) {
                continue;
            }
            let there = &layers[master.inode.names[0].layer as usize];
            let mut beside = Access::new(&there.folder).at("open", &there.folder)?;
            let Some(other) = open(&mut beside, master.inode).at("look at", &there.folder)? else { continue };
            if !equal(&other, file).at("read", &own.folder)? {
                continue;
            }
            let mut all: Vec<Digest> =
                master.layers.iter().map(|layer| layers[*layer as usize].digest).collect();
            all.push(own.digest);
            let Some(_quiet) = (self.quiet)(&all) else { continue };
            let found = file.metadata().at("look at", &own.folder)?;
            match replace(&other, access, path, self.staging) {
                Ok(()) => {
                    master.layers.push(*layer);
                    self.done.linked += 1;
                    self.done.bytes += found.blocks() * 512;
                    return Ok(true);
                }
                // as many names as the file system allows: the next begins anew
                Err(error) if error.errno == Errno::EMLINK => {}
                Err(error) => return Err(error).at("link", &own.folder),
            }
        }
        Ok(false)
    }
}

/// Opens a file by its first name; none when it is gone, another, or no longer to be read: none of our business here.
fn open(access: &mut Access, inode: &Inode) -> io::Result<Option<File>> {
    let Ok(file) = access.open(&inode.names[0].path) else { return Ok(None) };
    let found = file.metadata()?;
    Ok((found.is_file() && found.ino() == inode.number).then_some(file))
}

/// Puts `master` in the place of the file at `path`; the time of the folder stays.
fn replace(master: &File, access: &mut Access, path: &[u8], staging: &Path) -> Result<(), crate::sys::Error> {
    let spare = spare(master, staging)?;
    // what is made writable here nobody must take for left by a crash
    let replaced = access.locked(path, |folder, name| {
        let time = fd::stat_at(folder, b".")?;
        let mode = fd::mode(folder)?;
        let closed = mode & 0o200 == 0;
        if closed {
            fd::fchmod(folder, mode | 0o200)?;
        }
        let moved = fd::rename_to(&spare, folder, name);
        if closed {
            let _ = fd::fchmod(folder, mode);
        }
        moved?;
        fd::futimens(folder, &TimeSpec::new(time.st_mtime, time.st_mtime_nsec))
    });
    if replaced.is_err() {
        // what can't be removed now is swept later
        let _ = std::fs::remove_file(&spare);
    }
    replaced
}

/// One more name of `master`, which nobody else has.
fn spare(master: &File, staging: &Path) -> Result<PathBuf, crate::sys::Error> {
    let mut number = 0;
    loop {
        let path = staging.join(format!("link-{}-{number}", std::process::id()));
        match fd::link_handle(master.as_fd(), &path) {
            Err(error) if error.errno == Errno::EEXIST => number += 1,
            linked => return linked.map(|()| path),
        }
    }
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

/// A sum over the bytes, to find what may be equal.
fn contents(mut file: &File) -> io::Result<u32> {
    let mut sum = crc32fast::Hasher::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(sum.finalize()),
            Ok(count) => sum.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether two files have the same bytes and attributes: a sum may deceive.
fn equal(one: &File, other: &File) -> io::Result<bool> {
    use std::os::unix::fs::FileExt;
    if attributes(one) != attributes(other) {
        return Ok(false);
    }
    let (mut a, mut b) = (vec![0; 128 << 10], vec![0; 128 << 10]);
    let mut at = 0;
    loop {
        let count = one.read_at(&mut a, at)?;
        if count == 0 {
            return Ok(other.read_at(&mut b[..1], at)? == 0);
        }
        if other.read_exact_at(&mut b[..count], at).is_err() || a[..count] != b[..count] {
            return Ok(false);
        }
        at += count as u64;
    }
}

/// All attributes of a file, sorted.
fn attributes(file: &File) -> Vec<(Vec<u8>, Vec<u8>)> {
    fd::xattrs(file.as_fd()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::store::Image;
    use crate::store::listing::layer;

    #[test]
    fn what_is_equal_shares_an_inode_and_nothing_else_does() {
        let place = tempfile::tempdir().unwrap();
        let store = Store::open(&place.path().join("store")).unwrap();
        let hold = store.hold(&mut |_| {}).unwrap();
        let add = |listing: &str| add(&store, &hold, listing);
        let (big, other) = ("x".repeat(10_000), "y".repeat(10_000));
        let one = add(&format!(
            "f 644 same {big}\nf 0 closed {other}\nf 600 mode {big}\nf 644 time {big} | mtime=7\nf 644 small x\n\
             f 644 note {big} | user.note=a\nf 644 twice {other}\nh again twice"
        ));
        let two = add(&format!(
            "d 555 d\nf 644 d/same {big} | uid=5\nd 0 shut\nf 0 shut/closed {other}\nf 755 mode {big}\n\
             f 644 time {big} | mtime=8\nf 644 small x\nf 644 note {big} | user.note=b\nf 644 twice {other}\nh again twice"
        ));
        let before: Vec<_> = ["d", "shut"]
            .map(|name| fs::symlink_metadata(store.layer_tree(&two).join(name)).unwrap())
            .map(|found| (found.mode(), found.mtime()))
            .into();
        // what a killed run of the same process id left
        let left =
            ["link-PID", "link-PID-0"].map(|name| name.replace("PID", &std::process::id().to_string()));
        left.iter().for_each(|name| fs::write(store.staging().join(name), "").unwrap());
        let done = dedupe(&store, &hold, &[], &[]);
        assert_eq!(done.linked, 2, "{done:?}");
        assert!(done.bytes >= 20_000, "{done:?}");
        let inode = |layer: &Digest, name: &str| {
            let path = store.layer_tree(layer).join(name);
            let folder = path.parent().unwrap();
            let mode = fs::symlink_metadata(folder).unwrap().permissions();
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
            let inode = fs::symlink_metadata(&path).unwrap().ino();
            fs::set_permissions(folder, mode).unwrap();
            inode
        };
        assert_eq!(inode(&one, "same"), inode(&two, "d/same"));
        assert_eq!(inode(&one, "closed"), inode(&two, "shut/closed"));
        for name in ["mode", "time", "small", "note", "twice"] {
            assert_ne!(inode(&one, name), inode(&two, name), "{name}");
        }
        let after: Vec<_> = ["d", "shut"]
            .map(|name| fs::symlink_metadata(store.layer_tree(&two).join(name)).unwrap())
            .map(|found| (found.mode(), found.mtime()))
            .into();
        assert_eq!(before, after);
        for layer in [&one, &two] {
            assert_eq!(store.verify_layer(layer, &mut |_| {}), []);
        }
        assert_eq!(dedupe(&store, &hold, &[], &[]).linked, 0, "once is enough");
    }

    #[test]
    fn no_box_sees_one_file_for_two() {
        let place = tempfile::tempdir().unwrap();
        let store = Store::open(&place.path().join("store")).unwrap();
        let hold = store.hold(&mut |_| {}).unwrap();
        let big = "x".repeat(10_000);
        let [a, b, c, d, running] = ["a", "b", "c", "d", "running"]
            .map(|name| add(&store, &hold, &format!("f 644 {name} {big}\nf 644 {name}-too {big}")));
        let (manifest, config) = (b"{}".to_vec(), b"{ }".to_vec());
        let image = Image {
            manifest_digest: Digest::of(&manifest),
            config_digest: Digest::of(&config),
            manifest,
            config,
            layers: vec![a, b],
            source: "x:1".into(),
        };
        store.put_image(&hold, &image).unwrap();
        let inodes = |layer: &Digest, name: &str| {
            [name.to_owned(), format!("{name}-too")]
                .map(|name| fs::symlink_metadata(store.layer_tree(layer).join(name)).unwrap().ino())
        };
        let of_running = inodes(&running, "running");
        // one of the image and one of the box make a pair
        assert_eq!(dedupe(&store, &hold, &[vec![c, d]], &[running]).linked, 4);
        let seen = [(a, "a"), (b, "b"), (c, "c"), (d, "d")].map(|(layer, name)| inodes(&layer, name));
        assert!(seen.iter().all(|[one, too]| one != too), "of one layer: {seen:?}");
        for (one, other) in [(0, 1), (2, 3)] {
            assert!(seen[one].iter().all(|inode| !seen[other].contains(inode)), "stacked: {seen:?}");
        }
        assert_eq!(inodes(&running, "running"), of_running);
        // who shares with one shares with all that one shares with already
        assert_eq!(dedupe(&store, &hold, &[vec![c, d], vec![running, d]], &[]).linked, 2);
        assert!(inodes(&running, "running").iter().all(|inode| !seen[3].contains(inode)));
    }

    fn add(store: &Store, hold: &Hold, listing: &str) -> Digest {
        let tar = layer(listing);
        let lock = store.take_layer(hold, &Digest::of(&tar));
        store.publish_layer(store.unpack_layer(&lock, &tar[..]).unwrap()).unwrap().diff_id
    }

    fn dedupe(store: &Store, hold: &Hold, stacks: &[Vec<Digest>], running: &[Digest]) -> Deduped {
        let mut quiet =
            |layers: &[Digest]| layers.iter().all(|layer| !running.contains(layer)).then(Vec::new);
        store.dedupe(hold, stacks, &mut quiet, &mut |_| {}, &mut |_| {}).unwrap()
    }
}

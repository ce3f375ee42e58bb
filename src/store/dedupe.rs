//! Equal files of different layers made one, by hard links.
//!
//! Only files that an image can't tell apart otherwise share an inode: same bytes, mode, time of change and
//! attributes. Owners stand in the index of each layer and so may differ. A file with several names already stays as
//! it is, for all its names would have to follow. Each link is made aside and renamed over the other file, so that at
//! any instant both names have the bytes; a crash leaves at most a name in staging.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::time::TimeSpec;

use super::access::Access;
use super::error::{At, Error};
use super::{Hold, Store};
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

/// A file of a layer, by the layer's number and its path there.
struct Candidate {
    layer: u32,
    path: Box<[u8]>,
}

impl Store {
    /// Links equal files of all layers that are here; `advance` is told the bytes looked at. May be killed at any time.
    ///
    /// Reads only files that have the size, mode and time of another. The memory is some hundred bytes for each file of
    /// at least 4 KiB.
    pub fn dedupe(&self, _hold: &Hold, advance: &mut dyn FnMut(u64)) -> Result<Deduped, Error> {
        let mut done = Deduped::default();
        // or else a power cut could take from a layer on the disk what it now shares with one that is not
        self.sync()?;
        let mut layers = self.layers()?;
        layers.retain(|layer| self.layer_folder(layer).join("durable").exists());
        layers.sort_unstable();
        let mut groups: HashMap<Outside, Vec<Candidate>> = HashMap::new();
        for (number, layer) in layers.iter().enumerate() {
            gather(&self.layer_folder(layer), number as u32, &mut groups, &mut done.files)?;
        }
        groups.retain(|_, group| group.len() > 1);
        let folders: Vec<_> = layers.iter().map(|layer| self.layer_folder(layer)).collect();
        // in the order of the disk's folders as far as groups allow, and the same at each run
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_by(|(_, a), (_, b)| (a[0].layer, &a[0].path).cmp(&(b[0].layer, &b[0].path)));
        let spare = self.staging().join(format!("link-{}", std::process::id()));
        for (_, group) in groups {
            link_group(&folders, &group, &spare, &mut done, advance)?;
        }
        Ok(done)
    }
}

/// Links what is equal in a group.
fn link_group(
    folders: &[PathBuf],
    group: &[Candidate],
    spare: &Path,
    done: &mut Deduped,
    advance: &mut dyn FnMut(u64),
) -> Result<(), Error> {
    let mut kept: HashMap<u64, usize> = HashMap::new();
    let hasher = RandomState::new();
    for (number, candidate) in group.iter().enumerate() {
        let folder = &folders[candidate.layer as usize];
        let mut access = Access::new(folder).at("open", folder)?;
        // gone, or no longer to be read: none of our business here
        let Ok(file) = access.open(&candidate.path) else { continue };
        let found = file.metadata().at("look at", folder)?;
        advance(found.size());
        let sum = hasher.hash_one((contents(&file).at("read", folder)?, attributes(&file)));
        let Some(&first) = kept.get(&sum) else {
            kept.insert(sum, number);
            continue;
        };
        let other = &group[first];
        let there = &folders[other.layer as usize];
        let Ok(master) = Access::new(there).at("open", there)?.open(&other.path) else { continue };
        let same = master.metadata().at("look at", there)?.ino() == found.ino();
        if same || found.nlink() > 1 || !equal(&master, &file).at("read", folder)? {
            continue;
        }
        match replace(&master, &mut access, &candidate.path, spare) {
            Ok(()) => {
                done.linked += 1;
                done.bytes += found.blocks() * 512;
            }
            // as many names as the file system allows: the next begins anew
            Err(error) if error.errno == Errno::EMLINK => {
                kept.insert(sum, number);
            }
            Err(error) => return Err(error).at("link", folder),
        }
    }
    Ok(())
}

/// Puts `master` in the place of the file at `path`; the time of the folder stays.
fn replace(master: &File, access: &mut Access, path: &[u8], spare: &Path) -> Result<(), crate::sys::Error> {
    fd::link_handle(master.as_fd(), spare)?;
    let (folder, name) = access.parent(path)?;
    let time = fd::stat_at(folder.as_fd(), b".")?;
    let mode = fd::mode(folder.as_fd())?;
    let closed = mode & 0o200 == 0;
    let moved = (|| {
        if closed {
            fd::fchmod(folder.as_fd(), mode | 0o200)?;
        }
        fd::rename_to(spare, folder.as_fd(), name)
    })();
    if closed {
        let _ = fd::fchmod(folder.as_fd(), mode);
    }
    if moved.is_err() {
        // what can't be removed now is swept later
        let _ = std::fs::remove_file(spare);
    }
    moved?;
    fd::futimens(folder.as_fd(), &TimeSpec::new(time.st_mtime, time.st_mtime_nsec))
}

/// Adds the files of a layer.
fn gather(
    folder: &Path,
    layer: u32,
    groups: &mut HashMap<Outside, Vec<Candidate>>,
    files: &mut u64,
) -> Result<(), Error> {
    let mut access = Access::new(folder).at("open", folder)?;
    let mut todo = vec![b"tree".to_vec()];
    while let Some(at) = todo.pop() {
        let names = access.folder(&at).and_then(|folder| fd::names(folder.as_fd(), usize::MAX));
        for name in names.at("read", folder)? {
            let below = [&at[..], b"/", &name].concat();
            let (parent, name) = access.parent(&below).at("open", folder)?;
            let found = fd::stat_at(parent.as_fd(), name).at("look at", folder)?;
            match found.st_mode & libc::S_IFMT {
                libc::S_IFDIR => todo.push(below),
                libc::S_IFREG => {
                    *files += 1;
                    if found.st_size >= SMALLEST {
                        let outside = (found.st_size, found.st_mode, found.st_mtime, found.st_mtime_nsec);
                        groups.entry(outside).or_default().push(Candidate { layer, path: below.into() });
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
    use crate::oci::digest::Digest;
    use crate::store::listing::layer;

    #[test]
    fn what_is_equal_shares_an_inode_and_nothing_else_does() {
        let place = tempfile::tempdir().unwrap();
        let store = Store::open(&place.path().join("store")).unwrap();
        let hold = store.hold(&mut |_| {}).unwrap();
        let add = |listing: &str| {
            let tar = layer(listing);
            let lock = store.lock_layer(&hold, &Digest::of(&tar), &mut |_| {}).unwrap();
            store.publish_layer(store.unpack_layer(&lock, &tar[..]).unwrap()).unwrap().diff_id
        };
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
        let done = store.dedupe(&hold, &mut |_| {}).unwrap();
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
        assert_eq!(store.dedupe(&hold, &mut |_| {}).unwrap().linked, 0, "once is enough");
    }
}

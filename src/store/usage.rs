//! How much of the disk trees take, to the block, each inode counted once however many names it has.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;

use super::Store;
use super::access::Access;
use super::error::{At, Error};
use crate::oci::digest::Digest;
use crate::sys::fd;

/// What some trees take of the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of inodes with one name, and of folders.
    single: u64,
    /// Inodes with several names, by device and number.
    linked: BTreeMap<(u64, u64), Linked>,
    /// Folders that could not be looked into, with all below them.
    pub closed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Linked {
    bytes: u64,
    /// Names it has, and names of it that were met.
    names: u64,
    met: u64,
}

impl Usage {
    /// What stands at `path`, with all below it; nothing there takes nothing. Links are not followed, and what is
    /// mounted there is left out.
    pub fn of(path: &Path) -> Result<Self, Error> {
        let mut usage = Self::default();
        usage.add(path)?;
        Ok(usage)
    }

    /// Adds what stands at `path`.
    pub fn add(&mut self, path: &Path) -> Result<(), Error> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
        match Access::looking(parent) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            opened => self.walk(opened.at("open", parent)?, name.as_bytes(), path),
        }
    }

    /// Adds a layer's folder; what is closed in it is opened up while it is looked into.
    pub(super) fn add_layer(&mut self, path: &Path) -> Result<(), Error> {
        match Access::new(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            opened => self.walk(opened.at("open", path)?, b".", path),
        }
    }

    /// Adds what stands at `top`; the path is for messages.
    fn walk(&mut self, mut access: Access, top: &[u8], path: &Path) -> Result<(), Error> {
        let top = top.to_vec();
        let found = match access.at(&top, fd::stat_at) {
            Err(error) if error.errno == Errno::ENOENT => return Ok(()),
            found => found.at("look at", path)?,
        };
        self.count(&found);
        let device = found.st_dev;
        let mut todo = if is_folder(&found) { vec![top] } else { Vec::new() };
        while let Some(at) = todo.pop() {
            let names = access.at_folder(&at, |folder| fd::names(folder, usize::MAX));
            let Ok(names) = names else {
                self.closed += 1;
                continue;
            };
            for name in names {
                let below = [&at[..], b"/", &name].concat();
                match access.at(&below, fd::stat_at) {
                    Ok(found) if found.st_dev != device => {}
                    Ok(found) => {
                        self.count(&found);
                        if is_folder(&found) {
                            todo.push(below);
                        }
                    }
                    // it may go while we look
                    Err(error) if error.errno == Errno::ENOENT => {}
                    Err(_) => self.closed += 1,
                }
            }
        }
        Ok(())
    }

    /// Adds what another one counted; a name counted in both counts twice.
    pub fn merge(&mut self, other: &Self) {
        self.single += other.single;
        self.closed += other.closed;
        for (inode, linked) in &other.linked {
            let known = self.linked.entry(*inode).or_insert(Linked { met: 0, ..*linked });
            known.met += linked.met;
        }
    }

    /// Bytes on the disk.
    pub fn bytes(&self) -> u64 {
        self.single + self.linked.values().map(|linked| linked.bytes).sum::<u64>()
    }

    /// Bytes that come free when all that was counted is removed: inodes that have other names stay.
    pub fn freed(&self) -> u64 {
        let gone = self.linked.values().filter(|linked| linked.met >= linked.names);
        self.single + gone.map(|linked| linked.bytes).sum::<u64>()
    }

    /// Bytes that `other` has as well: of inodes met in both.
    pub fn shared_with(&self, other: &Self) -> u64 {
        let both = self.linked.iter().filter(|(inode, _)| other.linked.contains_key(inode));
        both.map(|(_, linked)| linked.bytes).sum()
    }

    // some machines have these numbers narrower
    #[allow(clippy::unnecessary_cast)]
    fn count(&mut self, found: &libc::stat) {
        let bytes = u64::try_from(found.st_blocks).unwrap_or_default() * 512;
        if found.st_nlink < 2 || is_folder(found) {
            self.single += bytes;
            return;
        }
        let linked = Linked { bytes, names: found.st_nlink as u64, met: 0 };
        self.linked.entry((found.st_dev as u64, found.st_ino as u64)).or_insert(linked).met += 1;
    }
}

fn is_folder(found: &libc::stat) -> bool {
    found.st_mode & libc::S_IFMT == libc::S_IFDIR
}

impl Store {
    /// What a layer that is here takes, its records included.
    pub fn layer_usage(&self, layer: &Digest) -> Result<Usage, Error> {
        let mut usage = Usage::default();
        usage.add_layer(&self.layer_folder(layer))?;
        Ok(usage)
    }

    /// What half-made things and those about to be removed take.
    pub fn staging_usage(&self) -> Result<Usage, Error> {
        Usage::of(&self.staging())
    }

    /// What the store takes as a whole.
    pub fn usage(&self) -> Result<Usage, Error> {
        let parts = ["layers", "layers/sha256", "stacks", "stacks/sha256"].map(|part| self.root.join(part));
        let mut usage = Usage::default();
        for entry in fs::read_dir(&self.root).at("read", &self.root)? {
            let path = entry.at("read", &self.root)?.path();
            if !parts.contains(&path) {
                usage.add(&path)?;
            }
        }
        for folder in parts.iter().filter(|part| part.exists()).chain([&self.root]) {
            usage.count(
                &fd::stat_at(File::open(folder).at("open", folder)?.as_fd(), b".").at("look at", folder)?,
            );
        }
        self.layers()?.iter().try_for_each(|layer| usage.add_layer(&self.layer_folder(layer)))?;
        self.stacks()?.keys().try_for_each(|stack| usage.add_layer(&self.stack_folder(stack)))?;
        Ok(usage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::listing::layer;

    #[test]
    fn inodes_count_once_and_come_free_with_their_last_name() {
        let place = tempfile::tempdir().unwrap();
        let (one, two) = (place.path().join("one"), place.path().join("two"));
        fs::create_dir_all(one.join("deep/er")).unwrap();
        fs::create_dir(&two).unwrap();
        let big = vec![7; 1 << 20];
        fs::write(one.join("deep/er/alone"), &big).unwrap();
        fs::write(one.join("both"), &big).unwrap();
        fs::hard_link(one.join("both"), one.join("again")).unwrap();
        fs::hard_link(one.join("both"), two.join("both")).unwrap();
        std::os::unix::fs::symlink("/", one.join("deep/link")).unwrap();
        let (first, second) = (Usage::of(&one).unwrap(), Usage::of(&two).unwrap());
        let close = |bytes: u64, mebibytes: u64| (bytes >> 10).abs_diff(mebibytes << 10) < 64;
        assert!(close(first.bytes(), 2) && close(first.freed(), 1), "{first:?}");
        assert!(close(second.bytes(), 1) && close(second.freed(), 0));
        assert!(close(first.shared_with(&second), 1));
        let mut both = first;
        both.merge(&second);
        assert!(close(both.bytes(), 2) && close(both.freed(), 2));
        assert_eq!(Usage::of(&place.path().join("nothing")).unwrap(), Usage::default());
    }

    #[test]
    fn closed_folders_of_layers_count() {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile::tempdir().unwrap();
        let store = Store::open(&place.path().join("store")).unwrap();
        let add = |mode: &str| {
            let tar = layer(&format!(
                "d {mode} shut\nd {mode} shut/more\nf 0 shut/more/big {}",
                "x".repeat(1 << 20)
            ));
            let hold = store.hold(&mut |_| {}).unwrap();
            let lock = store.take_layer(&hold, &Digest::of(&tar));
            store.publish_layer(store.unpack_layer(&lock, &tar[..]).unwrap()).unwrap().diff_id
        };
        let (open, shut) = (add("755"), add("0"));
        let usage = store.layer_usage(&shut).unwrap();
        assert_eq!((usage.closed, usage.bytes()), (0, store.layer_usage(&open).unwrap().bytes()));
        assert_eq!(usage.freed(), usage.bytes());
        let all = store.usage().unwrap();
        assert!(all.closed == 0 && all.bytes() > 2 * usage.bytes(), "{all:?}");
        let mode = fs::symlink_metadata(store.layer_tree(&shut).join("shut")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0);
    }
}

//! Is a layer still what it was unpacked from?
//!
//! The archive made again from tree and framing must have the layer's digest: that speaks for the framing and for the
//! content of every file. Then each of its entries is looked for in the tree (kind, mode, time, target), and whatever
//! is in the tree must have an entry. What a crash in the middle of reading a closed file leaves (its owner's right to
//! read) is set right on the way.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nix::fcntl::OFlag;

use super::Store;
use super::access::Access;
use super::archive::{Archive, Entry, Kind};
use super::error::{At, Error, shown};
use super::framing::{Place, Record, Records};
use super::index::{self, Owner};
use super::layer_tar::Moves;
use crate::oci::digest::Digest;
use crate::sys::fd::Xattr;
use crate::sys::{self, fd};

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
        let mut tree = Tree {
            access: Access::new(&folder).at("open", &folder)?,
            known: Known::read(&mut Records::open(&folder)?)?,
            linked: HashSet::new(),
            expected: HashSet::new(),
            owners: HashMap::new(),
            aside: HashSet::new(),
            earlier: HashMap::new(),
            hiding: HashSet::new(),
        };
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
            // the archive may want to lend
            tree.access.give_back();
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
        for path in tree.owners.keys() {
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

/// Which entries of a layer still count at its end.
struct Known {
    moves: Moves,
    /// The last entry at each path.
    last: HashMap<u64, u64>,
    paths: RandomState,
}

impl Known {
    fn read(records: &mut Records) -> Result<Self, Error> {
        let (mut last, paths, mut number) = (HashMap::new(), RandomState::new(), 0);
        let moves = Moves::read(records, &mut |place| {
            number += 1;
            if let Place::At(path) = place {
                last.insert(paths.hash_one(path), number);
            }
        })?;
        Ok(Self { moves, last, paths })
    }

    fn is_last(&self, entry: u64, path: &[u8]) -> bool {
        self.last.get(&self.paths.hash_one(path)) == Some(&entry)
    }
}

struct Tree {
    access: Access,
    known: Known,
    /// Inodes with several names that an entry with content made.
    linked: HashSet<u64>,
    /// Hashes of all paths that belong in the tree.
    expected: HashSet<u64>,
    /// Owners by the index that were not met yet.
    owners: HashMap<Vec<u8>, Owner>,
    /// Hashes of path and name of attributes that by the index are not set.
    aside: HashSet<u64>,
    /// Attributes of folders that have several entries, by the hash of the path.
    earlier: HashMap<u64, Vec<Xattr>>,
    /// Hashes of the paths of folders that hide what is below them in lower layers.
    hiding: HashSet<u64>,
}

/// The folder a path lies in; empty for the root.
fn parent_of(path: &[u8]) -> &[u8] {
    &path[..path.iter().rposition(|byte| *byte == b'/').unwrap_or(0)]
}

/// Where a path of the tree lies in the layer's folder.
fn in_folder(path: &[u8]) -> Vec<u8> {
    if path.is_empty() { b"tree".to_vec() } else { [b"tree/", path].concat() }
}

impl Tree {
    /// Takes in the index; how many lines of it have an owner.
    fn read_index(&mut self, path: &Path) -> Result<u64, Error> {
        let (aside, paths) = (&mut self.aside, &self.known.paths);
        let (owners, count) = index::read(path, &mut |path, name| {
            aside.insert(paths.hash_one((path, name)));
        })?;
        self.owners =
            owners.into_iter().map(|owner| (owner.path.as_os_str().as_bytes().to_vec(), owner)).collect();
        Ok(count)
    }

    /// Compares one entry with what stands at its place; the path and what is wrong there.
    fn compare(&mut self, number: u64, place: &Place, entry: &Entry, size: u64) -> Option<(Vec<u8>, String)> {
        let path = match place {
            Place::At(path) | Place::Hides(path) | Place::HidesAll(path) | Place::Device(path) => path,
            Place::Nowhere => return None,
        };
        // a name that is hidden, or a device's, is not what is set aside: only a folder it lies in
        let stands = match place {
            Place::At(_) | Place::HidesAll(_) => &path[..],
            _ => parent_of(path),
        };
        if let Some(there) = self.known.moves.aside_path(number, stands) {
            // links to it may still be in the tree
            let found = self.access.at(&there, fd::stat_at).ok()?;
            if entry.kind == Kind::File {
                self.linked.insert(found.st_ino);
            }
            return None;
        }
        match place {
            Place::Device(path) => {
                self.expect(parent_of(path));
            }
            _ => self.expect(path),
        }
        let wrong = match place {
            Place::At(path) if !self.known.is_last(number, path) => {
                if !entry.xattrs.is_empty() {
                    let earlier = self.earlier.entry(self.known.paths.hash_one(&path[..])).or_default();
                    earlier.extend(entry.xattrs.iter().cloned());
                }
                Ok(None)
            }
            Place::At(path) => {
                let owned = self.owned(path, entry);
                self.inode(path, entry, size).map(|wrong| wrong.or(owned))
            }
            Place::Hides(path) => self.hides(path),
            Place::HidesAll(path) => {
                self.hiding.insert(self.known.paths.hash_one(&path[..]));
                self.is_opaque(path).map(|is| (!is).then_some("shows what it is to hide"))
            }
            Place::Device(_) | Place::Nowhere => Ok(None),
        };
        let why = match wrong {
            Ok(None) => return None,
            Ok(Some(why)) => why.to_owned(),
            Err(error) if error.errno == nix::errno::Errno::ENOENT => "is missing".to_owned(),
            Err(error) => error.to_string(),
        };
        Some((path.clone(), why))
    }

    /// Puts a path and the folders above it among those that belong in the tree.
    fn expect(&mut self, mut path: &[u8]) {
        while self.expected.insert(self.known.paths.hash_one(path)) && !path.is_empty() {
            path = parent_of(path);
        }
    }

    /// Whether the index gives an entry the owner it has.
    fn owned(&mut self, path: &[u8], entry: &Entry) -> Option<&'static str> {
        let indexed = self.owners.remove(path).map(|owner| (owner.uid, owner.gid, owner.mode));
        let foreign = (entry.uid, entry.gid) != (0, 0);
        let expected = foreign.then_some((entry.uid, entry.gid, entry.mode));
        (indexed != expected).then_some("has another owner in the index than in the image")
    }

    /// Whether a file or folder has the attributes of the user's that were set, and no others.
    fn has_its_attributes(&mut self, path: &[u8], entry: &Entry) -> Result<bool, sys::Error> {
        let there = in_folder(path);
        let hash = self.known.paths.hash_one(path);
        let mut wanted = BTreeMap::new();
        for (name, value) in self.earlier.remove(&hash).iter().flatten().chain(&entry.xattrs) {
            let set = name.starts_with(b"user.")
                && !self.aside.contains(&self.known.paths.hash_one((path, &name[..])));
            if set {
                wanted.insert(name.clone(), value.clone());
            }
        }
        let any = |folder: BorrowedFd<'_>, name: &[u8]| {
            fd::has_xattrs_of(fd::openat(folder, name, OFlag::O_PATH, 0)?.as_fd(), b"user.")
        };
        if wanted.is_empty() && !self.access.at(&there, any)? {
            return Ok(true);
        }
        let found = match entry.kind {
            Kind::Folder => self.access.at_folder(&there, fd::xattrs)?,
            _ => match fd::xattrs(self.access.open(&there)?.as_fd()) {
                // not to be read while the file is closed: then it is only known that there are some
                Err(error) if error.errno == nix::errno::Errno::EACCES => return Ok(!wanted.is_empty()),
                found => found?,
            },
        };
        // how overlayfs is told what is hidden is looked at elsewhere
        let hiding: &[u8] = if entry.kind == Kind::Folder { b"user.overlay.opaque" } else { b"" };
        let ours = |(name, _): &Xattr| name.starts_with(b"user.") && name != hiding;
        Ok(found.into_iter().filter(ours).eq(wanted))
    }

    fn inode(&mut self, path: &[u8], entry: &Entry, size: u64) -> Result<Option<&'static str>, sys::Error> {
        let there = in_folder(path);
        let found = self.access.at(&there, fd::stat_at)?;
        let format = found.st_mode & libc::S_IFMT;
        let wanted = match entry.kind {
            Kind::File | Kind::Other(_) => libc::S_IFREG,
            Kind::Folder => libc::S_IFDIR,
            Kind::Symlink => libc::S_IFLNK,
            Kind::Fifo => libc::S_IFIFO,
            Kind::HardLink if format == libc::S_IFREG && !self.linked.contains(&found.st_ino) => {
                return Ok(Some("is no longer a link to the file it was"));
            }
            Kind::HardLink if format == libc::S_IFDIR => return Ok(Some("is of another kind")),
            _ => return Ok(None),
        };
        if format != wanted {
            return Ok(Some("is of another kind"));
        }
        if format == libc::S_IFLNK {
            let target = self.access.at(&there, fd::readlinkat)?;
            return Ok((target != entry.target).then_some("leads elsewhere"));
        }
        if format == libc::S_IFREG && found.st_nlink > 1 {
            self.linked.insert(found.st_ino);
        }
        // the rights `access` gives the owner for a moment, and a crash may leave
        let lent = if format == libc::S_IFDIR { 0o700 } else { 0o400 };
        let differs = |mode: u32| (mode ^ entry.mode) & !(lent & mode) & 0o7777 != 0;
        if differs(found.st_mode) {
            return Ok(Some("has other permissions"));
        }
        if found.st_mode & 0o7777 != entry.mode {
            // what is still so when nobody lends was left
            self.access.locked(&there, |folder, name| {
                let handle = fd::openat(folder, name, OFlag::O_PATH, 0)?;
                match fd::mode(handle.as_fd())? {
                    mode if mode == entry.mode || differs(mode) => Ok(()),
                    _ => fd::chmod_handle(handle.as_fd(), entry.mode),
                }
            })?;
        }
        if format == libc::S_IFREG {
            if u64::try_from(found.st_size) != Ok(size) {
                return Ok(Some("has another size"));
            }
            // times beyond those of every file system are cut by some
            let time = entry.modified.tv_sec();
            if (0..1 << 31).contains(&time) && found.st_mtime != time {
                return Ok(Some("has another time of change"));
            }
        }
        let has_any = matches!(entry.kind, Kind::File | Kind::Folder);
        if has_any && !self.has_its_attributes(path, entry)? {
            return Ok(Some("has other attributes"));
        }
        Ok(None)
    }

    /// A whiteout stands at `path`, or something of this layer, or its folder hides everything.
    fn hides(&mut self, path: &[u8]) -> Result<Option<&'static str>, sys::Error> {
        match self.access.at(&in_folder(path), fd::stat_at) {
            Err(error) if error.errno == nix::errno::Errno::ENOENT => {
                Ok((!self.is_opaque(parent_of(path))?).then_some("shows what it is to hide"))
            }
            // a folder in the place of one that it hides
            Ok(found) if found.st_mode & libc::S_IFMT == libc::S_IFDIR => {
                self.hiding.insert(self.known.paths.hash_one(path));
                Ok((!self.is_opaque(path)?).then_some("shows what it is to hide"))
            }
            there => there.map(|_| None),
        }
    }

    fn is_opaque(&mut self, path: &[u8]) -> Result<bool, sys::Error> {
        let path = [&in_folder(path), &b"/"[..]].concat();
        let mut is =
            |folder: BorrowedFd<'_>, _: &[u8]| Ok(fd::has_xattr(folder, c"user.overlay.opaque", b"y"));
        // a no may come of what another reader lent and took back
        Ok(self.access.at(&path, &mut is)? || self.access.locked(&path, is)?)
    }

    /// What is in the tree without an entry.
    fn find_strangers(&mut self, found: &mut Vec<Damage>) -> Result<(), Error> {
        let mut todo = vec![Vec::new()];
        while let Some(path) = todo.pop() {
            if !self.hiding.contains(&self.known.paths.hash_one(&path[..]))
                && self.is_opaque(&path).unwrap_or(false)
            {
                let why = "hides what it is to show".into();
                found.push(Damage { entry: Some(shown(&path)), why });
            }
            let names = self.access.at_folder(&in_folder(&path), |folder| fd::names(folder, usize::MAX));
            let names = match names {
                Ok(names) => names,
                Err(error) => {
                    found.push(Damage { entry: Some(shown(&path)), why: error.to_string() });
                    continue;
                }
            };
            for name in names {
                let below = if path.is_empty() { name } else { [&path[..], b"/", &name].concat() };
                if !self.expected.contains(&self.known.paths.hash_one(&below[..])) {
                    found.push(Damage { entry: Some(shown(&below)), why: "does not belong there".into() });
                } else if self.is_folder(&below) {
                    todo.push(below);
                }
            }
        }
        Ok(())
    }

    fn is_folder(&mut self, path: &[u8]) -> bool {
        self.access
            .at(&in_folder(path), fd::stat_at)
            .is_ok_and(|found| found.st_mode & libc::S_IFMT == libc::S_IFDIR)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::store::listing::layer;

    const LISTING: &str = "d 755 d\nf 000 d/closed secret\nd 000 shut\nd 755 shut/up\nf 644 shut/up/file x\n\
        f 644 a one | mtime=7\nh b a\nl l d\nl dead nowhere\np 600 fifo\nf 644 d/.wh.gone \nd 700 e\nf 644 e/x y\n\
        d 755 o\nf 644 o/.wh..wh..opq \nf 600 o/x z\n\
        f 644 owned x | uid=7\nf 644 noted x | user.note=one security.capability=y\nf 0 shy x | user.note=one\nd 755 e | user.note=a\n\
        f 644 .wh.renewed \nd 755 renewed\nc 600 null 1:3";

    fn made() -> (tempfile::TempDir, Store, Digest) {
        made_of(LISTING)
    }

    fn made_of(listing: &str) -> (tempfile::TempDir, Store, Digest) {
        let place = tempfile::tempdir().unwrap();
        let store = Store::open(&place.path().join("store")).unwrap();
        let tar = layer(listing);
        let hold = store.hold(&mut |_| {}).unwrap();
        let lock = store.take_layer(&hold, &Digest::of(&tar));
        let layer = store.publish_layer(store.unpack_layer(&lock, &tar[..]).unwrap()).unwrap().diff_id;
        (place, store, layer)
    }

    #[test]
    fn all_that_differs_is_named() {
        let chmod = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let set = |path: &Path, name: &str, value: &str| {
            let file = fs::File::open(path).unwrap();
            fd::fsetxattr(file.as_fd(), name.as_bytes(), value.as_bytes()).unwrap();
        };
        let index = |tree: &Path, from: &str, to: &str| {
            let path = tree.join("../index");
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains(from), "{text}");
            fs::write(path, text.replace(from, to)).unwrap();
        };
        type Break<'a> = &'a dyn Fn(&Path);
        let breaks: &[(Break<'_>, &[&str])] = &[
            (&|_| {}, &[]),
            (&|tree| fs::write(tree.join("a"), "onE").unwrap(), &["a has other bytes"]),
            (&|tree| fs::remove_file(tree.join("b")).unwrap(), &["b is missing"]),
            (
                &|tree| {
                    fs::remove_file(tree.join("b")).unwrap();
                    fs::write(tree.join("b"), "one").unwrap();
                },
                &["b is no longer a link to the file it was"],
            ),
            (
                &|tree| fs::rename(tree.join("e/x"), tree.join("e/y")).unwrap(),
                &["e/x is missing", "e/y does not belong there"],
            ),
            (&|tree| chmod(&tree.join("d"), 0o777), &["d has other permissions"]),
            (&|tree| chmod(&tree.join("a"), 0o4644), &["a has other permissions"]),
            (
                &|tree| {
                    fs::remove_file(tree.join("l")).unwrap();
                    symlink("/etc", tree.join("l")).unwrap();
                },
                &["l leads elsewhere"],
            ),
            (
                &|tree| {
                    fs::remove_file(tree.join("fifo")).unwrap();
                    fs::write(tree.join("fifo"), "").unwrap();
                },
                &["fifo is of another kind"],
            ),
            (&|tree| fs::remove_file(tree.join("d/gone")).unwrap(), &["d/gone shows what it is to hide"]),
            (&|tree| fs::write(tree.join("shut-not"), "").unwrap(), &["shut-not does not belong there"]),
            (&|tree| set(&tree.join("e"), "user.overlay.opaque", "y"), &["e hides what it is to show"]),
            (&|tree| set(tree, "user.overlay.opaque", "y"), &["hides what it is to show"]),
            (&|tree| set(&tree.join("a"), "user.overlay.metacopy", ""), &["a has other attributes"]),
            (&|tree| set(&tree.join("noted"), "user.note", "two"), &["noted has other attributes"]),
            (&|tree| index(tree, "f 644 7 0 - owned\n", ""), &["owned has another owner", "as many owners"]),
            (&|tree| index(tree, "f 644 7 0 - owned\n", "f 644 8 0 - owned\n"), &["owned has another owner"]),
            (
                &|tree| index(tree, "f 644 7 0 - owned\n", "f 644 7 0 - owned\nf 644 1 0 - e/x\n"),
                &["e/x has another owner", "as many owners"],
            ),
            (
                &|tree| index(tree, "f 644 7 0 - owned\n", "f 644 7 0 - owned\nf 644 1 0 - nothing\n"),
                &["nothing has an owner", "as many owners"],
            ),
            (&|tree| fs::remove_file(tree.join("../framing")).unwrap(), &["cannot open"]),
            (&|tree| fs::write(tree.join("../framing"), "x").unwrap(), &["framing is damaged"]),
            (&|tree| fs::write(tree.join("../meta"), "x").unwrap(), &["meta is damaged"]),
            (&|tree| fs::write(tree.join("../index"), "x").unwrap(), &["index is damaged"]),
        ];
        for (damage, expected) in breaks {
            let (_place, store, layer) = made();
            damage(&store.layer_tree(&layer));
            let found = store.verify_layer(&layer, &mut |_| {});
            let found: Vec<String> = found
                .into_iter()
                .map(|damage| format!("{} {}", damage.entry.unwrap_or_default(), damage.why))
                .collect();
            assert_eq!(found.len(), expected.len(), "{found:?} {expected:?}");
            for words in *expected {
                assert!(found.iter().any(|found| found.contains(words)), "{found:?} {words}");
            }
        }
    }

    #[test]
    fn rights_lent_for_a_moment_are_taken_back() {
        let (_place, store, layer) = made();
        let tree = store.layer_tree(&layer);
        for (path, mode) in [("d/closed", 0o400), ("shut", 0o500)] {
            fs::set_permissions(tree.join(path), fs::Permissions::from_mode(mode)).unwrap();
        }
        assert_eq!(store.verify_layer(&layer, &mut |_| {}), []);
        for path in ["d/closed", "shut"] {
            let mode = fs::symlink_metadata(tree.join(path)).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0, "{path}");
        }
    }

    #[test]
    fn readers_at_the_same_time_leave_each_other_their_rights() {
        let (_place, store, layer) = made();
        let mode = |path| {
            fs::symlink_metadata(store.layer_tree(&layer).join(path)).unwrap().permissions().mode() & 0o7777
        };
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        assert_eq!(store.verify_layer(&layer, &mut |_| {}), []);
                        store.layer_tar(&layer).unwrap().read_to_end(&mut Vec::new()).unwrap();
                    }
                });
            }
        });
        assert_eq!((mode("d/closed"), mode("shut")), (0, 0));
    }

    #[test]
    fn what_a_link_passes_by_is_not_made() {
        let (place, store, layer) = made_of("l a outside/none\nl l a/../b\nf 644 l/x y");
        let tree = store.layer_tree(&layer);
        assert_eq!(fs::read(tree.join("outside/b/x")).unwrap(), b"y");
        assert!(!tree.join("outside/none").exists());
        assert_eq!(store.verify_layer(&layer, &mut |_| {}), []);
        drop(place);
    }

    #[test]
    fn progress_is_told_in_bytes() {
        let (_place, store, layer) = made();
        let mut bytes = 0;
        store.verify_layer(&layer, &mut |more| bytes += more);
        assert_eq!(bytes, store.meta(&layer).unwrap().tar_bytes);
    }
}

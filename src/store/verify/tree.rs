//! The tree of a layer, held against the entries it was made of: one after the other, and at last all that is there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::fcntl::OFlag;

use super::Damage;
use crate::store::access::Access;
use crate::store::archive::{Entry, Kind};
use crate::store::error::{At, Error, shown};
use crate::store::framing::{Place, Records};
use crate::store::index::{self, Owner};
use crate::store::layer_tar::Moves;
use crate::sys::fd::Xattr;
use crate::sys::{self, fd};

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

pub(super) struct Tree {
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
    /// That of the layer in `folder`.
    pub(super) fn open(folder: &Path) -> Result<Self, Error> {
        Ok(Self {
            access: Access::new(folder).at("open", folder)?,
            known: Known::read(&mut Records::open(folder)?)?,
            linked: HashSet::new(),
            expected: HashSet::new(),
            owners: HashMap::new(),
            aside: HashSet::new(),
            earlier: HashMap::new(),
            hiding: HashSet::new(),
        })
    }

    /// Lets others have what was lent to look at an entry: the archive may want to lend.
    pub(super) fn give_back(&mut self) {
        self.access.give_back();
    }

    /// Owners in the index that no entry had.
    pub(super) fn strange_owners(&self) -> impl Iterator<Item = &[u8]> {
        self.owners.keys().map(Vec::as_slice)
    }

    /// Takes in the index; how many lines of it have an owner.
    pub(super) fn read_index(&mut self, path: &Path) -> Result<u64, Error> {
        let (aside, paths) = (&mut self.aside, &self.known.paths);
        let (owners, count) = index::read(path, &mut |path, name, _| {
            aside.insert(paths.hash_one((path, name)));
        })?;
        self.owners =
            owners.into_iter().map(|owner| (owner.path.as_os_str().as_bytes().to_vec(), owner)).collect();
        Ok(count)
    }

    /// Compares one entry with what stands at its place; the path and what is wrong there.
    pub(super) fn compare(
        &mut self,
        number: u64,
        place: &Place,
        entry: &Entry,
        size: u64,
    ) -> Option<(Vec<u8>, String)> {
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
    pub(super) fn find_strangers(&mut self, found: &mut Vec<Damage>) -> Result<(), Error> {
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

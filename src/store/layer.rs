//! Layers by diff_id: whether one is here, who unpacks it, and how it gets its name.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};

use super::error::{At, Error};
use super::index::{self, Owner};
use super::lock::{Holder, Lock};
use super::tree::remove_tree;
use super::unpack::{self, Tally};
use super::{Hold, Store};
use crate::cancel::Cancel;
use crate::oci::digest::Digest;
use crate::sys;

/// The right to unpack one layer; others who want the same one wait.
#[derive(Debug)]
pub struct LayerLock {
    diff_id: Digest,
    _lock: Lock,
}

/// A layer unpacked but not yet published. Dropped, it is removed.
#[derive(Debug)]
pub struct Staged<'a> {
    /// What is kept about the layer once published.
    pub meta: Meta,
    lock: &'a LayerLock,
    draft: Draft,
}

/// What is kept about a layer beside its tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The digest of all bytes of the uncompressed layer.
    pub diff_id: Digest,
    /// How many bytes those are.
    pub tar_bytes: u64,
    /// What they held.
    #[serde(flatten)]
    pub tally: Tally,
    /// The boot it was unpacked in.
    pub boot_id: String,
}

impl Store {
    /// Where the tree of a layer stands, whether or not it is there: a lower of an overlay.
    pub fn layer_tree(&self, diff_id: &Digest) -> PathBuf {
        self.layer_folder(diff_id).join("tree")
    }

    /// Whether the layer is here and known to be whole: on the disk, or unpacked since this boot.
    pub fn has_layer(&self, diff_id: &Digest) -> bool {
        let folder = self.layer_folder(diff_id);
        let durable = || folder.join("durable").exists() && folder.join("meta").exists();
        let of_this_boot = || self.meta(diff_id).is_ok_and(|meta| Some(&meta.boot_id) == self.boot_id());
        !self.doubts(diff_id) && (durable() || of_this_boot())
    }

    /// What is kept about a layer that is here.
    pub fn meta(&self, diff_id: &Digest) -> Result<Meta, Error> {
        let path = self.layer_folder(diff_id).join("meta");
        let bytes = fs::read(&path).at("read", &path)?;
        serde_json::from_slice(&bytes).map_err(|error| Error::Damaged { path, why: error.to_string() })
    }

    /// Entries of a layer whose owner in the image is not 0:0, with that owner.
    pub fn foreign_owners(&self, diff_id: &Digest) -> Result<Vec<Owner>, Error> {
        index::foreign_owners(&self.layer_folder(diff_id).join("index"))
    }

    /// Takes the right to unpack a layer. When someone else has it for longer than a second, `waiting` is
    /// called once; afterwards [`Store::has_layer`] most likely holds. `None` when the wait was cancelled.
    pub fn lock_layer(
        &self,
        _hold: &Hold,
        diff_id: &Digest,
        cancel: &Cancel,
        waiting: &mut dyn FnMut(Holder),
    ) -> Result<Option<LayerLock>, Error> {
        let path = self.staging().join(format!("{}.lock", diff_id.hex()));
        let lock = Lock::alone(&path, cancel, waiting)?;
        Ok(lock.map(|lock| LayerLock { diff_id: *diff_id, _lock: lock }))
    }

    /// The right to unpack a layer that nobody else wants.
    #[cfg(test)]
    pub(crate) fn take_layer(&self, hold: &Hold, diff_id: &Digest) -> LayerLock {
        self.lock_layer(hold, diff_id, &Cancel::default(), &mut |_| {}).unwrap().unwrap()
    }

    /// Unpacks the uncompressed layer `tar` aside, reading it to its end whatever follows the archive.
    ///
    /// Hostile bytes end in an error and touch nothing outside the staging folder, which is removed. An error
    /// of `tar` comes back untouched as [`Error::Input`].
    pub fn unpack_layer<'a>(&self, lock: &'a LayerLock, tar: impl Read) -> Result<Staged<'a>, Error> {
        let boot_id = self.this_boot()?;
        let draft = Draft::create(self.staging().join(format!("{}.new", lock.diff_id.hex())))?;
        let (diff_id, tar_bytes, tally) = self.unpack_into(&draft, tar)?;
        Ok(Staged { meta: Meta { diff_id, tar_bytes, tally, boot_id }, lock, draft })
    }

    /// Gives an unpacked layer its name, by one rename; refuses it when its digest is not the one locked.
    pub fn publish_layer(&self, staged: Staged<'_>) -> Result<Meta, Error> {
        let Staged { meta, lock, mut draft } = staged;
        if meta.diff_id != lock.diff_id {
            return Err(Error::WrongDigest { expected: lock.diff_id, found: meta.diff_id });
        }
        let replacing = self.replacing(&meta.diff_id)?;
        self.give_name(&meta, &mut draft)?;
        if let Some(replacing) = replacing {
            replacing.done(&meta.diff_id);
        }
        Ok(meta)
    }

    /// Unpacks a layer whose digest nobody knows yet, and gives it its name. One that is here already is kept.
    ///
    /// Fails as [`Store::unpack_layer`] does.
    pub fn add_layer(&self, hold: &Hold, tar: impl Read) -> Result<Meta, Error> {
        let boot_id = self.this_boot()?;
        let mut draft = Draft::create(self.staging().join(format!("commit-{}.new", std::process::id())))?;
        let (diff_id, tar_bytes, tally) = self.unpack_into(&draft, tar)?;
        let meta = Meta { diff_id, tar_bytes, tally, boot_id };
        let _lock = self.lock_layer(hold, &diff_id, &Cancel::default(), &mut |_| {})?;
        if !self.has_layer(&diff_id) {
            self.give_name(&meta, &mut draft)?;
        }
        Ok(meta)
    }

    fn unpack_into(&self, draft: &Draft, tar: impl Read) -> Result<(Digest, u64, Tally), Error> {
        unpack::unpack(&draft.path, draft.folder.as_fd(), tar).map_err(|error| match error {
            // the draft is about to go: what is full is the store's disk
            Error::NoSpace { .. } => Error::NoSpace { path: self.root.clone() },
            error => error,
        })
    }

    /// One rename, in place of what has the name.
    fn give_name(&self, meta: &Meta, draft: &mut Draft) -> Result<(), Error> {
        let path = draft.path.join("meta");
        let text = serde_json::to_vec(meta).map_err(io::Error::other).at("write", &path)?;
        fs::write(&path, text).at("write", &path)?;
        let folder = self.layer_folder(&meta.diff_id);
        let former = self.set_aside(&meta.diff_id)?;
        if let Err(error) = fs::rename(&draft.path, &folder) {
            // what was there is better than nothing
            let _ = former.map(|former| fs::rename(former, &folder));
            return Err(error).at("make", &folder);
        }
        draft.published = true;
        former.map_or(Ok(()), |former| remove_tree(&former))
    }

    /// Writes all layers and stacks of this boot through to the disk and marks them durable; gives how many there were.
    ///
    /// May take long on a busy disk, so it belongs where no one waits.
    pub fn sync(&self) -> Result<usize, Error> {
        // one in doubt stays so: what it lost in an earlier boot no write brings back
        let layers = self.layers()?.into_iter().filter(|layer| self.has_layer(layer));
        let stacks = self.stacks()?.into_keys().filter(|id| self.has_stack(id));
        let here =
            layers.map(|layer| self.layer_folder(&layer)).chain(stacks.map(|id| self.stack_folder(&id)));
        let mut folders = Vec::new();
        for path in here.filter(|folder| !folder.join("durable").exists()) {
            // by handle: one that is replaced meanwhile has files we know nothing of
            match File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                folder => {
                    let folder = folder.at("open", &path)?;
                    folders.push((path, folder));
                }
            }
        }
        if let Some((_, folder)) = folders.first() {
            sys::fd::syncfs(folder).at("write", &self.root)?;
        }
        for (path, folder) in &folders {
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT;
            sys::fd::openat(folder.as_fd(), b"durable", flags, 0o600).at("make", &path.join("durable"))?;
        }
        Ok(folders.len())
    }

    /// Removes what interrupted commands left behind, unless one is at work now.
    pub fn sweep(&self) -> Result<(), Error> {
        let Some(_alone) = Lock::try_exclusive(&self.root.join("lock"))? else { return Ok(()) };
        self.empty_staging()
    }

    /// To be called with the store to ourselves.
    pub(super) fn empty_staging(&self) -> Result<(), Error> {
        let path = self.staging();
        for entry in fs::read_dir(&path).at("read", &path)? {
            remove_tree(&entry.at("read", &path)?.path())?;
        }
        Ok(())
    }

    /// All layers with a name, whole or not.
    pub fn layers(&self) -> Result<Vec<Digest>, Error> {
        let path = self.root.join("layers/sha256");
        let mut layers = Vec::new();
        for entry in fs::read_dir(&path).at("read", &path)? {
            let name = entry.at("read", &path)?.file_name();
            layers.extend(name.to_str().and_then(|name| Digest::from_hex(name).ok()));
        }
        Ok(layers)
    }

    /// Takes the layer's name away at once, then its files.
    pub(super) fn drop_layer(&self, diff_id: &Digest) -> Result<(), Error> {
        self.set_aside(diff_id)?.map_or(Ok(()), |aside| remove_tree(&aside))
    }

    /// Takes the layer's name away; where its files are now, if there were any. What was merged of it goes first.
    fn set_aside(&self, diff_id: &Digest) -> Result<Option<PathBuf>, Error> {
        self.drop_stacks_of(diff_id)?;
        let folder = self.layer_folder(diff_id);
        let aside = self.staging().join(format!("{}.old", diff_id.hex()));
        remove_tree(&aside)?;
        match fs::rename(&folder, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            moved => moved.at("remove", &folder).map(|()| Some(aside)),
        }
    }

    pub(super) fn this_boot(&self) -> Result<String, Error> {
        self.boot_id().cloned().ok_or_else(|| Error::File {
            action: "read",
            path: BOOT_ID.into(),
            source: io::ErrorKind::NotFound.into(),
        })
    }

    pub(super) fn boot_id(&self) -> Option<&String> {
        let read = || fs::read_to_string(BOOT_ID).ok().map(|text| text.trim().to_owned());
        self.boot_id.get_or_init(read).as_ref()
    }
}

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A folder in staging, removed unless it was published.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) path: PathBuf,
    folder: OwnedFd,
    pub(super) published: bool,
}

impl Draft {
    /// Makes the folder, in place of what an interrupted command left there.
    pub(super) fn create(path: PathBuf) -> Result<Self, Error> {
        remove_tree(&path)?;
        fs::DirBuilder::new().mode(0o700).create(&path).at("make", &path)?;
        let folder = File::open(&path).at("open", &path)?.into();
        Ok(Self { path, folder, published: false })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.published {
            // what can't be removed now is swept later
            let _ = remove_tree(&self.path);
        }
    }
}

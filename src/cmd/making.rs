//! What a box stands on: its record, its image and its layers, each made or fetched when it is missing.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::opening::Opening;
use super::rebase::{Standing, ensure_movable, rebase};
use super::setup::{Ground, Steps, Wish};
use crate::cli::PullPolicy;
use crate::error::{Error, LockError, SetupError};
use crate::oci::config::ImageConfig;
use crate::oci::digest::Digest;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::plan::{Image, Origin};
use crate::profile::PROJECT_FILE;
use crate::pull;
use crate::rootfs::lookup::Merged;
use crate::rootfs::{self, ForeignOwner};
use crate::session::{Boxes, Record};
use crate::store::{Holder, Image as Stored, Lower, Stacking, Store};
use crate::ui::Ui;

/// A box to start, and its lock when this devbox just made it.
pub(super) struct Made {
    pub(super) record: Record,
    pub(super) lock: Option<OwnedFd>,
}

/// Tells why a start takes longer.
struct Merging<'a> {
    ui: &'a Ui,
    name: &'a str,
    merged: bool,
}

impl Stacking for Merging<'_> {
    fn waiting(&mut self, holder: Holder) {
        self.ui.note(&format!("waiting for {holder}"));
    }

    fn merging(&mut self, layers: usize) {
        self.merged = true;
        let name = self.name;
        self.ui.note(&format!(
            "box `{name}` has more layers than the kernel takes; the lowest {layers} are merged, once"
        ));
    }
}

/// What a record stands on, in words.
fn what(record: &Record) -> String {
    let Record { image, manifest, base, setup, .. } = record;
    let digest = base.or(*manifest).map(|digest| digest.short()).unwrap_or_default();
    let setup = setup.map(|key| format!(" with set-up {}", key.short())).unwrap_or_default();
    format!("{image} ({digest}){setup}")
}

/// Whether a record's `layers` are the locked ones: those of the `image` and, above them, those of the `setup`. The lowest are
/// left out of a record where a layer hides all below it.
fn is_as_locked(layers: &[Digest], image: &[Digest], setup: &[Digest]) -> bool {
    layers.len() >= setup.len() && [image, setup].concat().ends_with(layers)
}

impl Opening<'_> {
    /// The box's record: read, or made with the image it needs.
    pub(super) fn make(&self, boxes: &Boxes) -> Result<Made, Error> {
        let name = &self.plan.name;
        let wanted = self.plan.image.to_string();
        if let Some(record) = boxes.load(name)? {
            if record.step.is_some() {
                return Err(SetupError::OfStep(name.clone()).into());
            }
            if self.ephemeral {
                return Err(Error::NotThrowAway(name.clone()));
            }
            if record.isolation != self.plan.isolation {
                let (made_for, wanted) = (record.isolation, self.plan.isolation);
                return Err(Error::OtherIsolation { name: name.clone(), made_for, wanted });
            }
            self.check_project(&record)?;
            if self.pull == PullPolicy::Always || self.pull == PullPolicy::Newer {
                self.ui.note(&format!(
                    "box `{name}` keeps the image it was made from and nothing is fetched; `devbox update {name}` puts it over the newest"
                ));
            }
            if record.image != wanted {
                return Err(Error::OtherImage { name: name.clone(), made_from: record.image, wanted });
            }
            // it was changed while we were at work
            let Some(record) = self.follow(boxes, record)? else { return self.make(boxes) };
            return Ok(Made { record, lock: None });
        }
        super::require_its_ids(&self.plan)?;
        let mut record = Record {
            name: name.clone(),
            image: wanted,
            profiles: self.plan.profiles.clone(),
            project: self.plan.project.clone(),
            // what is to be applied must not be swept away by another devbox before it is
            ephemeral: self.ephemeral && !self.after.takes(),
            user: Some(self.plan.user.to_string()),
            ids: Some(self.plan.ids.to_string()),
            isolation: self.plan.isolation,
            fork_of: self.fork_of.clone(),
            ..Record::default()
        };
        let store = Store::open(&self.dirs.store())?;
        // Nothing is removed from the store between the look at its layers and the box's record.
        let _hold = store.hold(&mut |holder| self.ui.note(&format!("waiting for {holder}")))?;
        match &self.plan.image {
            Image::Registry(_) | Image::Files(_) => self.add_image(&store, &mut record)?,
            Image::Folder(path) => drop(rootfs::folder::lower(path, &self.dirs.boxes())?),
            Image::Host => {}
        }
        self.choose_driver(&mut record);
        boxes.sweep(|| super::full_maps(&self.host));
        self.ui.detail(&format!("box `{name}` is made"));
        let (record, lock) = boxes.create(record)?;
        Ok(Made { record, lock })
    }

    /// Folders of the same name give boxes of the same name, and projects must not share one unasked.
    fn check_project(&self, record: &Record) -> Result<(), Error> {
        let (Some(theirs), Some(ours)) = (record.profiles.last(), self.plan.profiles.last()) else {
            return Ok(());
        };
        let is_project = |origin: &Origin| origin.name == PROJECT_FILE;
        // A project that was moved keeps its box.
        if is_project(theirs)
            && is_project(ours)
            && theirs.from != ours.from
            && Path::new(&theirs.from).exists()
        {
            return Err(Error::OtherProject { name: record.name.clone(), file: theirs.from.clone() });
        }
        Ok(())
    }

    /// Puts a box over what the lock and the set-up want below it, where that is something else by now and it does not run.
    /// None when somebody else changed or replaced it meanwhile.
    fn follow(&self, boxes: &Boxes, record: Record) -> Result<Option<Record>, Error> {
        // one that came from another machine has its set-up, and no profile to say so
        if self.plan.profiles.is_empty() && record.profiles.is_empty() {
            return Ok(Some(record));
        }
        let Some(stands_on) = record.base.or(record.manifest) else { return Ok(Some(record)) };
        let base = self.plan.pin.as_ref().map_or(stands_on, |pin| pin.manifest);
        let steps = match Steps::of(&self.plan, &base) {
            // what a step reads is gone or unfit: no reason to lock somebody out of what is there
            Err(error)
                if !self.plan.locked && (record.setup.is_some() || boxes.is_running(&record.name)?) =>
            {
                let why = std::error::Error::source(&error).map(|why| format!(" ({why})"));
                self.ui.warning(&format!(
                    "{error}{}; box `{}` stays over what it is over",
                    why.unwrap_or_default(),
                    record.name
                ));
                return Ok(Some(record));
            }
            steps => steps?,
        };
        let pin = self.plan.pin.as_ref().filter(|_| self.plan.locked);
        let as_locked = pin.is_none_or(|pin| {
            let own = steps.locked_in(pin);
            own.is_some_and(|own| is_as_locked(&record.layers, &pin.layers, own))
        });
        if stands_on == base && record.setup == steps.key() && as_locked {
            return Ok(Some(record));
        }
        let name = &record.name;
        if boxes.is_running(name)? {
            if self.plan.locked {
                return Err(LockError::RunsOverOther { name: name.clone() }.into());
            }
            self.ui.note(&format!(
                "box `{name}` runs over another image or set-up than is asked for now; `devbox stop {name}` and entering again puts it over that"
            ));
            return Ok(Some(record));
        }
        if self.hook.is_some() {
            self.ui.note(&format!(
                "box `{name}` is over another image or set-up than is asked for now; `devbox enter` puts it over that"
            ));
            return Ok(Some(record));
        }
        match ensure_movable(boxes, &record) {
            Err(error) if !self.plan.locked => {
                let hint = error.hint().unwrap_or_default();
                self.ui.warning(&format!("{error}, though another image or set-up is asked for now; {hint}"));
                return Ok(Some(record));
            }
            movable => movable?,
        }
        let store = Store::open(&self.dirs.store())?;
        // Nothing is removed from the store between the look at its layers and the box's record.
        let _hold = store.hold(&mut |holder| self.ui.note(&format!("waiting for {holder}")))?;
        let mut new = record.clone();
        self.stand_on(&store, &mut new, Some(base), Wish::default())?;
        let _lock = boxes.lock_stopped(name)?;
        // all that was found out above is of the box as it was then, and of no other of its name
        if boxes.load(name)?.as_ref() != Some(&record) {
            return Ok(None);
        }
        let standing = Standing { force: false, locked: self.plan.pin.is_some() };
        match rebase(self.ui, self.dirs, boxes, &record, &new, standing) {
            // what is in it must be in reach, to be kept or taken away
            Err(error @ Error::Conflicts { .. }) if !self.plan.locked => {
                let hint = error.hint().unwrap_or_default();
                self.ui
                    .warning(&format!("{error}, so it is not over {} as asked for now; {hint}", what(&new)));
                return Ok(Some(record));
            }
            moved => moved?,
        }
        self.ui.note(&format!("box `{name}` is over {} now, with all that it wrote itself", what(&new)));
        Ok(Some(new))
    }

    /// Brings the plan's image, set up, and makes it that of the record.
    pub(super) fn add_image(&self, store: &Store, record: &mut Record) -> Result<(), Error> {
        let pinned = self.plan.pin.as_ref().map(|pin| pin.manifest);
        self.stand_on(store, record, pinned, Wish::default())
    }

    /// The same with the image of the manifest `base`; of whatever its name stands for where there is none.
    pub(super) fn stand_on(
        &self,
        store: &Store,
        record: &mut Record,
        base: Option<Digest>,
        wish: Wish,
    ) -> Result<(), Error> {
        let image = self.base(store, &record.image, base)?;
        let Ground { image, base, key, unlike_lock, .. } = self.ground(store, image, wish)?;
        if unlike_lock {
            self.ui.note(
                "this set-up was done here and is not the one in the lock: the same steps, other bytes; with `cache` in \
                 [setup] all have the same, and `devbox update` takes this one",
            );
        }
        record.manifest = Some(image.manifest_digest);
        record.layers = image.layers;
        record.defaults = ImageConfig::parse(&image.config)?.into();
        (record.base, record.setup) = (base, key);
        Ok(())
    }

    /// The image called `name`: of this manifest where one is given, else the one that the pull policy chooses.
    pub(super) fn base(&self, store: &Store, name: &str, manifest: Option<Digest>) -> Result<Stored, Error> {
        let fetch = || {
            let manifest = self.bring(store, name, manifest)?;
            store.image(&manifest)?.ok_or_else(|| Error::Vanished(name.to_owned()))
        };
        if let Some(manifest) = manifest {
            let here = store.image(&manifest)?;
            let whole = |image: &Stored| image.layers.iter().all(|layer| store.has_layer(layer));
            let image = match here.filter(whole) {
                Some(image) => image,
                None if self.pull == PullPolicy::Never => return Err(Error::NotHere(name.to_owned())),
                None => fetch().map_err(|error| self.perhaps_lost(error, name, manifest))?,
            };
            return match &self.plan.pin {
                Some(pin) if pin.layers != ImageConfig::parse(&image.config)?.diff_ids => {
                    Err(LockError::Contradicts { image: name.to_owned() }.into())
                }
                _ => Ok(image),
            };
        }
        let here = pull::here(store, name, &self.plan.platform.parse()?)?;
        Ok(match (self.pull, here) {
            (PullPolicy::Missing | PullPolicy::Never, Some(image)) => image,
            (PullPolicy::Never, None) => return Err(Error::NotHere(name.to_owned())),
            (PullPolicy::Newer, Some(image)) => match fetch() {
                Err(Error::Pull(error)) => {
                    self.ui.warning(&format!("{error} ({}); the image that is here is taken", error.why));
                    image
                }
                fetched => fetched?,
            },
            (PullPolicy::Missing | PullPolicy::Newer, None) | (PullPolicy::Always, _) => fetch()?,
        })
    }

    /// `error`, or, when the registry does not have what is locked any more, that.
    fn perhaps_lost(&self, error: Error, image: &str, manifest: Digest) -> Error {
        match error {
            Error::Pull(error) if self.plan.pin.is_some() && error.is_missing() => {
                LockError::Gone { image: image.to_owned(), manifest, source: error }.into()
            }
            error => error,
        }
    }

    /// Unpacked layers, topmost first. One that is gone, or that a power cut made doubtful, is fetched again: the box
    /// keeps its layers whatever became of the reference.
    pub(super) fn lowers(&self, record: &Record) -> Result<Vec<PathBuf>, Error> {
        if let Image::Folder(path) = &self.plan.image {
            return Ok(vec![rootfs::folder::lower(path, &self.dirs.boxes())?]);
        }
        if record.layers.is_empty() {
            return Ok(Vec::new());
        }
        let store = Store::open(&self.dirs.store())?;
        if !record.layers.iter().all(|layer| store.has_layer(layer)) {
            if self.pull == PullPolicy::Never {
                return Err(Error::NotHere(record.image.clone()));
            }
            self.ui.note(&format!("layers of box `{}` are missing; they are fetched again", record.name));
            self.bring(&store, &record.image, record.base.or(record.manifest))?;
            if let (Some(base), true) = (record.base, self.plan.setup.cache.is_some()) {
                self.fetch_results(&store, base)?;
            }
            if !record.layers.iter().all(|layer| store.has_layer(layer)) {
                let (name, image) = (record.name.clone(), record.image.clone());
                return Err(Error::OtherImageNow { name, image });
            }
        }
        Ok(self.stacked(&store, record)?.iter().map(Lower::tree).collect())
    }

    /// The box's layers, all here, as an overlay takes them.
    fn stacked(&self, store: &Store, record: &Record) -> Result<Vec<Lower>, Error> {
        let mut told = Merging { ui: self.ui, name: &record.name, merged: false };
        let lowers = store.lowers(&record.layers, rootfs::MOST_LAYERS, &mut told)?;
        if told.merged {
            super::sync_later(store)?;
        }
        Ok(lowers)
    }

    /// Brings the plan's image, called `name`, into the store; of a registry the one of this `digest`.
    fn bring(&self, store: &Store, name: &str, digest: Option<Digest>) -> Result<Digest, Error> {
        let platform: Platform = self.plan.platform.parse()?;
        let progress = self.ui.pulling(name);
        let pulled = match &self.plan.image {
            Image::Files(source) => pull::import(store, source, &platform, &progress)?,
            _ => {
                let reference: Reference = name.parse()?;
                let reference = match digest {
                    Some(_) => Reference { tag: None, digest, ..reference },
                    None => reference,
                };
                let request = pull::Request { reference: &reference, platform: &platform };
                pull::pull(store, self.dirs, request, &progress)?
            }
        };
        super::sync_later(store)?;
        Ok(pulled.manifest_digest)
    }

    /// Entries that belong to others than root, as the topmost layer that has them says.
    pub(super) fn owners(&self, record: &Record) -> Result<Vec<ForeignOwner>, Error> {
        let store = Store::open(&self.dirs.store())?;
        let lowers = self.stacked(&store, record)?;
        let failed = |path: PathBuf| {
            move |errno| rootfs::Error::File { what: "look into", path, source: io::Error::from(errno) }
        };
        let merged = Merged::open(lowers.iter().map(Lower::tree)).map_err(failed(self.dirs.store()))?;
        let mut owners = Vec::new();
        for (depth, lower) in lowers.iter().enumerate() {
            for owner in lower.foreign_owners()? {
                let covered = merged.is_covered(depth, &owner.path);
                if !covered.map_err(failed(lower.tree().join(&owner.path)))? {
                    owners.push(ForeignOwner {
                        path: PathBuf::from("/").join(&owner.path),
                        uid: owner.uid,
                        gid: owner.gid,
                        mode: owner.mode,
                        depth,
                    });
                }
            }
        }
        Ok(owners)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_as_locked() {
        let [a, b, c, d] = [b"a", b"b", b"c", b"d"].map(|text| Digest::of(text));
        let (image, setup) = ([a, b], [c, d]);
        assert!(is_as_locked(&[a, b, c, d], &image, &setup));
        assert!(is_as_locked(&[b, c, d], &image, &setup), "b hides a");
        assert!(is_as_locked(&[a, b], &image, &[]));
        for other in [&[d][..], &[a, b], &[a, b, c], &[b, a, c, d], &[a, b, c, d, d], &[a, b, d, c]] {
            assert!(!is_as_locked(other, &image, &setup), "{other:?}");
        }
    }
}

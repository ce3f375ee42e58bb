//! Set-up: steps that run once, each in a clean box over the image, and become its further layers.
//!
//! A result is an image like others, named by its key (`localhost/devbox/setup:KEY`); so it is shared, saved, counted and
//! removed as images are. The key of a step stands for the image below, all steps before it and itself, with the content of
//! the files it names: a change at one step leaves the results before it as they are.

mod exchange;
mod files;
mod output;
mod step;
mod surroundings;
mod verb;

use std::fs::{File, Metadata, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub(super) use files::judge;
pub(super) use verb::{at_failure, known, run};

use files::Content;

use super::opening::Opening;
use crate::cli::PullPolicy;
use crate::dirs::{self, Dirs};
use crate::error::{Error, SetupError};
use crate::oci::config::ImageConfig;
use crate::oci::digest::Digest;
use crate::plan::{Host, Ids, Pin, Plan, User};
use crate::session::{Boxes, Record};
use crate::store::{Image, RESULTS, Store};

/// An image with a set-up done, or one that wants none.
pub(super) struct Ground {
    pub(super) image: Image,
    /// The image the set-up was done to.
    pub(super) base: Option<Digest>,
    /// The key of its last step.
    pub(super) key: Option<Digest>,
    /// What that result is called.
    pub(super) name: Option<String>,
    /// Whether the lock has another result of the same steps.
    pub(super) unlike_lock: bool,
}

/// The steps of a plan over an image, with their keys and the files they see.
pub(super) struct Steps {
    /// A key a step.
    pub(super) keys: Vec<Digest>,
    files: Vec<Vec<Content>>,
}

impl Steps {
    /// Reads the files that steps name.
    pub(super) fn of(plan: &Plan, base: &Digest) -> Result<Self, Error> {
        let (mut keys, mut all): (Vec<Digest>, _) = (Vec::new(), Vec::new());
        for step in &plan.setup.steps {
            let contents = step.files.iter().map(|file| files::read_judged(plan, file));
            let contents = contents.collect::<Result<Vec<_>, _>>()?;
            let known: Vec<_> = contents.iter().map(|content| content.known).collect();
            keys.push(step.key(keys.last().unwrap_or(base), ids(plan), &known));
            all.push(contents);
        }
        Ok(Self { keys, files: all })
    }

    /// The key of the last step; none when there are no steps.
    pub(super) fn key(&self) -> Option<Digest> {
        self.keys.last().copied()
    }

    /// Whether `layers` under this `key` can be the result of these steps: theirs, a layer a step.
    pub(super) fn have(&self, key: &Digest, layers: &[Digest]) -> bool {
        self.key() == Some(*key) && layers.len() == self.keys.len()
    }

    /// The layers that `pin` has for these steps.
    pub(super) fn locked_in<'p>(&self, pin: &'p Pin) -> Option<&'p [Digest]> {
        if self.keys.is_empty() {
            return Some(&[]);
        }
        let found = pin.setups.iter().find(|(key, layers)| self.have(key, layers));
        found.map(|(_, layers)| layers.as_slice())
    }
}

/// How a set-up's ids are mapped: as the box's, for scripts of packages do other things where there are other users.
fn ids(plan: &Plan) -> Ids {
    match (plan.ids, &plan.user) {
        (Ids::Full, _) => Ids::Full,
        (_, User::Me | User::Root) => Ids::Single,
        (ids, _) => ids,
    }
}

/// On whose word a result, and with it all that was done over it, is what its key says. What a cache gave counts for those
/// who name that cache, and for nobody else: another project's is not to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word<'a> {
    /// It was done on this machine.
    Own,
    /// This cache's.
    Cache(&'a str),
}

/// Whose results `plan` takes, the best first.
pub(super) fn words(plan: &Plan) -> Vec<Word<'_>> {
    let cache = plan.setup.cache.as_deref().map(Word::Cache);
    std::iter::once(Word::Own).chain(cache).collect()
}

/// Whether a result of this key that `plan` takes is here.
pub(super) fn is_here(store: &Store, plan: &Plan, key: &Digest) -> Result<bool, Error> {
    Ok(taken(store, plan, key)?.is_some())
}

/// The result of this key that `plan` takes, when it is here.
fn taken(store: &Store, plan: &Plan, key: &Digest) -> Result<Option<Image>, Error> {
    for word in words(plan) {
        if let Some(image) = here(store, &name_of(key, word))? {
            return Ok(Some(image));
        }
    }
    Ok(None)
}

/// What a set-up is held to, and which results are not good enough.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Wish {
    /// Results from this step on, counted from 1, are made anew.
    pub(super) again: Option<usize>,
}

impl Opening<'_> {
    /// Whose results the plan takes.
    fn words(&self) -> Vec<Word<'_>> {
        words(&self.plan)
    }

    /// `base` with the plan's set-up done: by results that are here or in the cache, and by running what is left.
    pub(super) fn ground(&self, store: &Store, base: Image, wish: Wish) -> Result<Ground, Error> {
        if self.plan.setup.steps.is_empty() {
            return Ok(Ground { image: base, base: None, key: None, name: None, unlike_lock: false });
        }
        let steps = Steps::of(&self.plan, &base.manifest_digest)?;
        let key = steps.key();
        let locked = self.locked_layers(&steps)?;
        let fitting = |at: usize, image: &Image| {
            let own = own_layers(&base, image);
            own.is_some_and(|own| {
                own.len() == at + 1 && locked.as_ref().is_none_or(|locked| locked.starts_with(&own))
            })
        };
        let usable = wish.again.map_or(steps.keys.len(), |again| again.saturating_sub(1));
        let mut word = Word::Own;
        let mut done: Option<(usize, Image)> = None;
        let known = self.words();
        'found: for at in (0..usable).rev() {
            for of in &known {
                if let Some(image) =
                    here(store, &name_of(&steps.keys[at], *of))?.filter(|image| fitting(at, image))
                {
                    (word, done) = (*of, Some((at, image)));
                    break 'found;
                }
            }
        }
        let after = |done: &Option<(usize, Image)>| done.as_ref().map_or(0, |(at, _)| at + 1);
        let was_done = after(&done) == steps.keys.len();
        let asks = wish.again.is_none() && self.pull != PullPolicy::Never;
        if let Some(cache) = self.plan.setup.cache.as_ref().filter(|_| asks) {
            for at in (after(&done)..steps.keys.len()).rev() {
                match self.fetch(store, cache, &steps.keys[at])? {
                    Some(image) if fitting(at, &image) => {
                        word = Word::Cache(cache);
                        name(store, &name_of(&steps.keys[at], word), &image)?;
                        done = Some((at, image));
                        break;
                    }
                    Some(_) => self.ui.note(&format!(
                        "what {cache} has for set-up step {} is not what the lock has, or not over this image; it is not used",
                        at + 1
                    )),
                    None => {}
                }
            }
        }
        let first = after(&done);
        let missing = first < steps.keys.len();
        if let (true, Some(_), true) = (missing, &locked, self.plan.locked) {
            return Err(SetupError::NotHere { cache: self.plan.setup.cache.clone() }.into());
        }
        for name in surroundings::withheld(&self.plan).iter().filter(|_| missing) {
            self.ui.note(&format!(
                "{name} has a user or password in it, so set-up steps do not get it; name it in [env-from-host] of the profile, or \
                 set one without"
            ));
        }
        let mut image = done.map_or_else(|| base.clone(), |(_, image)| image);
        for at in first..steps.keys.len() {
            // a result the lock does not have is better than the work done again
            let usable = wish.again.is_none_or(|again| at + 1 < again);
            let over = |kept: &Image| own_layers(&image, kept).is_some_and(|own| own.len() == 1);
            let kept = match usable {
                true => here(store, &name_of(&steps.keys[at], word))?.filter(over),
                false => None,
            };
            image = match kept {
                Some(kept) => kept,
                None => self.step(store, &image, at, &steps, word)?,
            };
        }
        if !was_done {
            // what failed on the way here is of no use any more; what can't be removed now is when somebody prunes
            let ours = self.plan.profiles.last();
            let is_ours = |record: &Record| record.profiles.last() == ours;
            let _ = sweep_boxes(self.dirs, &Boxes::new(self.dirs), &self.host, false, &is_ours);
        }
        let unlike_lock = missing && locked.is_some();
        let name = key.map(|key| name_of(&key, word));
        Ok(Ground { image, base: Some(base.manifest_digest), key, name, unlike_lock })
    }

    /// The layers that the lock has for these steps; none where it has nothing.
    fn locked_layers(&self, steps: &Steps) -> Result<Option<Vec<Digest>>, Error> {
        let Some(pin) = &self.plan.pin else { return Ok(None) };
        match (steps.locked_in(pin).map(<[Digest]>::to_vec), self.plan.locked) {
            (None, true) => Err(SetupError::OtherSteps.into()),
            (found, _) => Ok(found),
        }
    }
}

/// The layers `image` has above those of `base`; none when it does not stand on it, or says something else than that of how
/// it is to be run.
pub(super) fn own_layers(base: &Image, image: &Image) -> Option<Vec<Digest>> {
    let layers = |image: &Image| ImageConfig::parse(&image.config).ok().map(|config| config.diff_ids);
    let (below, all) = (layers(base)?, layers(image)?);
    let same = without_layers(&base.config)? == without_layers(&image.config)?;
    all.strip_prefix(below.as_slice()).filter(|_| same).map(<[Digest]>::to_vec)
}

/// A configuration without what a step changes in it (`oci::commit::with_layer`).
fn without_layers(config: &[u8]) -> Option<serde_json::Value> {
    let mut config: serde_json::Value = serde_json::from_slice(config).ok()?;
    let top = config.as_object_mut()?;
    for key in ["created", "history", "rootfs", "container", "container_config", "id", "parent"] {
        top.remove(key);
    }
    if let Some(serde_json::Value::Object(config)) = top.get_mut("config") {
        if let Some(labels) = config.get_mut("Labels").and_then(serde_json::Value::as_object_mut) {
            labels.remove(step::LABEL);
        }
        let empty = |labels: &serde_json::Value| labels.as_object().is_none_or(serde_json::Map::is_empty);
        if config.get("Labels").is_some_and(empty) {
            config.remove("Labels");
        }
    }
    let empty = |config: &serde_json::Value| config.as_object().is_none_or(serde_json::Map::is_empty);
    if top.get("config").is_some_and(empty) {
        top.remove("config");
    }
    Some(config)
}

/// The result of this name, when the name was given here and it is whole.
pub(super) fn here(store: &Store, name: &str) -> Result<Option<Image>, Error> {
    // one that was pulled by this name is somebody else's
    if !store.is_own_ref(name)? {
        return Ok(None);
    }
    let Some(manifest) = store.resolve(name)? else { return Ok(None) };
    let image = store.image(&manifest)?;
    Ok(image.filter(|image| image.layers.iter().all(|layer| store.has_layer(layer))))
}

/// Lets `name` stand for `image`.
fn name(store: &Store, name: &str, image: &Image) -> Result<(), Error> {
    let hold = store.hold(&mut |_| {})?;
    Ok(store.set_own_ref(&hold, name, &image.manifest_digest)?)
}

/// What the result of this key is called on this machine.
pub(super) fn name_of(key: &Digest, word: Word<'_>) -> String {
    match word {
        Word::Own => format!("{RESULTS}:{}", key.hex()),
        Word::Cache(cache) => {
            format!("{RESULTS}:{}-{}", key.hex(), &Digest::of(cache.as_bytes()).hex()[..32])
        }
    }
}

/// What the step of this key printed when it last ran; its lock says that it runs.
fn log_path(dirs: &Dirs, key: &Digest) -> PathBuf {
    dirs.setups().join(format!("{}.log", key.hex()))
}

/// The log of the step of this key, for ourselves: who has it does the step.
fn claim_log(opening: &Opening<'_>, key: &Digest) -> Result<(File, PathBuf), Error> {
    dirs::ensure_private(&opening.dirs.setups())?;
    let path = log_path(opening.dirs, key);
    let failed = |source: io::Error| Error::Box { path: path.clone(), source };
    let mut told = false;
    loop {
        let log = File::options().create(true).append(true).open(&path).map_err(failed)?;
        match log.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                if !std::mem::replace(&mut told, true) {
                    opening.ui.note("waiting for another devbox, which does the same set-up step or looks into its failure");
                }
                log.lock().map_err(failed)?;
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        if is_at(&log, &path) {
            return Ok((log, path));
        }
    }
}

/// Keeps the step of this key from being begun for as long as the file lives; none while somebody does it.
fn hold_off(dirs: &Dirs, key: &Digest) -> Result<Option<File>, Error> {
    dirs::ensure_private(&dirs.setups())?;
    let path = log_path(dirs, key);
    let failed = |source: io::Error| Error::Box { path: path.clone(), source };
    loop {
        let log = File::options().create(true).append(true).open(&path).map_err(failed)?;
        match log.try_lock_shared() {
            Ok(()) if is_at(&log, &path) => return Ok(Some(log)),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
}

/// Whether the open log was not removed before we had its lock.
fn is_at(log: &File, path: &Path) -> bool {
    let inode = |facts: io::Result<Metadata>| facts.map(|facts| facts.ino()).ok();
    inode(log.metadata()) == inode(std::fs::symlink_metadata(path))
}

/// The log of a step, when nobody does the step.
fn idle(path: &Path) -> Option<File> {
    File::open(path).ok().filter(|log| log.try_lock().is_ok())
}

/// The boxes that steps left, with the keys of the steps.
fn boxes_of_steps(boxes: &Boxes) -> Result<Vec<(Record, Digest)>, Error> {
    // one whose record can't be read is not known to be a step's
    let records = boxes.names()?.into_iter().filter_map(|name| boxes.load(&name).ok().flatten());
    let keyed = records.filter_map(|record| record.step.map(|key| (record, key)));
    Ok(keyed.filter(|(record, key)| record.name == step::box_name(key)).collect())
}

/// Removes those `wanted` of the boxes that failed steps left, or only finds them, and gives their names. Those of steps that
/// are being done or looked into are left alone.
pub(super) fn sweep_boxes(
    dirs: &Dirs,
    boxes: &Boxes,
    host: &Host,
    dry_run: bool,
    wanted: &dyn Fn(&Record) -> bool,
) -> Result<Vec<String>, Error> {
    let mut swept = Vec::new();
    for (record, key) in boxes_of_steps(boxes)?.into_iter().filter(|(record, _)| wanted(record)) {
        let name = record.name;
        let path = log_path(dirs, &key);
        let log = idle(&path);
        if log.is_none() && path.exists() {
            continue;
        }
        if let Some(lock) = boxes.try_lock(&name)? {
            if !dry_run {
                boxes.remove_locked(&name, lock, || super::full_maps(host))?;
            }
            swept.push(name);
        }
    }
    Ok(swept)
}

/// Removes the logs of steps whose results are not here.
pub(super) fn sweep_logs(dirs: &Dirs, store: &Store) -> Result<(), Error> {
    let names: Vec<String> = store.refs()?.into_keys().filter(|name| name.starts_with(RESULTS)).collect();
    for path in std::fs::read_dir(dirs.setups()).into_iter().flatten().flatten().map(|log| log.path()) {
        let hex = path.file_stem().map(|hex| hex.to_string_lossy().into_owned()).unwrap_or_default();
        let unused = !names.iter().any(|name| name.contains(&hex));
        if let Some(_log) = idle(&path).filter(|_| unused) {
            // the next one to do the step makes it anew
            let _ = std::fs::remove_file(&path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::commit::{Changes, with_layer};

    #[test]
    fn a_step_changes_layers_and_nothing_else() {
        let labels = vec![(step::LABEL.to_owned(), "k".to_owned())];
        let changes =
            Changes { labels, comment: Some("c".into()), created: "t".into(), ..Changes::default() };
        for config in [
            r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#,
            r#"{"os":"linux","rootfs":{"type":"layers","diff_ids":[]},"config":{"Labels":{"a":"b"},"Env":["A=b"]},"container":"x"}"#,
            r#"{"os":"linux","rootfs":{"type":"layers","diff_ids":[]},"config":{"Labels":null},"history":[{}]}"#,
        ] {
            let above = with_layer(config.as_bytes(), &Digest::of(b"a"), &changes).unwrap();
            assert_eq!(without_layers(config.as_bytes()), without_layers(&above), "{config}");
            let env = Changes { env: vec!["A=c".into()], ..changes.clone() };
            let other = with_layer(config.as_bytes(), &Digest::of(b"a"), &env).unwrap();
            assert_ne!(without_layers(config.as_bytes()), without_layers(&other), "{config}");
        }
        assert_eq!(without_layers(b"[]"), None);
    }

    #[test]
    fn a_lock_has_a_layer_for_each_step() {
        let [base, a, b, c] = [b"base", b"aaaa", b"bbbb", b"cccc"].map(|text| Digest::of(text));
        let steps = Steps { keys: vec![a, b], files: Vec::new() };
        let pin = |key, layers: &[Digest]| Pin {
            digest: base,
            manifest: base,
            layers: vec![base],
            setups: vec![(key, layers.to_vec())],
        };
        assert_eq!(steps.locked_in(&pin(b, &[a, c])), Some(&[a, c][..]));
        for (key, layers) in [(b, &[][..]), (b, &[c]), (b, &[a, b, c]), (a, &[a, c])] {
            assert_eq!(steps.locked_in(&pin(key, layers)), None, "{key} {layers:?}");
        }
        let none = Steps { keys: Vec::new(), files: Vec::new() };
        assert_eq!(none.locked_in(&pin(b, &[a])), Some(&[][..]));
    }
}

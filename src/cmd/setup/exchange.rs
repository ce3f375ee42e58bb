//! Results in a registry, by their keys: one machine does a set-up and all others fetch it.

use super::results::{Word, here, name, name_of, own_layers, taken, words};
use super::{Ground, Steps, Wish, step};
use crate::cmd::opening::Opening;
use crate::error::{Error, SetupError};
use crate::fetch::{self, Fault, Registry};
use crate::oci::config::ImageConfig;
use crate::oci::digest::Digest;
use crate::oci::reference::Reference;
use crate::pull;
use crate::push::{self, Compression};
use crate::store::{Image, Store};

/// Where `cache` has the result of this key.
fn place(cache: &str, key: &Digest) -> Result<Reference, Error> {
    Ok(format!("{cache}:{}", key.hex()).parse()?)
}

impl Opening<'_> {
    /// The result of this key, when `cache` has it. A cache that can't be asked has nothing, which is said.
    pub(super) fn fetch(&self, store: &Store, cache: &str, key: &Digest) -> Result<Option<Image>, Error> {
        let reference = place(cache, key)?;
        let tag = reference.tag.clone().unwrap_or_default();
        let found = Registry::open(self.dirs, &reference, &|text| self.ui.note(text))
            .and_then(|registry| registry.manifest(&tag));
        let digest = match found {
            Ok(found) => found.digest,
            Err(fetch::Error { fault: Fault::NotFound(_), .. }) => return Ok(None),
            Err(error) => {
                let why =
                    std::error::Error::source(&error).map(|why| format!(" ({why})")).unwrap_or_default();
                self.ui.warning(&format!("cannot look for results of set-up in {cache}: {error}{why}"));
                return Ok(None);
            }
        };
        let platform = self.plan.platform.parse()?;
        let shown = format!("{cache}:{}…", &key.hex()[..12]);
        let progress = self.ui.pulling(&shown);
        // what was found is what is taken, whoever pushes meanwhile
        let pinned = Reference { tag: None, digest: Some(digest), ..reference };
        let pulled = pull::pull(
            store,
            self.dirs,
            pull::Request { reference: &pinned, platform: &platform },
            &progress,
        );
        drop(progress);
        let pulled = match pulled {
            Ok(pulled) => pulled,
            Err(error) => {
                self.ui.warning(&format!("{error} ({}); this part of the set-up is done here", error.why));
                return Ok(None);
            }
        };
        let image = store.image(&pulled.manifest_digest)?;
        // it has a name of its own as soon as it is found to be what it should be
        let is_it = |image: &Image| {
            ImageConfig::parse(&image.config).is_ok()
                && label(&image.config).as_deref() == Some(&key.to_string())
        };
        let image = image.filter(is_it);
        if image.is_none() {
            self.ui.warning(&format!("what {shown} has is not the result of that set-up; it is not used"));
        }
        crate::cmd::sync_later(store)?;
        store.remove_ref(&pinned.to_string())?;
        Ok(image)
    }

    /// Fetches from the cache what a box over `base` stands on, and is not here any more.
    pub(in crate::cmd) fn fetch_results(&self, store: &Store, base: Digest) -> Result<(), Error> {
        let Some(cache) = &self.plan.setup.cache else { return Ok(()) };
        let steps = Steps::of(&self.plan, &base)?;
        let Some(key) = steps.key() else { return Ok(()) };
        if let Some(image) = self.fetch(store, cache, &key)? {
            name(store, &name_of(&key, Word::Cache(cache)), &image)?;
        }
        Ok(())
    }

    /// Sends the results of all steps over `base`, up to that of `ground`, to `cache`. Another result that is there stays, unless the lock has ours or
    /// ours was made anew because `wish` said so.
    pub(in crate::cmd) fn push_results(
        &self,
        store: &Store,
        steps: &Steps,
        base: &Image,
        ground: &Ground,
        wish: Wish,
    ) -> Result<(), Error> {
        let Some(cache) = &self.plan.setup.cache else { return Err(SetupError::NoCache.into()) };
        let locked = self.locked_layers(steps)?;
        let mut all_there = true;
        for (number, key) in (1..).zip(&steps.keys) {
            let below = |image: &Image| own_layers(image, &ground.image).is_some();
            let image = match self.one_of(store, key, below)? {
                Some(image) => Some(image),
                None => taken(store, &self.plan, key)?,
            };
            let Some(image) = image else { return Err(SetupError::Gone(number).into()) };
            let to = place(cache, key)?;
            let tag = to.tag.clone().unwrap_or_default();
            let note = |text: &str| self.ui.note(text);
            let there = Registry::open(self.dirs, &to, &note).and_then(|registry| registry.manifest(&tag));
            if there.is_ok() {
                let ours = ImageConfig::parse(&image.config)?.diff_ids;
                // what can't be read is another one
                let found = pull::look(self.dirs, &to, &note);
                if found.is_ok_and(|found| found.images.iter().any(|theirs| theirs.layers == ours)) {
                    self.ui.detail(&format!("{cache} has the result of step {number} already"));
                    continue;
                }
                all_there = false;
                let is_locked = own_layers(base, &image)
                    .zip(locked.as_ref())
                    .is_some_and(|(own, locked)| locked.starts_with(&own));
                if !is_locked && wish.again.is_none_or(|again| number < again) {
                    self.ui.warning(&format!(
                        "{cache} has another result of step {number}, which stays; `devbox setup --again {number} --push` makes \
                         it anew and replaces that"
                    ));
                    continue;
                }
            }
            all_there = false;
            let progress = self.ui.transfer("pushing", &format!("{cache}: set-up step {number}"));
            push::push(store, self.dirs, &image, &to, Compression::Gzip, &progress)?;
            drop(progress);
            self.ui.line(&to.to_string())?;
        }
        if all_there {
            self.ui.note("the cache has all of it already");
        }
        Ok(())
    }

    /// A result of this key that the plan takes and `is_it`.
    fn one_of(
        &self,
        store: &Store,
        key: &Digest,
        is_it: impl Fn(&Image) -> bool,
    ) -> Result<Option<Image>, Error> {
        for word in words(&self.plan) {
            if let Some(image) = here(store, &name_of(key, word))?.filter(&is_it) {
                return Ok(Some(image));
            }
        }
        Ok(None)
    }
}

/// The key that a configuration says it is the result of.
fn label(config: &[u8]) -> Option<String> {
    let config: serde_json::Value = serde_json::from_slice(config).ok()?;
    Some(config.get("config")?.get("Labels")?.get(step::LABEL)?.as_str()?.to_owned())
}

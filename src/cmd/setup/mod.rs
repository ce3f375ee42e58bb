//! Set-up: steps that run once, each in a clean box over the image, and become its further layers.
//!
//! A result is an image like others, named by its key (`localhost/devbox/setup:KEY`); so it is shared, saved, counted and
//! removed as images are. The key of a step stands for the image below, all steps before it and itself, with the content of
//! the files it names: a change at one step leaves the results before it as they are.

mod exchange;
mod files;
mod logs;
mod output;
mod results;
mod step;
mod surroundings;
mod verb;

pub(super) use files::judge;
pub(super) use logs::{sweep_boxes, sweep_logs};
pub(super) use results::{is_here, own_layers};
pub(super) use verb::{at_failure, known, run};

use files::Content;
use results::{Word, here, name, name_of, words};

use super::opening::Opening;
use crate::cli::PullPolicy;
use crate::error::{Error, SetupError};
use crate::oci::digest::Digest;
use crate::plan::{Ids, Pin, Plan, User};
use crate::session::{Boxes, Record};
use crate::store::{Image, Store};

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

#[cfg(test)]
mod tests {
    use super::*;

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

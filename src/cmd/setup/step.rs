//! One step: a clean box, a command as its root, and a layer of what that left.

use std::collections::BTreeMap;
use std::fs::File;
use std::time::Instant;

use super::logs::{boxes_of_steps, claim_log, hold_off, log_path};
use super::output::attend;
use super::results::{Word, here, name_of, own_layers};
use super::surroundings::plan;
use super::{Steps, files};
use crate::cmd::commit::{Layer, created};
use crate::cmd::making::Made;
use crate::cmd::opening::Opening;
use crate::dirs;
use crate::error::{Error, ExitCode, SetupError};
use crate::oci::commit::Changes;
use crate::oci::config::ImageConfig;
use crate::oci::digest::Digest;
use crate::plan::resolve::Ask;
use crate::plan::setup::{CACHE, FOLDER, Step};
use crate::plan::{Host, Plan};
use crate::profile::Action;
use crate::push::Compression;
use crate::session::{self, Boxes, Record};
use crate::store::{Image, Store};

/// The label of an image that tells which key it is the result of.
pub(super) const LABEL: &str = "dev.devbox.setup";
/// The files a step sees, in the folder of its box.
const FILES: &str = "files";
/// Where nothing of it can become a part of the layer.
const HOME: &str = "/run/devbox/home";
impl Opening<'_> {
    /// Does the step at `at` over `below`.
    ///
    /// # Errors
    ///
    /// A step that fails leaves its box, for `--at-failure`, and no layer. One that ends well although a signal of the user's
    /// came leaves its layer, and nothing follows it.
    pub(super) fn step(
        &self,
        store: &Store,
        below: &Image,
        at: usize,
        steps: &Steps,
        word: Word<'_>,
    ) -> Result<Image, Error> {
        let (key, total) = (&steps.keys[at], steps.keys.len());
        let reference = name_of(key, word);
        let before = here(store, &reference)?.map(|image| image.manifest_digest);
        let (log, path) = claim_log(self, key)?;
        // another devbox may have done it while we waited
        let known = here(store, &reference)?.map(|image| image.manifest_digest);
        if known != before
            && let Some(image) = here(store, &reference)?
            && own_layers(below, &image).is_some_and(|own| own.len() == 1)
        {
            return Ok(image);
        }
        let boxes = Boxes::new(self.dirs);
        let step = &self.plan.setup.steps[at];
        let title = step.title();
        self.ui.note(&format!("set-up step {} of {total}: {title}", at + 1));
        let (mut opening, made) = self.clean(&boxes, below, at, key)?;
        let name = opening.plan.name.clone();
        let folder = boxes.folder(&name)?.join(FILES);
        files::lay_out(&step.files, &steps.files[at], &folder)?;
        let _cache = matches!(step.action, Action::Packages(_))
            .then(|| self.claim_cache(&opening.plan))
            .transpose()?;
        let began = Instant::now();
        let (code, signal, last) = attend(self.ui, &mut opening, made, &boxes, &log)?;
        // nobody else takes it now: the log is ours
        let lock = boxes.lock(&name)?;
        let full = || crate::cmd::full_maps(&self.host);
        if let Some(signal) = signal.filter(|_| code != 0) {
            boxes.remove_locked(&name, lock, full)?;
            return Err(SetupError::Interrupted { number: at + 1, signal }.into());
        }
        if code != 0 {
            let last = if self.ui.is_quiet() { last } else { Vec::new() };
            return Err(SetupError::Step { number: at + 1, total, title, code, last, log: path }.into());
        }
        let changes = Changes {
            comment: Some(title),
            labels: vec![(LABEL.to_owned(), key.to_string())],
            created: created()?,
            ..Changes::default()
        };
        let layer = Layer {
            base: below,
            changes: &changes,
            reference: &reference,
            latest: None,
            compression: Compression::None,
        };
        let done = layer.of(self.ui, self.dirs, store, &name);
        boxes.remove_locked(&name, lock, full)?;
        drop(log);
        let done = done?;
        self.ui.detail(&format!(
            "set-up step {} took {:.1} s; its layer is {}",
            at + 1,
            began.elapsed().as_secs_f64(),
            done.diff_id
        ));
        if let Some(signal) = signal {
            return Err(SetupError::Stopped { number: at + 1, signal }.into());
        }
        let image = store.image(&done.manifest_digest)?;
        image.ok_or(Error::Vanished(reference))
    }

    /// A box over `below` with nothing in it, and what it takes to open a session there. The caller has the key's log.
    fn clean(
        &self,
        boxes: &Boxes,
        below: &Image,
        at: usize,
        key: &Digest,
    ) -> Result<(Opening<'_>, Made), Error> {
        let step = &self.plan.setup.steps[at];
        let opening = self.opening_of(boxes, step, key)?;
        let full = || crate::cmd::full_maps(&self.host);
        let name = &opening.plan.name;
        if let Some(record) = boxes.load(name)? {
            if record.step.is_none() {
                return Err(session::Error::BoxThere(name.clone()).into());
            }
            // what failed before, or was cut short
            boxes.remove_locked(name, boxes.lock_stopped(name)?, full)?;
        }
        let mut record = Record {
            name: name.clone(),
            image: self.plan.image.to_string(),
            profiles: self.plan.profiles.clone(),
            step: Some(*key),
            step_number: Some(at + 1),
            step_title: Some(step.title()),
            manifest: Some(below.manifest_digest),
            layers: below.layers.clone(),
            defaults: ImageConfig::parse(&below.config)?.into(),
            user: Some(opening.plan.user.to_string()),
            ids: Some(opening.plan.ids.to_string()),
            ..Record::default()
        };
        self.choose_driver(&mut record);
        let (record, lock) = boxes.create(record)?;
        Ok((opening, Made { record, lock }))
    }

    /// What opens a session in the box of `step`.
    fn opening_of(&self, boxes: &Boxes, step: &Step, key: &Digest) -> Result<Opening<'_>, Error> {
        let name = box_name(key);
        let files = boxes.folder(&name)?.join(FILES);
        let plan = plan(&self.plan, &name, step, files, &self.host);
        let host = Host { home: HOME.into(), real_home: HOME.into(), ..self.host.clone() };
        let argv = step.argv().into_iter().map(Into::into).collect();
        Ok(Opening {
            ephemeral: true,
            bare: true,
            ..Opening::new(self.ui, self.dirs, plan, host, Ask::Command(argv))
        })
    }

    /// The folder of downloads, for ourselves: package managers do not wait for each other.
    fn claim_cache(&self, plan: &Plan) -> Result<Option<File>, Error> {
        let mount = plan.mounts.iter().find(|mount| mount.target.as_os_str() == CACHE);
        let Some(path) = mount.and_then(|mount| mount.source.as_ref()) else { return Ok(None) };
        let failed = |source| Error::Box { path: path.clone(), source };
        dirs::ensure_private(path)?;
        let folder = File::open(path).map_err(failed)?;
        if folder.try_lock().is_err() {
            self.ui.note("waiting for another set-up that installs packages");
            folder.lock().map_err(failed)?;
        }
        Ok(Some(folder))
    }
}

/// Opens a shell in the box a step left when it failed, as root. `keys` are those of the steps as they are now, if they are
/// known: what failed may have been another step, or over another image.
pub(super) fn at_failure(opening: &Opening<'_>, keys: &[Digest]) -> Result<ExitCode, Error> {
    let boxes = Boxes::new(opening.dirs);
    let ours = opening.plan.profiles.last();
    let now = |key: &Digest| keys.iter().position(|other| other == key).map(|at| at + 1);
    let failed = boxes_of_steps(&boxes)?.into_iter().filter_map(|(record, key)| {
        let number = now(&key).or(record.step_number.filter(|_| record.profiles.last() == ours))?;
        Some((record, key, number))
    });
    let Some((record, key, number)) = failed.max_by_key(|(record, key, _)| (record.created, now(key))) else {
        return Err(SetupError::NoFailure.into());
    };
    // nobody begins it anew under the shell
    let Some(_log) = hold_off(opening.dirs, &key)? else { return Err(SetupError::Busy(number).into()) };
    if let Some(_lock) = boxes.try_lock(&record.name)? {
        boxes.keep(&record.name)?;
    }
    // it may have become another one before we had the log
    let record = boxes.load(&record.name)?.filter(|now| now.step == record.step);
    let Some(record) = record else { return Err(SetupError::NoFailure.into()) };
    let which = match now(&key) {
        Some(number) => format!("step {number} of {}", keys.len()),
        None => format!("step {number}, not as it is now,"),
    };
    opening.ui.note(&format!(
        "{which} failed here: {}; {FOLDER} has its files, {} what it printed; what is done in this box is not kept",
        record.step_title.as_deref().unwrap_or_default(),
        log_path(opening.dirs, &key).display()
    ));
    let step = number.checked_sub(1).and_then(|at| opening.plan.setup.steps.get(at));
    // one that is none of the plan's any more has nothing of its own to show
    let none = Step { action: Action::Run(String::new()), env: BTreeMap::new(), files: Vec::new() };
    let mut shell = opening.opening_of(&boxes, step.unwrap_or(&none), &key)?;
    shell.ask = Ask::Shell;
    shell.ephemeral = false;
    shell.session(&boxes, Made { record, lock: None })
}

/// The name of the box of the step of this key.
pub(super) fn box_name(key: &Digest) -> String {
    format!("setup-{}", &key.hex()[..24])
}

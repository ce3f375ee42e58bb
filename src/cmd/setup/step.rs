//! One step: a clean box, a command as its root, and a layer of what that left.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Steps, claim_log, files, here, ids, log_path, name_of, own_layers};
use crate::cmd::commit::{Layer, created};
use crate::cmd::launcher::{self, Signals};
use crate::cmd::making::Made;
use crate::cmd::opening::Opening;
use crate::dirs;
use crate::error::{Error, ExitCode, SetupError};
use crate::limits::{Limit, Limits};
use crate::oci::commit::Changes;
use crate::oci::config::ImageConfig;
use crate::oci::digest::Digest;
use crate::plan::resolve::Ask;
use crate::plan::setup::{CACHE, FOLDER, Setup, Step};
use crate::plan::{Home, Host, Isolation, Mount, MountMode, Plan, User, Variable};
use crate::profile::Action;
use crate::push::Compression;
use crate::session::{self, Boxes, Record};
use crate::store::{Image, Store};
use crate::ui::Ui;

/// The label of an image that tells which key it is the result of.
pub(super) const LABEL: &str = "dev.devbox.setup";
/// The files a step sees, in the folder of its box.
const FILES: &str = "files";
/// The cache of what package managers download.
const PACKAGES: &str = "setup-packages";
/// Where nothing of it can become a part of the layer.
const HOME: &str = "/run/devbox/home";
/// The variables that name proxies.
const PROXIES: [&str; 10] = [
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
];
/// Lines of a failed step that are shown when it was silent.
const LAST: usize = 12;

impl Opening<'_> {
    /// Does the step at `at` over `below`.
    ///
    /// # Errors
    ///
    /// A step that fails leaves its box, for `--at-failure`, and no layer.
    pub(super) fn step(
        &self,
        store: &Store,
        below: &Image,
        at: usize,
        steps: &Steps,
    ) -> Result<Image, Error> {
        let (key, total) = (&steps.keys[at], steps.keys.len());
        let before = here(store, key)?.map(|image| image.manifest_digest);
        let (log, path) = claim_log(self, key)?;
        // another devbox may have done it while we waited
        let known = here(store, key)?.map(|image| image.manifest_digest);
        if known != before
            && let Some(image) = here(store, key)?
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
        let reference = name_of(key);
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
        let opening = self.opening_of(boxes, at, key)?;
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

    /// What opens a session in the box of the step at `at`.
    fn opening_of(&self, boxes: &Boxes, at: usize, key: &Digest) -> Result<Opening<'_>, Error> {
        let step = &self.plan.setup.steps[at];
        let name = box_name(key);
        let files = boxes.folder(&name)?.join(FILES);
        let plan = plan(&self.plan, &name, at, files, &self.host);
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

/// Opens a shell in the box a step left when it failed, as root.
pub(super) fn at_failure(opening: &Opening<'_>, store: &Store, base: &Digest) -> Result<ExitCode, Error> {
    let steps = Steps::of(&opening.plan, base)?;
    let boxes = Boxes::new(opening.dirs);
    for (at, key) in steps.keys.iter().enumerate() {
        let Some(record) = boxes.load(&box_name(key))? else { continue };
        if record.step.is_none() || here(store, key)?.is_some() {
            continue;
        }
        let step = &opening.plan.setup.steps[at];
        let log = log_path(opening.dirs, key);
        if let Some(_lock) = boxes.try_lock(&record.name)? {
            boxes.keep(&record.name)?;
        }
        opening.ui.note(&format!(
            "step {} of {} failed here: {}; {FOLDER} has its files, {} what it printed; what is done in this box is not kept",
            at + 1,
            steps.keys.len(),
            step.title(),
            log.display()
        ));
        let mut shell = opening.opening_of(&boxes, at, key)?;
        shell.ask = Ask::Shell;
        shell.ephemeral = false;
        return shell.session(&boxes, Made { record, lock: None });
    }
    Err(SetupError::NoFailure.into())
}

/// The name of the box of the step of this key.
pub(super) fn box_name(key: &Digest) -> String {
    format!("setup-{}", &key.hex()[..24])
}

/// What a step's box is made by: the image's, as root, with nothing of the host but caches, its files, and the network that
/// the profile gives the box.
fn plan(of: &Plan, name: &str, at: usize, files: PathBuf, host: &Host) -> Plan {
    let step = &of.setup.steps[at];
    let mut mounts =
        vec![Mount { source: Some(files), target: FOLDER.into(), mode: MountMode::Ro, optional: false }];
    // what a stranger's steps download is not to be what others install
    if of.isolation == Isolation::Dev {
        let cache = |source: PathBuf, target: PathBuf| Mount {
            source: Some(source),
            target,
            mode: MountMode::Cache,
            optional: false,
        };
        mounts.push(cache(host.cache.join("caches").join(PACKAGES), CACHE.into()));
        for mount in of.mounts.iter().filter(|mount| mount.mode == MountMode::Cache) {
            let Some(source) = mount.source.clone() else { continue };
            // the home of the one who runs the step is root's
            let target = match mount.target.strip_prefix(&host.home) {
                Ok(below) => PathBuf::from("/root").join(below),
                Err(_) => mount.target.clone(),
            };
            mounts.push(cache(source, target));
        }
    }
    let mut limits = Limits { strict: of.limits.strict, ..Limits::default() };
    limits.amounts.extend(
        of.limits
            .amounts
            .iter()
            .filter(|(limit, _)| !matches!(limit, Limit::Time | Limit::Disk))
            .map(|(limit, amount)| (*limit, *amount)),
    );
    Plan {
        name: name.to_owned(),
        image: of.image.clone(),
        platform: of.platform.clone(),
        user: User::Root,
        ids: ids(of),
        driver: of.driver,
        isolation: Isolation::Dev,
        home: Home::None,
        project: None,
        no_project_because: None,
        workdir: Some(FOLDER.into()),
        shell: of.shell.clone(),
        hostname: "setup".to_owned(),
        env: environment(of, step),
        mounts,
        network: of.network,
        limits,
        allow: of.allow.clone(),
        ports: Vec::new(),
        ssh_agent: Vec::new(),
        profiles: of.profiles.clone(),
        setup: Setup::default(),
        pin: None,
        unpinned_because: None,
        locked: false,
    }
}

/// The variables of a step: its own, and the caller's proxies, without which downloads fail where there are any. They are in
/// no key; strangers' steps, which could tell them on, and those whose way out is a gate do not get them.
fn environment(of: &Plan, step: &Step) -> BTreeMap<String, Variable> {
    let mut env: BTreeMap<String, Variable> = BTreeMap::new();
    if of.isolation == Isolation::Dev && of.allow.is_empty() {
        let proxies = dirs::variables(PROXIES).into_iter();
        env.extend(proxies.map(|(name, value)| (name, Variable::FromHost(value))));
    }
    env.extend(step.env.iter().map(|(name, value)| (name.clone(), Variable::Literal(value.clone()))));
    env
}

/// Runs the session to its end: its output goes to `log` and, escaped, to the user. Gives the exit code, the signal that was
/// sent to us, and the last lines.
fn attend(
    ui: &Ui,
    opening: &mut Opening<'_>,
    made: Made,
    boxes: &Boxes,
    mut log: &File,
) -> Result<(u8, Option<u8>, Vec<String>), Error> {
    let failed = |errno: Errno| Error::Background(errno.into());
    log.set_len(0).map_err(Error::Background)?;
    let (out, to_out): (OwnedFd, OwnedFd) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
    let signals = Signals::hold_back()?;
    let pid = launcher::begin(opening, made, boxes, &signals, &to_out, &to_out)?;
    drop(to_out);
    let (mut rest, mut last, mut signal) = (Vec::new(), VecDeque::new(), None);
    loop {
        let mut watched = [
            PollFd::new(out.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.fd().as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut watched, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let ready = watched[0].any().unwrap_or(false);
        signal = signals.pass_on(&[pid]).last().map(|signal| *signal as u8).or(signal);
        if !ready {
            continue;
        }
        let mut buffer = [0; 32 << 10];
        let count = match nix::unistd::read(&out, &mut buffer) {
            Err(Errno::EINTR | Errno::EAGAIN) => continue,
            count => count.unwrap_or(0),
        };
        // a full disk ends the step soon enough
        let _ = log.write_all(&buffer[..count]);
        rest.extend_from_slice(&buffer[..count]);
        if count == 0 && !rest.is_empty() {
            rest.push(b'\n');
        }
        let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let whole = if whole == 0 && rest.len() > 64 << 10 { rest.len() } else { whole };
        for line in String::from_utf8_lossy(&rest[..whole]).lines() {
            // of a line that was written over itself the last state
            let line = line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default();
            ui.output(line);
            last.push_back(line.to_owned());
            if last.len() > LAST {
                last.pop_front();
            }
        }
        rest.drain(..whole);
        if count == 0 {
            return Ok((launcher::end(pid), signal, last.into()));
        }
    }
}

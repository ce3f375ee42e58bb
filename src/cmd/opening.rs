//! From a plan to a session's exit code: the box is joined when it runs, started when it does not, made when it is
//! not there, its image fetched when it is missing. `enter` and `run` differ in what they ask for, no more.

use std::collections::BTreeSet;
use std::ffi::{CString, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::limits::{self, Settled};
use super::making::Made;
use super::project;
use crate::cli::{AfterFlags, PullPolicy};
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::gate::{Proxies, Rules};
use crate::idmap::{self, IdMap, IdMaps};
use crate::plan::resolve::{Accounts, Ask, ImageDefaults, Program, Resolved, resolve};
use crate::plan::{self, Home, Host, Ids, Image, Isolation, MountMode, Plan, User};
use crate::probe;
use crate::rootfs::lookup::Merged;
use crate::rootfs::{self, Caller, Wanted};
use crate::sandbox::wire::{Identity, Open};
use crate::sandbox::{Confinement, Network, Spec};
use crate::session::boxes::{PATIENCE, pause};
use crate::session::client::{self, Outcome, attend, c_string};
use crate::session::start::{fingerprint, start};
use crate::session::{self, Asked, Boxes, Caches, Defaults, Record, Taking};
use crate::sys::entry;
use crate::ui::{Table, Ui};

/// One session to open.
pub(super) struct Opening<'a> {
    pub(super) ui: &'a Ui,
    pub(super) dirs: &'a Dirs,
    pub(super) plan: Plan,
    pub(super) host: Host,
    pub(super) ask: Ask,
    pub(super) pull: PullPolicy,
    /// The box is removed when its session ends.
    pub(super) ephemeral: bool,
    /// What becomes of what an untrusted box wrote to its project.
    pub(super) after: AfterFlags,
    /// The box is another of this one.
    pub(super) fork_of: Option<String>,
    /// The box becomes a layer: nothing of the caller may be in it.
    pub(super) bare: bool,
    /// Who entered is a shell's hook.
    pub(super) hook: Option<Hook>,
}

impl<'a> Opening<'a> {
    /// One as most are: in a box that is kept.
    pub(super) fn new(ui: &'a Ui, dirs: &'a Dirs, plan: Plan, host: Host, ask: Ask) -> Self {
        Self {
            ui,
            dirs,
            plan,
            host,
            ask,
            pull: PullPolicy::default(),
            ephemeral: false,
            after: AfterFlags::default(),
            fork_of: None,
            bare: false,
            hook: None,
        }
    }
}

/// A shell outside that enters the boxes of projects on its way (`devbox hook`).
pub(super) struct Hook {
    /// Its pid.
    pub(super) shell: u32,
    /// The folder of the project's file.
    pub(super) project: PathBuf,
}

impl Opening<'_> {
    /// Opens the session and stays until it ends.
    pub(super) fn run(mut self) -> Result<ExitCode, Error> {
        let boxes = Boxes::new(self.dirs);
        if let Some(why) = &self.plan.no_project_because {
            self.ui.detail(&format!("no project folder is mounted: {why}"));
        }
        if let (Isolation::Untrusted, Some(project)) = (self.plan.isolation, &self.plan.project) {
            let shown = project.display().to_string();
            self.ui.note(&format!(
                "what box `{}` writes to {} stays in the box; the folder itself is not changed",
                self.plan.name,
                shown.escape_debug()
            ));
        }
        let after = project::After::read(&self.after, &self.plan, &self.host.cwd)?;
        self.show_plan();
        let made = self.make(&boxes)?;
        self.ui.step("box");
        let code = self.session(&boxes, made);
        let code = match (self.plan.isolation, code) {
            (Isolation::Untrusted, Ok(code)) => {
                let done = after.carry_out(self.ui, &boxes, &self.plan.name, self.ephemeral, code);
                if done.is_err() && self.ephemeral {
                    self.keep(&boxes)?;
                }
                done
            }
            (_, code) => code,
        };
        if self.ephemeral {
            // Also after a failure: nobody else knows the box.
            let name = &self.plan.name;
            let removed = boxes
                .lock(name)
                .and_then(|lock| boxes.remove_locked(name, lock, || super::full_maps(&self.host)));
            return code.and_then(|code| removed.map(|()| code).map_err(Error::from));
        }
        code
    }

    /// The plan, for the curious.
    fn show_plan(&self) {
        if self.ui.is_verbose() {
            let mut table = Table::bare();
            for (name, text) in self.plan.describe() {
                table.row([name.to_owned(), text]);
            }
            self.ui.aside(&table);
        }
    }

    /// A session in a box that is made, to its end.
    pub(super) fn session(&mut self, boxes: &Boxes, made: Made) -> Result<ExitCode, Error> {
        self.settle_driver(&made.record);
        let began = SystemTime::now();
        let code = self.open(boxes, made);
        self.ui.step("command");
        self.tell_refused(began)?;
        code
    }

    /// Keeps a box that was to be thrown away: what it wrote was to be applied, and could not be.
    fn keep(&mut self, boxes: &Boxes) -> Result<(), Error> {
        let name = &self.plan.name;
        let _lock = boxes.lock(name)?;
        boxes.keep(name)?;
        self.ephemeral = false;
        self.ui.warning(&format!(
            "box `{name}` is kept, with what it wrote: `devbox apply -n {name}`, then `devbox rm -f {name}`"
        ));
        Ok(())
    }

    fn open(&self, boxes: &Boxes, mut made: Made) -> Result<ExitCode, Error> {
        let resolved = self.resolve(boxes, &made.record)?;
        for note in &resolved.notes {
            self.ui.note(note);
        }
        let open = self.request(&resolved)?;
        let asked = Asked {
            name: self.plan.name.clone(),
            program: name_of(&resolved.program),
            folder: resolved.cwd.display().to_string(),
        };
        let name = &self.plan.name;
        let (began, mut said) = (Instant::now(), false);
        loop {
            let lock = match made.lock.take() {
                Some(lock) => Some((lock, None)),
                None => match boxes.connect(name)? {
                    Some(connection) => {
                        if let Some(code) = self.join(boxes, connection, &open, &asked)? {
                            return Ok(code);
                        }
                        // It ended before it took the request.
                        None
                    }
                    None => match boxes.try_lock(name)? {
                        Some(lock) => {
                            let record = boxes.require(name)?;
                            if record != made.record {
                                // Changed between our look at it and its lock.
                                drop(lock);
                                made = self.make(boxes)?;
                                return self.open(boxes, made);
                            }
                            if record.isolation == Isolation::Untrusted {
                                boxes.finish_apply(name)?;
                            }
                            Some((lock, boxes.last_start(name)?))
                        }
                        None => None,
                    },
                },
            };
            match lock {
                Some((lock, last)) => {
                    return self.start(
                        boxes,
                        &mut made.record,
                        last.as_deref(),
                        lock,
                        &resolved,
                        &open,
                        &asked,
                    );
                }
                None => self.wait(began, &mut said)?,
            }
        }
    }

    /// A session in the running box; none when that ended before the session began.
    fn join(
        &self,
        boxes: &Boxes,
        connection: UnixStream,
        open: &Open,
        asked: &Asked,
    ) -> Result<Option<ExitCode>, Error> {
        let terminals = client::ask(&connection, open.clone())?;
        let begun = |running| {
            self.compare(running);
            self.ui.step("session in the running box");
            self.ui.steps_end("start");
        };
        self.ended(boxes, attend(connection, terminals, asked, None, begun))
    }

    /// Another devbox starts or ends the box right now.
    fn wait(&self, began: Instant, said: &mut bool) -> Result<(), Error> {
        let name = &self.plan.name;
        if began.elapsed() > PATIENCE {
            return Err(session::Error::Busy(name.clone()).into());
        }
        if began.elapsed() > Duration::from_secs(1) && !*said {
            self.ui.note(&format!("waiting for box `{name}`, which another devbox starts or ends"));
            *said = true;
        }
        pause(began);
        Ok(())
    }

    fn resolve(&self, boxes: &Boxes, record: &Record) -> Result<Resolved, Error> {
        let Defaults { env, entrypoint, cmd, working_dir, user } = record.defaults.clone();
        let image = ImageDefaults { env, entrypoint, cmd, working_dir, user };
        // The account files are looked at only for a user who is in them; root has no use for other groups.
        let (passwd, group) = match self.plan.user {
            User::Me => Default::default(),
            _ => {
                let folder = boxes.folder(&record.name)?;
                let trees = rootfs::driver::trees(record.driver, &folder, self.lowers(record)?);
                let merged = Merged::open(&trees).ok();
                let text = |path| merged.as_ref().and_then(|merged| merged.read(path)).unwrap_or_default();
                let group = if self.plan.user == User::Root { Vec::new() } else { text("etc/group") };
                (text("etc/passwd"), group)
            }
        };
        let (passwd, group) = (String::from_utf8_lossy(&passwd), String::from_utf8_lossy(&group));
        Ok(resolve(&self.plan, &self.host, &image, &Accounts::new(&passwd, &group)?, self.ask.clone())?)
    }

    #[allow(clippy::too_many_arguments)]
    fn start(
        &self,
        boxes: &Boxes,
        record: &mut Record,
        last: Option<&str>,
        lock: OwnedFd,
        resolved: &Resolved,
        open: &Open,
        asked: &Asked,
    ) -> Result<ExitCode, Error> {
        let name = &self.plan.name;
        let folder = boxes.folder(name)?;
        let ids = self.maps(resolved)?;
        let fresh = last.is_none();
        self.change_driver(boxes, record, fresh, &ids)?;
        let lowers = self.lowers(record)?;
        // first, for an imported box has files to give to their owners and no copy yet
        self.copy_image(boxes, record, &lowers)?;
        self.ui.step("layers");
        let changed = self.change_ids(boxes, record, last, &ids)?;
        let word = super::ids::word(&ids);
        self.copy_project(&folder, record)?;
        let single_id = matches!(ids, IdMaps::Single { .. });
        let anew = fresh || changed.is_some();
        let mut owners = match changed {
            Some(owners) => owners,
            None if fresh && !single_id => self.owners(record)?,
            None => Vec::new(),
        };
        let delta = self.delta(&folder, record, &lowers, &ids)?;
        match delta {
            Some(_) => owners.retain(|owner| owner.path == Path::new("/")),
            None => owners = self.owners_within(record, owners, &ids),
        }
        let caller = Caller {
            name: self.host.user.clone(),
            uid: self.host.uid,
            gid: self.host.gid,
            home: self.host.home.clone(),
        };
        self.ui.step("owners and project");
        let keys = self.keys(boxes)?;
        let wanted = Wanted {
            plan: &self.plan,
            folder: &folder,
            lowers,
            driver: record.driver,
            caller: &caller,
            fresh: anew,
            single_id,
            account: single_id && !self.bare,
            owners,
            delta,
            agent: keys.as_ref().map(|keys| keys.path.as_path()),
            volatile: self.ephemeral,
        };
        let mut taking = self.take_caches(&folder)?;
        let layout = rootfs::prepare(&wanted)?;
        self.ui.step("root file system");
        for note in &layout.notes {
            self.ui.note(note);
        }
        let Settled { bounds, limited } = limits::settle(self.ui, name, &folder, &self.plan.limits)?;
        self.ui.step("limits");
        let spec = Spec {
            ids,
            bounds,
            root: layout.root,
            mount_point: c_string(folder.join("root"))?,
            ops: layout.ops,
            hostname: c_string(&self.plan.hostname)?,
            confinement: match self.plan.isolation {
                Isolation::Dev => None,
                Isolation::Untrusted => Some(
                    Confinement::new()
                        .map_err(|source| session::Error::Start { name: name.clone(), source })?,
                ),
            },
            network: self.network(&folder)?,
            fingerprint: fingerprint(&self.plan),
        };
        let started = start(boxes, name, lock, &spec, open.clone(), &limited, entry::arguments_length())?;
        self.ui.step("launch");
        if let Some(keys) = keys {
            keys.serve(&folder, &started.launched.pidfd)?;
        }
        let begun = |_: u64| {
            if last != Some(word)
                && let Err(error) = boxes.mark_started(name, word)
            {
                let why = std::error::Error::source(&error).map(|why| format!(": {why}")).unwrap_or_default();
                self.ui.warning(&format!(
                    "{error}{why}; the next start of box `{name}` does again what a first one does"
                ));
            }
        };
        let begun = |fingerprint| {
            drop(taking.take());
            begun(fingerprint);
            self.ui.step("set-up in the box and first session");
            self.ui.steps_end("start");
        };
        let outcome = attend(started.connection, started.terminals, asked, Some(&spec), begun);
        self.ended(boxes, outcome)?.ok_or(session::Error::Lost.into())
    }

    /// Keeps the caches of the profile from being removed; none where the box has caches of its own, or none at all.
    fn take_caches(&self, folder: &Path) -> Result<Option<Taking>, Error> {
        if self.plan.isolation == Isolation::Untrusted {
            return Ok(None);
        }
        let caches = self.plan.mounts.iter().filter(|mount| mount.mode == MountMode::Cache);
        let names: BTreeSet<&str> =
            caches.filter_map(|mount| mount.source.as_ref()?.file_name()?.to_str()).collect();
        if names.is_empty() {
            return Ok(None);
        }
        Ok(Some(Caches::new(self.dirs).take(folder, &names)?))
    }

    /// How a session ended: with a code, with a limit, or not at all because its box had gone.
    fn ended(
        &self,
        boxes: &Boxes,
        outcome: Result<Outcome, session::Error>,
    ) -> Result<Option<ExitCode>, Error> {
        let name = &self.plan.name;
        match outcome.map_err(|error| boxes.because(name, error))? {
            Outcome::Exited(code) => Ok(Some(ExitCode::from(code))),
            Outcome::Gone => Ok(None),
            Outcome::OutOfTime => Err(boxes.out_of_time(name)?.into()),
        }
    }

    /// What a box with a network of its own gets; none for the host's.
    fn network(&self, folder: &Path) -> Result<Option<Network>, Error> {
        if self.plan.network == plan::Network::Host {
            return Ok(None);
        }
        let allow = &self.plan.allow;
        let (gate, stack) = match self.plan.network {
            plan::Network::Private if allow.is_empty() => (None, Some(probe::stack()?)),
            plan::Network::Private => {
                (Some(Rules { allow: allow.clone(), proxies: Proxies::from_environment()? }), None)
            }
            plan::Network::Host | plan::Network::None => (None, None),
        };
        Ok(Some(Network { gate, stack, ports: self.plan.ports.clone(), folder: folder.to_owned() }))
    }

    fn maps(&self, resolved: &Resolved) -> Result<IdMaps, Error> {
        let (uid, gid) = (self.host.uid, self.host.gid);
        let one = |container_id, host_id| IdMap { container_id, host_id, size: 1 };
        Ok(match resolved.ids {
            Ids::Full => {
                let (uids, gids) = probe::subordinate_ids(&self.host.user, uid)?;
                IdMaps::Full { uids: idmap::full(uid, &uids), gids: idmap::full(gid, &gids) }
            }
            // Root too: it is root of a namespace inside, which can't change the box's mounts.
            _ => IdMaps::Single { uid: one(uid, uid), gid: one(gid, gid) },
        })
    }

    fn request(&self, resolved: &Resolved) -> Result<Open, Error> {
        let (programs, arguments): (Vec<CString>, Vec<CString>) = match &resolved.program {
            Program::Argv(argv) => {
                let words = argv.iter().map(c_string).collect::<Result<Vec<_>, _>>()?;
                (words.first().cloned().into_iter().collect(), words)
            }
            Program::Shell(shells) => (shells.iter().map(c_string).collect::<Result<_, _>>()?, Vec::new()),
        };
        let single = resolved.ids != Ids::Full;
        let mut environment = Vec::new();
        for (name, value) in &resolved.env {
            environment.push(match name.as_str() {
                "PATH" if self.has_sudo() => c_string(format!("PATH={}:{value}", rootfs::SHIMS))?,
                _ => c_string(format!("{name}={value}"))?,
            });
        }
        if !self.plan.ssh_agent.is_empty() && !resolved.env.contains_key("SSH_AUTH_SOCK") {
            environment.push(c_string(format!("SSH_AUTH_SOCK={}", rootfs::SSH_AGENT))?);
        }
        let identity = match (&resolved.account, single) {
            (account, false) if account.uid != 0 => {
                Identity::Mapped { uid: account.uid, gid: account.gid, groups: account.groups.clone() }
            }
            // root on the host is no root in there
            _ if self.plan.isolation == Isolation::Untrusted => Identity::Me,
            (account, _) if account.uid == 0 => {
                if single {
                    environment.push(c_string(format!("APT_CONFIG={}", rootfs::APT_CONFIG))?);
                }
                Identity::Root
            }
            _ => {
                // fakeroot(1) puts up with a chown that is not permitted, not with an owner that can't exist here.
                environment.push(CString::from(c"FAKEROOTDONTTRYCHOWN=1"));
                Identity::Me
            }
        };
        if let Program::Shell(_) = resolved.program {
            self.add_shell_variables(resolved, &identity, &mut environment)?;
        }
        let mut folders = vec![c_string(&resolved.cwd)?];
        // A running box may not have the folder the caller stands in; one that was asked for must be there.
        if self.plan.workdir.is_none() {
            folders.extend([c_string(&resolved.account.home)?, CString::from(c"/")]);
        }
        Ok(Open { programs, arguments, environment, folders, identity, ..Open::default() })
    }

    /// What our start files for shells go by (`rootfs::shell`).
    fn add_shell_variables(
        &self,
        resolved: &Resolved,
        identity: &Identity,
        environment: &mut Vec<CString>,
    ) -> Result<(), Error> {
        if matches!(identity, Identity::Mapped { uid: 1.., .. }) {
            // the box's own folder is closed to its other users
            return Ok(());
        }
        // A home that is not the box's own keeps no history of the box, or mixes it with the host's.
        if self.plan.home != Home::Private && resolved.account.home == self.host.home {
            environment.push(c_string(format!("DEVBOX_HISTORY={}", rootfs::STATE))?);
        }
        // those that the shim replaces for the shell's start
        for (name, kept) in [("ZDOTDIR", "DEVBOX_ZDOTDIR"), ("XDG_DATA_HOME", "DEVBOX_XDG_DATA_HOME")] {
            if let Some(value) = resolved.env.get(name) {
                environment.push(c_string(format!("{kept}={value}"))?);
            }
        }
        if let Some(hook) = &self.hook {
            environment.push(c_string(format!("DEVBOX_HOOK={}:{}", hook.shell, hook.project.display()))?);
        }
        Ok(())
    }

    /// Says what an untrusted box was refused since `began`.
    fn tell_refused(&self, began: SystemTime) -> Result<(), Error> {
        if self.plan.isolation != Isolation::Untrusted || self.ui.is_quiet() {
            return Ok(());
        }
        let since = began.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let refused = super::why::refused(self.dirs, &self.plan.name, since)?;
        let Some(first) = refused.first() else { return Ok(()) };
        let more = match refused.len() {
            1 => String::new(),
            some => format!(" and {} more", some - 1),
        };
        let rest = match self.ephemeral {
            true => String::new(),
            false => format!("; `devbox why {}` tells the reasons and what would allow it", self.plan.name),
        };
        self.ui.note(&format!("refused in the box: {first}{more}{rest}"));
        Ok(())
    }

    /// Whether the box has `sudo`, `su` and `doas` of ours.
    fn has_sudo(&self) -> bool {
        self.plan.image != Image::Host && self.plan.isolation == Isolation::Dev
    }

    /// Tells when a running box is not what the profile says now.
    fn compare(&self, running: u64) {
        if running != fingerprint(&self.plan) {
            let name = &self.plan.name;
            self.ui.note(&format!(
                "box `{name}` runs with other mounts or settings than asked for now; `devbox stop {name}` and entering again applies them"
            ));
        }
    }
}

fn name_of(program: &Program) -> String {
    match program {
        Program::Argv(argv) => {
            argv.first().map(OsString::as_os_str).unwrap_or_default().to_string_lossy().into_owned()
        }
        Program::Shell(shells) => shells.join("` or `"),
    }
}

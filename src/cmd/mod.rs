//! The verbs, a thin file each: typed arguments in, stages below called, answer printed.

mod apply;
mod clone;
mod commit;
mod completions;
mod config;
mod contents;
mod dedupe;
mod df;
mod diff;
mod discard;
mod doctor;
mod driver;
mod enter;
mod export;
mod forks;
mod here;
mod hook;
mod ids;
mod images;
mod import;
mod in_use;
mod init;
mod inspect;
mod keys;
mod launcher;
mod limits;
mod load;
mod lock;
mod login;
mod logout;
mod logs;
mod ls;
mod making;
mod man;
mod naming;
mod opening;
mod plan;
mod profiles;
mod project;
mod prune;
mod pull;
mod push;
mod rebase;
mod reference;
mod reset;
mod rm;
mod rmi;
mod run;
mod save;
mod setup;
mod snapshot;
mod stop;
mod suggest;
mod tag;
mod trust;
mod update;
mod verify;
mod why;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::cli::{Cli, PlanFlags, Verb};
use crate::dirs::{self, Dirs};
use crate::error::{Error, ExitCode};
use crate::idmap::{self, IdMap};
use crate::plan::policy::Made;
use crate::plan::{Flags, Host, Ids, Isolation, Plan, User, without_dots};
use crate::probe;
use crate::profile::policy::{POLICY, Policy};
use crate::profile::{self, Found, PROJECT_FILE, Selector};
use crate::session::Boxes;
use crate::store::Store;
use crate::sys::{fd, process};
use crate::ui::Ui;

pub use suggest::suggestion;

use reference::Doubt;
use trust::Wishes;

/// Carries out one command line and gives the process's exit code.
pub fn dispatch(cli: Cli, ui: &Ui) -> Result<ExitCode, Error> {
    let dirs = || Dirs::from_environment();
    match cli.verb {
        Verb::Enter(args) => enter::run(ui, &dirs()?, args),
        Verb::Run(args) => run::run(ui, &dirs()?, args),
        Verb::Ls(args) => ls::run(ui, &dirs()?, &args),
        Verb::Rm(args) => rm::run(ui, &dirs()?, &args),
        Verb::Stop(args) => stop::run(ui, &dirs()?, &args),
        Verb::Diff(args) => diff::run(ui, &dirs()?, &args),
        Verb::Apply(args) => apply::run(ui, &dirs()?, &args),
        Verb::Discard(args) => discard::run(ui, &dirs()?, &args),
        Verb::Update(args) => update::run(ui, &dirs()?, args),
        Verb::Commit(args) => commit::run(ui, &dirs()?, &args),
        Verb::Snapshot(args) => snapshot::take(ui, &dirs()?, &args),
        Verb::Snapshots(args) => snapshot::list(ui, &dirs()?, &args),
        Verb::Rollback(args) => snapshot::roll_back(ui, &dirs()?, &args),
        Verb::Clone(args) => clone::clone(ui, &dirs()?, &args),
        Verb::Rename(args) => clone::rename(ui, &dirs()?, &args),
        Verb::Reset(args) => reset::run(ui, &dirs()?, &args),
        Verb::Export(args) => export::run(ui, &dirs()?, &args),
        Verb::Import(args) => import::run(ui, &dirs()?, &args),
        Verb::Logs(args) => logs::run(ui, &dirs()?, &args),
        Verb::Why(args) => why::run(ui, &dirs()?, &args),
        Verb::Inspect(args) => inspect::run(ui, &dirs()?, &args),
        Verb::Init(args) => init::run(ui, &dirs()?, &args),
        Verb::Plan(args) => plan::run(ui, &dirs()?, args),
        Verb::Lock(args) => lock::run(ui, &dirs()?, &args),
        Verb::Outdated(args) => lock::outdated(ui, &dirs()?, &args),
        Verb::Setup(args) => setup::run(ui, &dirs()?, args),
        Verb::Trust(args) => trust::run(ui, &dirs()?, &args),
        Verb::Untrust(args) => trust::take_back(ui, &dirs()?, &args),
        Verb::Config(args) => config::run(ui, dirs, args),
        Verb::Profiles(args) => profiles::run(ui, &dirs()?, &args),
        Verb::Pull(args) => pull::run(ui, &dirs()?, &args),
        Verb::Images(args) => images::run(ui, &dirs()?, &args),
        Verb::Load(args) => load::run(ui, &dirs()?, &args),
        Verb::Save(args) => save::run(ui, &dirs()?, &args),
        Verb::Push(args) => push::run(ui, &dirs()?, &args),
        Verb::Tag(args) => tag::run(ui, &dirs()?, &args),
        Verb::Rmi(args) => rmi::run(ui, &dirs()?, &args),
        Verb::Login(args) => login::run(ui, &dirs()?, &args),
        Verb::Logout(args) => logout::run(ui, &dirs()?, &args),
        Verb::Prune(args) => prune::run(ui, &dirs()?, &args),
        Verb::Df(args) => df::run(ui, &dirs()?, &args),
        Verb::Dedupe(args) => dedupe::run(ui, &dirs()?, &args),
        Verb::Verify(args) => verify::run(ui, &dirs()?, &args),
        Verb::Doctor(args) => doctor::run(ui, &dirs()?, &args),
        Verb::Hook(args) => hook::run(ui, &dirs()?, &args),
        Verb::Completions(args) => completions::run(ui, &args),
        Verb::Man(args) => man::run(ui, &args),
    }
}

/// A plan, and what it takes to carry it out.
struct Planned {
    plan: Plan,
    /// The host it was made for.
    host: Host,
    /// What the project's own file wants beyond its folder.
    wishes: Wishes,
    /// What it was made from.
    found: Found,
    flags: Flags,
}

impl Planned {
    /// Refuses what the organisation forbids.
    fn permitted(&self) -> Result<(), Error> {
        let Some(policy) = policy()? else { return Ok(()) };
        let made = Made {
            plan: &self.plan,
            found: &self.found,
            flags: &self.flags,
            host: &self.host,
            wishes: &self.wishes.all,
        };
        Ok(crate::plan::policy::check(&policy, made, &|path| fd::real_path(path).ok())?)
    }
}

/// What the organisation forbids on this machine; none when it says nothing.
fn policy() -> Result<Option<Policy>, Error> {
    const SYSTEM: u32 = 0;
    Ok(Policy::read(Path::new(POLICY), SYSTEM)?)
}

/// The plan for someone who named `target`, with what needs consent accepted, and the host it was made for.
fn accepted(ui: &Ui, dirs: &Dirs, target: Option<&str>, flags: PlanFlags) -> Result<Planned, Error> {
    let planned = planned(ui, dirs, target, flags, Doubt::Resolve)?;
    planned.permitted()?;
    planned.wishes.require(ui, dirs)?;
    Ok(planned)
}

/// The plan for someone who named `target`.
fn planned(
    ui: &Ui,
    dirs: &Dirs,
    target: Option<&str>,
    mut flags: PlanFlags,
    doubt: Doubt,
) -> Result<Planned, Error> {
    let mut host = probe::host(dirs)?;
    let selector = match target {
        Some(name) if flags.profile.is_none() => remembered(dirs, name, &mut flags)?,
        _ => None,
    }
    .unwrap_or_else(|| flags.selector(target));
    let mut found = profile::find(dirs, &selector, &host.cwd)?;
    for origin in &found.origins {
        ui.detail(&format!("profile `{}`, {}", origin.name, origin.from));
    }
    ui.step("profile");
    let mut flags = flags.flags(&selector);
    // the flag's word goes before the profile's, so that one is not looked at then
    let image = if flags.image.is_some() { &mut flags.image } else { &mut found.profile.image };
    *image = image.take().map(|image| reference::image(ui, dirs, image, doubt)).transpose()?;
    // Looked for only where the plan depends on it: it takes a search for helpers.
    host.subordinate_ids = match flags.ids.or(found.profile.ids) {
        Some(Ids::Full) => true,
        Some(Ids::Single) => false,
        Some(Ids::Auto) | None => {
            let user = flags.user.as_ref().or(found.profile.user.as_ref());
            !matches!(user, None | Some(User::Me)) && probe::has_subordinate_ids()
        }
    };
    flags.usual_driver = driver::usual()?;
    let lookup = |name: &str| dirs::variable(name)?.into_string().ok();
    let mut plan = crate::plan::make(&found, &flags, &host, &lookup)?;
    setup::judge(&mut plan);
    let seen = RefCell::new(BTreeMap::new());
    let real = |path: &Path| {
        let mut seen = seen.borrow_mut();
        seen.entry(path.to_owned()).or_insert_with(|| fd::real_path(path).ok()).clone()
    };
    let all = crate::plan::trust::wishes(&plan, &found, &host, &real)?;
    // what is mounted is what was looked at, even if a link comes to stand there meanwhile
    let judged = seen.take().into_iter().map(|(path, real): (PathBuf, Option<PathBuf>)| {
        let real = real.unwrap_or_else(|| without_dots(&path));
        (path, real)
    });
    plan.judged = judged.collect();
    let file = found.project_dir.as_deref().map(|folder| folder.join(PROJECT_FILE));
    let wishes = Wishes { file, all, isolation: plan.isolation };
    ui.step("plan");
    Ok(Planned { plan, host, wishes, found, flags })
}

/// When `name` is a box there is: the profile it was made from, which is read again, and its name among the flags.
fn remembered(dirs: &Dirs, name: &str, flags: &mut PlanFlags) -> Result<Option<Selector>, Error> {
    let Some(record) = Boxes::new(dirs).load(name)? else { return Ok(None) };
    flags.name.get_or_insert(record.name);
    if record.isolation == Isolation::Untrusted && flags.isolation.is_none() && !flags.untrusted {
        flags.isolation = Some(record.isolation);
    }
    Ok(Some(match record.profiles.last() {
        Some(origin) if origin.from.starts_with('/') => Selector::File(origin.from.clone().into()),
        Some(origin) => Selector::Name(origin.name.clone()),
        // Made by `--image` alone.
        None => {
            if flags.image.is_none() {
                flags.image = record.image.parse().ok();
            }
            if flags.project.is_none() && !flags.no_project {
                flags.project = record.project;
            }
            if flags.user.is_none() && !flags.root {
                flags.user = record.user.and_then(|user| user.parse().ok());
            }
            if flags.ids.is_none() {
                flags.ids = record.ids.and_then(|ids| ids.parse().ok());
            }
            Selector::Nothing
        }
    }))
}

/// Refuses a plan that says `full` where the host has not what that takes. A box that runs has it.
fn require_its_ids(plan: &Plan) -> Result<(), Error> {
    match plan.ids == Ids::Full && !probe::has_subordinate_ids() {
        true => Err(crate::plan::Error::NoSubordinateIds.into()),
        false => Ok(()),
    }
}

/// Marks fetched layers durable when the disk has them, in the background: until then they count for this boot.
fn sync_later(store: &Store) -> Result<(), Error> {
    process::in_background(|| drop(store.sync())).map_err(|errno| Error::Background(errno.into()))
}

/// The maps of `ids = "full"`, when the caller has what they take.
fn full_maps(host: &Host) -> Option<(Vec<IdMap>, Vec<IdMap>)> {
    let (uids, gids) = probe::subordinate_ids(&host.user, host.uid).ok()?;
    Some((idmap::full(host.uid, &uids), idmap::full(host.gid, &gids)))
}

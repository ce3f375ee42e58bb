//! `devbox setup`: a set-up done, sent, or looked back at.

use super::logs::log_path;
use super::{Steps, Wish};
use crate::cli::SetupArgs;
use crate::cmd::opening::Opening;
use crate::cmd::reference::Doubt;
use crate::cmd::{Planned, accepted, planned};
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode, SetupError};
use crate::oci::digest::Digest;
use crate::plan::Plan;
use crate::plan::resolve::Ask;
use crate::pull;
use crate::session::Boxes;
use crate::store::Store;
use crate::sys::fd;
use crate::ui::Ui;

/// Longest log that is printed whole.
const MAX_LOG: usize = 256 << 20;

pub(in crate::cmd) fn run(ui: &Ui, dirs: &Dirs, args: SetupArgs) -> Result<ExitCode, Error> {
    let target = args.target.as_deref();
    if let Some(number) = args.log {
        let Planned { plan, .. } = planned(ui, dirs, target, args.plan, Doubt::Refuse)?;
        return log(ui, dirs, &plan, number.into());
    }
    let Planned { plan, host, .. } = accepted(ui, dirs, target, args.plan)?;
    let total = plan.setup.steps.len();
    match args.again.map(usize::from) {
        _ if total == 0 => return Err(SetupError::NoSteps.into()),
        Some(number) if number > total => return Err(SetupError::NoStep { number, total }.into()),
        _ => {}
    }
    if args.push && plan.setup.cache.is_none() {
        return Err(SetupError::NoCache.into());
    }
    let opening = Opening::new(ui, dirs, plan, host, Ask::Image);
    let store = Store::open(&dirs.store())?;
    let _hold = store.hold(&mut |holder| ui.note(&format!("waiting for {holder}")))?;
    let manifest = below(dirs, &opening.plan)?;
    let base = opening.base(&store, &opening.plan.image.to_string(), manifest)?;
    let wish = Wish { again: args.again.map(usize::from) };
    let ground = opening.ground(&store, base.clone(), wish)?;
    if wish.again.is_some() {
        ui.note("boxes that are over the former result go over to this one with `devbox update`");
    }
    if args.push {
        let steps = Steps::of(&opening.plan, &base.manifest_digest)?;
        opening.push_results(&store, &steps, &base, &ground, wish)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(name) = ground.name {
        ui.line(&name)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The manifest a set-up is for: the locked one, or that of the box there is; none where nobody has decided yet.
fn below(dirs: &Dirs, plan: &Plan) -> Result<Option<Digest>, Error> {
    if let Some(pin) = &plan.pin {
        return Ok(Some(pin.manifest));
    }
    let record = Boxes::new(dirs).load(&plan.name)?;
    let record = record.filter(|record| record.image == plan.image.to_string());
    Ok(record.and_then(|record| record.base.or(record.manifest)))
}

/// The steps of a plan as they are known without fetching anything; none where the image is not here.
pub(in crate::cmd) fn known(dirs: &Dirs, plan: &Plan) -> Result<Option<Steps>, Error> {
    if plan.setup.steps.is_empty() {
        return Ok(None);
    }
    let manifest = match below(dirs, plan)? {
        None if dirs.store().is_dir() => {
            let store = Store::open(&dirs.store())?;
            let here = pull::here(&store, &plan.image.to_string(), &plan.platform.parse()?)?;
            here.map(|image| image.manifest_digest)
        }
        manifest => manifest,
    };
    manifest.map(|manifest| Steps::of(plan, &manifest)).transpose()
}

/// Prints what steps printed: the one of this number, or all for 0.
fn log(ui: &Ui, dirs: &Dirs, plan: &Plan, number: usize) -> Result<ExitCode, Error> {
    let total = plan.setup.steps.len();
    if total == 0 {
        return Err(SetupError::NoSteps.into());
    }
    if number > total {
        return Err(SetupError::NoStep { number, total }.into());
    }
    let steps = known(dirs, plan)?.ok_or(SetupError::NoLog(number.max(1)))?;
    let (mut found, chosen) = (false, number.checked_sub(1));
    for (at, key) in steps.keys.iter().enumerate().filter(|(at, _)| chosen.is_none_or(|chosen| *at == chosen))
    {
        let path = log_path(dirs, key);
        let bytes = match fd::read_small(&path, MAX_LOG) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            read => read.map_err(|source| Error::Box { path, source })?,
        };
        found = true;
        ui.note(&format!("step {} of {total}: {}", at + 1, plan.setup.steps[at].title()));
        if ui.writes_terminal() { ui.text(&String::from_utf8_lossy(&bytes))? } else { ui.raw(&bytes)? }
    }
    if found { Ok(ExitCode::SUCCESS) } else { Err(SetupError::NoLog(number.max(1)).into()) }
}

/// Opens a shell in what a failed step left.
pub(in crate::cmd) fn at_failure(opening: &Opening<'_>) -> Result<ExitCode, Error> {
    // steps that can't be read are as good as none: what failed has its own number
    let keys = known(opening.dirs, &opening.plan).ok().flatten().map(|steps| steps.keys).unwrap_or_default();
    super::step::at_failure(opening, &keys)
}

//! `devbox update`: a project's lock and box over the newest of its image, with all that the box wrote itself.

use super::lock::Locking;
use super::opening::Opening;
use super::rebase::{Standing, ensure_movable, rebase};
use super::{Planned, accepted};
use crate::cli::{PlanFlags, PullPolicy, UpdateArgs};
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::oci::digest::Digest;
use crate::plan::Image;
use crate::plan::resolve::Ask;
use crate::session::Boxes;
use crate::store::Store;
use crate::ui::Ui;

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: UpdateArgs) -> Result<ExitCode, Error> {
    let keeps_image = args.image.is_none();
    let flags = PlanFlags { image: args.image, locked: args.locked, ..PlanFlags::default() };
    let Planned { plan, host, found, .. } = accepted(ui, dirs, args.target.as_deref(), flags)?;
    let name = plan.name.clone();
    let boxes = Boxes::new(dirs);
    let locking = match keeps_image && !args.locked && found.lock.is_some() {
        true => Some(Locking::of(dirs, found, &plan.image)?),
        false => None,
    };
    if locking.is_none() {
        boxes.require(&name)?;
    }
    if matches!(plan.image, Image::Host | Image::Folder(_)) {
        return Err(Error::NoImageBelow { name, image: plan.image.to_string() });
    }
    let pull = if args.locked { PullPolicy::Missing } else { PullPolicy::Always };
    let mut opening = Opening { pull, ..Opening::new(ui, dirs, plan, host, Ask::Image) };
    // a box that can't be moved leaves the lock as it is
    let held = match locking.is_some() && boxes.load(&name)?.is_none() {
        true => None,
        false => Some(boxes.lock_stopped(&name)?),
    };
    if held.is_some() {
        ensure_movable(&boxes, &boxes.require(&name)?)?;
    }
    if let Some(locking) = locking {
        let new = locking.renew(&mut opening, true)?;
        locking.write(ui, &new)?;
        if held.is_none() {
            return Ok(ExitCode::SUCCESS);
        }
    }
    let record = boxes.require(&name)?;
    let mut new = record.clone();
    new.image = opening.plan.image.to_string();
    let store = Store::open(&dirs.store())?;
    if matches!(opening.plan.image, Image::Registry(_)) && store.is_own_ref(&new.image)? {
        // elsewhere somebody else's image may have that name
        ui.note(&format!(
            "{0} was named on this machine, so no registry is asked for it; `devbox pull {0}` does",
            new.image
        ));
        opening.pull = PullPolicy::Missing;
    }
    // Nothing is removed from the store between the look at its layers and the box's record.
    let _hold = store.hold(&mut |holder| ui.note(&format!("waiting for {holder}")))?;
    opening.add_image(&store, &mut new)?;
    let same = new.layers == record.layers;
    let locked = opening.plan.pin.is_some();
    rebase(ui, dirs, &boxes, &record, &new, Standing { force: args.force, locked })?;
    match same {
        true if args.locked => ui.note(&format!("box `{name}` is over what is locked already")),
        true => ui.note(&format!("box `{name}` is over the newest of {} already", new.image)),
        false => ui.line(&new.manifest.as_ref().map(Digest::to_string).unwrap_or_default())?,
    }
    Ok(ExitCode::SUCCESS)
}

//! `devbox plan`: what would be done.

use serde::Serialize;

use super::reference::Doubt;
use super::setup;
use super::{Planned, driver, limits, planned, require_its_ids};
use crate::cli::{Format, PlanArgs};
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::oci::digest::Digest;
use crate::plan::Plan;
use crate::plan::trust::Wish;
use crate::probe::Choice;
use crate::store::Store;
use crate::ui::{Table, Tone, Ui};

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    plan: Plan,
    /// What `enter` and `run` ask about.
    reaches: Vec<Wish>,
    /// What `auto` comes to; none as long as nobody knows.
    uses: Option<Choice>,
    /// What would hold each limit.
    held: Vec<limits::Shown>,
    /// The steps of the set-up; empty as long as the image is not here.
    steps: Vec<ShownStep>,
}

/// A step of the set-up.
#[derive(Serialize)]
struct ShownStep {
    key: Digest,
    /// Whether its result is here.
    here: bool,
}

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: PlanArgs) -> Result<ExitCode, Error> {
    let planned = planned(ui, dirs, args.target.as_deref(), args.plan, Doubt::Refuse)?;
    planned.permitted()?;
    let Planned { plan, wishes, .. } = planned;
    require_its_ids(&plan)?;
    let uses = driver::foreseen(dirs, &plan)?;
    let held = limits::foreseen(&plan.limits);
    let steps = steps(dirs, &plan)?;
    match args.format {
        Format::Json => {
            let held = held.iter().map(limits::Shown::from).collect();
            ui.json(&Shown { plan, reaches: wishes.all, uses, held, steps })?;
        }
        Format::Table if ui.is_quiet() => ui.line(&plan.name)?,
        Format::Table => {
            let mut table = Table::bare();
            let mut holders = held.iter().map(|held| held.by);
            let mut results = steps.iter();
            let reaches = wishes.all.iter().map(|wish| ("reaches", format!("{wish}: {}", wish.why)));
            for (name, mut text) in plan.describe().into_iter().chain(reaches) {
                if let Some(Choice { driver, because }) = uses.as_ref().filter(|_| name == "driver") {
                    let because = because.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
                    text = format!("{text}: {driver}{because}");
                }
                if let Some(by) = Some(name).filter(|name| *name == "limit").and_then(|_| holders.next()) {
                    text = format!("{text}: {by}");
                }
                if let Some(step) = Some(name).filter(|name| *name == "setup").and_then(|_| results.next()) {
                    text = format!("{text} ({})", if step.here { "done" } else { "to be done" });
                }
                table.row([name.to_owned(), text]);
            }
            ui.table_in_tones(&table, |_, column| (column == 0).then_some(Tone::Strong))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The steps of the set-up, as far as they are known without fetching anything.
fn steps(dirs: &Dirs, plan: &Plan) -> Result<Vec<ShownStep>, Error> {
    let Some(steps) = setup::known(dirs, plan)? else { return Ok(Vec::new()) };
    let store = Store::open(&dirs.store())?;
    let shown = |key: &Digest| Ok(ShownStep { key: *key, here: setup::here(&store, key)?.is_some() });
    steps.keys.iter().map(shown).collect()
}

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
use crate::ui::{Cell, Table, Tone, Tree, Ui};

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
            let mut holders = held.iter().map(|held| held.by);
            let mut results = steps.iter();
            let reaches = wishes.all.iter().map(|wish| ("reaches", format!("{wish}: {}", wish.why)));
            let rows = plan.describe().into_iter().chain(reaches).map(|(name, mut text)| {
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
                (name, text)
            });
            if ui.draws() {
                return ui
                    .tree(&drawn(&rows.collect::<Vec<_>>()))
                    .map(|()| ExitCode::SUCCESS)
                    .map_err(Error::from);
            }
            let mut table = Table::bare();
            for (name, text) in rows {
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
    let shown = |key: &Digest| Ok(ShownStep { key: *key, here: setup::is_here(&store, plan, key)? });
    steps.keys.iter().map(shown).collect()
}

/// What belongs together, in order. A row that is named nowhere here stands alone.
const GROUPS: [(&str, &[&str]); 5] = [
    ("root", &["image", "locked", "platform", "driver"]),
    ("session", &["user", "ids", "isolation", "shell", "workdir", "hostname", "env", "ssh-agent"]),
    ("files", &["home", "project", "mount", "secret"]),
    ("set-up", &["setup", "cache"]),
    ("network", &["network", "allow", "port"]),
];

/// The rows as a tree: the box, groups below it, and rows of one name below that.
fn drawn(rows: &[(&'static str, String)]) -> Tree {
    let mut tree = Tree::default();
    let mut left: Vec<&(&str, String)> = rows.iter().filter(|(name, _)| *name != "box").collect();
    for (_, name) in rows.iter().filter(|(name, _)| *name == "box") {
        tree.row(0, [Cell::text(format!("box {name}"))]);
    }
    for (group, names) in GROUPS {
        let (mut of, others): (Vec<_>, Vec<_>) = left.into_iter().partition(|(name, _)| names.contains(name));
        left = others;
        of.sort_by_key(|(name, _)| names.iter().position(|known| known == name));
        // a group of one that is called as it is needs no line of its own
        let depth = if matches!(of[..], [(name, _)] if *name == group) { 1 } else { 2 };
        if depth == 2 && !of.is_empty() {
            tree.row(1, [Cell::text(group)]);
        }
        for (name, text) in of {
            tree.row(depth, [Cell::text(*name), Cell::text(text)]);
        }
    }
    for (name, text) in left {
        tree.row(1, [Cell::text(*name), Cell::text(text)]);
    }
    tree
}

//! How a box's limits are held on this host: settled before its start, and said.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::error::Error;
use crate::limits::{Held, Holder, Limit, Limits, Means};
use crate::probe::System;
use crate::sandbox::{Bounds, Cgroup, scope, some_processors};
use crate::session::Limited;
use crate::ui::Ui;

/// What a start needs to know of limits.
pub(super) struct Settled {
    pub(super) bounds: Bounds,
    pub(super) limited: Limited,
}

/// A limit as `--format json` prints it.
#[derive(Serialize)]
pub(super) struct Shown {
    limit: Limit,
    amount: String,
    by: Holder,
}

impl From<&Held> for Shown {
    fn from(Held { limit, amount, by }: &Held) -> Self {
        Self { limit: *limit, amount: limit.shown(*amount), by: *by }
    }
}

/// What would hold each limit if the box were started now.
pub(super) fn foreseen(limits: &Limits) -> Vec<Held> {
    if limits.amounts.is_empty() {
        return Vec::new();
    }
    let system = System::this();
    let (mut means, delegated) = system.means();
    if delegated.is_none() {
        means.cgroup = system.manager().map(|(_, limits)| limits).unwrap_or_default();
    }
    means.hold(limits)
}

/// Settles how the limits of the box `name`, whose folder is `folder`, are held, and makes its cgroup when that takes one.
/// Says once what is held by best effort alone.
///
/// # Errors
///
/// A limit that can't be held exactly, when the limits are strict.
pub(super) fn settle(ui: &Ui, name: &str, folder: &Path, limits: &Limits) -> Result<Settled, Error> {
    if limits.amounts.is_empty() {
        return Ok(Settled { bounds: Bounds::default(), limited: Limited::default() });
    }
    let system = System::this();
    let (mut means, mut delegated) = system.means();
    let mut held = means.hold(limits);
    if let (None, Some((busctl, can))) = (&delegated, system.manager())
        && wants_one(&Means { cgroup: can, ..means.clone() }.hold(limits))
    {
        match scope::enter(&busctl) {
            Ok(()) => (means, delegated) = system.means(),
            Err(error) => ui.detail(&format!("systemd gives no cgroup: {error}")),
        }
        held = means.hold(limits);
    }
    let mut cgroup = None;
    if let Some(group) = delegated.filter(|_| wants_one(&held)) {
        match Cgroup::make(&group.folder, &group_name(name, folder), &held) {
            Ok(made) => cgroup = Some(made),
            Err(error) => {
                let place = group.folder.display().to_string();
                ui.detail(&format!("no cgroup can be made in {}: {error}", place.escape_debug()));
                means.cgroup.clear();
                held = means.hold(limits);
            }
        }
    }
    if let Some(inexact) = held.iter().find(|held| limits.is_strict() && !held.by.is_exact()) {
        if let Some(cgroup) = cgroup {
            cgroup.remove();
        }
        let Held { limit, amount, by } = *inexact;
        return Err(Error::Inexact { name: name.to_owned(), limit, amount, by });
    }
    let best_effort: Vec<String> = held
        .iter()
        .filter(|held| !held.by.is_exact() && held.by != Holder::PidMax)
        .map(|held| format!("{} {}: {}", held.limit, held.limit.shown(held.amount), held.by))
        .collect();
    if !best_effort.is_empty() {
        let all = best_effort.join("; ");
        ui.note(&format!("limits of box `{name}` that the kernel does not hold exactly: {all}"));
    }
    let bounds = bounds(&held, cgroup.is_some());
    let limited = Limited { held, cgroup: cgroup.map(|cgroup| cgroup.folder().to_owned()) };
    Ok(Settled { bounds, limited })
}

fn wants_one(held: &[Held]) -> bool {
    held.iter().any(|held| held.by == Holder::Cgroup)
}

fn bounds(held: &[Held], cgroup: bool) -> Bounds {
    let by =
        |limit, by| held.iter().find(|held| held.limit == limit && held.by == by).map(|held| held.amount);
    let processors = by(Limit::Cpus, Holder::Affinity).and_then(|thousandths| {
        let count = usize::try_from(thousandths.div_ceil(1000)).unwrap_or(usize::MAX);
        // what can't be had is not held, and no worse than that
        some_processors(count, std::process::id() as usize).ok().flatten()
    });
    Bounds {
        processes: by(Limit::Pids, Holder::Rlimit),
        pid_max: by(Limit::Pids, Holder::PidMax),
        files: by(Limit::Files, Holder::Rlimit),
        processors,
        time: by(Limit::Time, Holder::Timer).map(Duration::from_secs),
        watched: cgroup || held.iter().any(|held| held.by == Holder::Watch),
    }
}

/// Boxes of the same name in different data folders have different groups.
fn group_name(name: &str, folder: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    folder.hash(&mut hasher);
    format!("{name}-{:08x}", hasher.finish() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_holder_gets_its_part() {
        let held = |limit, amount, by| Held { limit, amount, by };
        let own = bounds(
            &[
                held(Limit::Memory, 1 << 30, Holder::Cgroup),
                held(Limit::Pids, 20, Holder::Rlimit),
                held(Limit::Files, 30, Holder::Rlimit),
                held(Limit::Time, 40, Holder::Timer),
            ],
            true,
        );
        assert_eq!((own.processes, own.pid_max, own.files), (Some(20), None, Some(30)));
        assert_eq!((own.time, own.watched), (Some(Duration::from_secs(40)), true));
        let root = bounds(&[held(Limit::Pids, 20, Holder::PidMax)], false);
        assert_eq!((root.processes, root.pid_max, root.watched), (None, Some(20), false));
        assert!(bounds(&[held(Limit::Disk, 1, Holder::Watch)], false).watched);
    }

    #[test]
    fn groups_are_told_apart_by_folder() {
        assert_ne!(group_name("a", Path::new("/x/a")), group_name("a", Path::new("/y/a")));
    }
}

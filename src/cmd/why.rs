//! `devbox why`: what was refused in a box, for what reason, and what would allow it.

use std::path::Path;

use serde::Serialize;

use crate::audit::{Event, Kind};
use crate::cli::{Format, PlanFlags, WhyArgs};
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::plan::sight::{Sight, sight};
use crate::sys::fd;
use crate::ui::{Ui, age};

use super::{Planned, here, logs, planned, reference::Doubt};

/// Refusals of one kind of one thing.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Refused {
    kind: Kind,
    what: String,
    why: Option<String>,
    remedy: Option<String>,
    last: u64,
}

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &WhyArgs) -> Result<ExitCode, Error> {
    let record = here::record(ui, dirs, args.name.as_deref())?;
    if let Some(path) = &args.path {
        return tell_of_path(ui, dirs, &record.name, path, args.format);
    }
    let refused = gather(logs::events(dirs, &record.name)?);
    match args.format {
        Format::Json => ui.json(&refused)?,
        Format::Table if ui.is_quiet() => refused.iter().try_for_each(|one| ui.line(&one.what))?,
        Format::Table if refused.is_empty() => {
            ui.note(&format!("nothing was refused in box `{}`", record.name));
        }
        Format::Table => {
            for one in refused {
                ui.line(&format!("{}: refused, last {}", one.what, age(one.last)))?;
                if let Some(why) = one.why {
                    ui.line(&format!("  why: {why}"))?;
                }
                if let Some(remedy) = one.remedy {
                    ui.line(&format!("  to allow it: {remedy}"))?;
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What box `name` has of a path of this machine.
fn tell_of_path(ui: &Ui, dirs: &Dirs, name: &str, path: &Path, format: Format) -> Result<ExitCode, Error> {
    let Planned { plan, host, .. } = planned(ui, dirs, Some(name), PlanFlags::default(), Doubt::Refuse)?;
    // by its folder, for itself may be missing, or a link
    let absolute = host.cwd.join(path);
    let folder = absolute.parent().and_then(|folder| fd::real_path(folder).ok());
    let place = match (folder, absolute.file_name()) {
        (Some(folder), Some(last)) => folder.join(last),
        _ => absolute,
    };
    let Sight { is_there, why, remedy } = sight(&plan, &place, &host.home);
    if format == Format::Json {
        ui.json(&serde_json::json!({ "path": place, "is-there": is_there, "why": why, "remedy": remedy }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let seen = if is_there { "in the box" } else { "not in the box" };
    ui.line(&format!("{}: {seen}", place.display()))?;
    ui.line(&format!("  why: {why}"))?;
    remedy.map_or(Ok(()), |remedy| {
        ui.line(&format!("  to allow {}: {remedy}", if is_there { "more" } else { "it" }))
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What was refused in box `name` since the second `since` of 1970, each thing once.
pub(super) fn refused(dirs: &Dirs, name: &str, since: u64) -> Result<Vec<String>, Error> {
    let events = logs::events(dirs, name)?.into_iter().filter(|event| event.at >= since).collect();
    Ok(gather(events).into_iter().map(|one| one.what).collect())
}

/// Refusals, each thing once, the latest at the end.
fn gather(events: Vec<Event>) -> Vec<Refused> {
    let mut gathered: Vec<Refused> = Vec::new();
    for Event { at, kind, what, why, remedy, .. } in events.into_iter().filter(|event| !event.allowed) {
        gathered.retain(|one| one.kind != kind || one.what != what);
        gathered.push(Refused { kind, what, why, remedy, last: at });
    }
    gathered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_once_the_latest_last() {
        let event = |at, what: &str| Event { at, ..Event::refused(Kind::Network, what, "x") };
        let events = vec![
            event(1, "a"),
            event(2, "b"),
            Event::allowed(Kind::Network, "c"),
            event(3, "a"),
            Event { at: 4, ..Event::refused(Kind::Call, "a", "y") },
        ];
        let gathered = gather(events);
        let shown: Vec<_> = gathered.iter().map(|one| (one.what.as_str(), one.last)).collect();
        assert_eq!(shown, [("b", 2), ("a", 3), ("a", 4)]);
    }
}

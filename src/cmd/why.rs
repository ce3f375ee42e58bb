//! `devbox why`: what was refused in a box, for what reason, and what would allow it.

use serde::Serialize;

use crate::audit::{Event, Kind};
use crate::cli::{Format, WhyArgs};
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::ui::{Ui, age};

use super::{here, logs};

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

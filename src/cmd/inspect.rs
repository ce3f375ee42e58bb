//! `devbox inspect`: all that is known about a box.

use std::path::PathBuf;

use serde::Serialize;

use super::limits;
use crate::cli::{Format, InspectArgs};
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::oci::digest::Digest;
use crate::plan::Isolation;
use crate::sandbox::wall;
use crate::session::{Boxes, Record};
use crate::store::chain_id;
use crate::ui::{Table, Ui, age};

#[derive(Serialize)]
struct Inspected {
    #[serde(flatten)]
    record: Record,
    /// The chain id of its layers: the same for boxes over the same root, on whatever machine.
    root: Option<Digest>,
    running: bool,
    folder: PathBuf,
    snapshots: Vec<Kept>,
    /// The version of Landlock that stands as a second wall around an untrusted box.
    landlock: Option<u32>,
    /// Of the last start.
    limits: Vec<limits::Shown>,
}

#[derive(Serialize)]
struct Kept {
    name: String,
    created: u64,
}

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &InspectArgs) -> Result<ExitCode, Error> {
    let boxes = Boxes::new(dirs);
    let record = boxes.require(&args.name)?;
    let snapshots = boxes.snapshots(&args.name)?;
    let snapshots =
        snapshots.into_iter().map(|kept| Kept { name: kept.name, created: kept.created }).collect();
    let limited = boxes.limited(&args.name)?.held;
    let untrusted = record.isolation == Isolation::Untrusted;
    let landlock = wall::version().filter(|_| untrusted);
    let found = Inspected {
        root: (!record.layers.is_empty()).then(|| chain_id(&record.layers)),
        landlock,
        limits: limited.iter().map(limits::Shown::from).collect(),
        running: boxes.is_running(&args.name)?,
        folder: boxes.folder(&args.name)?,
        snapshots,
        record,
    };
    if args.format == Format::Json {
        ui.json(&found)?;
        return Ok(ExitCode::SUCCESS);
    }
    let Inspected { record, root, running, folder, snapshots, .. } = found;
    let defaults = &record.defaults;
    let mut table = Table::bare();
    let mut row = |name: &str, text: String| {
        if !text.is_empty() {
            table.row([name.to_owned(), text]);
        }
    };
    row("name", record.name);
    row("state", if running { "running" } else { "stopped" }.to_owned());
    row("isolation", record.isolation.to_string());
    if untrusted {
        let wall = landlock
            .map_or("none, this kernel has no Landlock".to_owned(), |version| format!("Landlock {version}"));
        row("second wall", wall);
    }
    row("image", record.image.clone());
    row("manifest", record.manifest.map(|digest| digest.to_string()).unwrap_or_default());
    row("layers", record.layers.len().to_string());
    row("set-up", record.setup.map(|key| key.to_string()).unwrap_or_default());
    row("root", root.map(|root| root.to_string()).unwrap_or_default());
    if record.image != "host" {
        let because = record.driver_because.map(|why| format!(" ({why})")).unwrap_or_default();
        row("driver", format!("{}{because}", record.driver));
    }
    row("command", [defaults.entrypoint.as_slice(), &defaults.cmd].concat().join(" "));
    row("image user", defaults.user.clone().unwrap_or_default());
    row("image folder", defaults.working_dir.clone().unwrap_or_default());
    row(
        "profiles",
        record
            .profiles
            .iter()
            .map(|origin| format!("{} ({})", origin.name, origin.from))
            .collect::<Vec<_>>()
            .join(", "),
    );
    row("project", record.project.map(|project| project.display().to_string()).unwrap_or_default());
    row("snapshots", snapshots.into_iter().map(|kept| kept.name).collect::<Vec<_>>().join(", "));
    for held in &limited {
        row("limit", format!("{} {}: {}", held.limit, held.limit.shown(held.amount), held.by));
    }
    row("folder", folder.display().to_string());
    row("created", age(record.created));
    ui.table(&table)?;
    Ok(ExitCode::SUCCESS)
}

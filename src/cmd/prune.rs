//! `devbox prune`: takes away what no image, box or running command needs.

use serde::Serialize;

use super::full_maps;
use super::in_use;
use super::setup;
use crate::cli::{Format, PruneArgs};
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::oci::digest::Digest;
use crate::probe::{self, System};
use crate::sandbox::cgroup;
use crate::session::Boxes;
use crate::store::{Extent, Removed, Store};
use crate::ui::{Ui, count, size};

/// What was removed, as `--format json` prints it.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Pruned {
    dry_run: bool,
    references: Vec<String>,
    images: Vec<Digest>,
    layers: Vec<Digest>,
    stacks: Vec<Digest>,
    leftovers: usize,
    bytes: u64,
}

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &PruneArgs) -> Result<ExitCode, Error> {
    let store = Store::open(&dirs.store())?;
    let boxes = Boxes::new(dirs);
    if !args.dry_run {
        let host = probe::host(dirs)?;
        boxes.sweep(|| full_maps(&host));
        setup::sweep_boxes(dirs, &boxes, &host)?;
        System::this().means().1.iter().for_each(|group| cgroup::sweep(&group.folder));
    }
    let alone = store.alone(&mut |holder| ui.note(&format!("waiting for {holder}")))?;
    let in_use = in_use::of_boxes(&dirs.boxes())?;
    let extent = if args.all { Extent::All } else { Extent::Results };
    let removed = match args.dry_run {
        true => alone.unneeded(&in_use, extent)?,
        false => alone.prune(&in_use, extent)?,
    };
    drop(alone);
    if !args.dry_run {
        setup::sweep_logs(dirs, &store);
    }
    match args.format {
        Format::Json => {
            let Removed { references, images, layers, stacks, leftovers, bytes } = removed;
            let dry_run = args.dry_run;
            ui.json(&Pruned { dry_run, references, images, layers, stacks, leftovers, bytes })?;
        }
        Format::Table => {
            removed.references.iter().try_for_each(|reference| ui.line(reference))?;
            removed.images.iter().try_for_each(|image| ui.line(&image.to_string()))?;
            ui.note(&summary(&removed, args.dry_run));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn summary(removed: &Removed, dry_run: bool) -> String {
    let Removed { references, images, layers, stacks, leftovers, bytes } = removed;
    let parts: Vec<String> = [
        (references.len(), "name"),
        (images.len(), "image"),
        (layers.len(), "layer"),
        (stacks.len(), "stack of merged layers"),
        (*leftovers, "leftover"),
    ]
    .into_iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, thing)| count(number, thing))
    .collect();
    match (parts.is_empty(), dry_run) {
        (true, _) => "nothing to remove".to_owned(),
        (false, true) => format!("would remove {}, and free {}", parts.join(", "), size(*bytes)),
        (false, false) => format!("removed {}; {} freed", parts.join(", "), size(*bytes)),
    }
}

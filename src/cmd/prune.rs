//! `devbox prune`: takes away what no image, box or running command needs.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
use crate::session::{Boxes, Cache, Caches};
use crate::store::{Extent, Removed, Store, Usage};
use crate::ui::{Ui, count, size};

/// How long results of set-ups stay that no box stands on: a lock may name them, and who removed his box is soon back.
const RESULTS_STAY: Duration = Duration::from_secs(30 * 86_400);

/// What was removed, as `--format json` prints it.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Pruned {
    dry_run: bool,
    /// Of set-up steps that failed.
    boxes: Vec<String>,
    references: Vec<String>,
    images: Vec<Digest>,
    layers: Vec<Digest>,
    stacks: Vec<Digest>,
    leftovers: usize,
    caches: Vec<String>,
    bytes: u64,
}

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &PruneArgs) -> Result<ExitCode, Error> {
    let store = Store::open(&dirs.store())?;
    let boxes = Boxes::new(dirs);
    let host = probe::host(dirs)?;
    let failed = setup::sweep_boxes(dirs, &boxes, &host, args.dry_run, &|_| true)?;
    if !args.dry_run {
        boxes.sweep(|| full_maps(&host));
        System::this().means().1.iter().for_each(|group| cgroup::sweep(&group.folder));
    }
    let alone = store.alone(&mut |holder| ui.note(&format!("waiting for {holder}")))?;
    let in_use = in_use::of_boxes(&dirs.boxes())?;
    // where the clock is nowhere, nothing is old
    let before = SystemTime::now().checked_sub(RESULTS_STAY).unwrap_or(UNIX_EPOCH);
    let extent = if args.all { Extent::All } else { Extent::Results(before) };
    let removed = match args.dry_run {
        true => alone.unneeded(&in_use, extent)?,
        false => alone.prune(&in_use, extent)?,
    };
    drop(alone);
    if !args.dry_run {
        setup::sweep_logs(dirs, &store)?;
    }
    let mut bytes = removed.bytes;
    let caches = if args.caches { caches(dirs, &boxes, args, &mut bytes)? } else { Vec::new() };
    let removed = Removed { bytes, ..removed };
    match args.format {
        Format::Json => {
            let Removed { references, images, layers, stacks, leftovers, bytes } = removed;
            let dry_run = args.dry_run;
            let boxes = failed;
            ui.json(&Pruned {
                dry_run,
                boxes,
                references,
                images,
                layers,
                stacks,
                leftovers,
                caches,
                bytes,
            })?;
        }
        Format::Table => {
            failed.iter().try_for_each(|name| ui.line(name))?;
            removed.references.iter().try_for_each(|reference| ui.line(reference))?;
            removed.images.iter().try_for_each(|image| ui.line(&image.to_string()))?;
            caches.iter().try_for_each(|cache| ui.line(cache))?;
            ui.note(&summary(&removed, failed.len(), caches.len(), args.dry_run));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes caches nobody uses, or finds them; adds what they take to `bytes` and gives their names.
fn caches(dirs: &Dirs, boxes: &Boxes, args: &PruneArgs, bytes: &mut u64) -> Result<Vec<String>, Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let oldest = now.saturating_sub(u64::from(args.older_than.unwrap_or(0)) * 86_400);
    let mut sizes = BTreeMap::new();
    let mut wanted = |cache: &Cache| {
        let wanted = args.older_than.is_none() || cache.used < oldest;
        if wanted {
            let size = Usage::of(&cache.path).map_or(0, |usage| usage.freed());
            sizes.insert(cache.name.clone(), size);
        }
        wanted
    };
    let all = Caches::new(dirs);
    let removed: Vec<Cache> = match args.dry_run {
        true => all.list(boxes)?.into_iter().filter(|cache| !cache.in_use && wanted(cache)).collect(),
        false => {
            let host = probe::host(dirs)?;
            all.remove(boxes, wanted, || full_maps(&host))?
        }
    };
    *bytes += removed.iter().filter_map(|cache| sizes.get(&cache.name)).sum::<u64>();
    Ok(removed.into_iter().map(|cache| cache.name).collect())
}

fn summary(removed: &Removed, boxes: usize, caches: usize, dry_run: bool) -> String {
    let Removed { references, images, layers, stacks, leftovers, bytes } = removed;
    let parts: Vec<String> = [
        (boxes, "box of a failed set-up step"),
        (references.len(), "name"),
        (images.len(), "image"),
        (layers.len(), "layer"),
        (stacks.len(), "stack of merged layers"),
        (*leftovers, "leftover"),
        (caches, "cache"),
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

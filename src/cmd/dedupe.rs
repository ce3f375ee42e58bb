//! `devbox dedupe`: equal files of different images share the disk.

use std::os::fd::OwnedFd;

use serde::Serialize;

use crate::cli::{Format, ListArgs};
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::oci::digest::Digest;
use crate::session::{self, Boxes};
use crate::store::{Deduped, Store};
use crate::sys::process;
use crate::ui::{Ui, count, size};

/// What was gained, as `--format json` prints it.
#[derive(Serialize)]
struct Gained {
    files: u64,
    linked: u64,
    bytes: u64,
}

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &ListArgs) -> Result<ExitCode, Error> {
    let (store, boxes) = (Store::open(&dirs.store())?, Boxes::new(dirs));
    // whatever else there is to do goes first
    process::yield_to_others();
    let mut waiting = |holder| ui.note(&format!("waiting for {holder}"));
    let hold = store.hold(&mut waiting)?;
    let total =
        store.layers()?.iter().filter_map(|layer| store.meta(layer).ok()).map(|meta| meta.tally.bytes).sum();
    let stacks: Vec<_> = standing(&boxes)?.into_iter().map(|(_, layers)| layers).collect();
    let working = ui.working("comparing", total);
    let (mut quiet, mut advance) = (|layers: &[_]| quiet(&boxes, layers), |bytes| working.advance(bytes));
    let Deduped { files, linked, bytes } =
        store.dedupe(&hold, &stacks, &mut quiet, &mut advance, &mut waiting)?;
    drop(working);
    match args.format {
        Format::Json => ui.json(&Gained { files, linked, bytes })?,
        Format::Table => {
            let number = |number| count(usize::try_from(number).unwrap_or(usize::MAX), "file");
            ui.note(&format!("{} of {} linked; {} freed", number(linked), number(files), size(bytes)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// All boxes with the layers they stand on.
fn standing(boxes: &Boxes) -> Result<Vec<(String, Vec<Digest>)>, session::Error> {
    let layers = |name: String| Ok(boxes.load(&name)?.map(|record| (name, record.layers)));
    boxes.names()?.into_iter().filter_map(|name| layers(name).transpose()).collect()
}

/// The locks of all boxes on some of `layers`; none when one of them runs, or that can't be told.
fn quiet(boxes: &Boxes, layers: &[Digest]) -> Option<Vec<OwnedFd>> {
    let of = standing(boxes).ok()?.into_iter().filter(|(_, own)| own.iter().any(|own| layers.contains(own)));
    of.map(|(name, _)| boxes.try_lock(&name).ok().flatten()).collect()
}

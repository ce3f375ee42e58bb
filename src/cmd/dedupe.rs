//! `devbox dedupe`: equal files of different layers share the disk.

use crate::error::ExitCode;

use serde::Serialize;

use crate::cli::{Format, ListArgs};
use crate::dirs::Dirs;
use crate::error::Error;
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
    let store = Store::open(&dirs.store())?;
    // whatever else there is to do goes first
    process::yield_to_others();
    let hold = store.hold(&mut |holder| ui.note(&format!("waiting for {holder}")))?;
    let total =
        store.layers()?.iter().filter_map(|layer| store.meta(layer).ok()).map(|meta| meta.tally.bytes).sum();
    let working = ui.working("comparing", total);
    let Deduped { files, linked, bytes } = store.dedupe(&hold, &mut |bytes| working.advance(bytes))?;
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

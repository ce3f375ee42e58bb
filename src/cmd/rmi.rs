//! `devbox rmi`: takes images away. What boxes stand on stays.

use super::{in_use, naming};
use crate::cli::RmiArgs;
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::store::Store;
use crate::ui::{Ui, count, size};

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &RmiArgs) -> Result<ExitCode, Error> {
    let store = Store::open(&dirs.store())?;
    let alone = store.alone(&mut |holder| ui.note(&format!("waiting for {holder}")))?;
    let in_use = in_use::of_boxes(&dirs.boxes())?;
    for name in &args.references {
        let target = naming::find(ui, &store, dirs, name)?;
        let removed = alone.remove(&target, &in_use)?;
        removed.references.iter().try_for_each(|reference| ui.line(reference))?;
        removed.images.iter().try_for_each(|image| ui.line(&image.to_string()))?;
        ui.note(&match removed.layers.len() {
            0 => "nothing freed: another name, image or box needs every layer".to_owned(),
            layers => format!("{} removed, {} freed", count(layers, "layer"), size(removed.bytes)),
        });
    }
    Ok(ExitCode::SUCCESS)
}

//! `devbox push`: an image to a registry.

use super::naming;
use crate::cli::PushArgs;
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::oci::reference::Reference;
use crate::push::{self, Compression};
use crate::store::Store;
use crate::ui::{Ui, count};

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &PushArgs) -> Result<ExitCode, Error> {
    let to = args.to.as_deref().map(super::tag::new_name).transpose()?;
    let store = Store::open(&dirs.store())?;
    let (image, name) = naming::image(ui, &store, dirs, &args.image)?;
    let named = || name.and_then(|name| name.parse::<Reference>().ok()).filter(|name| name.tag.is_some());
    let to = to.or_else(named).ok_or_else(|| Error::PushWhere(args.image.clone()))?;
    let to = Reference { digest: None, ..to };
    let progress = ui.transfer("pushing", &to.to_string());
    let sent = push::push(&store, dirs, &image, &to, Compression::None, &progress);
    drop(progress);
    let sent = sent?;
    ui.line(&sent.manifest_digest.to_string())?;
    if sent.manifest_digest != image.manifest_digest {
        ui.note(&format!(
            "{} packed anew: the manifest is {} instead of {}; diff ids are the same",
            count(sent.repacked, "layer"),
            sent.manifest_digest,
            image.manifest_digest
        ));
    }
    Ok(ExitCode::SUCCESS)
}

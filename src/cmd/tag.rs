//! `devbox tag`: a further name for an image.

use super::naming;
use crate::cli::TagArgs;
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::oci::reference::Reference;
use crate::store::Store;
use crate::ui::Ui;

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &TagArgs) -> Result<ExitCode, Error> {
    let names: Vec<Reference> = args.names.iter().map(|name| new_name(name)).collect::<Result<_, _>>()?;
    let store = Store::open(&dirs.store())?;
    let hold = store.hold(&mut |holder| ui.note(&format!("waiting for {holder}")))?;
    let (image, _) = naming::image(ui, &store, dirs, &args.image)?;
    for name in names {
        store.set_own_ref(&hold, &name.to_string(), &image.manifest_digest)?;
        ui.line(&name.to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A name that can be given: a reference without a digest, which would say what it stands for.
pub(super) fn new_name(text: &str) -> Result<Reference, Error> {
    let reference: Reference = text.parse()?;
    if reference.digest.is_some() { Err(Error::DigestAsName(text.to_owned())) } else { Ok(reference) }
}

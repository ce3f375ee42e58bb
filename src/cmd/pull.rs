//! `devbox pull`: fetches images. The digests go to standard output, all else is said beside it.

use crate::error::ExitCode;

use super::reference::Doubt;
use crate::cli::PullArgs;
use crate::dirs::Dirs;
use crate::error::Error;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::pull;
use crate::store::Store;
use crate::ui::{Ui, count, size};

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &PullArgs) -> Result<ExitCode, Error> {
    let platform = match &args.platform {
        Some(platform) => platform.parse::<Platform>()?,
        None => Platform::host(),
    };
    // all of them are looked at before anything is fetched
    let named = |text: &String| super::reference::named(ui, dirs, text, Doubt::Resolve);
    let references: Vec<Reference> = args.references.iter().map(named).collect::<Result<_, _>>()?;
    let store = Store::open(&dirs.store())?;
    for reference in &references {
        let request = pull::Request { reference, platform: &platform };
        let progress = ui.pulling(&reference.to_string());
        let pulled = pull::pull(&store, dirs, request, &progress);
        drop(progress);
        let pulled = pulled?;
        ui.line(&pulled.manifest_digest.to_string())?;
        ui.note(&match pulled.layers_fetched {
            _ if pulled.unchanged => format!("{reference} is up to date"),
            0 => format!("{reference}: every layer was here already"),
            layers => format!("{reference}: {}, {} fetched", count(layers, "layer"), size(pulled.bytes)),
        });
    }
    super::sync_later(&store)?;
    Ok(ExitCode::SUCCESS)
}

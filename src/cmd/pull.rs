//! `devbox pull`: fetches images. The digests go to standard output, all else is said beside it.

use super::naming::{self, Name};
use super::reference::Doubt;
use crate::cli::PullArgs;
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::oci::platform::Platform;
use crate::plan;
use crate::pull;
use crate::rootfs;
use crate::store::Store;
use crate::ui::{Ui, count, size};

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &PullArgs) -> Result<ExitCode, Error> {
    let platform = match &args.platform {
        Some(platform) => platform.parse::<Platform>()?,
        None => Platform::host(),
    };
    // all of them are looked at before anything is fetched
    let named = |text: &String| naming::read(ui, dirs, text, Doubt::Resolve);
    let names: Vec<Name> = args.references.iter().map(named).collect::<Result<_, _>>()?;
    if let Some(policy) = super::policy()? {
        for name in &names {
            if let Name::Registry(reference) = name {
                plan::policy::registry(&policy, &reference.to_string())?;
            }
        }
    }
    let store = Store::open(&dirs.store())?;
    for name in &names {
        let text = match name {
            Name::Registry(reference) => reference.to_string(),
            Name::Files(source) => source.to_string(),
            Name::Folder(path) => {
                let path = rootfs::folder::lower(path, &dirs.boxes())?;
                ui.note(&format!(
                    "dir:{} is used where it stands; there is nothing to fetch",
                    path.display()
                ));
                continue;
            }
        };
        let progress = ui.pulling(&text);
        let pulled = match name {
            Name::Files(source) => pull::import(&store, source, &platform, &progress),
            _ => {
                let reference = &text.parse()?;
                pull::pull(&store, dirs, pull::Request { reference, platform: &platform }, &progress)
            }
        };
        drop(progress);
        let pulled = pulled?;
        ui.line(&pulled.manifest_digest.to_string())?;
        ui.note(&match pulled.layers_fetched {
            _ if pulled.unchanged => format!("{text} is up to date"),
            0 => format!("{text}: every layer was here already"),
            layers => format!("{text}: {}, {} fetched", count(layers, "layer"), size(pulled.bytes)),
        });
    }
    super::sync_later(&store)?;
    Ok(ExitCode::SUCCESS)
}

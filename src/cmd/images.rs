//! `devbox images`: what the store holds.

use std::time::SystemTime;

use serde::Serialize;

use crate::cli::{Format, ListArgs};
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::oci::config::ImageConfig;
use crate::oci::digest::Digest;
use crate::store::Store;
use crate::ui::{Table, Ui, size};

/// One image, as `--format json` prints it. Sizes are bytes of file content.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Listed {
    /// Empty when only a box still needs the image.
    references: Vec<String>,
    digest: Digest,
    layers: usize,
    size: u64,
    /// What other images have as well.
    shared: u64,
    /// As the image says, in RFC 3339.
    created: Option<String>,
    /// Seconds since 1970.
    pulled: u64,
    /// False when a layer has to be pulled again.
    complete: bool,
}

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &ListArgs) -> Result<ExitCode, Error> {
    let images = list(&Store::open(&dirs.store())?)?;
    match args.format {
        Format::Json => ui.json(&images)?,
        Format::Table if ui.is_quiet() => {
            for image in &images {
                names(image).try_for_each(|name| ui.line(&name))?;
            }
        }
        Format::Table => print(ui, &images)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(store: &Store) -> Result<Vec<Listed>, Error> {
    let mut images = Vec::new();
    for entry in store.images()? {
        let recorded = store.image(&entry.manifest_digest)?;
        let config = recorded.and_then(|image| ImageConfig::parse(&image.config).ok());
        let pulled = entry.recorded.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        images.push(Listed {
            references: entry.references,
            digest: entry.manifest_digest,
            layers: entry.layers,
            size: entry.bytes,
            shared: entry.bytes.saturating_sub(entry.own_bytes),
            created: config.and_then(|config| config.created),
            pulled: pulled.as_secs(),
            complete: entry.complete,
        });
    }
    Ok(images)
}

fn print(ui: &Ui, images: &[Listed]) -> Result<(), Error> {
    let mut table = Table::new(["REFERENCE", "DIGEST", "SIZE", "SHARED", "CREATED"]);
    for image in images {
        // the day is enough
        let created: String = image.created.iter().flat_map(|created| created.chars().take(10)).collect();
        for name in names(image) {
            let digest = image.digest.short();
            table.row([name, digest, size(image.size), size(image.shared), created.clone()]);
        }
    }
    ui.table(&table)?;
    for image in images.iter().filter(|image| !image.complete) {
        for name in names(image) {
            ui.warning(&format!("`{name}` is damaged or incomplete; devbox pull mends it"));
        }
    }
    Ok(())
}

/// What the image can be named by: its references, or else its digest.
fn names(image: &Listed) -> impl Iterator<Item = String> + '_ {
    let digest = image.references.is_empty().then(|| image.digest.to_string());
    image.references.iter().cloned().chain(digest)
}

//! `devbox rmi`: takes images away. What boxes stand on stays.

use crate::error::ExitCode;
use std::fs;
use std::io;
use std::path::Path;

use serde::Deserialize;

use super::naming;
use crate::cli::RmiArgs;
use crate::dirs::Dirs;
use crate::error::Error;
use crate::oci::digest::Digest;
use crate::store::Store;
use crate::ui::{Ui, count, size};

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &RmiArgs) -> Result<ExitCode, Error> {
    let store = Store::open(&dirs.store())?;
    let in_use = images_of_boxes(&dirs.boxes())?;
    for name in &args.references {
        let target = naming::find(ui, &store, dirs, name)?;
        let mut waiting = |holder| ui.note(&format!("waiting for {holder}"));
        let removed = store.remove(&target, &in_use, &mut waiting)?;
        removed.references.iter().try_for_each(|reference| ui.line(reference))?;
        removed.images.iter().try_for_each(|image| ui.line(&image.to_string()))?;
        ui.note(&match removed.layers.len() {
            0 => "nothing freed: another name, image or box needs every layer".to_owned(),
            layers => format!("{} removed, {} freed", count(layers, "layer"), size(removed.bytes)),
        });
    }
    Ok(ExitCode::SUCCESS)
}

/// The manifests of the images boxes are made of. A box whose record can't be read stops the removal: what it
/// stands on is not known.
fn images_of_boxes(boxes: &Path) -> Result<Vec<Digest>, Error> {
    #[derive(Deserialize)]
    struct Record {
        manifest: Option<Digest>,
    }
    let failed = |path: &Path, source| Error::Box { path: path.to_owned(), source };
    let entries = match fs::read_dir(boxes) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| failed(boxes, error))?,
    };
    let mut images = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| failed(boxes, error))?.path().join("record.json");
        let bytes = match fs::read(&path) {
            // half-made, or no box at all
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                continue;
            }
            read => read.map_err(|error| failed(&path, error))?,
        };
        let record: Record = serde_json::from_slice(&bytes).map_err(|error| failed(&path, error.into()))?;
        images.extend(record.manifest);
    }
    Ok(images)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_keep_their_images() {
        let root = tempfile::tempdir().unwrap();
        let boxes = root.path().join("boxes");
        assert!(images_of_boxes(&boxes).unwrap().is_empty());
        let digest = Digest::of(b"a");
        for (name, record) in [
            ("a", Some(format!("{{\"manifest\": \"{digest}\", \"more\": 1}}"))),
            ("host", Some("{}".to_owned())),
            ("half", None),
        ] {
            fs::create_dir_all(boxes.join(name)).unwrap();
            if let Some(record) = record {
                fs::write(boxes.join(name).join("record.json"), record).unwrap();
            }
        }
        fs::write(boxes.join("stray"), "").unwrap();
        assert_eq!(images_of_boxes(&boxes).unwrap(), [digest]);
        fs::write(boxes.join("half/record.json"), "{").unwrap();
        assert!(images_of_boxes(&boxes).is_err());
    }
}

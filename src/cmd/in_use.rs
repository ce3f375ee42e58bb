//! What boxes stand on.

use std::fs;
use std::io;
use std::path::Path;

use serde::Deserialize;

use crate::error::Error;
use crate::oci::digest::Digest;
use crate::store::InUse;

/// The images and layers of all boxes. A box whose record can't be read stops the removal: what it stands on is
/// not known.
pub(super) fn of_boxes(boxes: &Path) -> Result<InUse, Error> {
    #[derive(Deserialize)]
    struct Record {
        manifest: Option<Digest>,
        #[serde(default)]
        layers: Vec<Digest>,
    }
    let failed = |path: &Path, source| Error::Box { path: path.to_owned(), source };
    let entries = match fs::read_dir(boxes) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(InUse::default()),
        entries => entries.map_err(|error| failed(boxes, error))?,
    };
    let mut found = InUse::default();
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
        found.images.extend(record.manifest);
        found.layers.extend(record.layers);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_keep_their_images() {
        let root = tempfile::tempdir().unwrap();
        let boxes = root.path().join("boxes");
        assert_eq!(of_boxes(&boxes).unwrap(), InUse::default());
        let (image, layer) = (Digest::of(b"a"), Digest::of(b"b"));
        for (name, record) in [
            ("a", Some(format!("{{\"manifest\": \"{image}\", \"layers\": [\"{layer}\"], \"more\": 1}}"))),
            ("host", Some("{}".to_owned())),
            ("half", None),
        ] {
            fs::create_dir_all(boxes.join(name)).unwrap();
            if let Some(record) = record {
                fs::write(boxes.join(name).join("record.json"), record).unwrap();
            }
        }
        fs::write(boxes.join("stray"), "").unwrap();
        assert_eq!(of_boxes(&boxes).unwrap(), InUse { images: [image].into(), layers: [layer].into() });
        fs::write(boxes.join("half/record.json"), "{").unwrap();
        assert!(of_boxes(&boxes).is_err());
    }
}

//! What boxes stand on.

use std::fs;
use std::io;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::oci::digest::Digest;
use crate::store::InUse;

#[derive(Deserialize)]
struct Record {
    manifest: Option<Digest>,
    base: Option<Digest>,
    #[serde(default)]
    layers: Vec<Digest>,
}

#[derive(Deserialize)]
struct Snapshot {
    record: Record,
}

/// The images and layers of all boxes and their snapshots. A box whose record can't be read stops the removal: what it stands on is
/// not known.
pub(super) fn of_boxes(boxes: &Path) -> Result<InUse, Error> {
    let entries = match fs::read_dir(boxes) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(InUse::default()),
        entries => entries.map_err(|error| failed(boxes, error))?,
    };
    let mut found = InUse::default();
    for entry in entries {
        let folder = entry.map_err(|error| failed(boxes, error))?.path();
        let record: Option<Record> = read(&folder.join("record.json"))?;
        // a snapshot may be of a time when the box had another image
        let snapshots = fs::read_dir(folder.join("snapshots")).into_iter().flatten().flatten();
        let mut records: Vec<Record> = record.into_iter().collect();
        for snapshot in snapshots {
            let snapshot: Option<Snapshot> = read(&snapshot.path().join("snapshot.json"))?;
            records.extend(snapshot.map(|snapshot| snapshot.record));
        }
        for record in records {
            found.images.extend(record.manifest.into_iter().chain(record.base));
            found.layers.extend(record.layers);
        }
    }
    Ok(found)
}

/// A record; none in a folder that is half-made, or no box at all.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let bytes = match fs::read(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        read => read.map_err(|error| failed(path, error))?,
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| failed(path, error.into()))
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::Box { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_keep_their_images() {
        let root = tempfile::tempdir().unwrap();
        let boxes = root.path().join("boxes");
        assert_eq!(of_boxes(&boxes).unwrap(), InUse::default());
        let [image, layer, base, old] = [b"a", b"b", b"c", b"d"].map(|text| Digest::of(text));
        for (name, record) in [
            ("a", Some(format!("{{\"manifest\": \"{image}\", \"layers\": [\"{layer}\"], \"more\": 1}}"))),
            ("set-up", Some(format!("{{\"manifest\": \"{image}\", \"base\": \"{base}\"}}"))),
            ("host", Some("{}".to_owned())),
            ("half", None),
        ] {
            fs::create_dir_all(boxes.join(name)).unwrap();
            if let Some(record) = record {
                fs::write(boxes.join(name).join("record.json"), record).unwrap();
            }
        }
        fs::write(boxes.join("stray"), "").unwrap();
        let snapshot = boxes.join("a/snapshots/1");
        fs::create_dir_all(&snapshot).unwrap();
        fs::write(snapshot.join("snapshot.json"), format!("{{\"record\": {{\"base\": \"{old}\"}}}}"))
            .unwrap();
        let images = [image, base, old].into();
        assert_eq!(of_boxes(&boxes).unwrap(), InUse { images, layers: [layer].into() });
        fs::write(boxes.join("half/record.json"), "{").unwrap();
        assert!(of_boxes(&boxes).is_err());
    }
}

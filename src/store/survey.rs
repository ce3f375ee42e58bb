//! Are the records of the store whole, and does what they name exist?

use std::fs;
use std::path::PathBuf;

use super::Store;
use super::error::{At, Error};
use super::image::reference_of;
use crate::oci::digest::Digest;

/// A record that can't be read, or that names what is not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedRecord {
    /// Its file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
    /// The image to be fetched again, where that is known.
    pub image: Option<Digest>,
    /// The reference the record is about, where it is about one.
    pub reference: Option<String>,
}

impl Store {
    /// Looks at all records of images and references.
    pub fn verify_records(&self) -> Result<Vec<DamagedRecord>, Error> {
        let mut found = Vec::new();
        for manifest in self.manifests()? {
            let wrong = match self.image(&manifest) {
                Ok(Some(image)) => {
                    let missing = image.layers.iter().find(|layer| !self.has_layer(layer));
                    missing
                        .map(|layer| format!("its layer {layer} is not here, or was not on the disk in time"))
                }
                Ok(None) => None,
                Err(Error::Damaged { why, .. }) => Some(why),
                Err(error) => return Err(error),
            };
            let path = self.image_path(&manifest);
            found.extend(wrong.map(|why| DamagedRecord {
                path,
                why,
                image: Some(manifest),
                reference: None,
            }));
        }
        let folder = self.root.join("refs");
        for entry in fs::read_dir(&folder).at("read", &folder)? {
            let path = entry.at("read", &folder)?.path();
            let record =
                |why: String, image, reference| DamagedRecord { path: path.clone(), why, image, reference };
            match self.read_ref(&path) {
                Err(Error::Damaged { why, .. }) => {
                    let name = path.file_name().and_then(|name| name.to_str()).and_then(reference_of);
                    found.push(record(why, None, name));
                }
                Ok(Some((reference, manifest))) if !self.image_path(&manifest).exists() => {
                    found.push(record(
                        format!("its image {manifest} is not here"),
                        Some(manifest),
                        Some(reference),
                    ));
                }
                Ok(Some((reference, _))) if self.ref_path(&reference) != path => {
                    found.push(record(format!("it is the record of `{reference}`"), None, None));
                }
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}

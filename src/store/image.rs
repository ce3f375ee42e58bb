//! Image records and the references that name them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::error::{At, Error};
use super::{Hold, Store, record};
use crate::oci::digest::Digest;
use crate::oci::reference::Reference;

/// An image of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Digest of `manifest`.
    pub manifest_digest: Digest,
    /// The manifest, byte for byte.
    pub manifest: Vec<u8>,
    /// Digest of `config`.
    pub config_digest: Digest,
    /// The configuration, byte for byte.
    pub config: Vec<u8>,
    /// The diff ids of the layers a root is made of, bottom first.
    pub layers: Vec<Digest>,
    /// The reference it was first fetched by.
    pub source: String,
}

impl Image {
    /// The digest its reference stood for when it was fetched: the manifest's own, or that of an index.
    pub fn top_digest(&self) -> Option<Digest> {
        self.source.parse::<Reference>().ok()?.digest
    }
}

/// An image as `devbox images` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageEntry {
    /// Digest of the manifest.
    pub manifest_digest: Digest,
    /// The references that name it, sorted; none for an image a box alone still needs.
    pub references: Vec<String>,
    /// How many layers its root is made of.
    pub layers: usize,
    /// Bytes of file content in those layers.
    pub bytes: u64,
    /// Those of `bytes` in layers no other image has.
    pub own_bytes: u64,
    /// When the record was written.
    pub recorded: SystemTime,
    /// False when a layer is missing or in doubt; a pull mends it.
    pub complete: bool,
}

/// What results of set-ups are called, with the key for a tag. Such a name keeps its image only for a time when no box stands on it.
pub const RESULTS: &str = "localhost/devbox/setup";

/// Third line of a reference's file.
const OWN: &str = "own";

/// As it stands on disk. One file, so that it is whole or not there and a start reads it in one go.
#[derive(Serialize, Deserialize)]
struct Record {
    source: String,
    recorded: u64,
    config_digest: Digest,
    layers: Vec<Digest>,
    manifest: String,
    config: String,
}

impl Record {
    /// When it was written. A time out of all bounds is of a record whose age is not known, and which is as old as can be.
    fn at(&self) -> SystemTime {
        let since = Duration::from_secs(self.recorded);
        SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

impl Store {
    /// Records an image whose layers are all here. Manifest and configuration must match their digests.
    ///
    /// Layers below one with an opaque root can't be seen in any root made of the image, so they are left out.
    pub fn put_image(&self, _hold: &Hold, image: &Image) -> Result<(), Error> {
        for (bytes, expected) in
            [(&image.manifest, image.manifest_digest), (&image.config, image.config_digest)]
        {
            let found = Digest::of(bytes);
            if found != expected {
                return Err(Error::WrongDigest { expected, found });
            }
        }
        let mut layers = Vec::with_capacity(image.layers.len());
        for layer in &image.layers {
            if !self.has_layer(layer) {
                return Err(Error::MissingLayer { manifest: image.manifest_digest, layer: *layer });
            }
            if self.meta(layer)?.tally.opaque_root {
                layers.clear();
            }
            layers.push(*layer);
        }
        let path = self.image_path(&image.manifest_digest);
        let text = |bytes: &[u8]| {
            String::from_utf8(bytes.to_vec()).map_err(|_| Error::Damaged {
                path: path.clone(),
                why: "it would hold bytes that are not text".into(),
            })
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let record = Record {
            source: image.source.clone(),
            recorded: now,
            config_digest: image.config_digest,
            layers,
            manifest: text(&image.manifest)?,
            config: text(&image.config)?,
        };
        let bytes = serde_json::to_vec(&record).map_err(io::Error::other).at("write", &path)?;
        record::write(self, &path, &bytes)
    }

    /// The image with this manifest; `None` when it is not recorded. Whether its layers are trusted is asked of
    /// [`Store::has_layer`].
    pub fn image(&self, manifest: &Digest) -> Result<Option<Image>, Error> {
        let Some(record) = self.record(manifest)? else { return Ok(None) };
        Ok(Some(Image {
            manifest_digest: *manifest,
            manifest: record.manifest.into_bytes(),
            config_digest: record.config_digest,
            config: record.config.into_bytes(),
            layers: record.layers,
            source: record.source,
        }))
    }

    /// Lets `reference`, by which the image was fetched, stand for it, whatever it stood for before.
    pub fn set_ref(&self, _hold: &Hold, reference: &str, manifest: &Digest) -> Result<(), Error> {
        record::write(self, &self.ref_path(reference), format!("{manifest}\n{reference}\n").as_bytes())
    }

    /// As [`Store::set_ref`], for a name that was given on this machine and may be another image's elsewhere.
    pub fn set_own_ref(&self, _hold: &Hold, reference: &str, manifest: &Digest) -> Result<(), Error> {
        record::write(self, &self.ref_path(reference), format!("{manifest}\n{reference}\n{OWN}\n").as_bytes())
    }

    /// Whether `reference` is a name that was given on this machine.
    pub fn is_own_ref(&self, reference: &str) -> Result<bool, Error> {
        let path = self.ref_path(reference);
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            read => Ok(read.at("read", &path)?.split(|byte| *byte == b'\n').nth(2) == Some(OWN.as_bytes())),
        }
    }

    /// The manifest a reference stands for.
    pub fn resolve(&self, reference: &str) -> Result<Option<Digest>, Error> {
        Ok(self.read_ref(&self.ref_path(reference))?.map(|(_, manifest)| manifest))
    }

    /// The images a digest can mean: the one with this manifest, else those an index with it was asked for.
    pub fn with_digest(&self, digest: &Digest) -> Result<Vec<Digest>, Error> {
        let mut manifests = self.manifests()?;
        if manifests.contains(digest) {
            return Ok(vec![*digest]);
        }
        // what a damaged record came from is not known
        let is_behind = |manifest: &Digest| {
            self.image(manifest).is_ok_and(|image| image.and_then(|it| it.top_digest()) == Some(*digest))
        };
        manifests.retain(is_behind);
        Ok(manifests)
    }

    /// Takes a reference away; `false` when it was not there. The image stays until [`Store::collect`].
    pub fn remove_ref(&self, reference: &str) -> Result<bool, Error> {
        record::remove(&self.ref_path(reference))
    }

    /// All references with their manifests.
    pub fn refs(&self) -> Result<BTreeMap<String, Digest>, Error> {
        let folder = self.root.join("refs");
        let mut refs = BTreeMap::new();
        for path in listed(&folder)? {
            refs.extend(self.read_ref(&path)?);
        }
        Ok(refs)
    }

    /// All images, those with a name first, in order of name.
    pub fn images(&self) -> Result<Vec<ImageEntry>, Error> {
        let mut names: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
        for (reference, manifest) in self.refs()? {
            names.entry(manifest).or_default().push(reference);
        }
        let mut sizes: BTreeMap<Digest, (u64, usize)> = BTreeMap::new();
        let mut records = Vec::new();
        for manifest in self.manifests()? {
            let Some(record) = self.record(&manifest)? else { continue };
            for layer in &record.layers {
                let size = || self.meta(layer).map_or(0, |meta| meta.tally.bytes);
                sizes.entry(*layer).or_insert_with(|| (size(), 0)).1 += 1;
            }
            records.push((manifest, record));
        }
        let mut entries: Vec<ImageEntry> = records
            .into_iter()
            .map(|(manifest_digest, record)| {
                let layers = || record.layers.iter().filter_map(|layer| sizes.get(layer));
                ImageEntry {
                    manifest_digest,
                    references: names.remove(&manifest_digest).unwrap_or_default(),
                    layers: record.layers.len(),
                    bytes: layers().map(|(bytes, _)| bytes).sum(),
                    own_bytes: layers().filter(|(_, users)| *users == 1).map(|(bytes, _)| bytes).sum(),
                    recorded: record.at(),
                    complete: record.layers.iter().all(|layer| self.has_layer(layer)),
                }
            })
            .collect();
        entries.sort_by(|a, b| {
            (a.references.is_empty(), &a.references).cmp(&(b.references.is_empty(), &b.references))
        });
        Ok(entries)
    }

    /// The manifests of all recorded images, whether or not the records can be read.
    pub fn manifests(&self) -> Result<Vec<Digest>, Error> {
        let paths = listed(&self.root.join("images/sha256"))?;
        let name = |path: &PathBuf| Digest::from_hex(path.file_name()?.to_str()?).ok();
        Ok(paths.iter().filter_map(name).collect())
    }

    /// The layers of a recorded image; none when it is not recorded.
    pub(super) fn layers_of(&self, manifest: &Digest) -> Result<Vec<Digest>, Error> {
        Ok(self.record(manifest)?.map(|record| record.layers).unwrap_or_default())
    }

    /// When an image was recorded; none when it is not.
    pub(super) fn recorded(&self, manifest: &Digest) -> Result<Option<SystemTime>, Error> {
        Ok(self.record(manifest)?.map(|record| record.at()))
    }

    pub(super) fn image_path(&self, manifest: &Digest) -> PathBuf {
        self.root.join("images/sha256").join(manifest.hex())
    }

    fn record(&self, manifest: &Digest) -> Result<Option<Record>, Error> {
        let path = self.image_path(manifest);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.at("read", &path)?,
        };
        let damaged = |why| Error::Damaged { path: path.clone(), why };
        let record: Record = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        let intact = Digest::of(record.manifest.as_bytes()) == *manifest
            && Digest::of(record.config.as_bytes()) == record.config_digest;
        if intact { Ok(Some(record)) } else { Err(damaged("its bytes do not match their digests".into())) }
    }

    /// The reference at `path` and its manifest; `None` when there is none.
    pub(super) fn read_ref(&self, path: &Path) -> Result<Option<(String, Digest)>, Error> {
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.at("read", path)?,
        };
        parse_ref(path, &String::from_utf8_lossy(&bytes)).map(Some)
    }

    pub(super) fn ref_path(&self, reference: &str) -> PathBuf {
        self.root.join("refs").join(ref_name(reference))
    }
}

/// A file name for a reference: one a reference, readable, without `/`. One too long for a file name ends in
/// its digest, after a `~` that no other name has.
fn ref_name(reference: &str) -> String {
    const LONGEST: usize = 255;
    let mut name = String::with_capacity(reference.len() + 16);
    for byte in reference.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => name.push(char::from(byte)),
            b'.' if !name.is_empty() => name.push('.'),
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    if name.len() > LONGEST {
        name.truncate(LONGEST - 65);
        name.push('~');
        name.push_str(&Digest::of(reference.as_bytes()).hex());
    }
    name
}

/// The reference a file is named for; `None` when the name holds only its digest, or is none of ours.
pub(super) fn reference_of(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            bytes.push(first);
        }
    }
    String::from_utf8(bytes).ok().filter(|reference| ref_name(reference) == name)
}

fn parse_ref(path: &Path, text: &str) -> Result<(String, Digest), Error> {
    let parse = || {
        let mut lines = text.lines();
        let manifest = lines.next()?.parse().ok()?;
        Some((lines.next()?.to_owned(), manifest))
    };
    parse().ok_or_else(|| Error::Damaged {
        path: path.to_owned(),
        why: "it is not a digest and a reference".into(),
    })
}

fn listed(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(folder).at("read", folder)?;
    entries.map(|entry| Ok(entry.at("read", folder)?.path())).collect()
}

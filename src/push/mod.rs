//! From the store to others: images into archives and registries.
//!
//! The store keeps no compressed blobs. A layer that came from a registry is had from there again by its digest, so
//! that the manifest stays what it was; else its archive is made again from the store, byte for byte, and compressed
//! anew. That changes the blob's digest and so the manifest, but never the diff id.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use crate::dirs::Dirs;
use crate::fetch::Registry;
use crate::layout::{self, Layout, WriteError, Writer};
use crate::oci::config::ImageConfig;
use crate::oci::digest::Digest;
use crate::oci::layout::{IMAGE_NAME, REF_NAME};
use crate::oci::manifest::{self, Descriptor, Document, Manifest};
use crate::oci::reference::Reference;
use crate::oci::source::{Form, Source};
use crate::pull::{LayerInfo, Progress};
use crate::store::{Image, Store};

mod error;
mod pack;

pub use error::{Error, Why};

use pack::{Packed, pack_all};

/// An image to be sent, and the reference it goes by.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// The image.
    pub image: &'a Image,
    /// Its name there; none when it was named by its digest.
    pub name: Option<Reference>,
}

/// What became of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Of the manifest as it was sent.
    pub manifest_digest: Digest,
    /// Layers that were compressed anew, so that the manifest is not the one that came.
    pub repacked: usize,
}

/// Writes images to `out` as one OCI archive. `progress` is asked for once an image.
///
/// # Errors
///
/// What is written by then is no archive.
pub fn save<P: Progress>(
    store: &Store,
    dirs: &Dirs,
    images: &[Outgoing<'_>],
    out: impl Write,
    progress: &dyn Fn(&str) -> P,
) -> Result<Vec<Sent>, Error> {
    let mut writer = Writer::new(out).map_err(|error| Error {
        action: "save",
        image: "images".into(),
        why: Box::new(of_write(error, Digest::of(b""))),
    })?;
    let (mut sent, mut entries) = (Vec::new(), Vec::new());
    for outgoing in images {
        let shown = outgoing.shown();
        let progress = progress(&shown);
        let (entry, repacked) = save_one(store, dirs, outgoing, &mut writer, &progress)
            .map_err(|why| Error { action: "save", image: shown, why: Box::new(why) })?;
        sent.push(Sent { manifest_digest: entry.digest, repacked });
        entries.push(entry);
    }
    match writer.finish(&entries) {
        Ok(_) => Ok(sent),
        Err(error) => {
            let image = images.iter().map(Outgoing::shown).collect::<Vec<_>>().join(", ");
            Err(Error { action: "save", image, why: Box::new(of_write(error, Digest::of(b""))) })
        }
    }
}

fn save_one<W: Write>(
    store: &Store,
    dirs: &Dirs,
    outgoing: &Outgoing<'_>,
    writer: &mut Writer<W>,
    progress: &dyn Progress,
) -> Result<(Descriptor, usize), Why> {
    let note = |text: &str| progress.note(text);
    let _hold = store.hold(&mut |holder| note(&format!("waiting for {holder}, which removes images")))?;
    let image = outgoing.image;
    let parts = Parts::of(image)?;
    let origin = Origin::of(dirs, image, &note)?;
    let roads: Vec<Road> = parts
        .layers()
        .map(|(layer, diff_id)| match () {
            () if writer.has(&layer.digest) => Ok(Road::There),
            () if layer.digest == *diff_id && store.has_layer(diff_id) => Ok(Road::Plain),
            () if origin.has(layer, &note) => Ok(Road::Origin),
            () if store.has_layer(diff_id) => Ok(Road::Pack),
            () => Err(parts.lacks(store, diff_id)),
        })
        .collect::<Result<_, _>>()?;
    tell(store, &parts, &roads, progress)?;
    let wanted = parts.layers().zip(&roads).enumerate();
    let wanted = wanted
        .filter(|(_, (_, road))| **road == Road::Pack)
        .map(|(number, ((_, diff_id), _))| (number, *diff_id));
    let mut packed = pack_all(store, &wanted.collect::<Vec<_>>(), progress)?;
    let mut replaced = Vec::new();
    for (number, ((layer, diff_id), road)) in parts.layers().zip(&roads).enumerate() {
        let mut anew = None;
        match road {
            Road::There => {}
            Road::Plain => {
                let tar = Counted::new(store.layer_tar(diff_id)?, progress, number);
                writer.blob(&layer.digest, layer.size, tar).map_err(|error| of_write(error, *diff_id))?;
            }
            Road::Origin => {
                let blob = Counted::new(origin.blob(layer)?, progress, number);
                writer.blob(&layer.digest, layer.size, blob).map_err(|error| of_write(error, *diff_id))?;
            }
            Road::Pack => {
                let Packed { digest, size, file } = packed.remove(&number).ok_or(Why::Stopped)?;
                writer.blob(&digest, size, file).map_err(|error| of_write(error, *diff_id))?;
                anew = Some((digest, size));
            }
        }
        progress.layer_done(number);
        replaced.push(anew);
    }
    let repacked = replaced.iter().flatten().count();
    let manifest = if repacked == 0 {
        image.manifest.clone()
    } else {
        manifest::with_layers(&image.manifest, &replaced)?
    };
    let digest = Digest::of(&manifest);
    let config = &parts.manifest.config;
    writer
        .blob(&config.digest, config.size, &image.config[..])
        .map_err(|error| of_write(error, config.digest))?;
    writer.blob(&digest, manifest.len() as u64, &manifest[..]).map_err(|error| of_write(error, digest))?;
    let annotations = match &outgoing.name {
        Some(name) => [REF_NAME, IMAGE_NAME].map(|key| (key.to_owned(), name.to_string())).into(),
        None => BTreeMap::new(),
    };
    let media_type = manifest::media_type(&manifest)?;
    Ok((
        Descriptor { media_type, digest, size: manifest.len() as u64, platform: None, annotations },
        repacked,
    ))
}

impl Outgoing<'_> {
    fn shown(&self) -> String {
        match &self.name {
            Some(name) => name.to_string(),
            None => self.image.manifest_digest.to_string(),
        }
    }
}

/// The way a layer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Road {
    /// It is there already.
    There,
    /// Its blob is its archive, which the store makes again.
    Plain,
    /// From where the image came.
    Origin,
    /// Made again and compressed anew.
    Pack,
}

/// An image's layers, as they are named in its manifest and by their diff ids.
struct Parts {
    manifest: Manifest,
    config: ImageConfig,
}

impl Parts {
    fn of(image: &Image) -> Result<Self, Why> {
        let media_type = manifest::media_type(&image.manifest)?;
        let Document::Manifest(manifest) = manifest::parse(&image.manifest, Some(&media_type))? else {
            return Err(manifest::Error::UnknownType(media_type).into());
        };
        let config = ImageConfig::parse(&image.config)?;
        Ok(Self { manifest, config })
    }

    fn layers(&self) -> impl Iterator<Item = (&Descriptor, &Digest)> {
        self.manifest.layers.iter().zip(&self.config.diff_ids)
    }

    /// Why a layer that is neither here nor at its origin can't be had.
    fn lacks(&self, store: &Store, diff_id: &Digest) -> Why {
        let kept = self.config.diff_ids.iter().filter(|layer| store.has_layer(layer)).count();
        match self.layers().last() {
            Some((_, top)) if store.has_layer(top) => {
                Why::Hidden { layers: self.manifest.layers.len(), kept }
            }
            _ => Why::NoLayer(*diff_id),
        }
    }
}

/// Tells `progress` what there is to do: bytes as they will be read.
fn tell(store: &Store, parts: &Parts, roads: &[Road], progress: &dyn Progress) -> Result<(), Why> {
    let infos = parts.layers().zip(roads).map(|((layer, diff_id), road)| {
        let size = match road {
            Road::There => 0,
            Road::Plain | Road::Origin => layer.size,
            Road::Pack => store.meta(diff_id)?.tar_bytes,
        };
        Ok(LayerInfo { digest: layer.digest, size })
    });
    progress.layers(&infos.collect::<Result<Vec<_>, Why>>()?);
    Ok(())
}

/// Where an image came from, as far as its blobs can still be had there.
enum Origin {
    Registry(Registry),
    Files(Layout),
    Nowhere,
}

impl Origin {
    fn of(dirs: &Dirs, image: &Image, note: &dyn Fn(&str)) -> Result<Self, Why> {
        if let Some(source) = Source::read(&image.source) {
            return Ok(source.ok().and_then(|source| layout_of(&source)).map_or(Self::Nowhere, Self::Files));
        }
        match image.source.parse::<Reference>() {
            Ok(reference) => Ok(Self::Registry(Registry::open(dirs, &reference, note)?)),
            Err(_) => Ok(Self::Nowhere),
        }
    }

    /// Whether a layer can be had from there. A registry that does not answer is as good as none, and that is said.
    fn has(&self, layer: &Descriptor, note: &dyn Fn(&str)) -> bool {
        match self {
            Self::Registry(registry) => registry.has_blob(&layer.digest).unwrap_or_else(|error| {
                note(&format!("{error}; the layer is packed anew from the store"));
                false
            }),
            // files change, and half an archive can't be taken back
            Self::Files(layout) => {
                layout.blob(layer).is_ok_and(|mut blob| io::copy(&mut blob, &mut io::sink()).is_ok())
            }
            Self::Nowhere => false,
        }
    }

    fn blob(&self, layer: &Descriptor) -> Result<Box<dyn Read + Send>, Why> {
        match self {
            Self::Registry(registry) => Ok(Box::new(registry.blob(layer))),
            Self::Files(layout) => Ok(Box::new(layout.blob(layer)?)),
            Self::Nowhere => Err(Why::NoLayer(layer.digest)),
        }
    }
}

/// The layout a source names, if it is still there and need not be unpacked.
fn layout_of(source: &Source) -> Option<Layout> {
    match source.form {
        Form::Layout => Layout::in_folder(&source.path).ok(),
        Form::Archive => {
            Layout::in_archive(layout::open(&source.path).ok()?, &source.path.display().to_string()).ok()
        }
        Form::DockerArchive => None,
    }
}

/// A reader whose bytes are told as progress.
struct Counted<'a, R> {
    inner: R,
    progress: &'a dyn Progress,
    number: usize,
}

impl<'a, R> Counted<'a, R> {
    fn new(inner: R, progress: &'a dyn Progress, number: usize) -> Self {
        Self { inner, progress, number }
    }
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.progress.advance(self.number, count as u64);
        Ok(count)
    }
}

fn of_write(error: WriteError, layer: Digest) -> Why {
    match error {
        WriteError::Out(error) => Why::Out(error),
        WriteError::Blob(error) => Why::of_bytes(error, layer),
    }
}

//! What an image consists of, and where each part of it can be had.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::commit::Compression;
use super::error::Why;
use super::pack::{Packed, pack_all};
use crate::cancel::Cancel;
use crate::dirs::Dirs;
use crate::fetch::{Registry, retry};
use crate::layout::{self, Layout};
use crate::oci::config::ImageConfig;
use crate::oci::digest::Digest;
use crate::oci::manifest::{self, Descriptor, Document, Manifest};
use crate::oci::reference::Reference;
use crate::oci::source::{Form, Source};
use crate::pull::{LayerInfo, Progress};
use crate::store::{Image, Store};

/// An image on its way out.
pub(super) struct Parts<'a> {
    store: &'a Store,
    pub(super) image: &'a Image,
    pub(super) manifest: Manifest,
    diff_ids: Vec<Digest>,
    pub(super) origin: Origin,
    ways: Vec<Way>,
    progress: Option<&'a dyn Progress>,
}

/// The way a layer takes.
enum Way {
    /// It is there already.
    There,
    /// Its blob is its archive, which the store makes again.
    Plain,
    /// From where the image came.
    Origin,
    /// Made again and compressed anew.
    Packed(Packed),
}

impl<'a> Parts<'a> {
    /// Looks where each layer can be had and packs those that are nowhere. `there` says of a layer whether it is where
    /// the image goes already; what is kept plain goes as `plain` says.
    pub(super) fn of(
        store: &'a Store,
        dirs: &Dirs,
        image: &'a Image,
        plain: Compression,
        progress: &'a dyn Progress,
        there: impl Fn(&Descriptor, &Origin) -> Result<bool, Why>,
    ) -> Result<Self, Why> {
        let note = |text: &str| progress.note(text);
        let media_type = manifest::media_type(&image.manifest)?;
        let Document::Manifest(manifest) = manifest::parse(&image.manifest, Some(&media_type))? else {
            return Err(manifest::Error::UnknownType(media_type).into());
        };
        let diff_ids = ImageConfig::parse(&image.config)?.diff_ids;
        let origin = Origin::of(dirs, image, &note)?;
        let (mut ways, mut to_pack, mut infos) = (Vec::new(), Vec::new(), Vec::new());
        for (number, (layer, diff_id)) in manifest.layers.iter().zip(&diff_ids).enumerate() {
            let here = store.has_layer(diff_id);
            let (way, size) = match () {
                () if there(layer, &origin)? => (Some(Way::There), 0),
                () if here && layer.digest == *diff_id && plain == Compression::None => {
                    (Some(Way::Plain), layer.size)
                }
                () if origin.has(layer, &note) => (Some(Way::Origin), layer.size),
                () if here => {
                    to_pack.push((number, *diff_id));
                    (None, store.meta(diff_id)?.tar_bytes)
                }
                // nothing can be seen of what lies below, so it was never kept
                () if diff_ids.last().is_some_and(|top| store.has_layer(top)) => {
                    return Err(Why::Hidden(*diff_id));
                }
                () => return Err(Why::NoLayer(*diff_id)),
            };
            ways.push(way);
            infos.push(LayerInfo { digest: layer.digest, size });
        }
        // nothing is told where there is nothing to do
        let progress_of = infos.iter().any(|info| info.size > 0).then_some(progress);
        if let Some(progress) = progress_of {
            progress.layers(&infos);
        }
        let packed = pack_all(store, &to_pack, progress)?;
        let numbers = to_pack.iter().map(|(number, _)| *number);
        let mut packed: BTreeMap<usize, Packed> = numbers.zip(packed).collect();
        let ways = ways
            .into_iter()
            .enumerate()
            .map(|(number, way)| way.or_else(|| packed.remove(&number).map(Way::Packed)))
            .collect::<Option<_>>()
            .ok_or(Why::Stopped)?;
        Ok(Self { store, image, manifest, diff_ids, origin, ways, progress: progress_of })
    }

    /// How many layers there are.
    pub(super) fn count(&self) -> usize {
        self.ways.len()
    }

    /// The diff id of a layer.
    pub(super) fn diff_id(&self, number: usize) -> Digest {
        self.diff_ids[number]
    }

    /// Digest and size of a layer as it will be sent; none when it is there.
    pub(super) fn blob(&self, number: usize) -> Option<(Digest, u64)> {
        match &self.ways[number] {
            Way::There => None,
            Way::Plain | Way::Origin => {
                let layer = &self.manifest.layers[number];
                Some((layer.digest, layer.size))
            }
            Way::Packed(packed) => Some((packed.digest, packed.size)),
        }
    }

    /// Reads a layer as it will be sent, from its beginning.
    pub(super) fn reader(&self, number: usize) -> io::Result<Box<dyn Read + Send>> {
        let layer = &self.manifest.layers[number];
        Ok(match &self.ways[number] {
            Way::There => Box::new(io::empty()),
            Way::Plain => Box::new(self.store.layer_tar(&self.diff_ids[number]).map_err(io::Error::other)?),
            Way::Origin => self.origin.blob(layer)?,
            Way::Packed(packed) => Box::new(packed.reader()?),
        })
    }

    /// Whether the layer was packed anew.
    pub(super) fn is_packed(&self, number: usize) -> bool {
        matches!(self.ways[number], Way::Packed(_))
    }

    /// Tells that `bytes` of a layer are sent. Those of a packed one were told when it was.
    pub(super) fn advance(&self, number: usize, bytes: u64) {
        if let Some(progress) = self.progress.filter(|_| !self.is_packed(number)) {
            progress.advance(number, bytes);
        }
    }

    /// Tells that a layer is where it should be.
    pub(super) fn done(&self, number: usize) {
        if let Some(progress) = self.progress {
            progress.layer_done(number);
        }
    }

    /// The manifest that names the blobs as they are sent, and how many were packed anew.
    pub(super) fn final_manifest(&self) -> Result<(Vec<u8>, usize), Why> {
        let anew = |way: &Way| match way {
            Way::Packed(packed) => Some((packed.digest, packed.size)),
            _ => None,
        };
        let anew: Vec<_> = self.ways.iter().map(anew).collect();
        Ok(match anew.iter().flatten().count() {
            0 => (self.image.manifest.clone(), 0),
            count => (manifest::with_layers(&self.image.manifest, &anew)?, count),
        })
    }
}

/// Where an image came from, as far as its blobs can still be had there.
pub(super) enum Origin {
    Registry(Reference, Registry),
    Files(Layout),
    Nowhere,
}

impl Origin {
    fn of(dirs: &Dirs, image: &Image, note: &dyn Fn(&str)) -> Result<Self, Why> {
        if let Some(source) = Source::read(&image.source) {
            return Ok(source.ok().and_then(|source| layout_of(&source)).map_or(Self::Nowhere, Self::Files));
        }
        match image.source.parse::<Reference>() {
            Ok(reference) => {
                let registry = Registry::open(dirs, &reference, note)?;
                Ok(Self::Registry(reference, registry))
            }
            Err(_) => Ok(Self::Nowhere),
        }
    }

    /// Whether a layer can be had from there. A registry that does not answer is as good as none, and that is said.
    fn has(&self, layer: &Descriptor, note: &dyn Fn(&str)) -> bool {
        match self {
            Self::Registry(_, registry) => {
                let asked =
                    retry(&Cancel::default(), note, |error| Some(error), || registry.has_blob(&layer.digest));
                asked.unwrap_or_else(|error| {
                    note(&format!("{error}; the layer is packed anew from the store"));
                    false
                })
            }
            // files change, and half an archive can't be taken back
            Self::Files(layout) => {
                layout.blob(layer).is_ok_and(|mut blob| io::copy(&mut blob, &mut io::sink()).is_ok())
            }
            Self::Nowhere => false,
        }
    }

    fn blob(&self, layer: &Descriptor) -> io::Result<Box<dyn Read + Send>> {
        match self {
            Self::Registry(_, registry) => Ok(Box::new(registry.blob(layer))),
            Self::Files(layout) => Ok(Box::new(layout.blob(layer).map_err(io::Error::other)?)),
            Self::Nowhere => Err(io::ErrorKind::NotFound.into()),
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::fetch::fake::{Answer, Fake};
    use crate::fetch::{Credentials, Timeouts};

    #[test]
    fn a_registry_that_is_busy_once_still_has_its_layers() {
        let fake = Fake::start(|_, before| Answer::status(if before == 0 { 503 } else { 200 }, ""));
        let reference: Reference = format!("{}/a:1", fake.address).parse().unwrap();
        let registry = Registry::new(&reference, Credentials::Anonymous, Timeouts::default()).unwrap();
        let layer = Descriptor {
            media_type: String::new(),
            digest: Digest::of(b"x"),
            size: 1,
            platform: None,
            annotations: BTreeMap::new(),
        };
        let notes = Cell::new(0);
        assert!(Origin::Registry(reference, registry).has(&layer, &|_| notes.set(notes.get() + 1)));
        assert_eq!(notes.get(), 1);
    }
}

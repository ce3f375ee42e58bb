//! From a reference, or files in other tools' forms, to an image in the store: the only place that knows network,
//! foreign files and store.
//!
//! ```text
//! tag → manifest (through an index) → configuration → layers that are missing
//!
//! network thread ── chunks, ≤ 2 MiB ──> read-ahead thread ── 3 × 512 KiB ──> worker
//!   socket, sha256 of the blob            inflate                             sha256 of the tar, files
//! ```
//!
//! Each layer passes once, without touching the disk before its files do; four at a time, the largest first.
//! What is fetched gets a name in the store only when digest, size and diff id are right, so the process may die
//! at any instant.

use crate::cancel::Cancel;
use crate::dirs::Dirs;
use crate::fetch::{Fetched, Registry, retry};
use crate::oci::config::{self, ImageConfig};
use crate::oci::digest::Digest;
use crate::oci::manifest::{self, Descriptor, Document, Manifest};
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::store::{self, Image, Store};

mod ahead;
mod blobs;
mod decode;
mod error;
mod import;
mod layers;
mod survey;
#[cfg(test)]
mod tests;

pub use error::{Error, Failed, Why};
pub use import::{Input, Loaded, Names, import, load};
pub use survey::{Found, FoundImage, Newest, look, newest};

use blobs::Blobs;

/// What to pull.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The image's name.
    pub reference: &'a Reference,
    /// What it is to run on.
    pub platform: &'a Platform,
}

/// A layer to be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerInfo {
    /// Digest of the layer as it is sent.
    pub digest: Digest,
    /// Its size as it is sent, in bytes.
    pub size: u64,
}

/// Is told how a pull goes on; called from several threads.
pub trait Progress: Send + Sync {
    /// These layers will be fetched; later calls name them by their place here. Called at most once.
    fn layers(&self, total: &[LayerInfo]);
    /// `bytes` more of a layer, as it is sent, are done with.
    fn advance(&self, layer: usize, bytes: u64);
    /// A layer is in the store, fetched by us or by another process.
    fn layer_done(&self, layer: usize);
    /// Something worth a line to the user, who may have to wait.
    fn note(&self, text: &str);
}

/// What a pull did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The image, which the reference now stands for.
    pub manifest_digest: Digest,
    /// Layers that were fetched.
    pub layers_fetched: usize,
    /// Bytes of those, as they were sent.
    pub bytes: u64,
    /// Reference and image were here already; nothing was written.
    pub unchanged: bool,
}

/// The image `name` stands for, a reference or files as text, if it is here whole and for the platform.
pub fn here(store: &Store, name: &str, platform: &Platform) -> Result<Option<Image>, Error> {
    let digest = name.parse::<Reference>().ok().and_then(|reference| reference.digest);
    let found = match (known(store, name, platform), digest) {
        (Ok(None), Some(digest)) => with_digest(store, &digest, platform),
        (found, _) => found,
    };
    found.map(|found| found.map(|(image, _)| image)).map_err(|why| Error {
        action: "pull",
        image: name.to_owned(),
        why: Box::new(why),
    })
}

impl Pulled {
    fn unchanged(manifest_digest: Digest) -> Self {
        Self { manifest_digest, layers_fetched: 0, bytes: 0, unchanged: true }
    }
}

/// Brings the image into the store and lets the reference stand for it.
///
/// Asks nobody when the reference has a digest whose image is here, under whatever name, and only for the digest
/// when the image of a tag is here and still the same. Blocks; works on threads of its own, all of which have ended when it returns.
/// Layers count as durable only after [`Store::sync`], which is for a moment when nobody waits.
///
/// # Errors
///
/// When the image can't be had or is not what it should be; layers that were whole by then stay in the store, to
/// be used by the next try.
pub fn pull(
    store: &Store,
    dirs: &Dirs,
    request: Request<'_>,
    progress: &dyn Progress,
) -> Result<Pulled, Error> {
    let pulled = bring(store, dirs, request, progress);
    // what interrupted commands left is no reason to fail
    let _ = store.sweep();
    let image = || request.reference.to_string();
    pulled.map_err(|why| Error { action: "pull", image: image(), why: Box::new(why) })
}

fn bring(store: &Store, dirs: &Dirs, request: Request<'_>, progress: &dyn Progress) -> Result<Pulled, Why> {
    let Request { reference, platform } = request;
    let note = |text: &str| progress.note(text);
    let known = known(store, &reference.to_string(), platform)?;
    if let (Some((image, _)), Some(_)) = (&known, reference.digest) {
        return Ok(Pulled::unchanged(image.manifest_digest));
    }
    if let Some(digest) = reference.digest
        && let Some((image, _)) = with_digest(store, &digest, platform)?
    {
        let hold = store.hold(&mut |holder| note(&format!("waiting for {holder}, which removes images")))?;
        // it may have been removed while we waited
        if complete(store, &image.manifest_digest)?.is_some() {
            store.set_ref(&hold, &reference.to_string(), &image.manifest_digest)?;
            return Ok(Pulled { unchanged: false, ..Pulled::unchanged(image.manifest_digest) });
        }
    }
    let registry = Registry::open(dirs, reference, &note)?;
    if let (Some((image, _)), Some(tag)) = (&known, &reference.tag)
        && let Ok(Some(digest)) = registry.digest_of(tag)
        && (digest == image.manifest_digest || Some(digest) == image.top_digest())
    {
        return Ok(Pulled::unchanged(image.manifest_digest));
    }

    let get = |what: &str| retry(&Cancel::default(), &note, |error| Some(error), || registry.manifest(what));
    let top = get(&match (&reference.digest, &reference.tag) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.clone().unwrap_or_default(),
    })?;
    let source = Reference { digest: Some(top.digest), ..reference.clone() }.to_string();
    let (fetched, manifest) = behind(top, platform, |entry| Ok(get(&entry.digest.to_string())?))?;
    let found = Candidate { fetched, manifest, source };
    let origin = Origin { blobs: &registry, note: &note };
    keep(store, platform, found, &origin, &[reference.to_string()], progress)
}

/// An image that was found, before its layers are.
struct Candidate {
    fetched: Fetched,
    manifest: Manifest,
    /// Where, as text.
    source: String,
}

/// Where the rest of it is to be had.
struct Origin<'a> {
    blobs: &'a dyn Blobs,
    note: &'a dyn Fn(&str),
}

/// Brings configuration and missing layers, records the image and lets `names` stand for it.
fn keep(
    store: &Store,
    platform: &Platform,
    found: Candidate,
    origin: &Origin<'_>,
    names: &[String],
    progress: &dyn Progress,
) -> Result<Pulled, Why> {
    let Candidate { fetched, manifest, source } = found;
    let hold =
        store.hold(&mut |holder| (origin.note)(&format!("waiting for {holder}, which removes images")))?;
    let (image, done) = match complete(store, &fetched.digest)? {
        Some((image, config)) => {
            suits(&config, platform)?;
            (Image { source, ..image }, layers::Done::default())
        }
        None => {
            let bytes = configuration(origin, &manifest)?;
            let config = ImageConfig::parse(&bytes)?;
            suits(&config, platform)?;
            if config.diff_ids.len() != manifest.layers.len() {
                return Err(Why::LayerCount {
                    layers: manifest.layers.len(),
                    diff_ids: config.diff_ids.len(),
                });
            }
            let done =
                layers::fetch(store, &hold, origin.blobs, &manifest.layers, &config.diff_ids, progress)?;
            let image = Image {
                manifest_digest: fetched.digest,
                manifest: fetched.bytes,
                config_digest: manifest.config.digest,
                config: bytes,
                layers: config.diff_ids,
                source,
            };
            (image, done)
        }
    };
    store.put_image(&hold, &image)?;
    for name in names {
        store.set_ref(&hold, name, &image.manifest_digest)?;
    }
    Ok(done.pulled(image.manifest_digest))
}

/// The image `name` stands for, if it is here whole and for the platform. One that a digest in the name denies is
/// not it, whoever gave it that name.
fn known(store: &Store, name: &str, platform: &Platform) -> Result<Option<(Image, ImageConfig)>, Why> {
    let Some(manifest) = resolve(store, name)? else { return Ok(None) };
    let wanted = name.parse::<Reference>().ok().and_then(|reference| reference.digest);
    let is_it = |image: &Image| {
        wanted.is_none_or(|wanted| wanted == image.manifest_digest || Some(wanted) == image.top_digest())
    };
    let found = complete(store, &manifest)?;
    Ok(found.filter(|(image, config)| is_it(image) && suits(config, platform).is_ok()))
}

/// The manifest `name` stands for. A record of it that is damaged counts as missing: the pull mends it.
fn resolve(store: &Store, name: &str) -> Result<Option<Digest>, Why> {
    match store.resolve(name) {
        Err(store::Error::Damaged { .. }) => Ok(None),
        found => Ok(found?),
    }
}

/// The image of a manifest or an index with this digest, by whatever name it is here.
fn with_digest(
    store: &Store,
    digest: &Digest,
    platform: &Platform,
) -> Result<Option<(Image, ImageConfig)>, Why> {
    let suitable = |manifest: &Digest| {
        Ok::<_, Why>(complete(store, manifest)?.filter(|(_, config)| suits(config, platform).is_ok()))
    };
    for manifest in store.with_digest(digest)? {
        if let Some(found) = suitable(&manifest)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The image of this manifest, if it is here with all its layers. One that is damaged counts as missing: the
/// pull mends it.
fn complete(store: &Store, manifest: &Digest) -> Result<Option<(Image, ImageConfig)>, Why> {
    let image = match store.image(manifest) {
        Ok(Some(image)) => image,
        Ok(None) | Err(store::Error::Damaged { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let config = ImageConfig::parse(&image.config)?;
    let whole = image.layers.iter().all(|layer| store.has_layer(layer));
    Ok(whole.then_some((image, config)))
}

/// The manifest for `platform` behind `top`, which is it or an index over it; `get` fetches an index's entry.
fn behind(
    top: Fetched,
    platform: &Platform,
    get: impl Fn(&Descriptor) -> Result<Fetched, Why>,
) -> Result<(Fetched, Manifest), Why> {
    let index = match manifest::parse(&top.bytes, top.media_type.as_deref())? {
        Document::Manifest(manifest) => return Ok((top, manifest)),
        Document::Index(index) => index,
    };
    let Some(chosen) = index.choose(platform) else {
        let offered = index.platforms().into_iter().map(ToString::to_string).collect();
        return Err(Why::Platform { wanted: platform.clone(), offered });
    };
    let fetched = get(chosen)?;
    match manifest::parse(&fetched.bytes, Some(&chosen.media_type))? {
        Document::Manifest(manifest) => Ok((fetched, manifest)),
        Document::Index(_) => Err(Why::NestedIndex(fetched.digest)),
    }
}

/// The configuration's bytes, verified.
fn configuration(origin: &Origin<'_>, manifest: &Manifest) -> Result<Vec<u8>, Why> {
    if manifest.config.size > config::MAX_SIZE as u64 {
        return Err(Why::ConfigSize(manifest.config.size));
    }
    let cancel = Cancel::default();
    retry(&cancel, origin.note, Why::fetch, || {
        let of_bytes = |error| Why::of_bytes(error, manifest.config.digest);
        let mut bytes = Vec::new();
        let mut blob = origin.blobs.blob(&manifest.config, &cancel).map_err(of_bytes)?;
        blob.ready(origin.note).and_then(|()| std::io::copy(&mut blob, &mut bytes)).map_err(of_bytes)?;
        Ok(bytes)
    })
}

fn suits(config: &ImageConfig, platform: &Platform) -> Result<(), Why> {
    match config.platform() {
        Some(offered) if !platform.accepts(&offered) => {
            Err(Why::Platform { wanted: platform.clone(), offered: vec![offered.to_string()] })
        }
        _ => Ok(()),
    }
}

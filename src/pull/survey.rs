//! What a name stands for in a registry, without fetching it: digests, for a lock.

use super::{Error, Why};
use crate::cancel::Cancel;
use crate::dirs::Dirs;
use crate::fetch::{Fault, Fetched, Registry, retry};
use crate::oci::config::ImageConfig;
use crate::oci::digest::Digest;
use crate::oci::manifest::{self, Document, Manifest};
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Of the index, or of the manifest where there is none.
    pub digest: Digest,
    /// The image for each platform, in the order of the index.
    pub images: Vec<FoundImage>,
}

/// An image for one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundImage {
    /// What it runs on.
    pub platform: Platform,
    /// Its manifest.
    pub manifest: Digest,
    /// Its layers' diff ids, bottom first.
    pub layers: Vec<Digest>,
}

/// What became of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newest {
    /// What it stands for now; none when the registry does not know it any more.
    pub now: Option<Digest>,
    /// Whether the digest asked about is still there.
    pub available: bool,
}

/// Looks up what `reference` stands for: two small requests a platform.
///
/// # Errors
///
/// When it can't be had, or is not made of images.
pub fn look(dirs: &Dirs, reference: &Reference, note: &dyn Fn(&str)) -> Result<Found, Error> {
    let failed = |why| Error { action: "look up", image: reference.to_string(), why: Box::new(why) };
    let find = || -> Result<Found, Why> {
        let registry = Registry::open(dirs, reference, note)?;
        let get =
            |what: &str| retry(&Cancel::default(), note, |error| Some(error), || registry.manifest(what));
        let top = get(&match (&reference.digest, &reference.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.clone().unwrap_or_default(),
        })?;
        let digest = top.digest;
        let mut images = Vec::new();
        match manifest::parse(&top.bytes, top.media_type.as_deref())? {
            Document::Manifest(manifest) => {
                let found = image(&registry, note, digest, &manifest, None)?;
                let platform = readable(&found.platform, note);
                images.extend(platform.map(|platform| FoundImage { platform, ..found }));
            }
            Document::Index(index) => {
                for entry in &index.manifests {
                    // attestations and the like are of no platform
                    let Some(platform) = entry.platform.as_ref().filter(|platform| platform.os == "linux")
                    else {
                        continue;
                    };
                    let Some(platform) = readable(platform, note) else { continue };
                    let Fetched { bytes, digest, .. } = get(&entry.digest.to_string())?;
                    match manifest::parse(&bytes, Some(&entry.media_type))? {
                        Document::Manifest(manifest) => {
                            images.push(image(&registry, note, digest, &manifest, Some(&platform))?);
                        }
                        Document::Index(_) => return Err(Why::NestedIndex(digest)),
                    }
                }
            }
        }
        Ok(Found { digest, images })
    };
    find().map_err(failed)
}

/// The platform as a lock has it; none when its name does not read back as itself. In a lock it would be a mistake that nobody
/// made, and no machine is called so.
fn readable(platform: &Platform, note: &dyn Fn(&str)) -> Option<Platform> {
    // some write that there is none like this
    let variant = platform.variant.clone().filter(|variant| !variant.is_empty());
    let platform = Platform { variant, ..platform.clone() };
    let shown = platform.to_string();
    if shown.parse().is_ok_and(|read: Platform| read == platform) {
        return Some(platform);
    }
    note(&format!("the image for `{shown}` is left out: that is no platform"));
    None
}

/// The image of a manifest; an index's word on its platform goes before its own.
fn image(
    registry: &Registry,
    note: &dyn Fn(&str),
    digest: Digest,
    manifest: &Manifest,
    platform: Option<&Platform>,
) -> Result<FoundImage, Why> {
    let bytes = super::configuration(&super::Origin { blobs: registry, note }, manifest)?;
    let config = ImageConfig::parse(&bytes)?;
    if config.diff_ids.len() != manifest.layers.len() {
        return Err(Why::LayerCount { layers: manifest.layers.len(), diff_ids: config.diff_ids.len() });
    }
    let platform = platform.cloned().or_else(|| config.platform()).unwrap_or_else(Platform::host);
    Ok(FoundImage { platform, manifest: digest, layers: config.diff_ids })
}

/// What `reference` stands for now, and whether `digest`, which it once stood for, is still to be had.
pub fn newest(
    dirs: &Dirs,
    reference: &Reference,
    digest: &Digest,
    note: &dyn Fn(&str),
) -> Result<Newest, Error> {
    let failed = |why| Error { action: "look up", image: reference.to_string(), why: Box::new(why) };
    let registry = Registry::open(dirs, reference, note).map_err(|error| failed(error.into()))?;
    let has = |what: &str| match registry.manifest(what) {
        Ok(found) => Ok(Some(found.digest)),
        Err(error) if matches!(error.fault, Fault::NotFound(_)) => Ok(None),
        Err(error) => Err(failed(error.into())),
    };
    let now = match (&reference.digest, &reference.tag) {
        (Some(digest), _) => has(&digest.to_string())?,
        (None, tag) => has(tag.as_deref().unwrap_or_default())?,
    };
    let available = now == Some(*digest) || has(&digest.to_string())?.is_some();
    Ok(Newest { now, available })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_that_do_not_read_back_are_left_out() {
        let platform = |architecture: &str, variant: Option<&str>| Platform {
            os: "linux".into(),
            architecture: architecture.into(),
            variant: variant.map(str::to_owned),
        };
        let told = std::cell::RefCell::new(Vec::new());
        let note = |text: &str| told.borrow_mut().push(text.to_owned());
        let shown = |architecture: &str, variant: Option<&str>| {
            readable(&platform(architecture, variant), &note).map(|platform| platform.to_string())
        };
        assert_eq!(shown("arm", Some("v7")).as_deref(), Some("linux/arm/v7"));
        assert_eq!(shown("amd64", Some("")).as_deref(), Some("linux/amd64"));
        assert!(told.borrow().is_empty());
        for (architecture, variant) in
            [("arm64", Some("v1.0")), ("sparc 64", None), ("amd64\"\n", None), ("aarch64", None)]
        {
            assert_eq!(shown(architecture, variant), None, "{architecture} {variant:?}");
        }
        assert_eq!(told.borrow()[0], "the image for `linux/arm64/v1.0` is left out: that is no platform");
    }
}

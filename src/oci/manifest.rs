//! Manifests and indexes, OCI's and docker's (schema 2), read strictly (image-spec `manifest.md`, `image-index.md`).
//!
//! A document whose bytes could be taken for another kind by another reader is refused (CVE-2021-41190).
//! `urls` are never fetched, and embedded `data` is not used: the blob is asked for by its digest.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use super::digest::Digest;
use super::json::{self, NotJson};
use super::media_type::{self, Compression};
use super::platform::Platform;

/// Largest manifest or index, in bytes: the limit the distribution specification asks registries to hold.
pub const MAX_SIZE: usize = 4 << 20;
/// Most layers of an image. Tools that build images end at 127; overlayfs takes 500, and more are merged.
pub const MAX_LAYERS: usize = 4096;

/// What points to a blob or manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Of what it points to.
    pub media_type: String,
    /// Of the bytes it points to.
    pub digest: Digest,
    /// How many bytes those are, less than 2^63.
    pub size: u64,
    /// In an index: what the image runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// What its maker wrote beside it, in a layout's index the image's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "annotations")]
    pub annotations: BTreeMap<String, String>,
}

/// `null` for none, as Go writes it.
fn annotations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// An image for one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The image's configuration.
    pub config: Descriptor,
    /// The layers, bottom first, each of a media type we can read.
    pub layers: Vec<Descriptor>,
}

/// The same image for several platforms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Manifests, and what else the maker put beside them.
    pub manifests: Vec<Descriptor>,
}

/// Either kind of document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// A choice of images.
    Index(Index),
}

/// Why bytes are neither a manifest nor an index we can use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not even a document of their form.
    #[error("the manifest can't be read")]
    Json(#[from] NotJson),
    /// The type said outside and the one within differ.
    #[error("the manifest is declared as `{}`, but calls itself `{}`", .declared.escape_debug(), .found.escape_debug())]
    TypeMismatch {
        /// Said by the registry or the index.
        declared: String,
        /// Said by the document.
        found: String,
    },
    /// A kind of document we don't know, or none said.
    #[error("the manifest is of the unknown type `{}`", .0.escape_debug())]
    UnknownType(String),
    /// Not schema 2.
    #[error("the manifest has schema version {0}, not 2")]
    Schema(u64),
    /// A field that belongs to another kind, or one that is missing.
    #[error("the manifest is ambiguous or incomplete: as `{media_type}` it {why}")]
    Fields {
        /// Its kind.
        media_type: String,
        /// Which fields.
        why: &'static str,
    },
    /// Something else than an image, stored in a registry.
    #[error("it is not an image: its configuration is of type `{}`", .0.escape_debug())]
    NotAnImage(String),
    /// A layer we can't read.
    #[error("layer {digest} is of the unknown type `{}`", .media_type.escape_debug())]
    LayerType {
        /// The layer.
        digest: Digest,
        /// Its type.
        media_type: String,
    },
    /// Too many layers.
    #[error("the image has {0} layers, more than the limit of {MAX_LAYERS}")]
    TooManyLayers(usize),
    /// A size that no file can have.
    #[error("the size {size} of {digest} is out of range")]
    Size {
        /// Of what.
        digest: Digest,
        /// The number.
        size: u64,
    },
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Schema(1) | Self::UnknownType(_) => Some(
                "images in OCI form or docker's schema 2 can be used; push it again with a current tool"
                    .into(),
            ),
            Self::LayerType { .. } => Some("layers must be tar archives, plain or in gzip or zstd".into()),
            Self::NotAnImage(_) => Some("the reference names an artifact of another kind".into()),
            Self::TooManyLayers(_) => Some("squash the image where it is built".into()),
            _ => None,
        }
    }
}

impl Manifest {
    /// The manifest as OCI writes it; the same one gives the same bytes.
    pub fn to_json(&self) -> Vec<u8> {
        let Self { config, layers } = self;
        let document = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "config": config,
            "layers": layers,
        });
        document.to_string().into_bytes()
    }
}

/// Everything that may be in either kind, so that what does not belong is seen.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    schema_version: u64,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    fs_layers: Option<IgnoredAny>,
    history: Option<IgnoredAny>,
}

/// What a manifest says it is; one that does not say is taken for OCI's, as the specification allows.
pub fn media_type(bytes: &[u8]) -> Result<String, Error> {
    let wire: Wire = json::parse(bytes, MAX_SIZE)?;
    Ok(wire.media_type.unwrap_or_else(|| media_type::OCI_MANIFEST.to_owned()))
}

/// The manifest with other blobs for those layers that have one: digest and size, compressed with gzip. All else in
/// it stays.
pub fn with_layers(bytes: &[u8], blobs: &[Option<(Digest, u64)>]) -> Result<Vec<u8>, Error> {
    let docker = media_type(bytes)? == media_type::DOCKER_MANIFEST;
    let media_type = match docker {
        true => format!("{}.gzip", media_type::DOCKER_LAYER),
        false => format!("{}+gzip", media_type::OCI_LAYER),
    };
    let mut document: serde_json::Value = json::parse(bytes, MAX_SIZE)?;
    let layers = document.get_mut("layers").and_then(serde_json::Value::as_array_mut);
    for (layer, blob) in layers.into_iter().flatten().zip(blobs) {
        if let Some((digest, size)) = blob {
            // what else stood there was said of the other blob
            *layer = serde_json::json!({ "mediaType": media_type, "digest": digest, "size": size });
        }
    }
    Ok(document.to_string().into_bytes())
}

/// Parses a document that was `declared` (by an index's descriptor or the registry's `Content-Type`) as some
/// media type. A declaration that is no kind of manifest at all (`text/plain`) counts as none.
pub fn parse(bytes: &[u8], declared: Option<&str>) -> Result<Document, Error> {
    let wire: Wire = json::parse(bytes, MAX_SIZE)?;
    if wire.schema_version != 2 {
        return Err(Error::Schema(wire.schema_version));
    }
    let known = |media_type: &&str| media_type::is_index(media_type) || media_type::is_manifest(media_type);
    let media_type = match (declared.filter(known), wire.media_type) {
        (Some(declared), Some(found)) if declared != found => {
            return Err(Error::TypeMismatch { declared: declared.to_owned(), found });
        }
        (_, Some(found)) => found,
        (Some(declared), None) => declared.to_owned(),
        (None, None) => return Err(Error::UnknownType(declared.unwrap_or_default().to_owned())),
    };
    let fields = |why| Error::Fields { media_type: media_type.clone(), why };
    if wire.fs_layers.is_some() || wire.history.is_some() {
        return Err(fields("may not have `fsLayers` or `history`"));
    }
    let document = if media_type::is_index(&media_type) {
        if wire.config.is_some() || wire.layers.is_some() {
            return Err(fields("may not have `config` or `layers`"));
        }
        Document::Index(Index { manifests: wire.manifests.ok_or_else(|| fields("must have `manifests`"))? })
    } else if media_type::is_manifest(&media_type) {
        if wire.manifests.is_some() {
            return Err(fields("may not have `manifests`"));
        }
        let (Some(config), Some(layers)) = (wire.config, wire.layers) else {
            return Err(fields("must have `config` and `layers`"));
        };
        Document::Manifest(Manifest { config, layers })
    } else {
        return Err(Error::UnknownType(media_type));
    };
    check(&document)?;
    Ok(document)
}

fn check(document: &Document) -> Result<(), Error> {
    let descriptors = match document {
        Document::Index(index) => &index.manifests,
        Document::Manifest(manifest) => {
            if !media_type::is_config(&manifest.config.media_type) {
                return Err(Error::NotAnImage(manifest.config.media_type.clone()));
            }
            if manifest.layers.len() > MAX_LAYERS {
                return Err(Error::TooManyLayers(manifest.layers.len()));
            }
            if let Some(layer) =
                manifest.layers.iter().find(|it| Compression::of_layer(&it.media_type).is_none())
            {
                return Err(Error::LayerType { digest: layer.digest, media_type: layer.media_type.clone() });
            }
            size_in_range(&manifest.config)?;
            &manifest.layers
        }
    };
    descriptors.iter().try_for_each(size_in_range)
}

fn size_in_range(descriptor: &Descriptor) -> Result<(), Error> {
    match i64::try_from(descriptor.size) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::Size { digest: descriptor.digest, size: descriptor.size }),
    }
}

impl Index {
    /// The manifest that suits `wanted` best. Entries for `unknown/unknown` (attestations) and of other types
    /// are passed over; a single manifest that names no platform is taken, for its configuration will tell.
    pub fn choose(&self, wanted: &Platform) -> Option<&Descriptor> {
        let mut manifests = self.manifests.iter().filter(|entry| media_type::is_manifest(&entry.media_type));
        let suited =
            wanted.choose(manifests.clone().filter_map(|entry| Some((entry.platform.as_ref()?, entry))));
        match (suited, manifests.next(), manifests.next()) {
            (None, Some(only), None) if only.platform.is_none() => Some(only),
            (suited, ..) => suited,
        }
    }

    /// The platforms of its images, for a message.
    pub fn platforms(&self) -> Vec<&Platform> {
        self.manifests
            .iter()
            .filter_map(|entry| entry.platform.as_ref())
            .filter(|it| it.os != "unknown")
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn descriptor(media_type: &str, size: &str) -> String {
        format!(r#"{{"mediaType":"{media_type}","digest":"{SHA}","size":{size}}}"#)
    }

    fn manifest(layer: &str) -> String {
        let config = descriptor(media_type::OCI_CONFIG, "2");
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]}}"#)
    }

    fn oci(text: &str) -> Result<Document, Error> {
        parse(text.as_bytes(), Some(media_type::OCI_MANIFEST))
    }

    #[test]
    fn both_families() {
        let gzip = format!("{}+gzip", media_type::OCI_LAYER);
        let Document::Manifest(read) = oci(&manifest(&descriptor(&gzip, "7"))).unwrap() else { panic!() };
        assert_eq!((read.layers.len(), read.layers[0].size), (1, 7));

        let config = descriptor(media_type::DOCKER_CONFIG, "2");
        let layer = descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip", "7");
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":{config},"layers":[{layer}]}}"#,
            media_type::DOCKER_MANIFEST
        );
        for declared in [Some(media_type::DOCKER_MANIFEST), Some("text/plain"), None] {
            assert!(matches!(parse(text.as_bytes(), declared), Ok(Document::Manifest(_))), "{declared:?}");
        }
        assert!(matches!(oci(&text), Err(Error::TypeMismatch { .. })));
    }

    #[test]
    fn hostile_documents() {
        let layer = descriptor(media_type::OCI_LAYER, "7");
        let good = manifest(&layer);
        assert!(oci(&good).is_ok());
        let with = |field: &str| good.replacen('{', &format!("{{{field},"), 1);
        let many = vec![layer.as_str(); MAX_LAYERS + 1].join(",");
        let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        let huge = with(&format!(r#""x":"{}""#, "x".repeat(MAX_SIZE)));
        for (what, text, expected) in [
            ("both kinds", with(r#""manifests":[]"#), "Fields"),
            ("schema 1 too", with(r#""fsLayers":[]"#), "Fields"),
            ("no layers", good.replace("layers", "Layers"), "Fields"),
            ("index by name", with(&format!(r#""mediaType":"{}""#, media_type::OCI_INDEX)), "TypeMismatch"),
            ("layers twice", with(r#""layers":[]"#), "Json"),
            ("deep", with(&format!(r#""x":{deep}"#)), "Json"),
            ("too large", huge, "Json"),
            ("cut", good[..good.len() - 1].to_owned(), "Json"),
            ("schema 1", good.replace("Version\":2", "Version\":1"), "Schema"),
            ("negative", manifest(&descriptor(media_type::OCI_LAYER, "-1")), "Json"),
            ("beyond i64", manifest(&descriptor(media_type::OCI_LAYER, "9223372036854775808")), "Size"),
            ("beyond u64", manifest(&descriptor(media_type::OCI_LAYER, "1e30")), "Json"),
            ("fraction", manifest(&descriptor(media_type::OCI_LAYER, "1.5")), "Json"),
            ("no digest", manifest(&layer.replace(SHA, "sha256:../../../x")), "Json"),
            ("sha512", manifest(&layer.replace("sha256", "sha512")), "Json"),
            ("strange layer", manifest(&descriptor("text/plain", "1")), "LayerType"),
            ("artifact", good.replace(media_type::OCI_CONFIG, "application/x"), "NotAnImage"),
            ("many layers", manifest(&many), "TooManyLayers"),
        ] {
            let error = oci(&text).unwrap_err();
            assert!(format!("{error:?}").starts_with(expected), "{what}: {error:?}");
        }
        assert!(matches!(parse(good.as_bytes(), Some("text/html")), Err(Error::UnknownType(_))));
        assert!(matches!(parse(good.as_bytes(), Some(media_type::OCI_INDEX)), Err(Error::Fields { .. })));
    }

    #[test]
    fn choice_of_an_index() {
        let entry = |media_type: &str, platform: &str, size: u32| {
            let platform = match platform.split_once('/') {
                Some((os, architecture)) => {
                    format!(r#","platform":{{"os":"{os}","architecture":"{architecture}"}}"#)
                }
                None => String::new(),
            };
            format!(r#"{{"mediaType":"{media_type}","digest":"{SHA}","size":{size}{platform}}}"#)
        };
        let choose = |entries: &[String]| {
            let text = format!(
                r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{}]}}"#,
                media_type::OCI_INDEX,
                entries.join(",")
            );
            let Document::Index(index) = parse(text.as_bytes(), None).unwrap() else { panic!() };
            let wanted = Platform { os: "linux".into(), architecture: "amd64".into(), variant: None };
            (index.choose(&wanted).map(|it| it.size), index.platforms().len())
        };
        let (kind, other) = (media_type::OCI_MANIFEST, media_type::OCI_INDEX);
        assert_eq!(choose(&[entry(kind, "linux/arm64", 1), entry(kind, "linux/amd64", 2)]), (Some(2), 2));
        assert_eq!(choose(&[entry(kind, "unknown/unknown", 1), entry(other, "linux/amd64", 2)]), (None, 1));
        assert_eq!(choose(&[entry(kind, "", 1)]), (Some(1), 0));
        assert_eq!(choose(&[entry(kind, "", 1), entry(kind, "", 2)]), (None, 0));
        assert_eq!(choose(&[]), (None, 0));
    }
}

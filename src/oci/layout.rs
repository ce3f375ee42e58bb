//! What stands beside the blobs in an OCI image layout (image-spec `image-layout.md`): the marker and the index.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::digest::Digest;
use super::json::{self, NotJson};
use super::manifest::{self, Descriptor, Document, Index};
use super::media_type::{self, OCI_INDEX};
use super::platform::Platform;

/// The file that says that a folder is a layout.
pub const MARKER: &str = "oci-layout";
/// What the marker says.
pub const MARKER_TEXT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
/// The file that lists the images.
pub const INDEX: &str = "index.json";
/// Largest marker, in bytes.
pub const MAX_MARKER: usize = 4 << 10;
/// An image's name in the index.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Its full name, where docker and containerd keep the tag alone in [`REF_NAME`].
pub const IMAGE_NAME: &str = "io.containerd.image.name";

/// Why files are not a layout we can use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The marker is not a document of its form.
    #[error("its `{MARKER}` can't be read")]
    Marker(#[source] NotJson),
    /// A later layout.
    #[error("its layout has version `{}`, not 1.0", .0.escape_debug())]
    Version(String),
    /// The index is none.
    #[error("its `{INDEX}` can't be used")]
    Index(#[source] manifest::Error),
    /// No image of that name.
    #[error("it has no image `{wanted}`{}", offered(.names))]
    NoName {
        /// What was asked for.
        wanted: String,
        /// What there is.
        names: Vec<String>,
    },
    /// Nothing in it.
    #[error("it has no image")]
    Empty,
    /// More than one, and none was named.
    #[error("it has more than one image{}", offered(.names))]
    Several {
        /// What they are called.
        names: Vec<String>,
    },
    /// None for this platform.
    #[error("it has no image for {wanted}{}", offered(.names))]
    Platform {
        /// What was asked for.
        wanted: Platform,
        /// What there is.
        names: Vec<String>,
    },
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Several { names } if !names.is_empty() => {
                Some("put a colon and one of the names behind the path".into())
            }
            Self::Platform { names, .. } => Some(format!(
                "`--platform {}` takes it all the same; it runs only where such programs do",
                names.first()?
            )),
            _ => None,
        }
    }
}

/// Where a blob stands in a layout.
pub fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Reads the marker: any 1.0 will do.
pub fn check_marker(bytes: &[u8]) -> Result<(), Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Wire {
        image_layout_version: String,
    }
    let wire: Wire = json::parse(bytes, MAX_MARKER).map_err(Error::Marker)?;
    match wire.image_layout_version.split('.').collect::<Vec<_>>()[..] {
        ["1", "0", _] => Ok(()),
        _ => Err(Error::Version(wire.image_layout_version.chars().take(40).collect())),
    }
}

/// Reads the index. Entries that are no images are left out.
pub fn parse_index(bytes: &[u8]) -> Result<Vec<Descriptor>, Error> {
    match manifest::parse(bytes, Some(OCI_INDEX)).map_err(Error::Index)? {
        Document::Index(Index { mut manifests }) => {
            let known = |it: &Descriptor| {
                media_type::is_manifest(&it.media_type) || media_type::is_index(&it.media_type)
            };
            manifests.retain(known);
            Ok(manifests)
        }
        Document::Manifest(_) => Err(Error::Empty),
    }
}

/// The entry called `name`; without a name the only one. Of several alike, the one for `platform`.
pub fn choose<'a>(
    entries: &'a [Descriptor],
    name: Option<&str>,
    platform: &Platform,
) -> Result<&'a Descriptor, Error> {
    let names = || -> Vec<String> {
        let names: BTreeSet<_> = entries.iter().filter_map(Descriptor::ref_name).collect();
        names.into_iter().map(str::to_owned).collect()
    };
    let fits = |entry: &&Descriptor| match name {
        Some(name) => entry.ref_name() == Some(name) || entry.image_name() == Some(name),
        None => true,
    };
    let found: Vec<&Descriptor> = entries.iter().filter(fits).collect();
    match (found.as_slice(), name) {
        ([], Some(wanted)) => Err(Error::NoName { wanted: wanted.to_owned(), names: names() }),
        ([], None) => Err(Error::Empty),
        ([only], _) => Ok(only),
        // the same image for several platforms
        (several, _)
            if several.iter().all(|it| it.platform.is_some() && it.ref_name() == several[0].ref_name()) =>
        {
            let offered = several.iter().filter_map(|it| Some((it.platform.as_ref()?, *it)));
            platform.choose(offered).ok_or_else(|| Error::Platform {
                wanted: platform.clone(),
                names: several.iter().filter_map(|it| Some(it.platform.as_ref()?.to_string())).collect(),
            })
        }
        _ => Err(Error::Several { names: names() }),
    }
}

impl Descriptor {
    /// What the image is called in a layout's index.
    pub fn ref_name(&self) -> Option<&str> {
        self.annotations.get(REF_NAME).map(String::as_str)
    }

    /// The full name that docker and containerd give it.
    pub fn image_name(&self) -> Option<&str> {
        self.annotations.get(IMAGE_NAME).map(String::as_str)
    }
}

/// The end of a message: what there is instead.
fn offered(names: &[String]) -> String {
    const MOST: usize = 10;
    let shown: Vec<_> = names
        .iter()
        .take(MOST)
        .map(|name| format!("`{}`", name.chars().take(100).collect::<String>().escape_debug()))
        .collect();
    match names.len() {
        0 => String::new(),
        count if count > MOST => format!(" ({} and {} more)", shown.join(", "), count - MOST),
        _ => format!(" ({})", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn markers() {
        check_marker(MARKER_TEXT.as_bytes()).unwrap();
        check_marker(br#"{"imageLayoutVersion": "1.0.1", "more": 1}"#).unwrap();
        for bad in ["", "{}", r#"{"imageLayoutVersion":"2.0.0"}"#, r#"{"imageLayoutVersion":1}"#, "[]"] {
            assert!(check_marker(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    /// An index of `name platform size` entries.
    fn index(entries: &[(&str, &str, u32)]) -> Vec<Descriptor> {
        let entry = |(name, platform, size): &(&str, &str, u32)| {
            let platform = platform.split_once('/').map_or(String::new(), |(os, architecture)| {
                format!(r#","platform":{{"os":"{os}","architecture":"{architecture}"}}"#)
            });
            let name = if name.is_empty() { "null".into() } else { format!(r#"{{"{REF_NAME}":"{name}"}}"#) };
            format!(
                r#"{{"mediaType":"{}","digest":"{SHA}","size":{size}{platform},"annotations":{name}}}"#,
                media_type::OCI_MANIFEST
            )
        };
        let entries: Vec<_> = entries.iter().map(entry).collect();
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
        parse_index(text.as_bytes()).unwrap()
    }

    #[test]
    fn choices() {
        let wanted: Platform = "linux/amd64".parse().unwrap();
        let pick = |entries: &[(&str, &str, u32)], name: Option<&str>| {
            let entries = index(entries);
            choose(&entries, name, &wanted).map(|entry| entry.size).map_err(|error| error.to_string())
        };
        assert_eq!(pick(&[("a", "", 1)], None), Ok(1));
        assert_eq!(pick(&[("", "", 1)], None), Ok(1));
        assert_eq!(pick(&[("a", "", 1), ("b", "", 2)], Some("b")), Ok(2));
        assert_eq!(pick(&[("a", "linux/arm64", 1), ("a", "linux/amd64", 2)], Some("a")), Ok(2));
        assert_eq!(pick(&[("", "linux/arm64", 1), ("", "linux/amd64", 2)], None), Ok(2));
        for (entries, name, words) in [
            (&[][..], None, "it has no image"),
            (&[("a", "", 1)], Some("b"), "it has no image `b` (`a`)"),
            (&[("a", "", 1), ("b", "", 2)], None, "it has more than one image (`a`, `b`)"),
            (&[("a", "", 1), ("a", "", 2)], Some("a"), "it has more than one image (`a`)"),
            (
                &[("a", "linux/amd64", 1), ("b", "linux/amd64", 2)],
                None,
                "it has more than one image (`a`, `b`)",
            ),
            (
                &[("a", "linux/arm64", 1), ("a", "linux/s390x", 2)],
                None,
                "it has no image for linux/amd64 (`linux/arm64`, `linux/s390x`)",
            ),
        ] {
            assert_eq!(pick(entries, name), Err(words.into()));
        }
    }

    #[test]
    fn hostile_indexes() {
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"{}","digest":"{SHA}","size":1}},"layers":[]}}"#,
            media_type::OCI_CONFIG
        );
        for bad in ["", "{}", r#"{"schemaVersion":2}"#, r#"{"schemaVersion":2,"manifests":{}}"#, &manifest] {
            assert!(parse_index(bad.as_bytes()).is_err(), "{bad}");
        }
        let other = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"text/plain","digest":"{SHA}","size":1}}]}}"#
        );
        assert!(parse_index(other.as_bytes()).unwrap().is_empty());
    }
}

//! What stands beside the layers in a docker archive: `manifest.json` and the older `repositories`.
//!
//! Neither has a digest. What a layer must be is said by the configuration's diff ids alone.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::json::{self, NotJson};
use super::manifest::{MAX_LAYERS, MAX_SIZE};
use super::reference::Reference;

/// The file that lists the images.
pub const MANIFEST: &str = "manifest.json";
/// The older file that gives them their names.
pub const REPOSITORIES: &str = "repositories";

/// An image of the archive: names of its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedImage {
    /// The configuration.
    pub config: String,
    /// What the image is called.
    pub names: Vec<Reference>,
    /// The layers, bottom first.
    pub layers: Vec<String>,
}

/// Why files are not a docker archive we can use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not even a document of its form.
    #[error("its `{file}` can't be read")]
    Json {
        /// Which.
        file: &'static str,
        /// Why.
        source: NotJson,
    },
    /// Too many layers.
    #[error("an image in it has {0} layers, more than the limit of {MAX_LAYERS}")]
    TooManyLayers(usize),
    /// A name that is none.
    #[error("an image in it is called `{}`, which is no reference", .0.escape_debug())]
    Name(String),
    /// A name that says nothing but a digest.
    #[error("an image in it is called `{}`, by a digest and no tag", .0.escape_debug())]
    NoTag(String),
}

/// Reads `manifest.json`.
pub fn parse_manifest(bytes: &[u8]) -> Result<Vec<ArchivedImage>, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Wire {
        config: String,
        repo_tags: Option<Vec<String>>,
        layers: Option<Vec<String>>,
    }
    let wires: Vec<Wire> =
        json::parse(bytes, MAX_SIZE).map_err(|source| Error::Json { file: MANIFEST, source })?;
    let image = |wire: Wire| {
        let layers = wire.layers.unwrap_or_default();
        if layers.len() > MAX_LAYERS {
            return Err(Error::TooManyLayers(layers.len()));
        }
        let names = wire.repo_tags.unwrap_or_default().into_iter().map(|name| reference(&name));
        Ok(ArchivedImage { config: wire.config, names: names.collect::<Result<_, _>>()?, layers })
    };
    wires.into_iter().map(image).collect()
}

/// Reads `repositories`, and gives its names to those of `images` that have none: it names the folder of an
/// image's topmost layer.
pub fn add_names(images: &mut [ArchivedImage], bytes: &[u8]) -> Result<(), Error> {
    let repositories: BTreeMap<String, BTreeMap<String, String>> =
        json::parse(bytes, MAX_SIZE).map_err(|source| Error::Json { file: REPOSITORIES, source })?;
    for image in images.iter_mut().filter(|image| image.names.is_empty()) {
        let Some((top, _)) = image.layers.last().and_then(|layer| layer.split_once('/')) else { continue };
        for (name, tags) in &repositories {
            for (tag, _) in tags.iter().filter(|(_, folder)| *folder == top) {
                image.names.push(reference(&format!("{name}:{tag}"))?);
            }
        }
    }
    Ok(())
}

/// A name of the archive, without its digest: nothing in here proves one.
fn reference(name: &str) -> Result<Reference, Error> {
    let shown = || name.chars().take(200).collect();
    let reference: Reference = name.parse().map_err(|_| Error::Name(shown()))?;
    reference.without_digest().ok_or_else(|| Error::NoTag(shown()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files() {
        let text = br#"[{"Config":"a.json","RepoTags":["debian:12","x.example/y:1"],"Layers":["1/layer.tar"]},
                        {"Config":"b.json","RepoTags":null,"Layers":["1/layer.tar","2/layer.tar"],"Parent":"x"}]"#;
        let mut images = parse_manifest(text).unwrap();
        let names = |image: &ArchivedImage| image.names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(&images[0]), ["docker.io/library/debian:12", "x.example/y:1"]);
        assert_eq!((images[1].config.as_str(), images[1].layers.len()), ("b.json", 2));
        add_names(&mut images, br#"{"old":{"1":"2","2":"1"},"debian":{"12":"1"}}"#).unwrap();
        assert_eq!(
            (names(&images[0]).len(), names(&images[1])),
            (2, vec!["docker.io/library/old:1".to_owned()])
        );
    }

    #[test]
    fn hostile_documents() {
        let many = vec!["\"x\""; MAX_LAYERS + 1].join(",");
        for bad in [
            "".to_owned(),
            "{}".into(),
            r#"[{"Layers":[]}]"#.into(),
            r#"[{"Config":"a","Config":"b"}]"#.into(),
            r#"[{"Config":"a","RepoTags":["../x"]}]"#.into(),
            r#"[{"Config":"a","RepoTags":["\u001b[31m"]}]"#.into(),
            format!(r#"[{{"Config":"a","RepoTags":["x.example/a@sha256:{}"]}}]"#, "a".repeat(64)),
            format!(r#"[{{"Config":"a","Layers":[{many}]}}]"#),
        ] {
            assert!(parse_manifest(bad.as_bytes()).is_err(), "{bad:.60}");
        }
        assert!(add_names(&mut [], b"[]").is_err());
    }
}

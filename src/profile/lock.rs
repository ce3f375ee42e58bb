//! `devbox-lock.toml`, beside a project's profile: the images its names stood for, and what its set-up gave.
//!
//! ```toml
//! version = 1
//!
//! [[image]]
//! reference = "docker.io/library/rust:1"
//! digest = "sha256:…"            # of the index; of the manifest where there is none
//!
//! [[image.platform]]
//! platform = "linux/amd64"
//! manifest = "sha256:…"
//! layers = ["sha256:…"]          # diff ids, bottom first
//!
//! [[setup]]
//! platform = "linux/amd64"
//! key = "sha256:…"               # of the last step
//! layers = ["sha256:…"]          # diff ids, one a step
//! ```

use std::fmt::Write as _;
use std::ops::Range;

use toml::Spanned;

use super::document::{Document, Item, Section};
use super::error::Error;
use super::grammar::{BadValue, quoted};
use crate::oci::digest::Digest;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;

/// Its name.
pub const LOCK_FILE: &str = "devbox-lock.toml";
/// The version written and read here.
const VERSION: &str = "1";
/// What is written at its head.
const HEAD: &str = "# Made by `devbox lock`, to be kept with the sources. `devbox update` renews it.\n";

/// A lock, as it was read or is to be written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    /// The images, by their names.
    pub images: Vec<LockedImage>,
    /// Results of set-ups, by their keys.
    pub setups: Vec<LockedSetup>,
}

/// What a name stood for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedImage {
    /// The name in full.
    pub reference: String,
    /// The digest it had: an index's, or that of its one manifest.
    pub digest: Digest,
    /// The image for each platform there was.
    pub platforms: Vec<LockedPlatform>,
}

/// An image for one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedPlatform {
    /// What it runs on.
    pub platform: Platform,
    /// Its manifest.
    pub manifest: Digest,
    /// Its layers' diff ids, bottom first.
    pub layers: Vec<Digest>,
}

/// What a set-up gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedSetup {
    /// The platform it was for.
    pub platform: Platform,
    /// The key of its last step, which stands for the image below and all steps.
    pub key: Digest,
    /// The layers' diff ids, one a step.
    pub layers: Vec<Digest>,
}

impl Lock {
    /// Reads a lock's text, which messages show as `file`.
    pub(super) fn read(file: &str, text: &str) -> Result<Self, Error> {
        let document = Document { file, text };
        let mut top = document.parse()?;
        top.number("version", |text| match text {
            VERSION => Ok(()),
            other => Err(BadValue::new(format!(
                "the lock is of version {}, and this devbox knows version {VERSION}",
                quoted(other)
            ))
            .or("use a newer devbox, or remove the file and `devbox lock` anew")),
        })?
        .ok_or_else(|| {
            let wrong = BadValue::new("the lock has no `version`");
            document.mistake(
                0..0,
                &wrong.or("take the file of one side of a merge, or remove it; then `devbox lock`"),
            )
        })?;
        let mut lock = Self::default();
        for item in array(&document, &mut top, "image")? {
            let span = item.span();
            let mut table = document.table("image", item)?;
            let reference = required(&document, &span, table.value("reference", reference)?, "reference")?;
            let top = required(&document, &span, table.value("digest", digest)?, "digest")?;
            let mut platforms = Vec::new();
            for item in array(&document, &mut table, "platform")? {
                let span = item.span();
                let mut table = document.table("platform", item)?;
                platforms.push(LockedPlatform {
                    platform: required(&document, &span, table.value("platform", platform)?, "platform")?,
                    manifest: required(&document, &span, table.value("manifest", digest)?, "manifest")?,
                    layers: layers(&mut table)?,
                });
                table.finish()?;
            }
            table.finish()?;
            lock.images.push(LockedImage { reference, digest: top, platforms });
        }
        for item in array(&document, &mut top, "setup")? {
            let span = item.span();
            let mut table = document.table("setup", item)?;
            lock.setups.push(LockedSetup {
                platform: required(&document, &span, table.value("platform", platform)?, "platform")?,
                key: required(&document, &span, table.value("key", digest)?, "key")?,
                layers: layers(&mut table)?,
            });
            table.finish()?;
        }
        top.finish()?;
        Ok(lock)
    }

    /// What the image called `reference` stood for.
    pub fn image(&self, reference: &str) -> Option<&LockedImage> {
        self.images.iter().find(|image| image.reference == reference)
    }

    /// What the set-up of this key gave.
    pub fn setup(&self, key: &Digest) -> Option<&LockedSetup> {
        self.setups.iter().find(|setup| setup.key == *key)
    }

    /// The text that reads as this; the same lock gives the same text.
    pub fn to_toml(&self) -> String {
        let mut text = format!("{HEAD}version = {VERSION}\n");
        let list = |layers: &[Digest]| {
            let lines: String = layers.iter().map(|layer| format!("  \"{layer}\",\n")).collect();
            format!("layers = [\n{lines}]\n")
        };
        // to write into a string can't fail
        for image in &self.images {
            let _ = write!(
                text,
                "\n[[image]]\nreference = \"{}\"\ndigest = \"{}\"\n",
                image.reference, image.digest
            );
            for LockedPlatform { platform, manifest, layers } in &image.platforms {
                let head =
                    format!("\n[[image.platform]]\nplatform = \"{platform}\"\nmanifest = \"{manifest}\"\n");
                text += &(head + &list(layers));
            }
        }
        for LockedSetup { platform, key, layers } in &self.setups {
            text += &(format!("\n[[setup]]\nplatform = \"{platform}\"\nkey = \"{key}\"\n") + &list(layers));
        }
        text
    }
}

impl LockedImage {
    /// The image for who runs on `platform`.
    pub fn suiting(&self, platform: &Platform) -> Option<&LockedPlatform> {
        platform.choose(self.platforms.iter().map(|locked| (&locked.platform, locked)))
    }
}

fn array<'t>(
    document: &'t Document<'t>,
    table: &mut Section<'t>,
    key: &'static str,
) -> Result<Vec<Item<'t>>, Error> {
    table.take(key).map_or_else(|| Ok(Vec::new()), |item| document.array(key, item))
}

fn required<T>(
    document: &Document<'_>,
    span: &Range<usize>,
    value: Option<T>,
    key: &str,
) -> Result<T, Error> {
    value.ok_or_else(|| {
        let wrong = BadValue::new(format!("an entry has no {}", quoted(key)));
        document.mistake(span.clone(), &wrong.or("remove the file and `devbox lock` anew"))
    })
}

fn layers(table: &mut Section<'_>) -> Result<Vec<Digest>, Error> {
    Ok(table.strings("layers", digest)?.into_iter().map(Spanned::into_inner).collect())
}

fn digest(text: &str) -> Result<Digest, BadValue> {
    text.parse().map_err(|_| BadValue::new(format!("{} is not a digest", quoted(text))))
}

fn platform(text: &str) -> Result<Platform, BadValue> {
    text.parse().map_err(|_| BadValue::new(format!("{} is not a platform", quoted(text))))
}

/// A name in full, with nothing in it that TOML would want escaped.
fn reference(text: &str) -> Result<String, BadValue> {
    let wrong = || BadValue::new(format!("{} is not an image's name in full", quoted(text)));
    let reference: Reference = text.parse().map_err(|_| wrong())?;
    if reference.to_string() == text { Ok(text.to_owned()) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock() -> Lock {
        let [a, b, c] = [b"a", b"b", b"c"].map(|text| Digest::of(text));
        let platform = |text: &str| text.parse::<Platform>().unwrap();
        Lock {
            images: vec![LockedImage {
                reference: "docker.io/library/rust:1".into(),
                digest: a,
                platforms: vec![
                    LockedPlatform { platform: platform("linux/amd64"), manifest: b, layers: vec![c, a] },
                    LockedPlatform { platform: platform("linux/arm/v7"), manifest: c, layers: vec![] },
                ],
            }],
            setups: vec![LockedSetup { platform: platform("linux/amd64"), key: b, layers: vec![c] }],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let text = lock().to_toml();
        assert_eq!(Lock::read(LOCK_FILE, &text).unwrap(), lock());
        assert_eq!(Lock::read(LOCK_FILE, &Lock::default().to_toml()).unwrap(), Lock::default());
    }

    #[test]
    fn the_platform_is_chosen_as_from_an_index() {
        let lock = lock();
        let image = lock.image("docker.io/library/rust:1").unwrap();
        let suiting = |text: &str| image.suiting(&text.parse().unwrap()).map(|found| found.manifest);
        assert_eq!(suiting("linux/amd64/v3"), Some(Digest::of(b"b")));
        assert_eq!(suiting("linux/arm/v6"), None);
        assert_eq!(lock.image("docker.io/library/rust:2"), None);
    }

    #[test]
    fn damage_is_named() {
        let good = lock().to_toml();
        for (from, to, part) in [
            ("version = 1", "version = 2", "this devbox knows version 1"),
            ("version = 1\n", "", "has no `version`"),
            ("sha256:", "sha257:", "is not a digest"),
            ("reference = ", "name = ", "4:1: an entry has no `reference`"),
            ("linux/amd64", "linux", "is not a platform"),
            ("docker.io/library/rust:1", "rust:1", "not an image's name in full"),
            ("\n[[image]]", "\n<<<<<<< HEAD\n[[image]]", "not TOML"),
            ("key = ", "# key = ", "has no `key`"),
        ] {
            let error = Lock::read(LOCK_FILE, &good.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(part), "{from} → {to}: {error}");
        }
    }
}

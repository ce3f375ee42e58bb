//! From the store to others: images into archives and registries.
//!
//! The store keeps no compressed blobs. A layer that came from a registry is had from there again by its digest, so
//! that the manifest stays what it was; else its archive is made again from the store, byte for byte, and compressed
//! anew. That changes the blob's digest and so the manifest, but never the diff id.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use crate::dirs::Dirs;
use crate::fetch::{BlobError, Push, Registry};
use crate::layout::{WriteError, Writer};
use crate::oci::digest::Digest;
use crate::oci::layout::{IMAGE_NAME, REF_NAME};
use crate::oci::manifest::{self, Descriptor};
use crate::oci::reference::Reference;
use crate::pull::Progress;
use crate::store::{Image, Store};

mod commit;
mod each;
mod error;
mod pack;
mod parts;

pub use commit::{Committed, Compression, commit};
pub use error::{Error, Why};

use each::each;
use parts::{Origin, Parts};

/// Blobs on their way at the same time.
const AT_ONCE: usize = 4;

/// An image to be saved, and the reference it goes by.
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

/// Sends an image to a registry, as `to`: what is not there yet, the manifest last. Layers that the manifest has plain are
/// compressed on the way where `plain` says so, which makes it another manifest.
///
/// # Errors
///
/// Blobs that arrived whole stay in the registry, without a name; the next try finds them there.
pub fn push(
    store: &Store,
    dirs: &Dirs,
    image: &Image,
    to: &Reference,
    plain: Compression,
    progress: &dyn Progress,
) -> Result<Sent, Error> {
    let note = |text: &str| progress.note(text);
    let send = || -> Result<Sent, Why> {
        let _hold = store.hold(&mut |holder| note(&format!("waiting for {holder}, which removes images")))?;
        let registry = Registry::open(dirs, to, &note)?;
        let target = registry.push()?;
        let parts = Parts::of(store, dirs, image, plain, progress, |layer, origin| {
            Ok(target.has(&layer.digest, &note)? || mounted(&target, to, &layer.digest, origin))
        })?;
        each(parts.count(), AT_ONCE, |number| {
            send_layer(&target, &parts, number, &note)?;
            parts.done(number);
            Ok(())
        })?;
        let config = &parts.manifest.config;
        if !target.has(&config.digest, &note)? {
            let source = || Ok(Box::new(io::Cursor::new(image.config.clone())) as Box<dyn Read + Send>);
            let sent = target.blob(&config.digest, image.config.len() as u64, &source, &|_| {}, &note);
            sent.map_err(|error| of_blob(error, config.digest))?;
        }
        let (bytes, repacked) = parts.final_manifest()?;
        let manifest_digest = Digest::of(&bytes);
        let name = to.tag.clone().unwrap_or_else(|| manifest_digest.to_string());
        target.manifest(&name, &manifest::media_type(&bytes)?, &bytes, &note)?;
        Ok(Sent { manifest_digest, repacked })
    };
    send().map_err(|why| Error { action: "push", image: to.to_string(), why: Box::new(why) })
}

/// Tries to have the registry take a blob over from the repository the image came from.
fn mounted(target: &Push<'_>, to: &Reference, digest: &Digest, origin: &Origin) -> bool {
    match origin {
        Origin::Registry(from, _) if from.registry == to.registry && from.repository != to.repository => {
            target.mount(digest, &from.repository)
        }
        _ => false,
    }
}

fn send_layer(target: &Push<'_>, parts: &Parts<'_>, number: usize, note: &dyn Fn(&str)) -> Result<(), Why> {
    let Some((digest, size)) = parts.blob(number) else { return Ok(()) };
    if parts.is_packed(number) && target.has(&digest, note)? {
        return Ok(());
    }
    let told = |count| parts.advance(number, count);
    let sent = target.blob(&digest, size, &|| parts.reader(number), &told, note);
    sent.map_err(|error| of_blob(error, parts.diff_id(number)))
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
    let all = || images.iter().map(Outgoing::shown).collect::<Vec<_>>().join(", ");
    let failed = |image, why| Error { action: "save", image, why: Box::new(why) };
    let nothing = Digest::of(b"");
    let mut writer = Writer::new(out).map_err(|error| failed(all(), of_write(error, nothing)))?;
    let (mut sent, mut entries) = (Vec::new(), Vec::new());
    for outgoing in images {
        let shown = outgoing.shown();
        let progress = progress(&shown);
        let (entry, repacked) =
            save_one(store, dirs, outgoing, &mut writer, &progress).map_err(|why| failed(shown, why))?;
        sent.push(Sent { manifest_digest: entry.digest, repacked });
        entries.push(entry);
    }
    writer.finish(&entries).map_err(|error| failed(all(), of_write(error, nothing)))?;
    Ok(sent)
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
    let parts =
        Parts::of(store, dirs, image, Compression::None, progress, |layer, _| Ok(writer.has(&layer.digest)))?;
    for number in 0..parts.count() {
        let diff_id = parts.diff_id(number);
        if let Some((digest, size)) = parts.blob(number) {
            let reader = parts.reader(number).map_err(|error| Why::of_bytes(error, diff_id))?;
            let reader = Counted { inner: reader, told: |count| parts.advance(number, count) };
            writer.blob(&digest, size, reader).map_err(|error| of_write(error, diff_id))?;
        }
        parts.done(number);
    }
    let (manifest, repacked) = parts.final_manifest()?;
    let (digest, size) = (Digest::of(&manifest), manifest.len() as u64);
    let config = &parts.manifest.config;
    for (digest, bytes) in [(config.digest, &image.config), (digest, &manifest)] {
        let written = writer.blob(&digest, bytes.len() as u64, &bytes[..]);
        written.map_err(|error| of_write(error, digest))?;
    }
    let annotations = annotations(outgoing.name.clone());
    let media_type = manifest::media_type(&manifest)?;
    Ok((Descriptor { media_type, digest, size, platform: None, annotations }, repacked))
}

/// What tells an image's name. Its digest stays out: packed anew, the image has another one.
fn annotations(name: Option<Reference>) -> BTreeMap<String, String> {
    match name.and_then(Reference::without_digest) {
        Some(name) => [REF_NAME, IMAGE_NAME].map(|key| (key.to_owned(), name.to_string())).into(),
        None => BTreeMap::new(),
    }
}

impl Outgoing<'_> {
    fn shown(&self) -> String {
        match &self.name {
            Some(name) => name.to_string(),
            None => self.image.manifest_digest.to_string(),
        }
    }
}

/// A reader whose bytes are told.
struct Counted<R, T> {
    inner: R,
    told: T,
}

impl<R: Read, T: Fn(u64)> Read for Counted<R, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        (self.told)(count as u64);
        Ok(count)
    }
}

fn of_write(error: WriteError, layer: Digest) -> Why {
    match error {
        WriteError::Out(error) => Why::Out(error),
        WriteError::Blob(error) => Why::of_bytes(error, layer),
    }
}

fn of_blob(error: BlobError, layer: Digest) -> Why {
    match error {
        BlobError::Upload(error) => Why::Upload(error),
        BlobError::Blob(error) => Why::of_bytes(error, layer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_saved_without_their_digests() {
        let digest = Digest::of(b"");
        let told = |name: Option<&str>| annotations(name.map(|name| name.parse().unwrap()));
        for name in ["x.example/a:1".to_owned(), format!("x.example/a:1@{digest}")] {
            assert_eq!(
                told(Some(&name)),
                [REF_NAME, IMAGE_NAME].map(|key| (key.to_owned(), "x.example/a:1".to_owned())).into()
            );
        }
        for name in [None, Some(&*format!("x.example/a@{digest}"))] {
            assert!(told(name).is_empty(), "{name:?}");
        }
    }
}

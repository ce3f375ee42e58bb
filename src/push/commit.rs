//! A new layer over an image: its bytes go by once, into the store and through the compressor at the same time.
//!
//! The store keeps no compressed blob; packed again from the store (see the parent module), the layer has the digest
//! that is found out here.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::error::{Error, Why};
use super::pack::gzip;
use crate::oci::commit::{Changes, with_layer};
use crate::oci::digest::Digest;
use crate::oci::manifest::{self, Descriptor, Document, Manifest};
use crate::oci::media_type;
use crate::store::{Image, Store};

/// Pieces of an archive on their way to the compressor, and the size of one.
const PIECES: usize = 16;
const PIECE: usize = 256 << 10;

/// What became of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The image's manifest.
    pub manifest_digest: Digest,
    /// The layer, uncompressed.
    pub diff_id: Digest,
    /// Bytes of its archive.
    pub tar_bytes: u64,
    /// Bytes as others get them.
    pub packed_bytes: u64,
}

/// How layers are kept in a manifest, and so sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As their archives are.
    None,
    /// As most registries have them.
    Gzip,
}

/// Makes an image of `base` with the layer `tar` on top and `changes` in its configuration, and lets `reference` stand
/// for it, once it is on the disk. `told` is called with the bytes read.
///
/// # Errors
///
/// What `reference` stood for before it still does.
pub fn commit(
    store: &Store,
    base: &Image,
    tar: impl Read,
    changes: &Changes,
    reference: &str,
    compression: Compression,
    told: &dyn Fn(u64),
) -> Result<Committed, Error> {
    let make = || -> Result<Committed, Why> {
        let hold = store.hold(&mut |_| {})?;
        let (meta, packed) = thread::scope(|scope| {
            let (to, packing) = match compression {
                Compression::None => (None, None),
                Compression::Gzip => {
                    let (to, from) = sync_channel::<Vec<u8>>(PIECES);
                    (Some(to), Some(scope.spawn(move || pack(from))))
                }
            };
            let tee = Tee { inner: tar, piece: Vec::with_capacity(PIECE), to, told };
            let meta = store.add_layer(&hold, tee);
            let packed = packing.map(|packing| packing.join().map_err(|_| Why::Stopped)).transpose()?;
            Ok::<_, Why>((meta?, packed.transpose().map_err(Why::Out)?))
        })?;
        let (ending, digest, size) = match packed {
            Some((digest, size)) => ("+gzip", digest, size),
            None => ("", meta.diff_id, meta.tar_bytes),
        };
        let media_type = manifest::media_type(&base.manifest)?;
        let Document::Manifest(Manifest { layers, .. }) = manifest::parse(&base.manifest, Some(&media_type))?
        else {
            return Err(manifest::Error::UnknownType(media_type).into());
        };
        let mut layers: Vec<Descriptor> = layers.into_iter().map(in_oci_words).collect();
        layers.push(Descriptor {
            media_type: format!("{}{ending}", media_type::OCI_LAYER),
            digest,
            size,
            platform: None,
            annotations: Default::default(),
        });
        let config = with_layer(&base.config, &meta.diff_id, changes)?;
        let config_digest = Digest::of(&config);
        let manifest = Manifest {
            config: Descriptor {
                media_type: media_type::OCI_CONFIG.to_owned(),
                digest: config_digest,
                size: config.len() as u64,
                platform: None,
                annotations: Default::default(),
            },
            layers,
        }
        .to_json();
        let manifest_digest = Digest::of(&manifest);
        let layers = [base.layers.as_slice(), &[meta.diff_id]].concat();
        let source = base.source.clone();
        // nobody else has this layer: it has to outlive a power cut before it has a name
        store.sync()?;
        store
            .put_image(&hold, &Image { manifest_digest, manifest, config_digest, config, layers, source })?;
        store.set_own_ref(&hold, reference, &manifest_digest)?;
        Ok(Committed {
            manifest_digest,
            diff_id: meta.diff_id,
            tar_bytes: meta.tar_bytes,
            packed_bytes: size,
        })
    };
    make().map_err(|why| Error { action: "commit", image: reference.to_owned(), why: Box::new(why) })
}

/// A layer's descriptor as an OCI manifest has it.
fn in_oci_words(layer: Descriptor) -> Descriptor {
    let media_type = match layer.media_type.strip_prefix(media_type::DOCKER_LAYER) {
        Some(compression) => format!("{}{}", media_type::OCI_LAYER, compression.replace('.', "+")),
        None => layer.media_type,
    };
    Descriptor { media_type, ..layer }
}

fn pack(from: Receiver<Vec<u8>>) -> io::Result<(Digest, u64)> {
    let bytes = Pieces { from, piece: Vec::new(), at: 0 };
    let mut packed = gzip(bytes);
    io::copy(&mut packed, &mut io::sink())?;
    Ok(packed.finish())
}

/// Gives what it reads to another thread as well.
struct Tee<'a, R> {
    inner: R,
    piece: Vec<u8>,
    to: Option<SyncSender<Vec<u8>>>,
    told: &'a dyn Fn(u64),
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        (self.told)(count as u64);
        if self.to.is_none() {
            return Ok(count);
        }
        self.piece.extend_from_slice(&buffer[..count]);
        if self.piece.len() >= PIECE || count == 0 {
            let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE + buffer.len()));
            // a compressor that failed is heard of at the end
            if let Some(to) = self.to.as_ref().filter(|_| !piece.is_empty()) {
                let _ = to.send(piece);
            }
        }
        if count == 0 && !buffer.is_empty() {
            self.to = None;
        }
        Ok(count)
    }
}

/// Reads the pieces one after the other.
struct Pieces {
    from: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.from.recv() {
                Ok(piece) => (self.piece, self.at) = (piece, 0),
                Err(_) => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len() - self.at);
        buffer[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

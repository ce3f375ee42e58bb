//! What can go wrong while an image is brought in.

use std::io;

use crate::fetch;
use crate::oci::digest::Digest;
use crate::oci::platform::Platform;
use crate::oci::{config, manifest};
use crate::store;

/// An image that could not be pulled.
#[derive(Debug, thiserror::Error)]
#[error("cannot pull {reference}")]
pub struct Error {
    /// What was asked for.
    pub reference: String,
    /// Why it could not be had.
    #[source]
    pub why: Box<Why>,
}

/// Why an image can't be had.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// The registry, or the way to it.
    #[error(transparent)]
    Fetch(#[from] fetch::Error),
    /// The manifest or index is none we can use.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    /// The configuration is none we can use.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The configuration is too large.
    #[error("its configuration has {0} bytes, more than the limit of {max}", max = config::MAX_SIZE)]
    ConfigSize(u64),
    /// It is for other machines.
    #[error("it is not for {wanted}, only for {}", if .offered.is_empty() { "nothing".into() } else { .offered.join(", ") })]
    Platform {
        /// What was asked for.
        wanted: Platform,
        /// What there is, as text.
        offered: Vec<String>,
    },
    /// An index within an index.
    #[error("its index names another index, {0}")]
    NestedIndex(Digest),
    /// Manifest and configuration do not fit together.
    #[error("its manifest has {layers} layers, its configuration {diff_ids}")]
    LayerCount {
        /// In the manifest.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
    /// The bytes are those the manifest names, but not what it says of them.
    #[error("layer {layer} can't be decompressed")]
    Corrupt {
        /// Digest of the layer as it was sent.
        layer: Digest,
        /// What the decoder says.
        source: io::Error,
    },
    /// A layer that can't be unpacked or kept.
    #[error("cannot unpack layer {layer}")]
    Layer {
        /// Digest of the layer as it was sent.
        layer: Digest,
        /// What the store says.
        source: store::Error,
    },
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// No thread can be made.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// Another layer failed; only that failure is told.
    #[error("stopped")]
    Stopped,
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match &*self.why {
            Why::Fetch(error) => error.hint(),
            Why::Manifest(error) => error.hint(),
            Why::Platform { offered, .. } => {
                let first = offered.first()?;
                Some(format!(
                    "`platform = \"{first}\"` takes it all the same; it runs only where such programs do"
                ))
            }
            Why::Layer { source, .. } | Why::Store(source) => source.hint(),
            Why::NestedIndex(_) | Why::LayerCount { .. } | Why::Corrupt { .. } => {
                Some("the image has to be mended where it is made".into())
            }
            Why::Config(_) | Why::ConfigSize(_) | Why::Thread(_) | Why::Stopped => None,
        }
    }
}

impl Why {
    /// The network's part, if it was the network.
    pub(super) fn fetch(&self) -> Option<&fetch::Error> {
        match self {
            Self::Fetch(error) => Some(error),
            _ => None,
        }
    }

    /// From an error of a blob's reader or of what decodes it.
    pub(super) fn of_bytes(error: io::Error, layer: Digest) -> Self {
        match error.downcast::<fetch::Error>() {
            Ok(error) => Self::Fetch(error),
            Err(source) => Self::Corrupt { layer, source },
        }
    }
}

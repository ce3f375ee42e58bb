//! What can go wrong while an image is brought in.

use std::io;

use crate::fetch;
use crate::layout;
use crate::oci::digest::Digest;
use crate::oci::platform::Platform;
use crate::oci::{config, manifest};
use crate::store;

/// An image that could not be brought or sent, for a reason of the kind `W`.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", .image.escape_debug())]
pub struct Failed<W: std::error::Error + 'static> {
    /// What was to be done, as a verb.
    pub action: &'static str,
    /// Which image, as it was asked for.
    pub image: String,
    /// Why it could not be.
    #[source]
    pub why: Box<W>,
}

/// An image that could not be had.
pub type Error = Failed<Why>;

/// Why an image can't be had.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// The registry, or the way to it.
    #[error(transparent)]
    Fetch(#[from] fetch::Error),
    /// The files it should come from.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// An archive without an image.
    #[error("there is no image in it")]
    NoImages,
    /// An archive with more images than one, and none was named.
    #[error("there is more than one image in it ({})", .0.join(", "))]
    Several(Vec<String>),
    /// An archive without the image that was named.
    #[error("there is no image `{}` in it (there is {})", .wanted.escape_debug(), if .offered.is_empty() { "none with a name".into() } else { .offered.join(", ") })]
    NotInArchive {
        /// What was asked for.
        wanted: String,
        /// What there is.
        offered: Vec<String>,
    },
    /// An image that is called nothing in the archive.
    #[error("the image in it has no name")]
    NoName,
    /// A name for several images.
    #[error("there are {0} images in it, and one name")]
    OneNameForMany(usize),
    /// The manifest is too large.
    #[error("its manifest has {0} bytes, more than the limit of {max}", max = manifest::MAX_SIZE)]
    ManifestSize(u64),
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
    /// Whether the registry says that there is no such image.
    pub fn is_missing(&self) -> bool {
        matches!(&*self.why, Why::Fetch(fetch::Error { fault: fetch::Fault::NotFound(_), .. }))
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match &*self.why {
            Why::Fetch(error) => error.hint(),
            Why::Layout(error) => error.hint(),
            Why::Several(_) => Some("put a colon and one of the names behind the path".into()),
            Why::NoName => Some("`devbox load --tag NAME` gives it one".into()),
            Why::OneNameForMany(_) => Some("leave `--tag` out; they keep the names they have there".into()),
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
            Why::NoImages
            | Why::NotInArchive { .. }
            | Why::ManifestSize(_)
            | Why::Config(_)
            | Why::ConfigSize(_)
            | Why::Thread(_)
            | Why::Stopped => None,
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
        match error.downcast::<fetch::Error>().map_err(|error| error.downcast::<layout::Error>()) {
            Ok(error) => Self::Fetch(error),
            Err(Ok(error)) => Self::Layout(error),
            Err(Err(source)) => Self::Corrupt { layer, source },
        }
    }
}

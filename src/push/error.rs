//! What can go wrong while an image is sent out.

use std::io;

use crate::fetch;
use crate::layout;
use crate::oci::digest::Digest;
use crate::oci::{config, manifest};
use crate::pull::Failed;
use crate::store;

/// An image that could not be sent.
pub type Error = Failed<Why>;

/// Why an image can't be sent.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// The registry, or the way to it.
    #[error(transparent)]
    Fetch(#[from] fetch::Error),
    /// The files it came from.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The image's own manifest, which was good when it came.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    /// The image's own configuration, likewise.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// A layer is gone or in doubt.
    #[error("its layer {0} is not here")]
    NoLayer(Digest),
    /// A layer that was never kept, for nothing of it can be seen, and that its origin does not have.
    #[error(
        "its layer {0} lies hidden below others, so it was not kept, and where the image came from has it no more"
    )]
    Hidden(Digest),
    /// Sending to the registry.
    #[error(transparent)]
    Upload(#[from] fetch::UploadError),
    /// What the image is written to.
    #[error("cannot write")]
    Out(#[source] io::Error),
    /// A layer that was read from the store.
    #[error("cannot pack layer {layer}")]
    Pack {
        /// Its diff id.
        layer: Digest,
        /// Why.
        source: io::Error,
    },
    /// No thread can be made.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// Another part failed; only that failure is told.
    #[error("stopped")]
    Stopped,
}

impl Error {
    /// True when the reader of our output went away, which is no failure of ours.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(&*self.why, Why::Out(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match &*self.why {
            Why::Fetch(error) => error.hint(),
            Why::Store(error) => error.hint(),
            Why::Layout(error) => error.hint(),
            Why::Upload(error) => error.hint(),
            Why::NoLayer(_) => Some("`devbox pull` or `devbox load` brings the image again".into()),
            _ => None,
        }
    }
}

impl Why {
    /// From an error of a blob's reader: a registry's, or of a layer packed here.
    pub(super) fn of_bytes(error: io::Error, layer: Digest) -> Self {
        let error = match error.downcast::<fetch::Error>() {
            Ok(error) => return Self::Fetch(error),
            Err(error) => error,
        };
        match error.downcast::<store::Error>().map_err(io::Error::downcast::<layout::Error>) {
            Ok(error) => Self::Store(error),
            Err(Ok(error)) => Self::Layout(error),
            Err(Err(source)) => Self::Pack { layer, source },
        }
    }
}

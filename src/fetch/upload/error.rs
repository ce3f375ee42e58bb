//! What could not be sent.

use std::fmt;
use std::io;

use crate::fetch::error::Fault;

/// Something that could not be sent.
#[derive(Debug)]
pub struct UploadError {
    /// What was sent, with the registry.
    pub object: String,
    /// What happened.
    pub fault: Fault,
}

impl fmt::Display for UploadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot send {}: {}", self.object, self.fault)
    }
}

impl std::error::Error for UploadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.fault.source()
    }
}

impl UploadError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match &self.fault {
            Fault::Denied { anonymous: false, .. } => {
                Some("the login may have no right to write there; `devbox login` takes another".into())
            }
            Fault::NotFound(_) => {
                Some("see that the repository's name is right, and that it may be written to".into())
            }
            fault => fault.hint(),
        }
    }
}

/// Why a blob could not be sent.
#[derive(Debug)]
pub enum BlobError {
    /// The registry, or the way to it.
    Upload(UploadError),
    /// The blob's own reader failed; its error, untouched.
    Blob(io::Error),
}

//! Sending to a registry (distribution-spec, "Push").

use reqwest::Method;

use super::{Error, Fault, Registry};
use crate::oci::digest::Digest;

impl Registry {
    /// Whether the repository has this blob.
    pub fn has_blob(&self, digest: &Digest) -> Result<bool, Error> {
        let path = format!("blobs/{digest}");
        match self.network.handle.block_on(self.http.ask(Method::HEAD, &path, "*/*")) {
            Ok(_) => Ok(true),
            Err(Fault::NotFound(_)) => Ok(false),
            Err(fault) => Err(Error { object: format!("{digest} of {}", self.shown), fault }),
        }
    }
}

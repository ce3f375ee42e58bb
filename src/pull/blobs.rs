//! Where the bytes of layers come from: one view of a registry, a layout and a docker archive.

use std::collections::HashMap;
use std::io::{self, BufRead};

use crate::cancel::Cancel;
use crate::fetch::{self, Registry};
use crate::layout::{self, DockerArchive, Layout};
use crate::oci::digest::Digest;
use crate::oci::manifest::Descriptor;

/// A blob being read.
pub(super) trait Stream: BufRead + Send {
    /// Waits until there are bytes to read, or their end. `note` is told what a long wait is for.
    fn ready(&mut self, note: &dyn Fn(&str)) -> io::Result<()>;
}

impl Stream for fetch::Blob {
    fn ready(&mut self, note: &dyn Fn(&str)) -> io::Result<()> {
        Self::ready(self, note)
    }
}

/// A file is always there.
impl Stream for layout::Blob {
    fn ready(&mut self, _: &dyn Fn(&str)) -> io::Result<()> {
        Ok(())
    }
}

/// Gives blobs as readers that fail where the bytes are not the right ones, as far as their digest is known.
pub(super) trait Blobs: Sync {
    /// A reader of what `descriptor` points to, which fails when it is cancelled while it waits.
    fn blob(&self, descriptor: &Descriptor, cancel: &Cancel) -> io::Result<Box<dyn Stream>>;
}

impl Blobs for Registry {
    fn blob(&self, descriptor: &Descriptor, cancel: &Cancel) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(self.blob_until(descriptor, cancel)))
    }
}

impl Blobs for Layout {
    fn blob(&self, descriptor: &Descriptor, _: &Cancel) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(Self::blob(self, descriptor).map_err(io::Error::other)?))
    }
}

/// The layers of one image of a docker archive, whose descriptors have the diff id as their digest.
pub(super) struct Archived<'a> {
    pub(super) archive: &'a DockerArchive,
    /// Names of members by diff id.
    pub(super) names: HashMap<Digest, &'a str>,
}

impl Blobs for Archived<'_> {
    fn blob(&self, descriptor: &Descriptor, _: &Cancel) -> io::Result<Box<dyn Stream>> {
        let name = self.names.get(&descriptor.digest).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(self.archive.layer(name).map_err(io::Error::other)?))
    }
}

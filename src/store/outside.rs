//! Trees of archives that are no layers: unpacked by the same hands, with the same distrust.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::error::{At, Error};
use super::index::{self, Owner};
use super::unpack;

/// What the inodes of an unpacked tree do not hold.
#[derive(Debug, Default)]
pub struct Beside {
    /// Entries that belong to someone else than 0:0.
    pub owners: Vec<Owner>,
    /// File capabilities by path (capabilities(7), as the attribute has them).
    pub capabilities: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Unpacks `tar` into the folder `tree` of `path`, which is made new. Whiteouts become those of an overlay, devices are
/// not made, and nothing is written outside of `path`.
///
/// # Errors
///
/// As those of a layer; what was unpacked by then stays.
pub fn unpack_tree(path: &Path, tar: impl Read) -> Result<Beside, Error> {
    fs::DirBuilder::new().mode(0o700).create(path).at("make", path)?;
    let folder = File::open(path).at("open", path)?;
    unpack::unpack(path, folder.as_fd(), tar)?;
    let mut capabilities = Vec::new();
    let (owners, _) = index::read(&path.join("index"), &mut |path, name, value| {
        if name == b"security.capability" {
            capabilities.push((path.to_owned(), value.to_owned()));
        }
    })?;
    Ok(Beside { owners, capabilities })
}

impl Owner {
    /// The entry's path as bytes.
    pub fn path_bytes(&self) -> &[u8] {
        self.path.as_os_str().as_bytes()
    }
}

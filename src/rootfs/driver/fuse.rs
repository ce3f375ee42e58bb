//! fuse-overlayfs(1), for kernels that let users mount FUSE but not an overlay.

use super::{Error, Wanted, overlay};
use crate::mount::{Fuse, Root, c_path};
use crate::probe;

/// What fuse-overlayfs says, in the box's folder.
const LOG: &str = "fuse.log";

pub(super) fn root(wanted: &Wanted<'_>) -> Result<Root, Error> {
    // it splits even the upper's path there, once it has followed its links
    let real = wanted.folder.canonicalize().unwrap_or_else(|_| wanted.folder.to_owned());
    if real.as_os_str().as_encoded_bytes().contains(&b':') {
        return Err(Error::Colon(real));
    }
    let program = probe::fuse_overlayfs().ok_or(Error::NoFuseOverlayfs)?;
    Ok(Root::Fuse(Fuse {
        // names without `:`, `,` and `\`: its options have them from the kernel's overlay
        overlay: overlay::overlay(wanted)?,
        program: c_path(program)?,
        log: c_path(wanted.folder.join(LOG))?,
    }))
}

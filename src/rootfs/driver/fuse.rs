//! fuse-overlayfs(1), for kernels that let users mount FUSE but not an overlay.

use super::{Error, Wanted, overlay};
use crate::mount::{Fuse, Root, c_path};
use crate::probe;

/// What fuse-overlayfs says, in the box's folder.
const LOG: &str = "fuse.log";

pub(super) fn root(wanted: &Wanted<'_>) -> Result<Root, Error> {
    let program = probe::fuse_overlayfs().ok_or(Error::NoFuseOverlayfs)?;
    Ok(Root::Fuse(Fuse {
        // names without `:`, `,` and `\`: its options have them from the kernel's overlay
        overlay: overlay::overlay(wanted)?,
        program: c_path(program)?,
        log: c_path(wanted.folder.join(LOG))?,
    }))
}

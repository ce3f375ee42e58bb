//! Which extended attributes are set, and which are only written down.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;

use crate::sys;
use crate::sys::fd;

/// True for attributes overlayfs itself obeys: a layer may not forge whiteouts, redirects or the like.
pub(super) fn is_overlay(name: &[u8]) -> bool {
    name.starts_with(b"user.overlay.") || name.starts_with(b"trusted.overlay.")
}

/// Sets an attribute if it is the user's to set; false when it has to be kept aside.
///
/// Capabilities, labels and ACLs speak of ids and privileges of the image, not of the caller who owns the inode.
/// A file system without attributes, or without room for this one, is no reason to refuse an image.
pub(super) fn set(fd: BorrowedFd<'_>, name: &[u8], value: &[u8]) -> Result<bool, sys::Error> {
    if is_overlay(name) || !name.starts_with(b"user.") {
        return Ok(false);
    }
    match fd::fsetxattr(fd, name, value) {
        Ok(()) => Ok(true),
        Err(error) => match error.errno {
            Errno::ENOTSUP | Errno::EPERM | Errno::ENOSPC | Errno::E2BIG | Errno::ERANGE => Ok(false),
            _ => Err(error),
        },
    }
}

//! Whiteouts as an overlay mounted with `userxattr` knows them (kernel documentation, `overlayfs.rst`).

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::sys;
use crate::sys::fd;

/// How a name of lower layers is hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whiteouts {
    /// By the character device 0:0.
    Devices,
    /// By an attribute of an empty file, where making such a device is forbidden; the folder says that it holds
    /// some. Known to Linux 6.7 and later.
    Attributes,
}

impl Whiteouts {
    /// Hides `name` unless something of this layer is there; whether it had to.
    pub(super) fn hide(&mut self, folder: BorrowedFd<'_>, name: &[u8]) -> Result<bool, sys::Error> {
        let made = match self {
            Self::Devices => fd::make_whiteout(folder, name),
            Self::Attributes => hide_by_attribute(folder, name),
        };
        match made {
            Ok(()) => Ok(true),
            Err(error) if error.errno == Errno::EEXIST => Ok(false),
            Err(error) if error.errno == Errno::EPERM && *self == Self::Devices => {
                *self = Self::Attributes;
                self.hide(folder, name)
            }
            Err(error) => Err(error),
        }
    }

    /// Hides all of lower layers in `folder`.
    pub(super) fn hide_all(self, folder: BorrowedFd<'_>) -> Result<(), sys::Error> {
        fd::fsetxattr(folder, b"user.overlay.opaque", b"y")
    }
}

fn hide_by_attribute(folder: BorrowedFd<'_>, name: &[u8]) -> Result<(), sys::Error> {
    let file = fd::openat(folder, name, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL, 0o600)?;
    fd::fsetxattr(file.as_fd(), b"user.overlay.whiteout", b"y")?;
    fd::fsetxattr(folder, b"user.overlay.opaque", b"x")
}

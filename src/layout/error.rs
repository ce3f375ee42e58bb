//! What can be wrong with images in files.

use std::io;

use crate::oci::digest::Digest;
use crate::oci::{docker_archive, layout};

/// Files that hold no image, or not the one asked for. `shown` is what the user calls the folder or archive.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder or archive itself can't be read.
    #[error("cannot {action} {}", .shown.escape_debug())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// The folder or archive.
        shown: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A folder or something stranger where an archive should be.
    #[error("{} is not a regular file", .shown.escape_debug())]
    NotAFile {
        /// It.
        shown: String,
    },
    /// Not a tar archive.
    #[error("{} is no tar archive: {why} at byte {offset}", .shown.escape_debug())]
    NoArchive {
        /// The file.
        shown: String,
        /// Where it is wrong.
        offset: u64,
        /// What is wrong there.
        why: &'static str,
    },
    /// A tar archive of something else.
    #[error("{} has neither `oci-layout` nor `manifest.json`, so it is no archive of images", .shown.escape_debug())]
    NoForm {
        /// The archive.
        shown: String,
    },
    /// A file that belongs to the form is not there.
    #[error("{} has no file `{}`", .shown.escape_debug(), .name.escape_debug())]
    Missing {
        /// The folder or archive.
        shown: String,
        /// The file's name in it.
        name: String,
    },
    /// A file in it is of a kind or in a state that can't be used.
    #[error("`{}` in {} {why}", .name.escape_debug(), .shown.escape_debug())]
    Member {
        /// The folder or archive.
        shown: String,
        /// The file's name in it.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A file in it is larger than any such file may be.
    #[error("`{}` in {} has {size} bytes, more than the limit of {limit}", .name.escape_debug(), .shown.escape_debug())]
    TooLarge {
        /// The folder or archive.
        shown: String,
        /// The file's name in it.
        name: String,
        /// What it has.
        size: u64,
        /// What it may have.
        limit: u64,
    },
    /// A blob has another size than what points to it says.
    #[error("`{name}` in {} has {found} bytes, not {wanted}", .shown.escape_debug())]
    WrongSize {
        /// The folder or archive.
        shown: String,
        /// The blob's name in it.
        name: String,
        /// What it should have.
        wanted: u64,
        /// What it has.
        found: u64,
    },
    /// A blob has other bytes than its name says.
    #[error("`{name}` in {} has the digest {found}, not {wanted}", .shown.escape_debug())]
    WrongDigest {
        /// The folder or archive.
        shown: String,
        /// The blob's name in it.
        name: String,
        /// What it should have.
        wanted: Digest,
        /// What it has.
        found: Digest,
    },
    /// A layout's own files are wrong, or it has not what was asked for.
    #[error("cannot use {}", .shown.escape_debug())]
    Layout {
        /// The folder or archive.
        shown: String,
        /// What is wrong.
        source: layout::Error,
    },
    /// A docker archive's own files are wrong.
    #[error("cannot use {}", .shown.escape_debug())]
    Docker {
        /// The archive.
        shown: String,
        /// What is wrong.
        source: docker_archive::Error,
    },
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Layout { source, .. } => source.hint(),
            Self::File { source, .. } if source.kind() == io::ErrorKind::NotADirectory => {
                Some("`oci:` wants a folder; `oci-archive:` and `docker-archive:` take files".into())
            }
            Self::NotAFile { .. } => {
                Some("archives are files; `oci:DIR` reads a folder in OCI's layout".into())
            }
            Self::NoArchive { .. } | Self::NoForm { .. } => Some(
                "`devbox save`, `podman save`, `docker save` and `skopeo copy` make archives of images"
                    .into(),
            ),
            Self::WrongSize { .. } | Self::WrongDigest { .. } => {
                Some("nothing was kept of it; the files are damaged, make them again".into())
            }
            _ => None,
        }
    }
}

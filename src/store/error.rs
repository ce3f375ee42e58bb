//! What can go wrong in the store.

use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::dirs;
use crate::oci::digest::Digest;
use crate::sys;

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store's folder can't be made, or others may write to it.
    #[error("the store is not usable")]
    NotPrivate(#[source] dirs::Error),
    /// A later version of this program made the store.
    #[error("the store {} has layout {found}, newer than this program knows", .root.display())]
    Newer {
        /// The store's folder.
        root: PathBuf,
        /// Its layout.
        found: u32,
    },
    /// A file of the store does not hold what it should.
    #[error("{} is damaged: {why}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A file of a layer is not as it was unpacked.
    #[error("layer {layer} is damaged: `{entry}` {why}")]
    DamagedLayer {
        /// The layer.
        layer: Digest,
        /// The file's name in it, escaped and shortened.
        entry: String,
        /// What is wrong with it.
        why: String,
    },
    /// The disk (its bytes or its inodes) or the user's share of it is full.
    #[error("no space left on {}", .path.display())]
    NoSpace {
        /// What could not be written.
        path: PathBuf,
    },
    /// A file of the store can't be used.
    #[error("cannot {action} {}", .path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A call on a tree failed.
    #[error("cannot {action} {}", .path.display())]
    Tree {
        /// What was tried, as a verb.
        action: &'static str,
        /// The tree or a part of it.
        path: PathBuf,
        /// The call.
        source: sys::Error,
    },
    /// Something is mounted in a tree to be removed.
    #[error("{} has something mounted in it", .path.display())]
    Mounted {
        /// The folder it is mounted on.
        path: PathBuf,
    },
    /// The reader that gives the layer failed; the source is its own error, untouched.
    #[error("cannot read the layer")]
    Input(#[source] io::Error),
    /// The bytes are not a tar archive we can read.
    #[error("malformed layer at byte {offset}: {why}")]
    Malformed {
        /// Where in the uncompressed layer.
        offset: u64,
        /// What is wrong there.
        why: String,
    },
    /// An entry of a layer asks for something that is not done.
    #[error("layer entry `{entry}` at byte {offset} {why}")]
    Refused {
        /// Its name, escaped and shortened.
        entry: String,
        /// Where in the uncompressed layer.
        offset: u64,
        /// The reason.
        why: Refusal,
    },
    /// The disk refused an entry.
    #[error("cannot unpack layer entry `{entry}`")]
    Place {
        /// Its name, escaped and shortened.
        entry: String,
        /// The call that failed.
        source: sys::Error,
    },
    /// The unpacked bytes are not those the image names.
    #[error("the layer's digest is {found}, not {expected}")]
    WrongDigest {
        /// What the image says.
        expected: Digest,
        /// What was read.
        found: Digest,
    },
    /// An image is to be recorded without all its layers.
    #[error("image {manifest} lacks layer {layer}")]
    MissingLayer {
        /// The image.
        manifest: Digest,
        /// The layer.
        layer: Digest,
    },
    /// A layer is not replaced while it is in use.
    #[error("layer {} stays as it is: {why}", .layer.short())]
    InUse {
        /// The layer.
        layer: Digest,
        /// Who uses it.
        why: String,
    },
    /// No image is known by this name.
    #[error("no image `{}`", .name.escape_debug())]
    NoImage {
        /// The reference or digest asked for.
        name: String,
    },
}

/// Why an entry of a layer was refused; reads on from the entry's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `..` in front of everything else.
    #[error("leaves the image's root")]
    LeavesRoot,
    /// One component is too long, or there are too many of them.
    #[error("has a name too long: {0}")]
    NameTooLong(&'static str),
    /// A NUL byte within a name or link target.
    #[error("has a NUL byte in its name or target")]
    Nul,
    /// An empty name or link target.
    #[error("has an empty {0}")]
    Empty(&'static str),
    /// A name of the whiteout namespace that means nothing.
    #[error("is an invalid whiteout")]
    InvalidWhiteout,
    /// The root is a folder and stays one.
    #[error("would replace the image's root")]
    ReplacesRoot,
    /// A parent folder is something else.
    #[error("lies below `{0}`, which is not a folder")]
    NotAFolder(String),
    /// Symbolic links on the way lead to each other.
    #[error("has too many symbolic links on its way")]
    LinkLoop,
    /// A hard link to a name that climbs above the root.
    #[error("is a hard link to `{0}`, which leaves the image's root")]
    LinkLeavesRoot(String),
    /// A hard link to itself.
    #[error("is a hard link to itself")]
    LinkToItself,
    /// A hard link to a folder.
    #[error("is a hard link to `{0}`, which is a folder")]
    LinkToFolder(String),
    /// A hard link to what this layer does not hold.
    #[error("is a hard link to `{0}`, which is not in the same layer")]
    LinkToNothing(String),
    /// A type of entry that does not belong in an image.
    #[error("has the unsupported type `{}`", .0.escape_ascii())]
    Unsupported(u8),
    /// A sparse file larger than files can be here.
    #[error("has a size of {0} bytes, more than this file system allows")]
    TooLarge(u64),
    /// One of the limits of unpacking.
    #[error("is beyond the limit of {0} in a layer")]
    Limit(String),
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotPrivate(error) => error.hint(),
            Self::Newer { .. } => Some("use the newer devbox, or another XDG_DATA_HOME".into()),
            Self::NoSpace { .. } => {
                Some("free some space there, or let XDG_DATA_HOME name a folder on a larger disk".into())
            }
            Self::Damaged { path, .. } => Some(format!("remove {} and pull the image again", path.display())),
            Self::DamagedLayer { .. } => Some("`devbox verify --repair` fetches it again".into()),
            Self::Mounted { path } => Some(format!("umount {}", path.display())),
            Self::Malformed { .. } | Self::Refused { .. } => {
                Some("nothing was kept; the image has to be mended where it is made".into())
            }
            Self::WrongDigest { .. } => {
                Some("nothing was kept; the registry gave other bytes than the image names".into())
            }
            Self::MissingLayer { .. } => Some("pull the image again".into()),
            Self::NoImage { .. } => Some("`devbox images` lists what is here".into()),
            Self::InUse { .. }
            | Self::File { .. }
            | Self::Tree { .. }
            | Self::Input(_)
            | Self::Place { .. } => None,
        }
    }
}

/// Gives a failed call the file it was about.
pub(super) trait At<T> {
    /// `action` is a verb: "cannot {action} {path}".
    fn at(self, action: &'static str, path: &Path) -> Result<T, Error>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Error::NoSpace { path: path.to_owned() }
            }
            _ => Error::File { action, path: path.to_owned(), source },
        })
    }
}

impl<T> At<T> for Result<T, sys::Error> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| match source.errno {
            Errno::ENOSPC | Errno::EDQUOT => Error::NoSpace { path: path.to_owned() },
            _ => Error::Tree { action, path: path.to_owned(), source },
        })
    }
}

/// A name from outside as it may be shown: escaped, and its head alone when it is long.
pub(super) fn shown(name: &[u8]) -> String {
    const HEAD: usize = 200;
    let cut = |name: &[u8]| {
        name.utf8_chunks().fold(String::new(), |mut text, chunk| {
            text.extend(chunk.valid().escape_debug());
            text.extend(chunk.invalid().escape_ascii().map(char::from));
            text
        })
    };
    match name.get(..HEAD) {
        Some(head) if name.len() > HEAD => format!("{}…", cut(head)),
        _ => cut(name),
    }
}

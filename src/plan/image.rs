//! Where a box's root comes from, with every path worked out.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::oci::source::Source;
use crate::profile;

/// Where a root comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Image {
    /// The host's own root, read-only below.
    Host,
    /// An image in a registry: a canonical reference (`oci::reference::Reference` as text).
    Registry(String),
    /// An image in files of the host, its path absolute.
    Files(Source),
    /// A folder of the host that is a root file system already.
    Folder(#[serde(serialize_with = "super::shown_always")] PathBuf),
}

impl Image {
    /// What `image` means to someone whose home is `home` and whose project `project` is; none when it is below a
    /// project and there is none.
    pub fn of(image: &profile::Image, home: &Path, project: Option<&Path>) -> Option<Self> {
        Some(match image {
            profile::Image::Host => Self::Host,
            profile::Image::Registry(reference) => Self::Registry(reference.clone()),
            profile::Image::Files { form, at, name } => {
                Self::Files(Source { form: *form, path: at.resolve(home, project)?, name: name.clone() })
            }
            profile::Image::Folder(at) => Self::Folder(at.resolve(home, project)?),
        })
    }

    /// The file or folder of the host it is.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Host | Self::Registry(_) => None,
            Self::Files(source) => Some(&source.path),
            Self::Folder(path) => Some(path),
        }
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Registry(reference) => f.write_str(reference),
            Self::Files(source) => source.fmt(f),
            Self::Folder(path) => write!(f, "dir:{}", path.display()),
        }
    }
}

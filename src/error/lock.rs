//! Why a lock can't be made, or is not kept to.

use std::io;
use std::path::PathBuf;

use crate::oci::digest::Digest;
use crate::oci::platform::Platform as Machine;
use crate::pull;

/// Why a lock can't be made, or is not kept to.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// `--locked`, and a running box is over something else.
    #[error("not as locked: box `{name}` runs over another image or set-up")]
    RunsOverOther {
        /// The box.
        name: String,
    },
    /// A lock whose digests do not belong together.
    #[error(
        "devbox-lock.toml contradicts itself: the layers it has for {image} are not those of its manifest"
    )]
    Contradicts {
        /// The image.
        image: String,
    },
    /// What is locked is not in the registry any more.
    #[error("the registry does not have {image} as it is locked any more ({manifest})")]
    Gone {
        /// The image.
        image: String,
        /// Its manifest.
        manifest: Digest,
        /// What the registry said.
        source: pull::Error,
    },
    /// A verb about locks outside of a project.
    #[error("there is no devbox.toml here, and only projects have locks")]
    NoProject,
    /// An image that can't be locked.
    #[error("{image} can't be locked: {why}")]
    Unlockable {
        /// The image.
        image: String,
        /// Why not.
        why: &'static str,
    },
    /// An image is not for the machine.
    #[error("{image} is not for {wanted}, only for {}", if .offered.is_empty() { "nothing".to_owned() } else { .offered.join(", ") })]
    Platform {
        /// The image.
        image: String,
        /// What it should run on.
        wanted: Machine,
        /// What it runs on.
        offered: Vec<String>,
    },
    /// `lock --check` and it is not up to date.
    #[error("devbox-lock.toml is not up to date")]
    Stale,
    /// A verb that reads the lock, and there is none.
    #[error("there is no devbox-lock.toml in this project")]
    NoLock,
    /// The lock can't be written.
    #[error("cannot write {}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl LockError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::RunsOverOther { name } => format!("`devbox stop {name}`, then the same command"),
            Self::Contradicts { .. } => "remove it and `devbox lock` anew".into(),
            Self::Gone { .. } => {
                "`devbox update` goes over to what the name stands for now; a registry that still has it can be made its mirror in \
                 registries.conf"
                    .into()
            }
            Self::NoProject => "`devbox init` makes one".into(),
            Self::Platform { .. } => "`platform` in the profile names another one".into(),
            Self::Stale | Self::NoLock => "`devbox lock` writes it".into(),
            Self::Unlockable { .. } => "push it to a registry, and name it as it is called there".into(),
            Self::Write { .. } => return None,
        })
    }
}

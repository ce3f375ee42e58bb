//! What users write: TOML profiles, where they are found, and how one begins with others.
//!
//! ```text
//! --profile FILE                      that file
//! devbox.toml                         the project's, in the current folder or above
//! $XDG_CONFIG_HOME/devbox/profiles    personal, by name
//! /etc/devbox/profiles                the system's, by name
//! profiles/ of the source             built in, by name
//! ```
//!
//! A name is looked up downward in this table; a profile that extends its own name means the one below it.
//! Nothing here looks at the machine but the files themselves: what a profile *means* is `plan`'s to say.

mod amount;
mod document;
mod error;
pub mod grammar;
mod keys;
mod load;
mod lock;
mod merge;
mod nearest;
pub mod place;
pub mod policy;
mod schema;
pub mod settings;
mod setup;
mod value;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use amount::assign;
pub use error::{Error, Mistake};
pub use grammar::BadValue;
pub use keys::{Described, described, schema};
pub use load::{Layer, Listed, list};
pub use lock::{LOCK_FILE, Lock, LockedImage, LockedPlatform, LockedSetup};
pub(crate) use nearest::nearest;
pub use place::Place;
pub use setup::{Action, NamedFile, Setup, Step};
pub use value::{Driver, Home, Ids, Image, Isolation, MountMode, Network, User};

use crate::dirs::Dirs;
use crate::limits::Limits;
use crate::network::{Allow, Publish};

/// Name of a project's own profile.
pub const PROJECT_FILE: &str = "devbox.toml";

/// What a profile asks for; what it leaves open is none. Profiles it extends are merged in already.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Profile {
    /// Where the root comes from.
    pub image: Option<Image>,
    /// `linux/ARCHITECTURE[/VARIANT]`.
    pub platform: Option<String>,
    /// The box's name. It is never inherited: a name belongs to the file that gives it.
    pub name: Option<String>,
    /// Who sessions run as.
    pub user: Option<User>,
    /// How ids are mapped.
    pub ids: Option<Ids>,
    /// How the root is made.
    pub driver: Option<Driver>,
    /// How much of the host the box may see.
    pub isolation: Option<Isolation>,
    /// What stands at the home folder.
    pub home: Option<Home>,
    /// The project folder, when it is not the one the profile was found in.
    pub workdir: Option<Place>,
    /// Preferred interactive shell.
    pub shell: Option<String>,
    /// Host name inside.
    pub hostname: Option<String>,
    /// `[env]` and `[env-from-host]`.
    pub env: BTreeMap<String, Variable>,
    /// `[[mounts]]`, in order; of two with the same target the later counts.
    pub mounts: Vec<Mount>,
    /// Network of the box.
    pub network: Option<Network>,
    /// `[limits]`.
    pub limits: Limits,
    /// What it may connect to, in order; only with a network of its own.
    pub allow: Vec<Allow>,
    /// What of it may be connected to.
    pub ports: Vec<Publish>,
    /// `[secrets]`: files of the host, by the name they have in the box.
    pub secrets: BTreeMap<String, Place>,
    /// Keys of the caller's ssh-agent that may be used: fingerprints or comments.
    pub ssh_agent: Vec<String>,
    /// `[setup]`.
    pub setup: Setup,
}

/// A variable as a profile asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variable {
    /// This value.
    Literal(String),
    /// Whatever the host has, if it has it.
    FromHost,
}

/// A mount as a profile asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub source: Source,
    /// Where it stands in the box.
    pub target: Place,
    /// What writes do.
    pub mode: MountMode,
    /// Left out when the source is missing.
    pub optional: bool,
}

/// What a mount shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Fresh memory, with mode `tmpfs`.
    Memory,
    /// The cache of this name, with mode `cache`.
    Cache(String),
    /// A file or folder of the host, with the other modes.
    Host(Place),
}

/// A profile's name and the place it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The profile's name.
    pub name: String,
    /// A file's absolute path, or `built in`.
    pub from: String,
}

/// Which profile is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The project's `devbox.toml`; without one, the profile `host`.
    Default,
    /// The personal, system or built-in one of this name.
    Name(String),
    /// This file; relative to the current folder.
    File(PathBuf),
    /// None at all, for `--image` alone.
    Nothing,
}

/// A profile ready to plan with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// The merged profile.
    pub profile: Profile,
    /// Its own name, when it was found by one.
    pub name: Option<String>,
    /// Folder of the `devbox.toml` it is.
    pub project_dir: Option<PathBuf>,
    /// What was merged, base first.
    pub origins: Vec<Origin>,
    /// What stands in the lock beside the project's file.
    pub lock: Option<Lock>,
}

/// Finds, reads and merges the profile `selector` wants for someone who stands in `cwd` (absolute).
///
/// Reads only the files it names; no folder is listed unless a name is unknown.
pub fn find(dirs: &Dirs, selector: &Selector, cwd: &Path) -> Result<Found, Error> {
    load::Places::of(dirs).find(selector, cwd)
}

#[cfg(test)]
impl Found {
    /// What a `devbox.toml` of this text in `folder` would give, with the built-in profiles alone.
    pub(crate) fn in_project(folder: &str, text: &str) -> Self {
        let folder = PathBuf::from(folder);
        let from = folder.join(PROJECT_FILE).display().to_string();
        let origin = Origin { name: PROJECT_FILE.into(), from };
        let shown = PROJECT_FILE.into();
        let text = load::Text { text: text.into(), origin, shown, folder: Some(folder.clone()), below: None };
        let found = merge::merge(&load::Places::built_in(), text).unwrap();
        Self { project_dir: Some(folder), ..found }
    }

    /// A built-in profile.
    pub(crate) fn built_in(name: &str) -> Self {
        load::Places::built_in().find(&Selector::Name(name.into()), Path::new("/")).unwrap()
    }
}

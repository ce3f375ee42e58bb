//! What we will do: pure data made from a profile, flags and host facts. `devbox plan` prints it.
//!
//! Nothing here touches disk, network or kernel; `resolve` completes a plan with what the image's
//! configuration decides, just as purely.

mod accounts;
mod describe;
mod error;
mod flags;
pub mod host;
mod image;
mod make;
mod mounts;
mod network;
mod pin;
pub mod policy;
mod project;
pub mod resolve;
pub mod setup;
pub mod sight;
pub mod trust;
mod untrusted;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use crate::limits::Limits;

pub use error::Error;
pub use flags::Flags;
pub use host::Host;
pub use image::Image;
pub use make::make;
pub use mounts::NOTHING;
pub use pin::{Drift, Pin};
pub use project::without_dots;
pub use setup::Setup;

use crate::network::{Allow, Publish};
pub use crate::profile::{Driver, Home, Ids, Isolation, MountMode, Network, Origin, User};

/// Everything a start needs to know, before the image is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Plan {
    /// Name of the box, checked by grammar (`[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}`).
    pub name: String,
    /// Where the root comes from.
    pub image: Image,
    /// `os/arch[/variant]`, as wanted by the profile or that of this machine.
    pub platform: String,
    /// Who sessions run as.
    pub user: User,
    /// How ids are mapped.
    pub ids: Ids,
    /// How layers and upper become a root.
    pub driver: Driver,
    /// How much of the host the box may see.
    pub isolation: Isolation,
    /// What stands at the home folder.
    pub home: Home,
    /// The project folder on the host, mounted at the same path, read-write or, in an untrusted box, so that writes stay in
    /// the box; also the working directory.
    #[serde(serialize_with = "shown")]
    pub project: Option<PathBuf>,
    /// Why no project folder is mounted although one was looked for.
    pub no_project_because: Option<String>,
    /// The working directory asked for with `-w`, absolute in the box.
    #[serde(serialize_with = "shown")]
    pub workdir: Option<PathBuf>,
    /// Preferred interactive shell, a name or an absolute path.
    pub shell: Option<String>,
    /// Host name inside.
    pub hostname: String,
    /// Variables set in each session, from `[env]`, `[env-from-host]` and flags.
    pub env: BTreeMap<String, Variable>,
    /// Extra mounts, each target once, outer ones before those inside them.
    pub mounts: Vec<Mount>,
    /// Network of the box.
    pub network: Network,
    /// What the box is limited to.
    pub limits: Limits,
    /// With network `private`: what it may connect to, each entry once; all but this machine when there is none.
    pub allow: Vec<Allow>,
    /// What of the box can be connected to, each place on the host once.
    pub ports: Vec<Publish>,
    /// Keys of the caller's ssh-agent that sessions may use: fingerprints or comments.
    pub ssh_agent: Vec<String>,
    /// The profiles this was made from, base first, with where each was found.
    pub profiles: Vec<Origin>,
    /// What is done to the image before the box is made.
    pub setup: Setup,
    /// What the project's lock holds the image to; none where it says nothing.
    pub pin: Option<Pin>,
    /// Why not, where there is a lock.
    pub unpinned_because: Option<String>,
    /// Whether anything that is not as the lock has it is refused.
    pub locked: bool,
    /// Where sources that a project's file asked for led, links followed, when somebody judged whether they may be seen.
    #[serde(skip)]
    pub judged: BTreeMap<PathBuf, PathBuf>,
}

impl Plan {
    /// Where the source `path` is to be found, and whether no link may lead elsewhere from there by now.
    pub fn judged_source<'a>(&'a self, path: &'a Path) -> (&'a Path, bool) {
        self.judged.get(path).map_or((path, false), |real| (real, true))
    }
}

/// One mount asked for by a profile or a flag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Mount {
    /// Absolute path on the host; none for `tmpfs`; a cache's folder for `cache`.
    #[serde(serialize_with = "shown")]
    pub source: Option<PathBuf>,
    /// Absolute path in the box, free of `..`.
    #[serde(serialize_with = "shown_always")]
    pub target: PathBuf,
    /// What writes do.
    pub mode: MountMode,
    /// Left out, with a note, when the source is missing.
    pub optional: bool,
}

/// A variable's value. One that came from the host may be a secret: it is neither printed nor recorded.
#[derive(Clone, PartialEq, Eq)]
pub enum Variable {
    /// Written in a profile or on the command line.
    Literal(String),
    /// Taken from the host's environment.
    FromHost(String),
}

impl Variable {
    /// The value, for the session it is meant for.
    pub fn value(&self) -> &str {
        match self {
            Self::Literal(value) | Self::FromHost(value) => value,
        }
    }
}

impl fmt::Debug for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(value) => write!(f, "{value:?}"),
            Self::FromHost(_) => f.write_str("FromHost"),
        }
    }
}

/// A literal as itself, one of the host as `{"from-host": true}`.
impl Serialize for Variable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Literal(value) => serializer.serialize_str(value),
            Self::FromHost(_) => serializer.collect_map([("from-host", true)]),
        }
    }
}

/// A path as people see it: one that is no UTF-8 must not keep the rest from being printed.
fn shown<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.to_string_lossy()).serialize(serializer)
}

fn shown_always<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    path.to_string_lossy().serialize(serializer)
}

#[cfg(test)]
pub(crate) mod tests;

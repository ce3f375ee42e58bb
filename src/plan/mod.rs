//! What we will do: pure data made from a profile, flags and host facts. `devbox plan` prints it.
//!
//! Nothing here touches disk, network or kernel; `resolve` completes a plan with what the image's
//! configuration decides, just as purely.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Everything a start needs to know, before the image is looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    /// What stands at the home folder.
    pub home: Home,
    /// The project folder on the host, mounted read-write at the same path; also the working directory.
    pub project: Option<PathBuf>,
    /// Why no project folder is mounted although one was looked for.
    pub no_project_because: Option<String>,
    /// Preferred interactive shell, a name or an absolute path.
    pub shell: Option<String>,
    /// Host name inside.
    pub hostname: String,
    /// Variables set in each session, values literal (from `[env]`, `[env-from-host]` and flags).
    pub env: BTreeMap<String, String>,
    /// Names in `env` whose values came from the host; printed without values.
    pub env_from_host: Vec<String>,
    /// Extra mounts, in order.
    pub mounts: Vec<Mount>,
    /// Network of the box.
    pub network: Network,
    /// The profiles this was made from, base first, with where each was found.
    pub profiles: Vec<Origin>,
}

/// Where a root comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Image {
    /// The host's own root, read-only below.
    Host,
    /// An image in a registry: a canonical reference (`oci::reference::Reference` as text).
    Registry(String),
}

/// Who sessions run as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum User {
    /// The calling user, same name, id and home.
    Me,
    /// Root of the box.
    Root,
    /// The image's `User`.
    Image,
    /// A user named in the image's `/etc/passwd`, or `uid[:gid]`.
    Name(String),
}

/// How ids are mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ids {
    /// `single`, unless the image's `User` needs more and subordinate ids are there.
    Auto,
    /// One id: the caller's.
    Single,
    /// The caller's and the subordinate ranges.
    Full,
}

/// How layers and upper become a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// The best this host can do.
    Auto,
    /// The kernel's overlayfs.
    Overlay,
}

/// What stands at the home folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Home {
    /// A folder kept with the box.
    Private,
    /// The caller's own home.
    Host,
    /// An empty folder in memory.
    None,
}

/// Network of the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// The host's.
    Host,
    /// Loopback alone.
    None,
}

/// One mount asked for by a profile or a flag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Mount {
    /// Absolute path on the host; none for `tmpfs`; a cache's folder for `cache`.
    pub source: Option<PathBuf>,
    /// Absolute path in the box, free of `..`.
    pub target: PathBuf,
    /// What writes do.
    pub mode: MountMode,
    /// Left out, with a note, when the source is missing.
    pub optional: bool,
}

/// What writes to a mount do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountMode {
    /// Refused.
    Ro,
    /// Reach the host.
    Rw,
    /// Stay in the box.
    Overlay,
    /// Live in memory and end with the box.
    Tmpfs,
    /// Kept per user, shared by all boxes that name the same cache.
    Cache,
}

/// A profile's name and the place it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The profile's name.
    pub name: String,
    /// A file, or `built in`.
    pub from: String,
}

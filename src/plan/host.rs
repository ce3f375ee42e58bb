//! What planning needs to know of the machine and the caller, as plain data: the door fills it in, tests write it.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Facts of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The caller's user id.
    pub uid: u32,
    /// The caller's group id.
    pub gid: u32,
    /// The caller's login name.
    pub user: String,
    /// The home folder, absolute, as the caller names it; sessions see theirs at the same path.
    pub home: PathBuf,
    /// The home folder with links followed; the same as `home` where there are none.
    pub real_home: PathBuf,
    /// The caller's login shell.
    pub shell: Option<String>,
    /// The folder the caller stands in, absolute, links followed (as `getcwd` gives it).
    pub cwd: PathBuf,
    /// devbox's cache folder, which holds those of `mode = "cache"`.
    pub cache: PathBuf,
    /// `linux/ARCHITECTURE[/VARIANT]` of this machine.
    pub platform: String,
    /// Whether the caller has subordinate ids and the helpers that map them.
    pub subordinate_ids: bool,
    /// Those of [`VARIABLES`] that are set.
    pub variables: BTreeMap<String, String>,
}

/// Variables every session gets from the host, for they describe its terminal and its reader, not the machine.
pub const VARIABLES: [&str; 20] = [
    "TERM",
    "COLORTERM",
    "TZ",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_ADDRESS",
    "LC_COLLATE",
    "LC_CTYPE",
    "LC_IDENTIFICATION",
    "LC_MEASUREMENT",
    "LC_MESSAGES",
    "LC_MONETARY",
    "LC_NAME",
    "LC_NUMERIC",
    "LC_PAPER",
    "LC_TELEPHONE",
    "LC_TIME",
    "NO_COLOR",
    "DEVBOX_PROMPT",
];

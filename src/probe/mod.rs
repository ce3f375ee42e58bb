//! What this host can do: read from its files, and tried where files don't tell.

pub mod attempt;
mod driver;
mod facts;
mod kernel;
mod means;
mod network;
mod places;
mod subids;
mod system;

use std::io;
use std::path::Path;

use serde::Serialize;

use crate::dirs::Dirs;

pub use driver::{Choice, driver, remembered_driver};
pub use facts::{Error, has_subordinate_ids, host, subordinate_ids};
pub use means::Delegated;
pub use network::stack;
pub use system::{System, fuse_overlayfs};

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// In order.
    Pass,
    /// Boxes start, but something they could use is missing.
    Warn,
    /// Boxes cannot start.
    Fail,
}

/// One line of `devbox doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found, and what follows from it.
    pub found: String,
    /// The command that mends it, or else what to do.
    pub remedy: Option<String>,
}

impl Check {
    fn pass(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Pass, found: found.into(), remedy: None }
    }

    fn warn(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Warn, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn fail(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Fail, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// What only a real try can tell. All but the last change the calling process (see [`attempt`]).
pub struct Tries<'a> {
    /// Makes a user namespace with a map and acts as its root.
    pub userns: &'a dyn Fn() -> io::Result<()>,
    /// Mounts an overlay whose upper is in this folder; only asked after `userns` succeeded.
    pub overlay: &'a dyn Fn(&Path) -> io::Result<()>,
    /// Mounts a FUSE on a folder in this one; only asked after `userns` succeeded.
    pub fuse: &'a dyn Fn(&Path) -> io::Result<()>,
    /// Which version of Landlock there is.
    pub landlock: &'a dyn Fn() -> Option<u32>,
    /// Sets a user attribute on a file in this folder.
    pub xattr: &'a dyn Fn(&Path) -> io::Result<()>,
}

/// Every check, in the order they are best read. The tries that change the process come last in time.
pub fn checks(system: &System, dirs: &Dirs, tries: &Tries<'_>) -> Vec<Check> {
    let store_folder = dirs.store();
    let store = places::store(&store_folder, tries.xattr);
    let space = places::space(&store_folder);
    let runtime = places::runtime(dirs);
    let cgroups = places::cgroups(system);
    let network = network::check(system);
    let subids = subids::ranges(system);
    let helpers = subids::helpers(system);

    let userns = kernel::user_namespaces(system, &(tries.userns)());
    let in_namespace = userns.verdict == Verdict::Pass;
    let tried = in_namespace.then(|| (tries.overlay)(places::nearest(&store_folder)));
    let overlay = kernel::overlay(system, tried);
    let tried = in_namespace.then(|| (tries.fuse)(places::nearest(&store_folder)));
    let fuse = kernel::fuse(system, overlay.verdict == Verdict::Pass, tried.as_ref());
    let driver = kernel::driver(&userns, &overlay, &fuse);
    let landlock = kernel::landlock((tries.landlock)());
    vec![userns, overlay, fuse, driver, landlock, subids, helpers, network, cgroups, runtime, store, space]
}

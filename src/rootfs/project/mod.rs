//! The project of an untrusted box as a transaction: what the box wrote over it, how that becomes the project's own, or
//! is dropped.
//!
//! ```text
//! boxes/NAME/mounts/HASH/upper       what the box wrote over the project, as an overlay keeps it
//!                        base        with `copy` beside it: the project as the box first saw it (`upper` is a whole copy)
//!                        seen        the project's path; its time is when the box first saw what it now writes over
//! boxes/NAME/apply/                  an apply at work, or one that was cut short (`journal`)
//! PROJECT/.devbox-apply-…/           what it puts in place, and what it took out of the way
//! ```
//!
//! Both trees are hostile: everything goes by handles and single names, and no link is followed. Done as root of the
//! caller's one id ([`crate::userns`]), so that no mode shuts us out of the caller's own files.

mod aliases;
mod apply;
mod artefacts;
mod conflict;
mod copied;
mod edits;
mod handles;
mod journal;
mod look;
mod mirror;
mod patch;
mod repositories;
mod runs_later;
mod seen;
mod stage;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::idmap::{IdMap, IdMaps};
use crate::mount::Driver;
use crate::rootfs::changes::{self, Files, Lower};
use crate::sys;

pub use apply::{Applied, Chosen, Progress, apply, discard};
pub use artefacts::{LeftOut, take_out};
pub use conflict::Conflict;
pub(super) use copied::is_copied;
pub use copied::{copy_in, wants_copy};
pub use edits::{Edit, Kind, is_unchanged, list};
pub use journal::recover;
pub use patch::patch;
pub(super) use seen::first_seen;

/// The folder of the box that an apply works from.
pub const WORK: &str = "apply";
/// What the box wrote, in the folder of a mount.
const UPPER: &str = "upper";
/// The project as the box first saw it, where the upper is a whole copy.
const BASE: &str = "base";

/// A project and what a box wrote over it.
#[derive(Debug)]
pub struct Project {
    /// The project on the host.
    pub folder: PathBuf,
    /// What the box keeps of it.
    kept: PathBuf,
    /// The box's folder.
    box_folder: PathBuf,
    /// What the upper lies over.
    lowers: Vec<Lower>,
    seen: seen::Seen,
}

/// Why something can't be done with what a box wrote over its project.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of ours can't be used.
    #[error("cannot {what} {}", .path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A call on a path of the project failed.
    #[error("cannot {what} `{}` of the project", .path.escape_ascii())]
    Call {
        /// What was tried.
        what: &'static str,
        /// Relative to the project.
        path: Vec<u8>,
        /// The call.
        source: sys::Error,
    },
    /// The box's files can't be read.
    #[error(transparent)]
    Changes(#[from] changes::Error),
    /// The project is not there any more.
    #[error("the project folder {} is not there any more", .0.display())]
    Gone(PathBuf),
    /// A path of the box's is longer than any call takes.
    #[error(
        "the box made paths longer than {} bytes in the project (`{}…`): nothing is listed or applied until it has \
         removed them; `devbox discard` drops all that it wrote", libc::PATH_MAX, String::from_utf8_lossy(&.0[..64]).escape_default()
    )]
    TooDeep(Vec<u8>),
    /// Somebody else has the project.
    #[error("another program has locked the project folder {}", .0.display())]
    Locked(PathBuf),
    /// What is noted about an apply that was cut short makes no sense.
    #[error("{} is damaged", .0.display())]
    Damaged(PathBuf),
    /// The host changed what an apply was about to replace.
    #[error("`{}` of the project was changed just then by another program; nothing is applied", .0.escape_ascii())]
    Changed(Vec<u8>),
    /// An apply was taken back, and the host has something else where this was.
    #[error("`{}` of the project cannot be put back, for it was changed meanwhile; what belongs there is kept as {} \
             (look through {} and remove it)", .path.escape_ascii(), .at.display(), .stage.display())]
    Displaced {
        /// Relative to the project.
        path: Vec<u8>,
        /// Where it is.
        at: PathBuf,
        /// The folder in the project that has all there is.
        stage: PathBuf,
    },
    /// No process with the rights for it.
    #[error(transparent)]
    Userns(#[from] crate::userns::Error),
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Gone(_) => Some(
                "put it back where it was; what the box wrote is still there (`devbox discard` drops it)"
                    .into(),
            ),
            Self::Locked(_) => {
                Some("another `devbox apply` may be at work there; try again when it is done".into())
            }
            Self::Damaged(path) => {
                Some(format!("nothing more is done with it: look at it, and remove {}", path.display()))
            }
            Self::Userns(error) => error.hint(),
            Self::File { source, .. } if source.raw_os_error() == Some(libc::ENOSPC) => Some(
                "the disk is full, and the project is as it was; what the box wrote is still there".into(),
            ),
            _ => None,
        }
    }
}

impl Project {
    /// The project of the box in `folder`; none when it has none, or was never started with one.
    pub fn of(folder: &Path) -> Result<Option<Self>, Error> {
        let mounts = folder.join("mounts");
        let entries = match fs::read_dir(&mounts) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|source| Error::File { what: "list", path: mounts, source })?,
        };
        let mut found: Vec<(PathBuf, seen::Seen)> = Vec::new();
        for entry in entries.flatten() {
            if let Some(seen) = seen::Seen::read(&entry.path())? {
                found.push((entry.path(), seen));
            }
        }
        // of a project that was moved there may be two
        found.sort_by_key(|(_, seen)| seen.since);
        Ok(found.pop().map(|(kept, seen)| {
            let base = kept.join(BASE);
            let tree = if base.exists() { base } else { seen.project.clone() };
            Self {
                folder: seen.project.clone(),
                lowers: vec![Lower { tree, owners: HashMap::new() }],
                box_folder: folder.to_owned(),
                kept,
                seen,
            }
        }))
    }

    /// Notes at a session's end what the project has of all that the box changed: it is missed when it is gone later.
    pub fn remember(&self, edits: &[Edit]) -> Result<(), Error> {
        let is_new = |edit: &&Edit| edit.kind != Kind::Added && !self.seen.known.contains_key(&edit.path);
        if self.is_copy() || !edits.iter().any(|edit| is_new(&edit)) {
            return Ok(());
        }
        let _lock = seen::lock(&self.kept)?;
        let Some(mut seen) = seen::Seen::read(&self.kept)? else { return Ok(()) };
        // the clock was set back: no time of a change tells whether it was before the box's start
        if seen::now() < seen.since {
            seen.since = (0, 0);
        }
        let mut host = handles::Tree::new(journal::open(&self.folder)?);
        for edit in edits.iter().filter(is_new) {
            // what the caller may not look into is told by its times alone
            let look = || host.look(&edit.path, !edit.is_folder).ok().flatten();
            seen.known.entry(edit.path.clone()).or_insert_with(look);
        }
        seen.write(&self.kept)
    }

    fn upper(&self) -> PathBuf {
        self.kept.join(UPPER)
    }

    /// Whether the box has a copy of the project instead of an overlay.
    fn is_copy(&self) -> bool {
        self.lowers[0].tree != self.folder
    }

    fn files<'a>(&'a self, upper: &'a Path) -> Files<'a> {
        let driver = if self.is_copy() { Driver::Copy } else { Driver::Overlay };
        Files {
            upper,
            lowers: &self.lowers,
            driver,
            many_ids: false,
            account: Default::default(),
            untouched_before: copied::moment(&self.kept),
        }
    }
}

/// Root over the caller's own files.
pub fn own_ids() -> IdMaps {
    let root = |host_id| IdMap { container_id: 0, host_id, size: 1 };
    IdMaps::Single { uid: root(nix::unistd::geteuid().as_raw()), gid: root(nix::unistd::getegid().as_raw()) }
}

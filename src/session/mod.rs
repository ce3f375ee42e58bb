//! Boxes as they live: their folders and records, and sessions in them.
//!
//! ```text
//! boxes/NAME/record.json   what the box is made of; the profile is read again at each start
//!            started       there once its first session has begun
//!            lock          held by the box's pid 1 for as long as its root is in use
//!            upper  work   the overlay's writable side (drivers `overlay` and `fuse`)
//!            tree          the whole root (driver `copy`); `tree.new` while it is made
//!            fuse.log      what fuse-overlayfs said
//!            limits.json   what it was limited to at its last start, when it was; `ended.json` when it was ended for it
//!            home          the private home folder
//!            mounts/       writable sides of `mode = "overlay"` mounts
//!            root          an empty folder to mount on
//! runtime/NAME.sock        where pid 1 listens; names without a listener are left-overs
//! ```
//!
//! Every session, the first too, is asked of pid 1 over a connection, by the same code (`client`).

pub mod boxes;
mod caches;
pub mod client;
mod ended;
mod keys;
mod parts;
mod record;
mod relay;
mod replace;
mod snapshots;
pub mod start;
mod terminal;
pub mod watch;

pub use boxes::Boxes;
pub use caches::{Cache, Caches, Taking};
pub use ended::Limited;
pub use keys::Keys;
pub use record::{Defaults, Record};
pub use snapshots::Snapshot;

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;

use crate::limits::{Held, Limit};
use crate::sandbox::wire::Step;
use crate::{dirs, sandbox};

/// Why a session or a box verb failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that can't be a box's.
    #[error("`{}` can't be the name of a box (letters, digits, `_`, `.`, `-`; at most 64; a letter or digit first)", .0.escape_debug())]
    BadName(String),
    /// No such box.
    #[error("there is no box `{0}`")]
    NoSuchBox(String),
    /// Our own folders.
    #[error(transparent)]
    Dirs(#[from] dirs::Error),
    /// A file of the box can't be used.
    #[error("cannot {what} {}", .path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The record can't be understood.
    #[error("the record of box `{name}` is damaged: {why}")]
    Record {
        /// The box.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// The record is from a newer devbox.
    #[error("box `{0}` was made by a newer devbox")]
    NewerRecord(String),
    /// A session of an untrusted box could not be confined; it was not begun.
    #[error("cannot confine the session: its rights or its system calls could not be taken")]
    NotConfined(#[source] Errno),
    /// The box's start was not over after a long wait.
    #[error("box `{0}` is being started or ended by another devbox and does not get ready")]
    Busy(String),
    /// An apply that was cut short can be neither finished nor taken back.
    #[error("cannot finish what `devbox apply` began with box `{name}`")]
    HalfApplied {
        /// The box.
        name: String,
        /// Why.
        source: Box<crate::rootfs::project::Error>,
    },
    /// The box runs and the verb needs it stopped.
    #[error("box `{0}` is running")]
    Running(String),
    /// The name for a new box is taken.
    #[error("there is a box `{0}` already")]
    BoxThere(String),
    /// No such snapshot.
    #[error("box `{name}` has no snapshot `{}`", .snapshot.escape_debug())]
    NoSnapshot {
        /// The box.
        name: String,
        /// What was asked for.
        snapshot: String,
    },
    /// The name for a new snapshot is taken.
    #[error("box `{name}` has a snapshot `{snapshot}` already")]
    SnapshotThere {
        /// The box.
        name: String,
        /// The snapshot.
        snapshot: String,
    },
    /// What is known of a snapshot can't be understood.
    #[error("{} is damaged: {why}", .path.display())]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The sandbox could not be made.
    #[error("cannot start box `{name}`")]
    Start {
        /// The box.
        name: String,
        /// Why.
        source: sandbox::Error,
    },
    /// The session's command is not there.
    #[error("`{}` is not in the box", .0.escape_debug())]
    NotFound(String),
    /// The session's command can't be run.
    #[error("`{}` cannot be executed in the box", .program.escape_debug())]
    NotExecutable {
        /// The command.
        program: String,
        /// Why.
        source: Errno,
    },
    /// The session could not be set up.
    #[error("cannot {what} for the session")]
    Session {
        /// What was being done.
        what: &'static str,
        /// Why.
        source: Errno,
    },
    /// The command's arguments and variables are more than a request may hold.
    #[error("argument list too long")]
    TooLong,
    /// pid 1 of a box that was just started went away before its first session.
    #[error("the init of box `{0}` ended before it was ready")]
    Unready(String),
    /// The working directory is not there, or not a folder.
    #[error("there is no folder `{}` in the box", .0.escape_debug())]
    NoFolder(String),
    /// The working directory is there and can't be gone to.
    #[error("cannot go to `{}` in the box", .path.escape_debug())]
    Folder {
        /// As asked for.
        path: String,
        /// Why.
        source: Errno,
    },
    /// pid 1 went away in the middle.
    #[error("the box ended while the session ran")]
    Lost,
    /// The box or the session took more than it is limited to, and was ended.
    #[error("{}", over_words(.name, .held))]
    Over {
        /// The box.
        name: String,
        /// The limit.
        held: Held,
    },
    /// A limit could not be put in place.
    #[error("cannot watch box `{name}`, and so can't limit it")]
    Watch {
        /// The box.
        name: String,
        /// Why.
        source: Errno,
    },
    /// The host's terminal can't be used.
    #[error("cannot use the terminal")]
    Terminal(#[source] Errno),
    /// No namespace to remove other users' files in.
    #[error(transparent)]
    Userns(#[from] crate::userns::Error),
    /// Removing a cache.
    #[error("cannot remove {}", .path.display())]
    Cache {
        /// The folder it was moved to.
        path: PathBuf,
        /// Why.
        source: crate::store::Error,
    },
    /// Removing a tree.
    #[error("cannot remove box `{name}`")]
    Remove {
        /// The box.
        name: String,
        /// Why.
        source: crate::store::Error,
    },
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoSuchBox(_) => "`devbox ls` lists the boxes there are".into(),
            Self::NewerRecord(_) => "upgrade devbox, or remove the box with `devbox rm`".into(),
            Self::Record { name, .. } => {
                format!("remove the box with `devbox rm {name}`; its files are still in its folder")
            }
            Self::BoxThere(_) => "`devbox ls` lists the boxes there are; choose another name".into(),
            Self::NoSnapshot { name, .. } => format!("`devbox snapshots {name}` lists those there are"),
            Self::SnapshotThere { name, snapshot } => {
                format!("choose another name, or `devbox snapshots {name} --remove {snapshot}`")
            }
            Self::Snapshot { .. } => "the box itself is not touched by it; remove the snapshot's folder".into(),
            Self::HalfApplied { source, .. } => return source.hint(),
            Self::Running(name) => format!("`devbox stop {name}` ends it"),
            Self::Cache { .. } => "it is in no box's way: remove the folder by hand".into(),
            Self::Dirs(error) => return error.hint(),
            Self::Start { source, .. } => return source.hint(),
            Self::Userns(error) => return error.hint(),
            Self::File { source, .. } if source.raw_os_error() == Some(libc::ENOSPC) => {
                "the disk is full: `devbox rm` and `devbox rmi` make room".into()
            }
            Self::NotExecutable { source: Errno::ENOENT, .. } => {
                "the interpreter it names (first line, or the ELF loader) is missing in the image".into()
            }
            Self::NotExecutable { source: Errno::ENOEXEC, .. } => {
                "it is for another machine, or a script without a `#!` line".into()
            }
            Self::NotExecutable { source: Errno::EACCES, .. } => "it has no execute permission".into(),
            Self::Over { held: Held { limit, amount, .. }, .. } => {
                let twice = amount.saturating_mul(2);
                format!(
                    "`{}` in [limits] of the profile, or `--limit {limit}={}`, allows twice as much",
                    limit.line(twice),
                    limit.shown(twice)
                )
            }
            Self::NotConfined(_) => sandbox::ACCEPT_LESS.into(),
            Self::TooLong => {
                "arguments and variables may take 4 MiB together: pass long lists in a file or on standard input"
                    .into()
            }
            Self::Unready(_) => {
                "the kernel may have killed it for memory (`dmesg` tells), or `devbox stop` ended it".into()
            }
            Self::Lost => {
                "another terminal may have stopped it (`devbox stop`), or the kernel killed it for memory"
                    .into()
            }
            _ => return None,
        })
    }

    /// Exit code: 127 not found, 126 not executable, 124 to 122 for limits, 125 else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound(_) => 127,
            Self::NotExecutable { .. } => 126,
            Self::Over { held, .. } => held.limit.exit_code(),
            _ => 125,
        }
    }

    /// Words for what pid 1 said about a session's start.
    fn from_step(step: Step, errno: Errno, asked: &Asked) -> Self {
        let what = match step {
            Step::Lookup if errno == Errno::ENOENT => return Self::NotFound(asked.program.clone()),
            Step::Lookup | Step::Exec => {
                return Self::NotExecutable { program: asked.program.clone(), source: errno };
            }
            Step::Folder if errno == Errno::ENOENT => return Self::NoFolder(asked.folder.clone()),
            Step::Folder => return Self::Folder { path: asked.folder.clone(), source: errno },
            Step::Request => "understand the request",
            Step::Terminal => "make a terminal",
            Step::Identity => "become the user",
            Step::Filter => "load the owner filter",
            Step::Confinement => return Self::NotConfined(errno),
            Step::Limits => "set the limits",
        };
        Self::Session { what, source: errno }
    }
}

/// What a session was asked to do, for messages.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The box.
    pub name: String,
    /// The command's first word.
    pub program: String,
    /// The working directory.
    pub folder: String,
}

fn over_words(name: &str, held: &Held) -> String {
    let most = held.limit.shown(held.amount);
    match held.limit {
        Limit::Time => {
            format!("out of time: the session in box `{name}` took longer than {most} and was ended")
        }
        Limit::Disk => {
            format!("out of disk: the files of box `{name}` take more than {most}, and it was ended")
        }
        _ => format!("out of {}: box `{name}` took more than {most} and was ended", held.limit),
    }
}

/// Adds the path and the verb to an input or output error.
fn at<'a>(what: &'static str, path: &'a std::path::Path) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error::File { what, path: path.to_owned(), source }
}

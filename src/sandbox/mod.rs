//! The cage: namespaces, id maps, mounts, pid 1. Takes a `Spec`; knows no profile and no image.
//!
//! ```text
//!  launcher (host)                          child = pid 1 of the box
//!  clone(user, mount, pid, ipc, uts …) ───► maps (one id) ◄── or waits for newuidmap ‖ newgidmap outside
//!                                           private mounts; what comes from the host as detached mounts
//!                                           root, pivot_root, the host's root let go of; operations
//!  first frame of the session ────────────► init loop: sessions, signals, reaping; ends with the last session
//! ```
//!
//! The child is a copy of the launcher and never runs another program: no helper, no re-exec, nothing parsed.
//! It walks data made before the clone; a failure is sent as numbers and worded by the launcher.

mod bounds;
mod calls;
pub mod cgroup;
mod child;
mod classic;
mod confine;
mod filter;
mod fuse;
mod handles;
mod init;
mod launch;
mod mounts;
mod network;
mod refused;
pub mod scope;
mod spawn;
pub mod wall;
pub mod wire;

use std::ffi::{CStr, CString};

use nix::errno::Errno;

use crate::idmap::IdMaps;
use crate::mount::{Op, Root};
use crate::userns;

pub use bounds::{Bounds, some_processors};
pub use cgroup::Cgroup;
pub use confine::Confinement;
pub use launch::{Ends, Launched, launch};
pub use network::Network;

/// All that makes a box's inside.
#[derive(Debug, Clone)]
pub struct Spec {
    /// How ids are mapped.
    pub ids: IdMaps,
    /// How the root comes about.
    pub root: Root,
    /// An empty host folder to mount it on, seen by nobody else.
    pub mount_point: CString,
    /// How the root is filled, in order.
    pub ops: Vec<Op>,
    /// Host name inside.
    pub hostname: CString,
    /// A network namespace of its own; the host's without.
    pub network: Option<Network>,
    /// What keeps sessions from more than the namespaces do; none for a box of one's own work.
    pub confinement: Option<Confinement>,
    /// What is limited by pid 1 and in each session.
    pub bounds: Bounds,
    /// Told to clients that join later; tells whether the box runs what its profile says now.
    pub fingerprint: u64,
}

/// What to do when a protection can't be had. It is never left out unasked.
pub const ACCEPT_LESS: &str = "an untrusted box starts with all its protections or not at all; `--isolation dev` does without this one, for code \
     that you trust";

/// Stages of the child's set-up, sent by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Writing the id maps, or waiting for them.
    Maps = 0,
    /// Process attributes.
    Attributes = 1,
    /// Making mounts private.
    Private = 2,
    /// Mounting the root.
    Root = 3,
    /// pivot_root.
    Pivot = 4,
    /// Carrying out `Spec::ops`.
    Operation = 5,
    /// Host name.
    Names = 6,
    /// Becoming the box's init.
    Init = 7,
    /// Confining the box, and covering what the kernel shows.
    Confinement = 8,
    /// Putting the box's limits in place.
    Limits = 9,
    /// Making a network of the box's own.
    Network = 10,
}

/// Why a box could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No user namespace, or not with these maps.
    #[error(transparent)]
    Userns(#[from] userns::Error),
    /// A stage of the child's set-up failed.
    #[error("cannot {what}")]
    SetUp {
        /// The stage and what it worked on.
        what: String,
        /// The stage, for hints.
        stage: Stage,
        /// Why.
        #[source]
        errno: Errno,
    },
    /// The program that serves the root could not be started.
    #[error("cannot start fuse-overlayfs")]
    Serve(#[source] Errno),
    /// The program that serves the root ended at once.
    #[error("fuse-overlayfs does not serve the box's root: {}", .said.trim().escape_debug())]
    NotServed {
        /// What it said last.
        said: String,
    },
    /// What serves the box's network could not be started.
    #[error("cannot {what}")]
    Gate {
        /// What was tried.
        what: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A place on the host where a port of the box was to be reached.
    #[error("cannot listen on {place} for the box")]
    Port {
        /// Address and port.
        place: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The program that leads out of the box's network ended, or did nothing.
    #[error("there is no way out of the box's network: {}", .said.escape_debug())]
    NoWayOut {
        /// What it said last.
        said: String,
    },
    /// The system-call filter could not be made.
    #[error("cannot make the box's system-call filter: {0}")]
    Filter(String),
    /// The box could not be put into its cgroup.
    #[error("cannot put the box into its cgroup")]
    Cgroup(#[source] std::io::Error),
    /// Talking to pid 1 failed.
    #[error("cannot talk to the box's init")]
    Talk(#[source] Errno),
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Userns(error) => return error.hint(),
            Self::SetUp { stage: Stage::Confinement, .. } | Self::Filter(_) => ACCEPT_LESS.into(),
            Self::SetUp {
                stage: Stage::Root, errno: Errno::EINVAL | Errno::ENODEV | Errno::EPERM, ..
            } => "`devbox doctor` tells what this kernel's overlayfs can do for you".into(),
            Self::SetUp { stage: Stage::Operation, errno: Errno::EPERM, what } if what == PROC => {
                "a container around this shell hides parts of /proc, and then the kernel gives no other one: start it with \
                 `--security-opt unmask=ALL` (podman) or `--security-opt systempaths=unconfined` (docker)"
                    .into()
            }
            Self::SetUp { errno: Errno::ENOSPC, .. } => {
                "the disk is full, or the limit of mounts is reached (/proc/sys/fs/mount-max)".into()
            }
            Self::SetUp { stage: Stage::Root, errno: Errno::EACCES | Errno::ENOENT, what } if what.contains("fuse") => {
                "it needs a /dev/fuse you may open: `sudo modprobe fuse`, `sudo chmod 666 /dev/fuse`; `devbox doctor` \
                 tells which other driver there is"
                    .into()
            }
            Self::NotServed { .. } => {
                "all it said is in `fuse.log` in the box's folder (`devbox inspect`); `--driver overlay` does without it"
                    .into()
            }
            Self::Cgroup(_) => "another program may have removed it: try again".into(),
            Self::Port { source, .. } => match source.kind() {
                std::io::ErrorKind::AddrInUse => "something listens there already, another box perhaps: choose another port".into(),
                std::io::ErrorKind::PermissionDenied => "ports below 1024 are root's: choose another one".into(),
                _ => "the address has to be one of this machine's: `0.0.0.0` for all, none for 127.0.0.1".into(),
            },
            Self::NoWayOut { .. } => {
                "all that pasta or slirp4netns said is in `network.log` in the box's folder; `devbox doctor` looks at what they \
                 need, and `allow` does without them"
                    .into()
            }
            Self::SetUp { .. } | Self::Serve(_) | Self::Gate { .. } | Self::Talk(_) => return None,
        })
    }

    /// Words for the numbers the child sent.
    pub fn from_child(spec: &Spec, stage: u8, index: u16, errno: Errno) -> Self {
        if let (Root::Fuse(fuse), Errno::ENOTCONN | Errno::ECONNABORTED) = (&spec.root, errno) {
            return Self::NotServed { said: fuse::last_words(fuse) };
        }
        let (stage, what) = match stage {
            0 => (Stage::Maps, "map ids".to_owned()),
            2 => (Stage::Private, "make mounts private".to_owned()),
            3 => (Stage::Root, format!("mount the box's root {}", root_words(&spec.root))),
            4 => (Stage::Pivot, "change to the box's root".to_owned()),
            5 => match spec.ops.get(usize::from(index)) {
                Some(op @ (Op::MaskFile(_) | Op::MaskFolder(_) | Op::ReadOnly(_))) => {
                    (Stage::Confinement, op_words(op))
                }
                op => (Stage::Operation, op.map_or_else(String::new, op_words)),
            },
            6 => (Stage::Names, "set the box's host name".to_owned()),
            7 => (Stage::Init, "become the box's init".to_owned()),
            8 => (Stage::Confinement, format!("confine the box: {}", confine::piece_words(index))),
            9 => (Stage::Limits, "put the box's limits in place".to_owned()),
            10 => (Stage::Network, "make the box's network".to_owned()),
            _ => (Stage::Attributes, "set the attributes of the box's init".to_owned()),
        };
        Self::SetUp { what, stage, errno }
    }
}

fn root_words(root: &Root) -> String {
    match root {
        Root::Overlay(overlay) => format!("(an overlay of {} layers)", overlay.lowers.len()),
        Root::Fuse(fuse) => format!("(fuse-overlayfs over {} layers)", fuse.overlay.lowers.len()),
        Root::Tree(tree) => format!("({})", tree.to_string_lossy().escape_debug()),
        Root::Host => "(the host's, read-only)".to_owned(),
    }
}

/// As `op_words` has it.
const PROC: &str = "mount `/proc` in the box";

fn op_words(op: &Op) -> String {
    let shown = |text: &CStr| format!("`{}`", text.to_string_lossy().escape_debug());
    let target = shown(op.target());
    match op {
        Op::Dir(_) => format!("make the folder {target} in the box"),
        Op::File(_) | Op::Write { .. } => format!("make the file {target} in the box"),
        Op::Link { .. } => format!("make the link {target} in the box"),
        Op::Append { .. } => format!("add to {target} in the box"),
        Op::Proc => PROC.to_owned(),
        Op::Tmpfs { .. } | Op::Dev => format!("mount {target} in the box"),
        Op::Bind { from, .. } | Op::BindWithin { from, .. } => {
            format!("mount {} at {target} in the box", shown(from))
        }
        Op::Overlay { .. } => format!("mount an overlay at {target} in the box"),
        Op::MaskFile(_) | Op::MaskFolder(_) => format!("cover {target} in the box"),
        Op::ReadOnly(_) => format!("make {target} read-only in the box"),
        Op::Chown { .. } => format!("set the owner of {target}"),
    }
}

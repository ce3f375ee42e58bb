//! From a plan and unpacked layers to what `sandbox` needs: a root and the operations that fill it.
//!
//! Nothing is mounted here, and of the host only what the box gets is looked at.

pub mod changes;
pub mod driver;
mod files;
pub mod folder;
mod host;
mod image;
pub mod lookup;
mod masks;
mod mounts;
pub mod project;
mod shell;

use std::ffi::{CString, NulError};
use std::io;
use std::path::{Path, PathBuf};

use driver::delta::Delta;

use crate::mount::{Driver, Op, Root, c_path};
use crate::plan::{Image, Isolation, Plan};
use crate::userns;

pub use driver::MOST_LAYERS;
pub use shell::{STATE, STATE_FOLDER};

/// Folder of `sudo`, `su` and `doas` in a box with one id; belongs first into PATH.
pub const SHIMS: &str = "/run/devbox/bin";
/// Where a box finds the caller's ssh-agent; for `SSH_AUTH_SOCK`.
pub const SSH_AGENT: &str = "/run/devbox/ssh-agent.sock";
/// apt's settings for a root of one id; for the variable of the same name (apt.conf(5)).
pub const APT_CONFIG: &str = "/run/devbox/apt.conf";

/// The calling user, as seen on the host.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Home folder.
    pub home: PathBuf,
}

/// An entry of the image that belongs to another user than root.
#[derive(Debug, Clone)]
pub struct ForeignOwner {
    /// Absolute path in the box.
    pub path: PathBuf,
    /// User id in the image.
    pub uid: u32,
    /// Group id in the image.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
    /// Which of the image's lowers has it, counted from the topmost.
    pub depth: usize,
}

/// What a root is made for.
pub struct Wanted<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The box's folder (see `session`).
    pub folder: &'a Path,
    /// Unpacked layers, topmost first; empty for `image = "host"`.
    pub lowers: Vec<PathBuf>,
    /// How they become the root; without a meaning for `image = "host"`.
    pub driver: Driver,
    /// Who starts the box.
    pub caller: &'a Caller,
    /// The box's first start: accounts and owners are put in place.
    pub fresh: bool,
    /// The caller is seen as root, or as nobody else: no `sudo` is needed, or it is.
    pub single_id: bool,
    /// The caller has an account of its own in the box.
    pub account: bool,
    /// With `full` ids, the entries of the image whose owner is to be set.
    pub owners: Vec<ForeignOwner>,
    /// With `full` ids and the driver `overlay`, the layer that has them instead.
    pub delta: Option<Delta>,
    /// The socket on the host of the ssh-agent for it.
    pub agent: Option<&'a Path>,
    /// Thrown away at its end: no sync.
    pub volatile: bool,
}

/// A root, ready for `sandbox::Spec`.
#[derive(Debug)]
pub struct Layout {
    /// How the root comes about.
    pub root: Root,
    /// How it is filled.
    pub ops: Vec<Op>,
    /// What was left out, for the user.
    pub notes: Vec<String>,
}

/// Why a root can't be laid out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A mount's source is missing.
    #[error("the mount source {} does not exist", .0.display())]
    NoSource(PathBuf),
    /// `dir:` names nothing.
    #[error("there is no folder {}", .0.display())]
    NoFolder(PathBuf),
    /// `dir:` names what can't be the root of a box.
    #[error("{} can't be the root of a box: {why}", .path.display())]
    Unfit {
        /// The folder.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A file or folder of the host or of the box can't be used.
    #[error("cannot {what} {}", .path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The driver `fuse` without its program.
    #[error("the driver `fuse` needs fuse-overlayfs, which is not in PATH")]
    NoFuseOverlayfs,
    /// The driver `fuse` below a folder whose name it can't take.
    #[error("the driver `fuse` takes no path with a `:`, and the box is in {}", .0.display())]
    Colon(PathBuf),
    /// The layer of the image's owners could not be made.
    #[error("cannot give {name:?} of the image to its owner")]
    Owner {
        /// The file.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// The image could not be copied into the box.
    #[error("cannot copy the image into the box{}", at_file(.name))]
    Copy {
        /// The file it failed at, escaped; empty when it was none.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// What the box knows of its project can't be noted.
    #[error(transparent)]
    Project(#[from] project::Error),
    /// No namespace to copy the image in.
    #[error(transparent)]
    Userns(#[from] userns::Error),
    /// A path with a NUL byte.
    #[error("a path with a NUL byte cannot be mounted")]
    Nul(#[from] NulError),
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoSource(path) => Some(format!(
                "make it (`mkdir -p {}`), or set `optional = true` in its `[[mounts]]`",
                path.display()
            )),
            Self::NoFolder(_) => Some("`dir:` wants the folder of a root file system".into()),
            Self::Unfit { .. } => Some("a copy elsewhere, or an image packed from it, can be one".into()),
            Self::Colon(_) => Some("`--driver overlay` and `--driver copy` take any; XDG_DATA_HOME names another place".into()),
            Self::Copy { source, .. } | Self::Owner { source, .. } => match source.raw_os_error() {
                Some(libc::ENOSPC | libc::EDQUOT) => Some(
                    "the disk is full, and nothing of the copy was kept: `devbox prune` and `devbox rm` make room; \
                     `--driver overlay` and `--driver fuse` need no copy"
                        .into(),
                ),
                Some(libc::EACCES | libc::EPERM) => Some(
                    "a copy has to read every file; `--driver overlay` and `--driver fuse` need not".into(),
                ),
                _ => None,
            },
            Self::Userns(error) => error.hint(),
            Self::NoFuseOverlayfs => Some(
                "install the package `fuse-overlayfs`; `--driver overlay` and `--driver copy` do without it"
                    .into(),
            ),
            Self::Project(error) => error.hint(),
            Self::File { .. } | Self::Nul(_) => None,
        }
    }
}

/// ` at …`, when a file is known.
fn at_file(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(" at `{name}`") }
}

/// Lays out the root of a box.
pub fn prepare(wanted: &Wanted<'_>) -> Result<Layout, Error> {
    let mut layout = match &wanted.plan.image {
        Image::Host => host::lay_out(wanted)?,
        Image::Registry(_) | Image::Files(_) | Image::Folder(_) => image::lay_out(wanted)?,
    };
    shell::add(&mut layout.ops);
    mounts::add(wanted, &mut layout)?;
    // Last: nothing may be written through a path of the image once its magic links are there.
    layout.ops.push(Op::Proc);
    if wanted.plan.isolation == Isolation::Untrusted {
        layout.ops.extend(masks::all());
    }
    Ok(layout)
}

/// A bind of a host folder, writable.
fn bind(from: &Path, at: &Path, readonly: bool) -> Result<Op, NulError> {
    Ok(Op::Bind {
        from: c_path(from)?,
        at: c_path(at)?,
        readonly,
        recursive: true,
        devices: false,
        exact: false,
    })
}

fn tmpfs(at: &Path, options: &str) -> Result<Op, NulError> {
    Ok(Op::Tmpfs { at: c_path(at)?, options: CString::new(options)? })
}

//! Arguments of the verbs that take a box as data.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use clap_complete::engine::ArgValueCompleter;

use crate::cli::{Format, candidates, flags};

/// Arguments of `diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The box [default: that of this folder]
    #[arg(value_name = "BOX", add = ArgValueCompleter::new(candidates::boxes))]
    pub name: Option<String>,
    /// Print what is changed in the project as a patch, and nothing else
    #[arg(short, long, conflicts_with_all = ["no_patch", "format"])]
    pub patch: bool,
    /// Leave the text out, and list paths alone
    #[arg(long)]
    pub no_patch: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Arguments of `apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// Paths of the project, with all below them [default: all that need not be named]
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub paths: Vec<PathBuf>,
    /// The box; it must not run [default: the untrusted one of this folder]
    #[arg(short, long, value_name = "BOX", add = ArgValueCompleter::new(candidates::boxes))]
    pub name: Option<String>,
    /// Also where the project was changed meanwhile
    #[arg(short, long)]
    pub force: bool,
    /// Copy the paths, as the box sees them, into this folder; the project stays as it is
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, requires = "paths", conflicts_with = "force")]
    pub out: Option<PathBuf>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Arguments of `discard`.
#[derive(Debug, Args)]
pub struct DiscardArgs {
    /// Paths of the project, with all below them [default: all]
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub paths: Vec<PathBuf>,
    /// The box; it must not run [default: the untrusted one of this folder]
    #[arg(short, long, value_name = "BOX", add = ArgValueCompleter::new(candidates::boxes))]
    pub name: Option<String>,
    /// Remove all forks of the box instead, whatever they wrote (see run --forks)
    #[arg(long, conflicts_with = "paths")]
    pub forks: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Arguments of `update`.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// Box or profile; it must not run [default: the project's]
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(candidates::boxes_and_profiles))]
    pub target: Option<String>,
    /// Go over to this image
    #[arg(long, value_name = "REF", requires = "target", value_parser = flags::image)]
    #[arg(add = ArgValueCompleter::new(candidates::images))]
    pub image: Option<crate::profile::Image>,
    /// Go over to what devbox-lock.toml has, and renew nothing
    #[arg(long, conflicts_with = "image")]
    pub locked: bool,
    /// Also where it hides what is new in the image
    #[arg(short, long)]
    pub force: bool,
}

/// Arguments of `snapshot`.
#[derive(Debug, Args)]
pub struct SnapshotArgs {
    /// The box; it must not run
    #[arg(value_name = "BOX", add = ArgValueCompleter::new(candidates::boxes))]
    pub name: String,
    /// What to call it [default: the time]
    #[arg(value_name = "NAME")]
    pub snapshot: Option<String>,
}

/// Arguments of `snapshots`.
#[derive(Debug, Args)]
pub struct SnapshotsArgs {
    /// The box
    #[arg(value_name = "BOX", add = ArgValueCompleter::new(candidates::boxes))]
    pub name: String,
    /// Remove this snapshot instead
    #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(candidates::snapshots))]
    pub remove: Vec<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Arguments of `rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The box; it must not run
    #[arg(value_name = "BOX", add = ArgValueCompleter::new(candidates::boxes))]
    pub name: String,
    /// The snapshot
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(candidates::snapshots))]
    pub snapshot: String,
}

/// Arguments of `clone`.
#[derive(Debug, Args)]
pub struct CloneArgs {
    /// The box; it must not run
    #[arg(value_name = "BOX", add = ArgValueCompleter::new(candidates::boxes))]
    pub name: String,
    /// Name of the new one
    #[arg(value_name = "NEW")]
    pub new: String,
}

/// Arguments of `rename`.
#[derive(Debug, Args)]
pub struct RenameArgs {
    /// The box; it must not run
    #[arg(value_name = "BOX", add = ArgValueCompleter::new(candidates::boxes))]
    pub name: String,
    /// Its new name
    #[arg(value_name = "NEW")]
    pub new: String,
}

/// Arguments of `reset`.
#[derive(Debug, Args)]
pub struct ResetArgs {
    /// The box; it must not run
    #[arg(value_name = "BOX", add = ArgValueCompleter::new(candidates::boxes))]
    pub name: String,
    /// Paths in the box [default: all of it]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Empty the private home, too
    #[arg(long, conflicts_with = "paths")]
    pub home: bool,
}

/// Arguments of `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The box; it must not run
    #[arg(value_name = "BOX", add = ArgValueCompleter::new(candidates::boxes))]
    pub name: String,
    /// Where to; `-` is standard output
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Put its image in, so that it need not be fetched there
    #[arg(long)]
    pub with_image: bool,
}

/// Arguments of `import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The archive; `-` is standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// What to call the box [default: as it was called]
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

/// Arguments of `commit`.
#[derive(Debug, Args)]
pub struct CommitArgs {
    /// The box; it must not run
    #[arg(value_name = "BOX", add = ArgValueCompleter::new(candidates::boxes))]
    pub name: String,
    /// What to call the image
    #[arg(value_name = "REF", add = ArgValueCompleter::new(candidates::images))]
    pub reference: String,
    /// Set a variable of the image
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Command of the image: a list in JSON, or a line for its shell
    #[arg(long, value_name = "CMD")]
    pub cmd: Option<String>,
    /// What the command is an argument of: a list in JSON, or a line for its shell
    #[arg(long, value_name = "CMD")]
    pub entrypoint: Option<String>,
    /// User of the image: a name or UID[:GID]
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// Working directory of the image
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Label of the image
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub label: Vec<String>,
    /// Who made it
    #[arg(short, long, value_name = "NAME")]
    pub author: Option<String>,
    /// What was done, for its history
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

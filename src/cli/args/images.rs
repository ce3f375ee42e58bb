//! Arguments of the verbs that are about images, registries and the store.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use clap_complete::engine::ArgValueCompleter;

use crate::cli::{Format, candidates};

/// Arguments of `pull`.
#[derive(Debug, Args)]
pub struct PullArgs {
    /// Images to fetch, for example debian:12 or oci-archive:FILE
    #[arg(required = true, value_name = "REF", add = ArgValueCompleter::new(candidates::images))]
    pub references: Vec<String>,
    /// Platform to fetch [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<String>,
}

/// Arguments of `load`.
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// Archive or layout folder [default: standard input]
    #[arg(value_name = "FILE", value_hint = ValueHint::AnyPath)]
    pub path: Option<PathBuf>,
    /// The same, as other tools have it
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::AnyPath, conflicts_with = "path")]
    pub input: Option<PathBuf>,
    /// Call the image by this name; for archives with one image
    #[arg(short, long, value_name = "REF")]
    pub tag: Option<String>,
    /// Platform to take, where there are several [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<String>,
}

/// Arguments of `save`.
#[derive(Debug, Args)]
pub struct SaveArgs {
    /// Images to write: references, or digests of manifests (twelve digits are enough)
    #[arg(required = true, value_name = "REF", add = ArgValueCompleter::new(candidates::images))]
    pub references: Vec<String>,
    /// File to write, replaced when it is there [default: standard output, when it is no terminal]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
}

/// Arguments of `push`.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// Image to send: a reference, or a digest of a manifest (twelve digits are enough)
    #[arg(value_name = "REF", add = ArgValueCompleter::new(candidates::images))]
    pub image: String,
    /// Where to [default: where REF says]
    #[arg(value_name = "TO", add = ArgValueCompleter::new(candidates::images))]
    pub to: Option<String>,
}

/// Arguments of `tag`.
#[derive(Debug, Args)]
pub struct TagArgs {
    /// Image: a reference, or a digest of a manifest (twelve digits are enough)
    #[arg(value_name = "REF", add = ArgValueCompleter::new(candidates::images))]
    pub image: String,
    /// Names to give it
    #[arg(required = true, value_name = "NAME", add = ArgValueCompleter::new(candidates::images))]
    pub names: Vec<String>,
}

/// Arguments of `rmi`.
#[derive(Debug, Args)]
pub struct RmiArgs {
    /// References, or digests of manifests (twelve digits are enough)
    #[arg(required = true, value_name = "REF", add = ArgValueCompleter::new(candidates::images))]
    pub references: Vec<String>,
}

/// Arguments of `login`.
#[derive(Debug, Args)]
pub struct LoginArgs {
    /// Registry, or a part of one
    #[arg(default_value = DOCKER, add = ArgValueCompleter::new(candidates::registries))]
    pub registry: String,
    /// Who you are there; asked for on a terminal when left out
    #[arg(short, long, value_name = "NAME")]
    pub username: Option<String>,
    /// Read the password from standard input instead of asking for it
    #[arg(long)]
    pub password_stdin: bool,
}

/// Arguments of `logout`.
#[derive(Debug, Args)]
pub struct LogoutArgs {
    /// Registry, or a part of one
    #[arg(default_value = DOCKER, add = ArgValueCompleter::new(candidates::registries))]
    pub registry: String,
    /// Forget every login
    #[arg(short, long, conflicts_with = "registry")]
    pub all: bool,
}

const DOCKER: &str = "docker.io";

/// Arguments of `prune`.
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Also images that have a name, when no box is made of them
    #[arg(short, long)]
    pub all: bool,
    /// Also caches of `mode = "cache"`, but for those of running boxes
    #[arg(long)]
    pub caches: bool,
    /// Only caches that no box took for so many days
    #[arg(long, value_name = "DAYS", requires = "caches")]
    pub older_than: Option<u32>,
    /// Only say what would be removed
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Only these images [default: all]
    #[arg(value_name = "REF", add = ArgValueCompleter::new(candidates::images))]
    pub references: Vec<String>,
    /// Fetch again what is damaged
    #[arg(long)]
    pub repair: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

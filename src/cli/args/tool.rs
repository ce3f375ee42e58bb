//! Arguments of the verbs that are about devbox itself and its plans.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use clap_complete::engine::ArgValueCompleter;

use crate::cli::{Format, PlanFlags, candidates, completion};

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Box or profile [default: the project's profile]
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(candidates::boxes_and_profiles))]
    pub target: Option<String>,
    /// Changes to the profile.
    #[command(flatten)]
    pub plan: PlanFlags,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Arguments of `trust`.
#[derive(Debug, Args)]
pub struct TrustArgs {
    /// List what was accepted, for all projects
    #[arg(long, conflicts_with = "untrusted")]
    pub list: bool,
    /// Ask about what its untrusted box wants: a network, ports
    #[arg(long)]
    pub untrusted: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Arguments of `untrust`.
#[derive(Debug, Args)]
pub struct UntrustArgs {
    /// The project's file, or its folder [default: this project's]
    #[arg(value_name = "FILE|DIR", add = ArgValueCompleter::new(candidates::trusted))]
    pub file: Option<PathBuf>,
    /// All projects
    #[arg(long, conflicts_with = "file")]
    pub all: bool,
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: completion::Shell,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Folder for one page a verb; without it the main page is printed
    #[arg(long, value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}

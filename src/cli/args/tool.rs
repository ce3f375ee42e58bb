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

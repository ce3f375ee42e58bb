//! Arguments of the verbs that are about devbox itself and its plans.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};
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

/// Arguments of `config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: ConfigVerb,
}

/// What `config` does.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Print a profile with all it extends merged in, as TOML
    Show(ShowArgs),
    /// Print the JSON Schema of devbox.toml, for editors
    Schema,
}

/// Arguments of `config show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Box or profile [default: the project's profile]
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(candidates::boxes_and_profiles))]
    pub target: Option<String>,
    /// Use this profile file instead of looking for one
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "target")]
    pub profile: Option<PathBuf>,
    /// Say of each value where it came from: file and line, or what else had the word
    #[arg(long)]
    pub origin: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: ConfigFormat,
}

/// How a profile is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ConfigFormat {
    /// A profile again.
    #[default]
    Toml,
    /// For programs.
    Json,
}

/// Arguments of `hook`.
#[derive(Debug, Args)]
pub struct HookArgs {
    /// The shell
    #[arg(value_enum, required_unless_present = "left")]
    pub shell: Option<completion::Shell>,
    /// Print where the box that the shell with this pid entered was left to, once
    #[arg(long, value_name = "PID", hide = true, conflicts_with = "shell")]
    pub left: Option<u32>,
}

/// Arguments of `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The project's folder [default: this one]
    #[arg(value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
    /// Print it instead of writing it
    #[arg(long)]
    pub print: bool,
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell; with --install yours, when none is given
    #[arg(value_enum, required_unless_present = "install")]
    pub shell: Option<completion::Shell>,
    /// Write the script where the shell looks for it, and print the path
    #[arg(long)]
    pub install: bool,
    /// Write it over a file that is not devbox's
    #[arg(short, long, requires = "install")]
    pub force: bool,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Put them where man(1) finds those of this user
    #[arg(long, conflicts_with = "dir")]
    pub install: bool,
    /// Write all of them into this folder; without it the main page is printed
    #[arg(long, value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}

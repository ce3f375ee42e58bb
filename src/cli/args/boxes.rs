//! Arguments of the verbs that are about boxes at work.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueHint};
use clap_complete::engine::ArgValueCompleter;

use crate::cli::{Format, PlanFlags, PullPolicy, candidates, words};

/// Arguments of verbs that only list.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Arguments of `enter`.
#[derive(Debug, Default, Args)]
pub struct EnterArgs {
    /// Box or profile [default: the project's profile]
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(candidates::boxes_and_profiles))]
    pub target: Option<String>,
    /// When to fetch the image of a box that is made
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub pull: PullPolicy,
    /// Open a shell in what the failed step of a set-up left, as root; what is done there is not kept
    #[arg(long)]
    pub at_failure: bool,
    /// Enter for the hook of the shell with this pid, which asks, fetches and makes nothing
    #[arg(long, value_name = "PID", hide = true, conflicts_with_all = ["target", "pull"])]
    pub hook: Option<u32>,
    /// Changes to the profile.
    #[command(flatten)]
    pub plan: PlanFlags,
}

/// How its words may stand.
pub(in crate::cli) const RUN_USAGE: &str = "devbox run [OPTIONS] [NAME] [--] [COMMAND [ARG]...]
       devbox run [OPTIONS] --image <REF> [--] [COMMAND [ARG]...]";

/// Arguments of `run`.
#[derive(Debug, Default, Args)]
pub struct RunArgs {
    /// Box or profile, then the command and its arguments
    #[arg(value_name = "WORD", trailing_var_arg = true, value_hint = ValueHint::CommandWithArguments)]
    #[arg(add = ArgValueCompleter::new(words::Candidates))]
    pub(in crate::cli) words: Vec<OsString>,
    /// Remove the box when the command ends; nothing it wrote is kept
    #[arg(long)]
    pub rm: bool,
    /// Run it in N untrusted boxes at once, called NAME.1 to NAME.N, each over the project as it is now
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    #[arg(conflicts_with_all = ["rm", "apply", "discard", "out"])]
    pub forks: Option<u32>,
    /// What becomes of what an untrusted box wrote to the project.
    #[command(flatten)]
    pub after: AfterFlags,
    /// When to fetch the image of a box that is made
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub pull: PullPolicy,
    /// Changes to the profile.
    #[command(flatten)]
    pub plan: PlanFlags,
    /// The box or profile among the words; see [`Cli::read`].
    #[arg(skip)]
    pub target: Option<String>,
    /// The command among the words; empty for the image's own.
    #[arg(skip)]
    pub command: Vec<OsString>,
}

/// What `run` does with an untrusted box's project when the command has ended.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "What becomes of an untrusted box's project")]
pub struct AfterFlags {
    /// Apply what the box wrote to the project, when the command ends with 0
    #[arg(long)]
    pub apply: bool,
    /// Drop what the box wrote to the project, however the command ends; with --apply, what is left of it
    #[arg(long)]
    pub discard: bool,
    /// Copy paths of the project, as the box sees them, into DIR when the command ends with 0; may be given again
    #[arg(long, value_name = "DIR:PATH[:PATH]...", value_hint = ValueHint::DirPath)]
    pub out: Vec<String>,
}

impl AfterFlags {
    /// Whether anything of what the box wrote is to outlive it.
    pub fn takes(&self) -> bool {
        self.apply || !self.out.is_empty()
    }
}

/// Arguments of `rm`.
#[derive(Debug, Args)]
pub struct RmArgs {
    /// Boxes to remove
    #[arg(required_unless_present = "all", add = ArgValueCompleter::new(candidates::boxes))]
    pub names: Vec<String>,
    /// End running boxes first, and drop what was not applied, without asking
    #[arg(short, long)]
    pub force: bool,
    /// Remove every box
    #[arg(short, long, conflicts_with = "names")]
    pub all: bool,
}

/// Arguments of `stop`.
#[derive(Debug, Args)]
pub struct StopArgs {
    /// Boxes to stop
    #[arg(required_unless_present = "all", add = ArgValueCompleter::new(candidates::boxes))]
    pub names: Vec<String>,
    /// Stop every box
    #[arg(short, long, conflicts_with = "names")]
    pub all: bool,
}

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The box
    #[arg(add = ArgValueCompleter::new(candidates::boxes))]
    pub name: String,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Arguments of `logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The box [default: that of this folder]
    #[arg(value_name = "BOX", add = ArgValueCompleter::new(candidates::boxes))]
    pub name: Option<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Arguments of `why`.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// The box [default: that of this folder]
    #[arg(value_name = "BOX", add = ArgValueCompleter::new(candidates::boxes))]
    pub name: Option<String>,
    /// Whether the box has this path of the host, and why not
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub path: Option<PathBuf>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

//! Arguments of the verbs that are about a project.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use crate::cli::{Format, PlanFlags, candidates};

/// Arguments of `lock`.
#[derive(Debug, Args)]
pub struct LockArgs {
    /// Write nothing; fail when the lock is not up to date
    #[arg(long)]
    pub check: bool,
}

/// Arguments of `outdated`.
#[derive(Debug, Args)]
pub struct OutdatedArgs {
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Arguments of `setup`.
#[derive(Debug, Args)]
pub struct SetupArgs {
    /// Box or profile [default: the project's profile]
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(candidates::boxes_and_profiles))]
    pub target: Option<String>,
    /// Send the results to the `cache` of the profile
    #[arg(long)]
    pub push: bool,
    /// Do this step and those after it again, although their results are here; counted from 1
    #[arg(long, value_name = "STEP", value_parser = clap::value_parser!(u16).range(1..))]
    #[arg(add = ArgValueCompleter::new(candidates::steps))]
    pub again: Option<u16>,
    /// Print what a step printed when it last ran here; without STEP, what all of them did
    #[arg(long, value_name = "STEP", num_args = 0..=1, default_missing_value = "0", conflicts_with_all = ["push", "again"])]
    #[arg(add = ArgValueCompleter::new(candidates::steps))]
    pub log: Option<u16>,
    /// Changes to the profile.
    #[command(flatten)]
    pub plan: PlanFlags,
}

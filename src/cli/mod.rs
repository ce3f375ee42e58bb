//! The command line as typed: definitions only. Help, completions and man pages are made from them.

mod args;
mod candidates;
pub mod completion;
mod daily;
mod flags;
mod help;
mod words;

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::ui::{Color, LogFormat};

pub use args::{
    AfterFlags, ApplyArgs, CloneArgs, CommitArgs, CompletionsArgs, ConfigArgs, ConfigFormat, ConfigVerb,
    DiffArgs, DiscardArgs, EnterArgs, ExportArgs, HookArgs, ImportArgs, InitArgs, InspectArgs, ListArgs,
    LoadArgs, LockArgs, LoginArgs, LogoutArgs, LogsArgs, ManArgs, OutdatedArgs, PlanArgs, PruneArgs,
    PullArgs, PushArgs, RenameArgs, ResetArgs, RmArgs, RmiArgs, RollbackArgs, RunArgs, SaveArgs, SetupArgs,
    ShowArgs, SnapshotArgs, SnapshotsArgs, StopArgs, TagArgs, TrustArgs, UntrustArgs, UpdateArgs, VerifyArgs,
    WhyArgs,
};
pub use completion::Shell;
pub use flags::PlanFlags;

use args::RUN_USAGE;

/// Rootless developer boxes made from images
#[derive(Debug, Parser)]
#[command(name = "devbox", version, after_long_help = help::TOP, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
    /// What holds for all verbs.
    #[command(flatten)]
    pub everywhere: Everywhere,
    /// The same as --verbose, before the verb
    #[arg(short, conflicts_with = "quiet", help_heading = GLOBAL)]
    v: bool,
}

/// Flags that may stand anywhere.
#[derive(Debug, Default, Args)]
pub struct Everywhere {
    /// Print data alone: no notes, no progress; lists print names
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    pub quiet: bool,
    /// Say more about what is done: the plan of a box, and how long each step takes; before the verb -v is the same
    ///
    /// After the verb -v may be something else: for enter, run and plan it mounts a folder.
    #[arg(long, global = true, conflicts_with = "quiet", help_heading = GLOBAL)]
    pub verbose: bool,
    /// Answer yes to every question; what a project asks for is accepted for good by it
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    pub yes: bool,
    /// When to color
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN", help_heading = GLOBAL)]
    pub color: Color,
    /// How to write what is said on standard error
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT", help_heading = GLOBAL)]
    pub log_format: LogFormat,
}

const GLOBAL: &str = "Everywhere";

/// One verb with its arguments.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Open a shell in a box, making it first when it is new
    #[command(after_long_help = help::ENTER)]
    Enter(EnterArgs),
    /// Run a command in a box
    #[command(after_long_help = help::RUN, override_usage = RUN_USAGE)]
    Run(RunArgs),
    /// List boxes (`list` is the same)
    #[command(alias = "list")]
    Ls(ListArgs),
    /// Remove boxes and all that is in them
    #[command(after_long_help = help::RM)]
    Rm(RmArgs),
    /// End every session of boxes
    #[command(after_long_help = help::STOP)]
    Stop(StopArgs),
    /// Show all that is known about a box
    Inspect(InspectArgs),
    /// Show what was decided about a box from outside
    #[command(after_long_help = help::LOGS)]
    Logs(LogsArgs),
    /// Explain what was refused in a box, and what would allow it
    #[command(after_long_help = help::WHY)]
    Why(WhyArgs),
    /// Show what a box changed in its image
    #[command(after_long_help = help::DIFF)]
    Diff(DiffArgs),
    /// Take what an untrusted box wrote to its project over into the project
    #[command(after_long_help = help::APPLY)]
    Apply(ApplyArgs),
    /// Drop what an untrusted box wrote to its project
    #[command(after_long_help = help::DISCARD)]
    Discard(DiscardArgs),
    /// Put a box over the newest of its image
    #[command(after_long_help = help::UPDATE)]
    Update(UpdateArgs),
    /// Keep a box as it is, to come back to
    #[command(after_long_help = help::SNAPSHOT)]
    Snapshot(SnapshotArgs),
    /// List what was kept of a box, or remove some of it
    #[command(after_long_help = help::SNAPSHOTS)]
    Snapshots(SnapshotsArgs),
    /// Take a box back to a snapshot
    #[command(after_long_help = help::ROLLBACK)]
    Rollback(RollbackArgs),
    /// Make a box that has the same files as another
    #[command(after_long_help = help::CLONE)]
    Clone(CloneArgs),
    /// Take back what was changed in a box, or in paths of it
    #[command(after_long_help = help::RESET)]
    Reset(ResetArgs),
    /// Give a box another name
    #[command(after_long_help = help::RENAME)]
    Rename(RenameArgs),
    /// Write a whole box to an archive, for another machine
    #[command(after_long_help = help::EXPORT)]
    Export(ExportArgs),
    /// Make a box of such an archive
    #[command(after_long_help = help::IMPORT)]
    Import(ImportArgs),
    /// Make an image of a box
    #[command(after_long_help = help::COMMIT)]
    Commit(CommitArgs),
    /// Write a devbox.toml for the project in a folder
    #[command(after_long_help = help::INIT)]
    Init(InitArgs),
    /// Show what would be done, without doing it
    #[command(after_long_help = help::PLAN)]
    Plan(PlanArgs),
    /// Keep what the project's image and set-up are, so that all have the same
    #[command(after_long_help = help::LOCK)]
    Lock(LockArgs),
    /// Show which images of the lock are not the newest any more
    #[command(after_long_help = help::OUTDATED)]
    Outdated(OutdatedArgs),
    /// Do the set-up of the project, send its results, or show what its steps printed
    #[command(after_long_help = help::SETUP)]
    Setup(SetupArgs),
    /// Accept what this folder's project wants beyond its own folder
    #[command(after_long_help = help::TRUST)]
    Trust(TrustArgs),
    /// Take back what a project was allowed
    #[command(after_long_help = help::UNTRUST)]
    Untrust(UntrustArgs),
    /// List profiles and where each comes from
    Profiles(ListArgs),
    /// Show what a profile comes to, and how profiles are written
    #[command(after_long_help = help::CONFIG)]
    Config(ConfigArgs),
    /// Fetch images
    #[command(after_long_help = help::PULL)]
    Pull(PullArgs),
    /// List images
    Images(ListArgs),
    /// Read images from an archive or a layout
    #[command(after_long_help = help::LOAD)]
    Load(LoadArgs),
    /// Write images to an archive
    #[command(after_long_help = help::SAVE)]
    Save(SaveArgs),
    /// Send an image to a registry
    #[command(after_long_help = help::PUSH)]
    Push(PushArgs),
    /// Give an image a further name
    #[command(after_long_help = help::TAG)]
    Tag(TagArgs),
    /// Remove images
    #[command(after_long_help = help::RMI)]
    Rmi(RmiArgs),
    /// Log in to a registry
    #[command(after_long_help = help::LOGIN)]
    Login(LoginArgs),
    /// Forget the login to a registry
    #[command(after_long_help = help::LOGOUT)]
    Logout(LogoutArgs),
    /// Take away what no image, box or running command needs
    #[command(after_long_help = help::PRUNE)]
    Prune(PruneArgs),
    /// Show what takes how much of the disk
    #[command(after_long_help = help::DF)]
    Df(ListArgs),
    /// Let equal files of different layers share the disk
    #[command(after_long_help = help::DEDUPE)]
    Dedupe(ListArgs),
    /// Check that everything in the store is as it was fetched
    #[command(after_long_help = help::VERIFY)]
    Verify(VerifyArgs),
    /// Check whether this machine can run boxes, and say how to mend what is missing
    #[command(after_long_help = help::DOCTOR)]
    Doctor(ListArgs),
    /// Print what makes a shell enter a project's box with its folder
    #[command(after_long_help = help::HOOK)]
    Hook(HookArgs),
    /// Print a completion script for a shell, or install it
    #[command(after_long_help = help::COMPLETIONS)]
    Completions(CompletionsArgs),
    /// Print or write the man pages
    #[command(after_long_help = help::MAN)]
    Man(ManArgs),
}

/// How a listing is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// When an image is fetched for a box that is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum PullPolicy {
    /// When it is not here
    #[default]
    Missing,
    /// Always ask the registry, and fail when it can't be asked
    Always,
    /// Ask the registry, and take what is here when it can't be asked
    Newer,
    /// Never: take what is here or fail
    Never,
}

impl Cli {
    /// Reads a command line, program name first. An error holds the text to print: a complaint, or the help
    /// that was asked for.
    pub fn read(argv: &[OsString]) -> Result<Self, clap::Error> {
        let mut cli = daily::read(argv).map_or_else(|| Self::try_parse_from(argv), Ok)?;
        cli.everywhere.verbose |= cli.v;
        let Verb::Run(run) = &mut cli.verb else { return Ok(cli) };
        let has_image = run.plan.image.is_some();
        match words::read(argv, std::mem::take(&mut run.words), has_image) {
            words::Reading::Done { name, command } => {
                run.target = name.map(utf8).transpose()?;
                run.command = command;
                Ok(cli)
            }
            words::Reading::FlagsAfterName { name, argv } => {
                let mut cli = daily::read(&argv).map_or_else(|| Self::try_parse_from(&argv), Ok)?;
                cli.everywhere.verbose |= cli.v;
                if let Verb::Run(run) = &mut cli.verb {
                    run.target = Some(utf8(name)?);
                    run.command = std::mem::take(&mut run.words);
                }
                Ok(cli)
            }
        }
    }
}

/// The wish for color, or for a form of the log, in a command line that could not be read otherwise.
pub fn wish<T: ValueEnum + Default>(argv: &[OsString], flag: &str) -> T {
    let mut words = argv.iter().filter_map(|word| word.to_str()).take_while(|word| *word != "--");
    let mut found = T::default();
    while let Some(word) = words.next() {
        let wish = match word.strip_prefix(flag).and_then(|rest| rest.strip_prefix('=')) {
            None if word == flag => words.next(),
            wish => wish,
        };
        if let Some(wish) = wish.and_then(|wish| T::from_str(wish, false).ok()) {
            found = wish;
        }
    }
    found
}

fn utf8(name: OsString) -> Result<String, clap::Error> {
    name.into_string().map_err(|name| {
        let what = format!("`{}` is not the name of a box or profile", name.display());
        Cli::command().error(ErrorKind::InvalidUtf8, what)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_and_verb_has_help() {
        fn check(command: &clap::Command) {
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
            for verb in command.get_subcommands() {
                assert!(verb.get_about().is_some(), "{}", verb.get_name());
                check(verb);
            }
        }
        check(&Cli::command());
    }

    #[test]
    fn habits() {
        for line in [
            "devbox enter",
            "devbox enter rust-env --root",
            "devbox enter -e A=b -e C -v /a:/b:ro -w /b --network none --home none --ids full --yes",
            "devbox list --format json",
            "devbox -q ls",
            "devbox rm -f a b",
            "devbox rm -f --all",
            "devbox stop a",
            "devbox plan --image debian:12 --platform linux/arm64 --user 1000:1000 --driver overlay",
            "devbox plan --profile f.toml --project . --name x --hostname h --shell zsh",
            "devbox pull a b --color never",
            "devbox run --pull=never --image a true",
            "devbox enter --pull newer",
            "devbox prune --all -n --format json",
            "devbox df --format json",
            "devbox verify --repair a b",
            "devbox completions zsh",
            "devbox man --dir /tmp",
        ] {
            let argv: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            Cli::read(&argv).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        for line in [
            "devbox",
            "devbox nonsense",
            "devbox rm",
            "devbox rm --all a",
            "devbox enter a b",
            "devbox enter --root --user x",
            "devbox enter --project . --no-project",
            "devbox enter --ids many",
            "devbox ls --format yaml",
            "devbox -q --verbose ls",
        ] {
            let argv: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert!(Cli::read(&argv).is_err(), "{line}");
        }
    }
}

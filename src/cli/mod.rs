//! The command line as typed: definitions only. Help, completions and man pages are made from them.

mod candidates;
pub mod completion;
mod daily;
mod flags;
mod help;
mod words;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::engine::ArgValueCompleter;

use crate::ui::Color;

pub use flags::PlanFlags;

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
}

/// Flags that may stand anywhere.
#[derive(Debug, Default, Args)]
pub struct Everywhere {
    /// Print data alone: no notes, no progress; lists print names
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    pub quiet: bool,
    /// Say more about what is done
    #[arg(long, global = true, conflicts_with = "quiet", help_heading = GLOBAL)]
    pub verbose: bool,
    /// Answer yes to every question
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    pub yes: bool,
    /// When to color
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN", help_heading = GLOBAL)]
    pub color: Color,
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
    /// Show what would be done, without doing it
    #[command(after_long_help = help::PLAN)]
    Plan(PlanArgs),
    /// List profiles and where each comes from
    Profiles(ListArgs),
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
    /// Print a completion script for a shell
    #[command(after_long_help = help::COMPLETIONS)]
    Completions(CompletionsArgs),
    /// Write the man pages
    #[command(hide = true)]
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
    /// Changes to the profile.
    #[command(flatten)]
    pub plan: PlanFlags,
}

const RUN_USAGE: &str = "devbox run [OPTIONS] [NAME] [--] [COMMAND [ARG]...]
       devbox run [OPTIONS] --image <REF> [--] [COMMAND [ARG]...]";

/// Arguments of `run`.
#[derive(Debug, Default, Args)]
pub struct RunArgs {
    /// Box or profile, then the command and its arguments
    #[arg(value_name = "WORD", trailing_var_arg = true, value_hint = ValueHint::CommandWithArguments)]
    #[arg(add = ArgValueCompleter::new(words::Candidates))]
    words: Vec<OsString>,
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

impl Cli {
    /// Reads a command line, program name first. An error holds the text to print: a complaint, or the help
    /// that was asked for.
    pub fn read(argv: &[OsString]) -> Result<Self, clap::Error> {
        let mut cli = daily::read(argv).map_or_else(|| Self::try_parse_from(argv), Ok)?;
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
                if let Verb::Run(run) = &mut cli.verb {
                    run.target = Some(utf8(name)?);
                    run.command = std::mem::take(&mut run.words);
                }
                Ok(cli)
            }
        }
    }
}

/// The wish for color in a command line that could not be read otherwise.
pub fn color(argv: &[OsString]) -> Color {
    let mut words = argv.iter().filter_map(|word| word.to_str()).take_while(|word| *word != "--");
    let mut color = Color::default();
    while let Some(word) = words.next() {
        let wish = match word.strip_prefix("--color=") {
            None if word == "--color" => words.next(),
            wish => wish,
        };
        color = wish.and_then(|wish| Color::from_str(wish, false).ok()).unwrap_or(color);
    }
    color
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

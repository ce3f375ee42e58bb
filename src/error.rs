//! What a verb can fail with: the errors of the floors below, each with its words, state, hint and exit code.

mod lock;
mod setup;

use std::io;
use std::path::PathBuf;

pub use lock::LockError;
pub use setup::SetupError;

use crate::cmd;
use crate::dirs;
use crate::fetch;
use crate::gate;
use crate::limits::{Holder, Limit};
use crate::mount::Driver;
use crate::oci;
use crate::oci::platform::NotAPlatform;
use crate::oci::reference::NotAReference;
use crate::plan;
use crate::plan::Isolation;
use crate::probe;
use crate::profile;
use crate::pull;
use crate::push;
use crate::rootfs;
use crate::session;
use crate::store;
use crate::trusted;
use crate::ui::{self, Ui};
use crate::userns;

/// devbox itself failed. The codes above it belong to the command in the box (126, 127, 128+n).
pub const OURS: u8 = 125;

/// The exit code of this process. The standard library's can't be read again, and `main` is ours ([`crate::sys::entry`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitCode(u8);

impl ExitCode {
    /// All is well.
    pub const SUCCESS: Self = Self(0);
}

impl From<u8> for ExitCode {
    fn from(code: u8) -> Self {
        Self(code)
    }
}

impl From<ExitCode> for u8 {
    fn from(code: ExitCode) -> Self {
        code.0
    }
}

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller's folders can't be used.
    #[error(transparent)]
    Dirs(#[from] dirs::Error),
    /// The answer could not be written.
    #[error(transparent)]
    Output(#[from] ui::Error),
    /// A word of the command line is not an image reference.
    #[error(transparent)]
    Reference(#[from] NotAReference),
    /// A word of the command line is not a platform.
    #[error(transparent)]
    Platform(#[from] NotAPlatform),
    /// A short name could mean several images, and nobody says which.
    #[error("`{}` may be {}", .name.escape_debug(), .meanings.join(" or "))]
    SeveralMeanings {
        /// The name.
        name: String,
        /// The images.
        meanings: Vec<String>,
    },
    /// What a short name means can't be told.
    #[error("cannot tell which image `{}` is: {fault}", .name.escape_debug())]
    ShortName {
        /// The name.
        name: String,
        /// What is wrong with the settings.
        fault: fetch::Fault,
    },
    /// The host's facts can't be had.
    #[error(transparent)]
    Probe(#[from] probe::Error),
    /// No profile to work with.
    #[error(transparent)]
    Profile(#[from] profile::Error),
    /// The caller's proxy is none that a box with `allow` can use.
    #[error(transparent)]
    Proxy(#[from] gate::WrongProxy),
    /// Profile, flags and host do not go together.
    #[error(transparent)]
    Plan(#[from] plan::Error),
    /// A project's lock can't be made, or is not kept to.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A set-up is not done.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// An image could not be saved or pushed.
    #[error(transparent)]
    Push(#[from] push::Error),
    /// An archive can't be made at its place.
    #[error("cannot write {}", .path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An image without a name in a registry was to be pushed nowhere.
    #[error("`{}` does not say where to push to", .0.escape_debug())]
    PushWhere(String),
    /// An archive would go to the terminal.
    #[error("an archive is not written to a terminal")]
    ArchiveOnTerminal,
    /// An image could not be fetched.
    #[error(transparent)]
    Pull(#[from] pull::Error),
    /// A login could not be made or taken back.
    #[error(transparent)]
    Login(#[from] fetch::LoginError),
    /// A box's own files are in the form of another driver.
    #[error("box `{name}` was made with the driver `{made_with}` and can't go over to `{wanted}`")]
    OtherDriver {
        /// The box.
        name: String,
        /// The driver of its files.
        made_with: Driver,
        /// The one asked for.
        wanted: Driver,
    },
    /// A box's own files could not be brought into another driver's form.
    #[error("cannot prepare the files of box `{name}` for the driver `overlay`: {why}")]
    Upper {
        /// The box.
        name: String,
        /// Why.
        why: String,
    },
    /// A box has a file that fuse-overlayfs would take for a deletion.
    #[error("box `{name}` can't go over to the driver `fuse`, which would hide `{}` in it: there, `.wh.` stands for a deletion", .path.display())]
    HiddenByFuse {
        /// The box.
        name: String,
        /// In the box.
        path: PathBuf,
    },
    /// A box's own files could not be given to whom they belong under other ids.
    #[error("cannot give the files of box `{name}` to their owners: {why}")]
    Owners {
        /// The box.
        name: String,
        /// Why.
        why: String,
    },
    /// Something has to be said, and there is no terminal to ask on.
    #[error("no {0} was given")]
    NobodyToAsk(&'static str),
    /// A limit can only be held by best effort, and more was asked for.
    #[error("{limit} of box `{name}` can't be held exactly at {}: {}", .limit.shown(*.amount), inexact_words(*.limit, *.by))]
    Inexact {
        /// The box.
        name: String,
        /// What is limited.
        limit: Limit,
        /// To how much.
        amount: u64,
        /// What could hold it.
        by: Holder,
    },
    /// A box or a session in it failed.
    #[error(transparent)]
    Session(#[from] session::Error),
    /// A box's root can't be laid out.
    #[error(transparent)]
    Rootfs(#[from] rootfs::Error),
    /// An image's configuration makes no sense.
    #[error(transparent)]
    Config(#[from] oci::config::Error),
    /// An image was removed while it was about to be used.
    #[error("the image `{0}` was removed by another devbox just after it was fetched")]
    Vanished(String),
    /// An image is missing, and must not be fetched.
    #[error("the image `{0}` is not here, or not whole, and `--pull never` fetches nothing")]
    NotHere(String),
    /// `--rm` with the name of a box that is kept.
    #[error("box `{0}` is there already, and `--rm` would remove it")]
    NotThrowAway(String),
    /// A box keeps the image it was made from.
    #[error("box `{name}` was made from {made_from}, not from {wanted}")]
    OtherImage {
        /// The box.
        name: String,
        /// Its image.
        made_from: String,
        /// The one asked for now.
        wanted: String,
    },
    /// A box keeps the isolation it was made for.
    #[error("box `{name}` was made for isolation `{made_for}` and is never entered as `{wanted}`")]
    OtherIsolation {
        /// The box.
        name: String,
        /// Its isolation.
        made_for: Isolation,
        /// The one asked for now.
        wanted: Isolation,
    },
    /// The files a box's image came from hold another one now, and its layers are gone.
    #[error("layers of box `{name}` are missing, and {image} is another image now")]
    OtherImageNow {
        /// The box.
        name: String,
        /// Where its image came from.
        image: String,
    },
    /// A word of the command line names no image.
    #[error(transparent)]
    Image(#[from] profile::BadValue),
    /// A name with a digest was to be given.
    #[error("`{}` has a digest, which names one image for good", .0.escape_debug())]
    DigestAsName(String),
    /// `load` without a file, and nothing is piped in.
    #[error("no archive: standard input is the terminal")]
    NothingToLoad,
    /// Standard input can't be used.
    #[error("cannot read standard input")]
    Input(#[source] io::Error),
    /// A box of this name belongs to another project.
    #[error("box `{name}` belongs to the project of {file}")]
    OtherProject {
        /// The box.
        name: String,
        /// The other project's profile.
        file: String,
    },
    /// A project's file asks for more than its folder, nobody said yes, and there is no one to ask.
    #[error("`{}` asks for more than its own folder: it {reaches}", .file.escape_debug())]
    NotAccepted {
        /// The project's file.
        file: String,
        /// What it asks for.
        reaches: String,
        /// Whether that is for an untrusted box.
        untrusted: bool,
    },
    /// What was accepted could not be written down, or taken back.
    #[error(transparent)]
    Trusted(#[from] trusted::Error),
    /// An archive's box would read files of the host, nobody said yes, and there is no one to ask.
    #[error("the box of {} {reaches}", .file.escape_debug())]
    ArchiveNotAccepted {
        /// The archive.
        file: String,
        /// What it does.
        reaches: String,
    },
    /// There is no project to ask about.
    #[error("there is no `devbox.toml` in this folder or above it")]
    NoProjectFile,
    /// Nothing of a project was accepted.
    #[error("nothing was accepted for `{}`", .file.escape_debug())]
    NotTrusted {
        /// The project's file.
        file: String,
    },
    /// A project's file asks for more than its folder, and the answer was no.
    #[error("what `{}` asks for was not accepted", .file.escape_debug())]
    Declined {
        /// The project's file.
        file: String,
    },
    /// The first word after `run` names nothing; perhaps it was meant as a command.
    #[error("{error}")]
    NoTarget {
        /// What is wrong with it as a name.
        error: Box<Self>,
        /// The word.
        word: String,
    },
    /// No second process for what is done in the background.
    #[error("cannot start a process in the background")]
    Background(#[source] io::Error),
    /// The beginning of a digest fits more than one image.
    #[error("more than one image's digest begins with `{}`", .name.escape_debug())]
    Ambiguous {
        /// What was asked for.
        name: String,
    },
    /// What a box stands on can't be told.
    #[error("cannot read {}", .path.display())]
    Box {
        /// The box's record.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A process with the ids of a box failed.
    #[error(transparent)]
    Userns(#[from] userns::Error),
    /// Layers a box stands on are not in the store.
    #[error("layers of box `{name}` are missing")]
    LayersGone {
        /// The box.
        name: String,
    },
    /// A box with a copy of its image was to go over to another.
    #[error(
        "box `{name}` holds a copy of its image (driver `copy`), which can't be told from what it wrote itself"
    )]
    CopyStays {
        /// The box.
        name: String,
    },
    /// A box has made its own what is not the same in its image and in the one it was to go over to.
    #[error("box `{name}` stays over its image: {paths} of its own paths are not the same in both")]
    Conflicts {
        /// The box.
        name: String,
        /// How many.
        paths: usize,
        /// Whether a lock says what it was to go over to.
        locked: bool,
    },
    /// A box that stands on no image of the store was to become one.
    #[error("box `{name}` stands on `{}`, which is no image of the store to put a layer on", .image.escape_debug())]
    NoImageBelow {
        /// The box.
        name: String,
        /// What it stands on.
        image: String,
    },
    /// A word that should be a name and a value.
    #[error("`{}` is no `NAME=VALUE`, which {what} wants", .text.escape_debug())]
    NotAPair {
        /// The flag.
        what: &'static str,
        /// The word.
        text: String,
    },
    /// `SOURCE_DATE_EPOCH` is no time.
    #[error("SOURCE_DATE_EPOCH is `{}`, not a number of seconds since 1970", .0.escape_debug())]
    BadEpoch(String),
    /// A key of an agent is wanted, and no agent is known.
    #[error("the box wants a key of your ssh-agent, and SSH_AUTH_SOCK names none")]
    NoAgent,
    /// The agent does not answer.
    #[error("cannot talk to your ssh-agent at {}", .path.display())]
    Agent {
        /// Its socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A path of the command line is none in a box.
    #[error("`{}` is not a path in a box", .0.display())]
    NotInTheBox(PathBuf),
    /// A part of a folder can't be had back, for the folder as a whole is another.
    #[error("`{}` can't be reset alone: `{}` as a whole is gone or made anew", .path.display(), .above.display())]
    ResetBelow {
        /// What was to be reset.
        path: PathBuf,
        /// What hides it.
        above: PathBuf,
    },
    /// `import -`, and nothing is piped in.
    #[error("no archive: standard input is the terminal")]
    NothingToImport,
    /// A file is no box.
    #[error("cannot import {}: {why}", .shown.escape_debug())]
    Import {
        /// The archive.
        shown: String,
        /// What is wrong with it.
        why: String,
    },
    /// A box to be exported stands on what no registry has.
    #[error("box `{name}` stands on the result of a set-up, which an import could not fetch from anywhere")]
    ExportSetup {
        /// The box.
        name: String,
    },
    /// The image of a box to be imported is nowhere to be had.
    #[error("the box stands on `{}`, which is not here and in no registry", .image.escape_debug())]
    ImportImage {
        /// The image's name.
        image: String,
    },
    /// What a box wrote over its project can't be had.
    #[error(transparent)]
    Project(#[from] rootfs::project::Error),
    /// A box has no project whose changes are kept apart.
    #[error("box `{name}` keeps nothing apart that it wrote to a project")]
    NoProject {
        /// The box.
        name: String,
    },
    /// A flag for untrusted boxes, and the box is none, or has no project.
    #[error("`{flag}` is for untrusted boxes with a project")]
    OnlyUntrusted {
        /// The flag.
        flag: &'static str,
    },
    /// A fork of an earlier run holds what was not applied.
    #[error("box `{name}`, a fork of an earlier run, holds what it wrote to the project")]
    ForkThere {
        /// The box.
        name: String,
    },
    /// A box has the name that a fork would get.
    #[error("box `{name}` is there, and is no fork of `{base}`")]
    NoFork {
        /// The box.
        name: String,
        /// What was to be forked.
        base: String,
    },
    /// A path of the command line is none of the project.
    #[error("`{}` is not in the project {}", .path.display(), .project.display())]
    NotInTheProject {
        /// The path.
        path: PathBuf,
        /// The project.
        project: PathBuf,
    },
    /// `--out` without paths.
    #[error("`--out {}` does not say what to take", .0.escape_debug())]
    OutWhat(String),
    /// The box changed nothing at a path.
    #[error("box `{name}` changed nothing at `{path}` of the project")]
    NotChanged {
        /// The box.
        name: String,
        /// The path.
        path: String,
    },
    /// The project was changed where the box changed it, too.
    #[error(
        "nothing that box `{name}` wrote was applied: the project was changed meanwhile at {paths} of the same paths"
    )]
    ProjectConflicts {
        /// The box.
        name: String,
        /// How many.
        paths: usize,
    },
    /// A path of the project can't be dropped alone.
    #[error("`{path}` can't be dropped alone: `{above}` as a whole is gone or made anew")]
    DiscardBelow {
        /// The path.
        path: String,
        /// What hides it.
        above: String,
    },
    /// A box that was to be removed holds what was not applied.
    #[error("box `{name}` holds what it wrote to {}, which was not applied", .project.display())]
    NotApplied {
        /// The box.
        name: String,
        /// The project.
        project: PathBuf,
    },
    /// The same, as far as can be told.
    #[error("what box `{name}` wrote to its project can't be listed: {why}")]
    PerhapsNotApplied {
        /// The box.
        name: String,
        /// Why not.
        why: String,
    },
    /// No shell was named, and the caller's own is none of ours.
    #[error("SHELL names no shell there is a completion script for")]
    WhichShell,
    /// A completion script can't be written.
    #[error("cannot write {}", .path.display())]
    Script {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A profile to begin with can't be written.
    #[error("cannot write a devbox.toml: {}", .path.display())]
    Init {
        /// The folder or the file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else stands where a completion script would go.
    #[error("{} is there, and is not devbox's", .path.display())]
    NotOurScript {
        /// The file.
        path: PathBuf,
    },
    /// There is a profile where one was to be written.
    #[error("{} is there already: {what}", .path.display())]
    ThereAlready {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: String,
    },
    /// A man page can't be written.
    #[error("cannot write {}", .path.display())]
    ManPage {
        /// The page's file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// What to do about it, where the floor below knows.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Dirs(error) => error.hint(),
            Self::Probe(error) => error.hint(),
            Self::Profile(error) => error.hint(),
            Self::Plan(error) => error.hint(),
            Self::Lock(error) => error.hint(),
            Self::Setup(error) => error.hint(),
            Self::Proxy(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Userns(error) => error.hint(),
            Self::Trusted(error) => error.hint(),
            Self::LayersGone { name } => Some(format!("`devbox run {name} true` fetches them again")),
            Self::Pull(error) => error.hint(),
            Self::Login(error) => error.hint(),
            Self::NobodyToAsk(_) => Some("without a terminal: `--username NAME --password-stdin`".into()),
            Self::Push(error) => error.hint(),
            Self::PushWhere(name) => Some(format!("`devbox push {name} REGISTRY/REPOSITORY:TAG`")),
            Self::ArchiveOnTerminal => Some("name a file with `-o FILE`, or pipe it somewhere".into()),
            Self::Inexact { limit: Limit::Disk, .. } => {
                Some("leave `disk` or `strict` out: without `strict` the files are looked at from time to time".into())
            }
            Self::Inexact { .. } => Some(
                "`devbox doctor` tells how to get a cgroup of your own; without `strict` the limit is held as well as can be"
                    .into(),
            ),
            Self::Session(error) => error.hint(),
            Self::Rootfs(error) => error.hint(),
            Self::NotThrowAway(_) => Some("leave `--name` out, or leave `--rm` out to use the box".into()),
            Self::OtherImage { name, .. } => Some(format!(
                "`devbox update {name}` puts it over that one with what it wrote; `--name` makes another box beside it"
            )),
            Self::OtherIsolation { name, made_for, wanted } => Some(format!(
                "`--isolation {made_for}` enters it; for `{wanted}` give another name with `--name`, or `devbox rm {name}`"
            )),
            Self::OtherDriver { name, made_with, .. } => Some(format!(
                "`--driver {made_with}` enters it; `devbox rm {name}` and entering again makes it anew with the other; \
                 `--name` makes another beside it"
            )),
            Self::Owners { .. } => Some(
                "nothing is lost: the next start goes on, and `--ids` enters the box as it was before".into(),
            ),
            Self::HiddenByFuse { name, .. } => Some(format!(
                "nothing is changed: rename such files first (`devbox enter {name} --driver overlay`), or stay with `overlay`"
            )),
            Self::Upper { .. } => Some("`--driver fuse` enters the box as it is".into()),
            Self::OtherImageNow { .. } => {
                Some("put the image back where it was; what the box itself wrote is still there".into())
            }
            Self::Image(bad) => bad.hint(),
            Self::DigestAsName(_) => Some("leave out what begins with `@`".into()),
            Self::NothingToLoad => Some("`devbox load FILE`, or `… | devbox load`".into()),
            Self::OtherProject { .. } => Some(
                "give this project's box a name of its own: `name = \"…\"` in its devbox.toml, or `--name`"
                    .into(),
            ),
            Self::NotAccepted { untrusted, .. } => {
                let flag = if *untrusted { " --untrusted" } else { "" };
                Some(format!(
                    "`devbox trust{flag}` on a terminal shows it and asks; --yes accepts it here, and for good"
                ))
            }
            Self::ArchiveNotAccepted { .. } => Some("run it from a terminal and accept, or pass --yes".into()),
            Self::NoProjectFile => Some("stand in the project's folder".into()),
            Self::NotTrusted { .. } => Some("`devbox trust --list` lists what was accepted".into()),
            Self::Declined { .. } => {
                Some("`devbox plan` shows it all; take out of the file what is too much".into())
            }
            Self::NoTarget { error, word } => {
                let other = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
                Some(format!("to run it as a command: `devbox run -- {word}`{other}"))
            }
            Self::NotHere(name) => Some(format!("`devbox pull {name}` fetches it")),
            Self::Config(_) | Self::Vanished(_) => Some("`devbox pull` fetches the image again".into()),
            Self::Reference(_) => {
                Some("for example `debian:bookworm` or `registry.example/team/app@sha256:…`".into())
            }
            Self::SeveralMeanings { .. } => Some(
                "write the name out in full, or settle it by an alias in registries.conf (containers-registries.conf(5))"
                    .into(),
            ),
            Self::ShortName { fault, .. } => fault.hint(),
            Self::Platform(_) => Some("for example `linux/amd64` or `linux/arm64`".into()),
            Self::Ambiguous { .. } => Some("give more of its digits; `devbox images` shows twelve".into()),
            Self::Box { .. } => Some("`devbox rm` takes a broken box away".into()),
            Self::CopyStays { name } => {
                Some(format!("`devbox commit {name} REF` keeps what it holds; `devbox rm {name}` and entering again makes it anew"))
            }
            Self::Conflicts { name, locked, .. } => Some(format!(
                "`devbox update{} --force {name}` goes over and keeps the box's; `devbox diff {name}` lists them all",
                if *locked { " --locked" } else { "" }
            )),
            Self::NoAgent | Self::Agent { .. } => {
                Some("`eval \"$(ssh-agent)\" && ssh-add` starts one; without `ssh-agent` in the profile none is wanted".into())
            }
            Self::NotInTheBox(_) => Some("it begins with `/` and has no `..`".into()),
            Self::ResetBelow { above, .. } => Some(format!("reset `{}`", above.display())),
            Self::NothingToImport => Some("`devbox import FILE`, or `… | devbox import -`".into()),
            Self::Import { .. } => Some("`devbox export BOX FILE` makes such an archive".into()),
            Self::ExportSetup { .. } => Some("`devbox export --with-image` puts it in".into()),
            Self::ImportImage { .. } => Some("export the box with `--with-image`".into()),
            Self::NoImageBelow { .. } => {
                Some("a box made with `--image REF` or from a profile that names an image can be committed".into())
            }
            Self::Project(error) => error.hint(),
            Self::NoProject { .. } => {
                Some("only untrusted boxes do (`devbox run --untrusted`), from their first start on".into())
            }
            Self::OnlyUntrusted { .. } => Some("add `--untrusted`; other boxes write to the project itself".into()),
            Self::ForkThere { name } => Some(format!(
                "`devbox apply -n {name}` takes it over, `devbox discard --forks` removes all forks"
            )),
            Self::NoFork { name, .. } => Some(format!("`--name` gives the forks another; `devbox rename {name} NAME` gives the box one")),
            Self::NotInTheProject { .. } => Some(
                "paths are relative to the current folder when that is in the project, else to the project".into(),
            ),
            Self::OutWhat(dir) => Some(format!("`--out {dir}:PATH`, for example `--out dist:target/release/app`")),
            Self::NotChanged { name, .. } => Some(format!("`devbox diff --no-patch {name}` lists what it changed")),
            Self::ProjectConflicts { .. } => Some(
                "leave these out by naming other paths, or take the box's with `devbox apply --force`".into(),
            ),
            Self::DiscardBelow { above, .. } => Some(format!("discard `{above}`")),
            Self::NotApplied { name, .. } => Some(format!(
                "`devbox diff {name}` shows it, `devbox apply --name {name}` takes it over; `devbox rm -f {name}` drops it"
            )),
            Self::PerhapsNotApplied { name, .. } => {
                Some(format!("`devbox rm -f {name}` removes the box with it, whatever it is"))
            }
            Self::WhichShell => Some("`devbox completions --install bash`, or `zsh`, or `fish`".into()),
            Self::NotOurScript { .. } => Some("look at it; `--force` writes over it".into()),
            Self::ThereAlready { .. } => Some(
                "`devbox plan` shows what comes of it; `devbox init --print` prints what would be written".into(),
            ),
            Self::Init { .. }
            | Self::Archive { .. }
            | Self::Script { .. }
            | Self::NotAPair { .. }
            | Self::BadEpoch(_)
            | Self::Output(_)
            | Self::Input(_)
            | Self::Background(_)
            | Self::ManPage { .. } => None,
        }
    }

    /// The state things were left in, where that is worth a line.
    fn state(&self) -> Option<&'static str> {
        match self {
            Self::Setup(error) => error.state(),
            Self::Pull(_) => {
                Some("the image was not added; layers that arrived whole are kept for the next try")
            }
            Self::Push(error) if error.action == "push" => {
                Some("what has arrived stays in the registry without a name, for the next try")
            }
            Self::Login(_) | Self::NobodyToAsk(_) => Some("nothing was changed"),
            Self::ThereAlready { .. }
            | Self::Ambiguous { .. }
            | Self::Box { .. }
            | Self::NotAccepted { .. }
            | Self::ArchiveNotAccepted { .. }
            | Self::Declined { .. } => Some("nothing was changed"),
            _ => None,
        }
    }

    /// The exit code for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Output(error) if error.is_broken_pipe() => 0,
            Self::Push(error) if error.is_broken_pipe() => 0,
            Self::Session(error) => error.exit_code(),
            Self::Setup(error) => error.exit_code(),
            _ => OURS,
        }
    }

    /// Prints it; nothing when the reader of our output just went away.
    pub fn report(&self, ui: &Ui) {
        if self.exit_code() != 0 {
            // a profile's mistake is shown with its line
            let multiline = matches!(
                self,
                Self::Profile(profile::Error::Mistake(_)) | Self::Setup(SetupError::Step { .. })
            );
            let hint = cmd::suggestion(self).or_else(|| self.hint());
            ui.failure(self, multiline, self.state(), hint.as_deref(), self.exit_code());
        }
    }
}

/// Why a limit is not held exactly.
fn inexact_words(limit: Limit, by: Holder) -> &'static str {
    match (limit, by) {
        (Limit::Disk, _) => "no kernel lets users limit that",
        (Limit::Pids, Holder::PidMax) => {
            "the kernel lets root have any number, and there is no cgroup of your own"
        }
        (Limit::Pids, _) => {
            "this kernel counts processes of all boxes together, and there is no cgroup of your own"
        }
        _ => "there is no cgroup of your own",
    }
}

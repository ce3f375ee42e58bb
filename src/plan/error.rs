//! Why no plan can be made.

use std::path::PathBuf;

use super::pin::Drift;
use super::policy::Reason;
use crate::profile::BadValue;

/// Why no plan can be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A flag's value is not what it should be.
    #[error("bad value for `{flag}`")]
    Flag {
        /// The flag, as typed.
        flag: &'static str,
        /// What is wrong.
        source: BadValue,
    },
    /// `full` maps the caller to root, so there is no `me` in it.
    #[error("user `me` does not go with ids `full`: full maps the caller to root")]
    FullAsMe,
    /// `full` was asked for without what it takes.
    #[error("ids `full` needs subordinate ids, and you have none or no helpers to map them")]
    NoSubordinateIds,
    /// Something a box over the host's own root can't have.
    #[error("{what} does not go with image `host`: {why}")]
    OnHost {
        /// What was asked for.
        what: String,
        /// Why it can't be.
        why: &'static str,
    },
    /// Something an untrusted box can't have.
    #[error("{what} does not go with isolation `untrusted`: {why}")]
    Untrusted {
        /// What was asked for.
        what: String,
        /// Why it can't be.
        why: &'static str,
        /// What to ask for instead.
        instead: &'static str,
    },
    /// The organisation forbids what is asked for.
    #[error("`{file}` forbids by `forbid.{key}` that {what}")]
    Forbidden {
        /// Its file.
        file: String,
        /// The key in it.
        key: &'static str,
        /// Who asks for what.
        what: String,
        /// Whether flags may not ask for it either.
        everyone: bool,
        /// Why, in its own words.
        source: Option<Reason>,
    },
    /// The organisation does not allow the registry of an image.
    #[error("`{file}` allows no image of that registry (`registries`): `{}`", .image.escape_debug())]
    ForbiddenRegistry {
        /// Its file.
        file: String,
        /// The image.
        image: String,
        /// What it allows.
        allowed: Vec<String>,
        /// Why, in its own words.
        source: Option<Reason>,
    },
    /// The caller's home can't be one in a box.
    #[error("the home folder `{}` can't be one in a box: the system's own files stand there", .0.display().to_string().escape_debug())]
    Home(PathBuf),
    /// The project folder that was asked for can't be one.
    #[error("`{}` can't be the project folder: {why}", .path.display().to_string().escape_debug())]
    Project {
        /// The folder.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// A mount or the image is below `${{project}}`, but there is no project.
    #[error("{0} uses `${{project}}`, but no project folder is mounted")]
    NoProject(&'static str),
    /// More ports in `allow` than a box listens on.
    #[error("`allow` names {named} ports, and {most} at most can be listened on")]
    TooManyPorts {
        /// Different ones.
        named: usize,
        /// The limit.
        most: usize,
    },
    /// A mount's target, with `~` and `${{project}}` filled in, can't hold one.
    #[error("a mount is out of place")]
    Target(#[source] BadValue),
    /// The user asked for is not the image's.
    #[error("no user `{}` in the image: {why}", .user.escape_debug())]
    User {
        /// As asked for.
        user: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An account file of the image is larger than any honest one.
    #[error("the image's `{file}` is larger than 1 MiB")]
    AccountsTooLarge {
        /// Which file.
        file: &'static str,
    },
    /// A set-up of what has no digest to go by.
    #[error("[setup] does not go with image `{}`", .image.escape_debug())]
    NoSetup {
        /// The image.
        image: String,
    },
    /// `--locked`, and something is not as the lock has it.
    #[error("not as locked: {0}")]
    Drift(Drift),
    /// `run` got no command, and the image has none either.
    #[error("no command given, and the image has neither `Entrypoint` nor `Cmd`")]
    NoCommand,
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Flag { source, .. } | Self::Target(source) => return source.hint(),
            Self::FullAsMe => "leave `user` out to be root of the box, or use ids `single`".into(),
            Self::NoSubordinateIds => {
                "`devbox doctor` says what is missing; `single` needs nothing and does for most work".into()
            }
            Self::OnHost { .. } => {
                "use an image, for example `--image debian:bookworm`, or leave it out".into()
            }
            Self::Untrusted { instead, .. } => format!("{instead}; `--isolation dev` is for code you trust"),
            Self::Forbidden { everyone: false, .. } => {
                "take it out of the project's file; what you ask for yourself by flags is not meant".into()
            }
            Self::Forbidden { file, .. } => format!("leave it out; whoever keeps {file} can allow it"),
            Self::ForbiddenRegistry { allowed, .. } if allowed.is_empty() => {
                "none is allowed; images in files and `host` are none of a registry's".into()
            }
            Self::ForbiddenRegistry { allowed, .. } => format!("allowed are `{}`", allowed.join("`, `")),
            Self::Home(_) => {
                "set HOME to a folder of your own, for example `HOME=$(mktemp -d)` in a service".into()
            }
            Self::Project { .. } => {
                "name a folder of your own with `--project DIR`, or use `--no-project`".into()
            }
            Self::NoProject(_) => {
                "stand in a project folder, name one with `--project DIR`, or make the mount optional".into()
            }
            Self::TooManyPorts { .. } => "a box that needs so many wants the host's network".into(),
            Self::User { .. } => {
                "name a user of the image's /etc/passwd, or a number: `UID` or `UID:GID`".into()
            }
            Self::AccountsTooLarge { .. } => "use `me` or `root`, which need no look-up".into(),
            Self::NoSetup { .. } => {
                "a set-up is a layer over an image's layers: use an image of a registry or an archive; in a box of its own \
                 `sudo` installs what the image's package manager has"
                    .into()
            }
            Self::Drift(Drift::Flag(_)) => "leave the flag or `--locked` out".into(),
            Self::Drift(Drift::Unlockable(_)) => "leave `--locked` out, or push the image to a registry".into(),
            Self::Drift(_) => "`devbox lock` brings the lock up to date; or leave `--locked` out".into(),
            Self::NoCommand => "devbox run BOX -- COMMAND…, or `devbox enter` for a shell".into(),
        })
    }
}

//! The flags that change a plan: one set for `enter`, `run` and `plan`.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser, ValueHint};
use clap_complete::engine::ArgValueCompleter;
use serde::de::DeserializeOwned;
use serde::de::IntoDeserializer as _;

use super::candidates;
use crate::plan::{Driver, Home, Ids, MountMode, Network, User};

const SEES: &str = "What the box sees";
const WHO: &str = "Who you are in it";

/// What the command line changes about the profile.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "What the box is made from")]
pub struct PlanFlags {
    /// Use this profile file instead of looking for one
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub profile: Option<PathBuf>,
    /// Use this image instead of the profile's
    ///
    /// No profile is read then and, unless --project asks for it, no folder of the host is mounted.
    #[arg(long, value_name = "REF", add = ArgValueCompleter::new(candidates::images))]
    pub image: Option<String>,
    /// Platform of the image, for example linux/arm64
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<String>,
    /// Name of the box [default: the profile's, or the project folder's]
    #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(candidates::boxes))]
    pub name: Option<String>,
    /// How layers and the box's own files become a root
    #[arg(long, value_name = "DRIVER", value_parser = word::<Driver, 2>(["auto", "overlay"]))]
    pub driver: Option<Driver>,

    /// Set a variable, or take it over from the host when no value is given
    #[arg(
        short,
        long = "env",
        value_name = "NAME[=VALUE]",
        value_parser = variable,
        help_heading = SEES
    )]
    pub env: Vec<Variable>,
    /// Mount a file or folder of the host; may be given again
    ///
    /// Modes: rw (default), ro, overlay (writes stay in the box). A relative SRC is taken from the current folder.
    #[arg(
        short,
        long = "volume",
        value_name = "SRC:DST[:MODE]",
        value_parser = volume,
        value_hint = ValueHint::AnyPath,
        help_heading = SEES
    )]
    pub volumes: Vec<Volume>,
    /// Working directory in the box
    #[arg(short, long, value_name = "DIR", help_heading = SEES)]
    pub workdir: Option<PathBuf>,
    /// Mount this folder as the project
    #[arg(
        long,
        value_name = "DIR",
        value_hint = ValueHint::DirPath,
        conflicts_with = "no_project",
        help_heading = SEES
    )]
    pub project: Option<PathBuf>,
    /// Mount no project folder
    #[arg(long, help_heading = SEES)]
    pub no_project: bool,
    /// What stands at the home folder: one kept in the box, the host's, or an empty one
    #[arg(
        long,
        value_name = "HOME",
        value_parser = word::<Home, 3>(["private", "host", "none"]),
        help_heading = SEES
    )]
    pub home: Option<Home>,
    /// Network of the box
    #[arg(
        long,
        value_name = "MODE",
        value_parser = word::<Network, 2>(["host", "none"]),
        help_heading = SEES
    )]
    pub network: Option<Network>,
    /// Host name in the box
    #[arg(long, value_name = "NAME", help_heading = SEES)]
    pub hostname: Option<String>,

    /// Be this user in the box: me, root, image (its User), a name or UID[:GID]
    #[arg(long, value_name = "USER", value_parser = user, help_heading = WHO)]
    pub user: Option<User>,
    /// Be root in the box; the same as --user root
    #[arg(long, conflicts_with = "user", help_heading = WHO)]
    pub root: bool,
    /// How users map: one id, or all with the help of subordinate ids
    #[arg(
        long,
        value_name = "IDS",
        value_parser = word::<Ids, 3>(["auto", "single", "full"]),
        help_heading = WHO
    )]
    pub ids: Option<Ids>,
    /// Preferred shell, a name or a path
    #[arg(long, value_name = "SHELL", help_heading = WHO)]
    pub shell: Option<String>,
}

/// `-e NAME=VALUE`, or `-e NAME` for the host's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// The name, not empty and free of `=`.
    pub name: String,
    /// The value; none to take the host's.
    pub value: Option<String>,
}

/// `-v SRC:DST[:MODE]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Path on the host, as written.
    pub source: PathBuf,
    /// Path in the box, as written.
    pub target: PathBuf,
    /// What writes do.
    pub mode: MountMode,
}

fn variable(text: &str) -> Result<Variable, String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    if name.is_empty() {
        return Err("a variable needs a name: NAME or NAME=VALUE".into());
    }
    Ok(Variable { name: name.to_owned(), value })
}

fn volume(text: &str) -> Result<Volume, String> {
    let (source, target, mode) = match text.split(':').collect::<Vec<_>>()[..] {
        [source, target] => (source, target, "rw"),
        [source, target, mode] => (source, target, mode),
        _ => return Err("wanted SRC:DST or SRC:DST:MODE (a path with a colon goes into [[mounts]])".into()),
    };
    let mode = match mode {
        "rw" => MountMode::Rw,
        "ro" => MountMode::Ro,
        "overlay" => MountMode::Overlay,
        _ => return Err("the mode is one of rw, ro, overlay".into()),
    };
    if source.is_empty() {
        return Err("it names no source".into());
    }
    if !target.starts_with('/') {
        return Err("the path in the box must be absolute".into());
    }
    Ok(Volume { source: source.into(), target: target.into(), mode })
}

/// The words of profiles: `me`, `root`, `image`, else a name. Whether it exists only the image can tell.
fn user(text: &str) -> Result<User, String> {
    Ok(match text {
        "" => return Err("it names no user".into()),
        "me" => User::Me,
        "root" => User::Root,
        "image" => User::Image,
        name => User::Name(name.to_owned()),
    })
}

/// A choice written on the command line as it is in a profile.
fn word<T, const N: usize>(words: [&'static str; N]) -> impl TypedValueParser<Value = T>
where
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words).try_map(|word| {
        T::deserialize(word.into_deserializer()).map_err(|error: serde::de::value::Error| error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables() {
        for (text, name, value) in
            [("A=b", "A", Some("b")), ("A", "A", None), ("A=", "A", Some("")), ("A=b=c", "A", Some("b=c"))]
        {
            assert_eq!(
                variable(text).unwrap(),
                Variable { name: name.into(), value: value.map(str::to_owned) }
            );
        }
        assert!(variable("=b").is_err());
        assert!(variable("").is_err());
    }

    #[test]
    fn volumes() {
        for (text, source, target, mode) in [
            ("/a:/b", "/a", "/b", MountMode::Rw),
            ("./a:/b:ro", "./a", "/b", MountMode::Ro),
            ("a:/b:overlay", "a", "/b", MountMode::Overlay),
        ] {
            assert_eq!(volume(text).unwrap(), Volume { source: source.into(), target: target.into(), mode });
        }
        for bad in ["", "/a", ":/b", "/a:b", "/a:", "/a:/b:rx", "/a:/b:ro:z"] {
            assert!(volume(bad).is_err(), "{bad}");
        }
    }
}

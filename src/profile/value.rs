//! The choices a profile makes, as types. Each is parsed from the word users write, in profiles and flags alike,
//! and prints as that word.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

use super::grammar::{BadValue, quoted};
use super::place::Place;
use crate::network::{Allow, Publish};
use crate::oci::reference::Reference;
use crate::oci::source::{Form, Source};

/// Where a root comes from, as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Image {
    /// The host's own root, read-only below.
    Host,
    /// An image in a registry: a canonical reference (`oci::reference::Reference` as text), or a short name as it was
    /// written, which this machine's settings may give another meaning.
    Registry(String),
    /// `oci:`, `oci-archive:` and `docker-archive:`: an image in files of the host.
    Files {
        /// How they are laid out.
        form: Form,
        /// The folder or archive.
        at: Place,
        /// Which image in it.
        name: Option<String>,
    },
    /// `dir:`: a folder of the host that is a root file system already.
    Folder(Place),
}

/// Who sessions run as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum User {
    /// The calling user, same name, id and home.
    Me,
    /// Root of the box.
    Root,
    /// The image's `User`.
    Image,
    /// A user named in the image's `/etc/passwd`, or `uid[:gid]`.
    Name(String),
}

/// An enum of plain words: it parses from them and prints as them.
macro_rules! words {
    ($type:ident, $what:literal: $($word:literal => $variant:ident),+) => {
        impl $type {
            /// All words there are.
            pub const WORDS: &'static [&'static str] = &[$($word),+];
        }

        impl FromStr for $type {
            type Err = BadValue;

            fn from_str(text: &str) -> Result<Self, BadValue> {
                choose($what, text, &[$(($word, Self::$variant)),+])
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word),+ })
            }
        }
    };
}

/// How ids are mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ids {
    /// `single`, unless the image's `User` needs more and subordinate ids are there.
    Auto,
    /// One id: the caller's.
    Single,
    /// The caller's and the subordinate ranges.
    Full,
}
words!(Ids, "ids": "auto" => Auto, "single" => Single, "full" => Full);

/// How layers and upper become a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// The one the box was made with, and for a new box the best this host can do.
    Auto,
    /// The kernel's overlayfs.
    Overlay,
    /// fuse-overlayfs.
    Fuse,
    /// A copy of the image in the box.
    Copy,
}
words!(Driver, "driver": "auto" => Auto, "overlay" => Overlay, "fuse" => Fuse, "copy" => Copy);

/// How much of the host a box may see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Own files, the host's network, a private home.
    #[default]
    Dev,
    /// Nothing of the host but what was named; what is written to the project stays in the box.
    Untrusted,
}
words!(Isolation, "isolation": "dev" => Dev, "untrusted" => Untrusted);

/// What stands at the home folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Home {
    /// A folder kept with the box.
    Private,
    /// The caller's own home.
    Host,
    /// An empty folder in memory.
    None,
}
words!(Home, "home": "private" => Private, "host" => Host, "none" => None);

/// Network of the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// The host's.
    Host,
    /// Loopback alone.
    None,
    /// One of its own: what `allow` names, or, without that, a way out to all but this machine.
    Private,
}
words!(Network, "network mode": "host" => Host, "none" => None, "private" => Private);

impl Network {
    /// What is left of lists below when `said` stands above them: who says `host` or `none` means just that.
    pub(crate) fn left_of(
        said: Option<Self>,
        allow: Vec<Allow>,
        ports: Vec<Publish>,
    ) -> (Vec<Allow>, Vec<Publish>) {
        match said {
            Some(Self::Host) => Default::default(),
            Some(Self::None) => (Vec::new(), ports),
            Some(Self::Private) | None => (allow, ports),
        }
    }
}

/// What writes to a mount do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountMode {
    /// Refused.
    Ro,
    /// Reach the host.
    Rw,
    /// Stay in the box.
    Overlay,
    /// Live in memory and end with the box.
    Tmpfs,
    /// Kept per user, shared by all boxes that name the same cache.
    Cache,
}
words!(MountMode, "mount mode": "ro" => Ro, "rw" => Rw, "overlay" => Overlay, "tmpfs" => Tmpfs, "cache" => Cache);

/// What stands before the path of a root file system.
const FOLDER: &str = "dir:";

impl Image {
    /// Reads `text`; a relative path in it is below `folder`, when there is one.
    pub fn read(text: &str, folder: Option<&Place>) -> Result<Self, BadValue> {
        if text == "host" {
            return Ok(Self::Host);
        }
        if let Some(path) = text.strip_prefix(FOLDER) {
            return Ok(Self::Folder(Place::on_host(path, folder)?));
        }
        if let Some(source) = Source::read(text) {
            let Source { form, path, name } = source.map_err(|bad| {
                BadValue::new(bad.to_string())
                    .or(format!("`{0}:PATH` or `{0}:PATH:NAME`", text.split(':').next().unwrap_or_default()))
            })?;
            let at = Place::on_host(&path.to_string_lossy(), folder)?;
            return Ok(Self::Files { form, at, name });
        }
        let reference = text.parse::<Reference>().map_err(|bad| {
            BadValue::new(bad.to_string()).or("for example `docker.io/library/debian:bookworm`, or `host`")
        })?;
        Ok(Self::Registry(if Reference::is_short(text) { text.to_owned() } else { reference.to_string() }))
    }
}

/// Without a folder that relative paths could be below.
impl FromStr for Image {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        Self::read(text, None)
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Registry(reference) => f.write_str(reference),
            Self::Files { form, at, name: None } => write!(f, "{}:{at}", form.prefix()),
            Self::Files { form, at, name: Some(name) } => write!(f, "{}:{at}:{name}", form.prefix()),
            Self::Folder(at) => write!(f, "{FOLDER}{at}"),
        }
    }
}

/// As text.
impl Serialize for Image {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for User {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        // wide on purpose: the image's own files decide what names there are
        let word = |part: &str| {
            (1..=128).contains(&part.len())
                && !part.starts_with('-')
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-$".contains(&byte))
        };
        match text {
            "me" => Ok(Self::Me),
            "root" => Ok(Self::Root),
            "image" => Ok(Self::Image),
            _ if text.splitn(2, ':').all(word) => Ok(Self::Name(text.to_owned())),
            _ => Err(BadValue::new(format!("{} is not a user", quoted(text)))
                .or("`me`, `root`, `image`, or `NAME`, `UID`, `NAME:GROUP`, `UID:GID` of the image")),
        }
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Me => "me",
            Self::Root => "root",
            Self::Image => "image",
            Self::Name(name) => name,
        })
    }
}

fn choose<T: Copy>(what: &str, text: &str, words: &[(&str, T)]) -> Result<T, BadValue> {
    match words.iter().find(|(word, _)| *word == text) {
        Some((_, value)) => Ok(*value),
        None => Err(BadValue::unknown(what, text, words.iter().map(|(word, _)| *word))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T: FromStr<Err = BadValue> + fmt::Display>(words: &[&str]) {
        for word in words {
            assert_eq!(word.parse::<T>().map(|value| value.to_string()).as_deref(), Ok(*word));
        }
        for wrong in ["", "x", "Auto", "auto ", "-"] {
            assert!(wrong.parse::<T>().is_err_and(|bad| bad.hint().is_some()), "{wrong:?}");
        }
    }

    #[test]
    fn words_parse_and_print() {
        round_trip::<Ids>(&["auto", "single", "full"]);
        round_trip::<Driver>(&["auto", "overlay", "fuse", "copy"]);
        round_trip::<Isolation>(&["dev"]);
        round_trip::<Home>(&["private", "host", "none"]);
        round_trip::<Network>(&["host", "none", "private"]);
        round_trip::<MountMode>(&["ro", "rw", "overlay", "tmpfs", "cache"]);
    }

    #[test]
    fn users() {
        for word in ["me", "root", "image", "node", "1000", "1000:1000", "www-data:adm", "a$"] {
            assert_eq!(word.parse::<User>().unwrap().to_string(), word);
        }
        for wrong in ["", ":", "a:", ":a", "a:b:c", "-a", "a b", "a/b", "a\n", "\0"] {
            assert!(wrong.parse::<User>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn images() {
        assert_eq!("host".parse::<Image>(), Ok(Image::Host));
        assert_eq!("rust:1".parse::<Image>().unwrap().to_string(), "rust:1");
        assert_eq!("h.example/rust".parse::<Image>().unwrap().to_string(), "h.example/rust:latest");
        let folder = Place::absolute("/src/app".as_ref());
        for (text, shown) in [
            ("oci:img:1", "oci:/src/app/img:1"),
            ("oci-archive:./img.tar", "oci-archive:/src/app/img.tar"),
            ("docker-archive:~/img.tar:a/b:1", "docker-archive:~/img.tar:a/b:1"),
            ("dir:${project}/root", "dir:${project}/root"),
            ("dir:/srv/a:b", "dir:/srv/a:b"),
        ] {
            assert_eq!(Image::read(text, Some(&folder)).unwrap().to_string(), shown);
        }
        for (text, wrong) in [
            ("oci:dir", "`dir` is relative, and a built-in profile has no folder"),
            ("oci:", "`oci:` names no image: the path is empty"),
            (
                "oci-archive:/a:b c",
                "`oci-archive:/a:b c` names no image: what follows the path is no image's name (the path itself can't hold a colon)",
            ),
            ("dir:", "the path is empty"),
            ("dir:~you", "`~you` would need more expanding than there is"),
            (
                "Rust",
                "`Rust` is not an image reference: a repository has lower-case letters and digits, joined by `.`, `_`, `__` or `-`",
            ),
        ] {
            assert_eq!(text.parse::<Image>().unwrap_err().to_string(), wrong);
        }
    }
}

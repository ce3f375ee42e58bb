//! Paths as profiles write them: absolute, or below the home (`~`), the project (`${project}`) or the profile's
//! own folder. Nothing else is expanded.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use super::grammar::{BadValue, quoted};

/// What a place is below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Anchor {
    Root,
    Home,
    Project,
}

/// A path whose `~` or `${project}` is not filled in yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    anchor: Anchor,
    /// Below the anchor; empty for the anchor itself.
    rest: PathBuf,
}

impl Place {
    /// The project folder.
    pub(crate) fn project() -> Self {
        Self { anchor: Anchor::Project, rest: PathBuf::new() }
    }

    /// An absolute path as it is.
    pub(crate) fn absolute(path: &Path) -> Self {
        Self { anchor: Anchor::Root, rest: path.strip_prefix("/").unwrap_or(path).to_owned() }
    }

    /// A path on the host; a relative one is below `folder`, when there is one.
    pub fn on_host(text: &str, folder: Option<&Self>) -> Result<Self, BadValue> {
        if let Some(place) = Self::anchored(text)? {
            return Ok(place);
        }
        let folder = folder.ok_or_else(|| {
            BadValue::new(format!("{} is relative, and a built-in profile has no folder", quoted(text)))
                .or("begin it with `/`, `~` or `${project}`")
        })?;
        // `.` is the folder itself; `..` stays, for the kernel knows what is behind a link and we do not
        let below = Path::new(text).components().filter(|part| *part != Component::CurDir);
        Ok(Self { anchor: folder.anchor, rest: folder.rest.components().chain(below).collect() })
    }

    /// A path in the box: absolute and without `..`.
    pub fn in_box(text: &str) -> Result<Self, BadValue> {
        let place = Self::anchored(text)?.ok_or_else(|| {
            BadValue::new(format!("{} is not absolute", quoted(text)))
                .or("begin it with `/`, `~` or `${project}`")
        })?;
        if place.rest.components().any(|part| part == Component::ParentDir) {
            return Err(
                BadValue::new(format!("{} climbs with `..`", quoted(text))).or("write the path it means")
            );
        }
        if place.anchor == Anchor::Root {
            may_hold_a_mount(&Path::new("/").join(&place.rest))?;
        }
        Ok(place)
    }

    /// The absolute path, or none when it is below the project and there is none.
    pub fn resolve(&self, home: &Path, project: Option<&Path>) -> Option<PathBuf> {
        let anchor = match self.anchor {
            Anchor::Root => Path::new("/"),
            Anchor::Home => home,
            Anchor::Project => project?,
        };
        Some(if self.rest.as_os_str().is_empty() { anchor.to_owned() } else { anchor.join(&self.rest) })
    }

    /// A place that says itself what it is below; none for a relative path.
    fn anchored(text: &str) -> Result<Option<Self>, BadValue> {
        if text.is_empty() {
            return Err(BadValue::new("the path is empty"));
        }
        let (anchor, rest) = if let Some(rest) = text.strip_prefix("${project}") {
            (Anchor::Project, rest)
        } else if let Some(rest) = text.strip_prefix('~') {
            (Anchor::Home, rest)
        } else if text.starts_with('/') {
            (Anchor::Root, text)
        } else if text.contains("${") {
            return Err(expands_nothing(text));
        } else {
            return Ok(None);
        };
        if rest.contains("${") || !(rest.is_empty() || rest.starts_with('/')) {
            return Err(expands_nothing(text));
        }
        // components() drops `.` and doubled slashes; the first is the root
        let rest = Path::new(rest).components().filter(|part| *part != Component::RootDir).collect();
        Ok(Some(Self { anchor, rest }))
    }
}

/// As profiles write it, absolute where it was relative.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest = self.rest.display();
        match self.anchor {
            Anchor::Root => write!(f, "/{rest}"),
            Anchor::Home if self.rest.as_os_str().is_empty() => f.write_str("~"),
            Anchor::Home => write!(f, "~/{rest}"),
            Anchor::Project if self.rest.as_os_str().is_empty() => f.write_str("${project}"),
            Anchor::Project => write!(f, "${{project}}/{rest}"),
        }
    }
}

fn expands_nothing(text: &str) -> BadValue {
    BadValue::new(format!("{} would need more expanding than there is", quoted(text)))
        .or("only a leading `~/` (your home) and `${project}/` are expanded")
}

/// Refuses targets where a mount would take the box's own parts away: the root, `/proc`, `/sys` and what we
/// make in `/dev`. Other devices and folders below `/dev` may be mounted.
pub(crate) fn may_hold_a_mount(target: &Path) -> Result<(), BadValue> {
    const OURS: [&str; 15] = [
        "null", "zero", "full", "random", "urandom", "tty", "console", "ptmx", "pts", "shm", "mqueue", "fd",
        "stdin", "stdout", "stderr",
    ];
    let refuse = |why: &str| {
        Err(BadValue::new(format!("{} can't be a target: {why}", quoted(&target.to_string_lossy()))))
    };
    let mut parts = target.components().skip(1).map(|part| part.as_os_str().to_string_lossy());
    match (parts.next().as_deref(), parts.next().as_deref()) {
        (None, _) => refuse("it is the root"),
        (Some("proc" | "sys"), _) => refuse("the kernel's own files stand there"),
        (Some("dev"), None) => refuse("the box's own devices stand there"),
        (Some("dev"), Some(name)) if OURS.contains(&name) => refuse("the box's own devices stand there"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(place: Result<Place, BadValue>) -> String {
        match place {
            Ok(place) => match place.resolve(Path::new("/home/me"), Some(Path::new("/src/app"))) {
                Some(path) => path.display().to_string(),
                None => "no project".to_owned(),
            },
            Err(wrong) => format!("refused: {wrong}"),
        }
    }

    #[test]
    fn sources() {
        let folder = Place::absolute(Path::new("/etc/profiles"));
        for (text, expected) in [
            ("/a//b/./c/", "/a/b/c"),
            ("~", "/home/me"),
            ("~/a", "/home/me/a"),
            ("${project}", "/src/app"),
            ("${project}/a/../b", "/src/app/a/../b"),
            ("a", "/etc/profiles/a"),
            ("./a", "/etc/profiles/a"),
            ("../a", "/etc/profiles/../a"),
            (".", "/etc/profiles"),
            ("a$b", "/etc/profiles/a$b"),
            ("", "refused: the path is empty"),
            ("~you/a", "refused: `~you/a` would need more expanding than there is"),
            ("${projects}/a", "refused: `${projects}/a` would need more expanding than there is"),
            ("${project}x", "refused: `${project}x` would need more expanding than there is"),
            ("/a/${HOME}", "refused: `/a/${HOME}` would need more expanding than there is"),
            ("${HOME}/a", "refused: `${HOME}/a` would need more expanding than there is"),
        ] {
            assert_eq!(resolved(Place::on_host(text, Some(&folder))), expected, "{text}");
        }
        assert!(Place::on_host("a", None).is_err());
        assert_eq!(Place::on_host("${project}", None).unwrap().resolve(Path::new("/h"), None), None);
    }

    #[test]
    fn targets() {
        for (text, expected) in [
            ("/a", "/a"),
            ("~/a", "/home/me/a"),
            ("${project}/a", "/src/app/a"),
            ("/dev/fuse", "/dev/fuse"),
            ("/dev/bus/usb", "/dev/bus/usb"),
            ("/process", "/process"),
            ("a", "refused: `a` is not absolute"),
            ("/a/../../b", "refused: `/a/../../b` climbs with `..`"),
            ("~/..", "refused: `~/..` climbs with `..`"),
            ("/", "refused: `/` can't be a target: it is the root"),
            ("//.", "refused: `/` can't be a target: it is the root"),
            ("/proc", "refused: `/proc` can't be a target: the kernel's own files stand there"),
            ("/proc/self", "refused: `/proc/self` can't be a target: the kernel's own files stand there"),
            ("/sys/fs", "refused: `/sys/fs` can't be a target: the kernel's own files stand there"),
            ("/dev", "refused: `/dev` can't be a target: the box's own devices stand there"),
            ("/dev/./null", "refused: `/dev/null` can't be a target: the box's own devices stand there"),
            ("/dev/pts/0", "refused: `/dev/pts/0` can't be a target: the box's own devices stand there"),
        ] {
            assert_eq!(resolved(Place::in_box(text)), expected, "{text}");
        }
    }
}

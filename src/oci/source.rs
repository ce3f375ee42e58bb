//! Images in files, named as other tools name them (containers-transports(5)): `oci:DIR[:NAME]`,
//! `oci-archive:FILE[:NAME]`, `docker-archive:FILE[:NAME]`.
//!
//! The first colon after the prefix ends the path, so a path can't hold one.

use std::fmt;
use std::path::PathBuf;

use serde::{Serialize, Serializer};

/// The form of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A folder in OCI's image layout (image-spec `image-layout.md`).
    Layout,
    /// Such a folder as a tar archive.
    Archive,
    /// What `docker save` writes.
    DockerArchive,
}

/// An image in files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// How it is laid out.
    pub form: Form,
    /// The folder or archive.
    pub path: PathBuf,
    /// Which image in it: a layout's `org.opencontainers.image.ref.name`, a docker archive's reference.
    pub name: Option<String>,
}

/// Why a text with one of the prefixes names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` names no image: {why}", .text.escape_debug())]
pub struct NotASource {
    text: String,
    why: &'static str,
}

impl Form {
    const ALL: [Self; 3] = [Self::Layout, Self::Archive, Self::DockerArchive];

    /// The word before the first colon.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Layout => "oci",
            Self::Archive => "oci-archive",
            Self::DockerArchive => "docker-archive",
        }
    }
}

impl Source {
    /// Reads `text`, its path as it stands there; `None` when it has none of the prefixes.
    pub fn read(text: &str) -> Option<Result<Self, NotASource>> {
        let (prefix, rest) = text.split_once(':')?;
        let form = Form::ALL.into_iter().find(|form| form.prefix() == prefix)?;
        let fail = |why| Some(Err(NotASource { text: text.chars().take(300).collect(), why }));
        let (path, name) = match rest.split_once(':') {
            Some((path, name)) => (path, Some(name)),
            None => (rest, None),
        };
        if path.is_empty() {
            return fail("the path is empty");
        }
        if path.contains('\0') {
            return fail("the path holds a NUL byte");
        }
        if name.is_some_and(|name| !is_name(name)) {
            return fail("what follows the path is no image's name (the path itself can't hold a colon)");
        }
        Some(Ok(Self { form, path: path.into(), name: name.map(str::to_owned) }))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.form.prefix(), self.path.display())?;
        match &self.name {
            Some(name) => write!(f, ":{name}"),
            None => Ok(()),
        }
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The grammar of `org.opencontainers.image.ref.name` (image-spec `annotations.md`), which takes references in too.
fn is_name(name: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric();
    let component = |part: &str| {
        part.bytes().next().is_some_and(word)
            && part.bytes().last().is_some_and(word)
            && part.bytes().all(|byte| word(byte) || b"-._:@+".contains(&byte))
    };
    name.len() <= 512 && name.split('/').all(component)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_paths_and_names() {
        for (text, form, path, name) in [
            ("oci:dir", Form::Layout, "dir", None),
            ("oci:/a/b:latest", Form::Layout, "/a/b", Some("latest")),
            ("oci-archive:~/a.tar:v1.2", Form::Archive, "~/a.tar", Some("v1.2")),
            ("docker-archive:./a:debian:12", Form::DockerArchive, "./a", Some("debian:12")),
            ("oci:x:docker.io/library/a_b:1", Form::Layout, "x", Some("docker.io/library/a_b:1")),
        ] {
            let source = Source::read(text).unwrap().unwrap();
            assert_eq!((source.form, source.path.to_str(), source.name.as_deref()), (form, Some(path), name));
            assert_eq!(source.to_string(), text);
        }
    }

    #[test]
    fn what_is_none() {
        for text in ["", "oci", "debian:12", "docker:x", "dir:/x", "OCI:x", "/oci:x", "registry:5000/oci"] {
            assert_eq!(Source::read(text), None, "{text}");
        }
        for text in
            ["oci:", "oci::x", "oci:a:", "oci:a:b c", "oci:a:../x", "oci:a:/x", "oci:a\0b", "oci:a:\u{1b}"]
        {
            assert!(Source::read(text).unwrap().is_err(), "{text:?}");
        }
    }
}

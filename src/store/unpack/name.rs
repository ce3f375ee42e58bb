//! Names of entries, checked and cleaned, and what the whiteout namespace makes of them.

use crate::store::error::Refusal;
use crate::store::limits;

/// A name relative to the image's root, without `.`, `..` and superfluous `/`; empty for the root itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name(Vec<u8>);

/// What a name asks for in the whiteout namespace (image-spec `layer.md`, and aufs before it).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Marker<'a> {
    /// Nothing: an ordinary name.
    None,
    /// This name of lower layers is hidden.
    Hide(&'a [u8]),
    /// All of lower layers in the parent folder is hidden.
    Opaque,
    /// Book-keeping of aufs.
    Aufs,
}

impl Name {
    /// An absolute name is taken from the image's root; one that climbs above it is refused.
    pub(super) fn parse(name: &[u8]) -> Result<Self, Refusal> {
        if name.is_empty() {
            return Err(Refusal::Empty("name"));
        }
        if name.len() > limits::NAME {
            return Err(Refusal::NameTooLong("more than 65536 bytes"));
        }
        if name.contains(&0) {
            return Err(Refusal::Nul);
        }
        let mut clean = Vec::with_capacity(name.len());
        for component in name.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." if clean.is_empty() => return Err(Refusal::LeavesRoot),
                b".." => clean.truncate(clean.iter().rposition(|byte| *byte == b'/').unwrap_or(0)),
                long if long.len() > limits::COMPONENT => {
                    return Err(Refusal::NameTooLong("a part of more than 255 bytes"));
                }
                component => {
                    if !clean.is_empty() {
                        clean.push(b'/');
                    }
                    clean.extend_from_slice(component);
                }
            }
        }
        Ok(Self(clean))
    }

    pub(super) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// All but the last component; empty for the root.
    pub(super) fn parent(&self) -> &[u8] {
        let end = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        &self.0[..end]
    }

    pub(super) fn last(&self) -> &[u8] {
        let start = self.0.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        &self.0[start..]
    }

    pub(super) fn marker(&self) -> Result<Marker<'_>, Refusal> {
        for folder in self.parent().split(|byte| *byte == b'/') {
            if folder.starts_with(b".wh..wh.") {
                return Ok(Marker::Aufs);
            }
            if folder.starts_with(b".wh.") {
                return Err(Refusal::InvalidWhiteout);
            }
        }
        match self.last().strip_prefix(b".wh.") {
            None => Ok(Marker::None),
            Some(b".wh..opq") => Ok(Marker::Opaque),
            Some(b"" | b"." | b"..") => Err(Refusal::InvalidWhiteout),
            Some(hidden) if hidden.starts_with(b".wh.") => Ok(Marker::Aufs),
            Some(hidden) => Ok(Marker::Hide(hidden)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaned() {
        for (name, parent, last) in [
            ("a", "", "a"),
            ("./a/", "", "a"),
            ("/etc/passwd", "etc", "passwd"),
            ("a//b/./c", "a/b", "c"),
            ("a/../b", "", "b"),
            ("a/b/../../c/d", "c", "d"),
            ("./", "", ""),
            ("/", "", ""),
            ("a/..", "", ""),
            ("...", "", "..."),
            ("a\n\u{1b}/ü", "a\n\u{1b}", "ü"),
        ] {
            let found = Name::parse(name.as_bytes()).unwrap();
            assert_eq!((found.parent(), found.last()), (parent.as_bytes(), last.as_bytes()), "{name}");
            assert_eq!(found.is_root(), last.is_empty());
        }
        assert_eq!(Name::parse(b"\xff/\xfe").unwrap().parent(), b"\xff");
    }

    #[test]
    fn refused() {
        for (name, why) in [
            ("", Refusal::Empty("name")),
            ("..", Refusal::LeavesRoot),
            ("../x", Refusal::LeavesRoot),
            ("/../x", Refusal::LeavesRoot),
            ("a/../../x", Refusal::LeavesRoot),
            ("./a/b/../../../etc/passwd", Refusal::LeavesRoot),
            ("a\0b", Refusal::Nul),
            (&"a".repeat(256), Refusal::NameTooLong("a part of more than 255 bytes")),
            (&"a/".repeat(40_000), Refusal::NameTooLong("more than 65536 bytes")),
        ] {
            assert_eq!(Name::parse(name.as_bytes()).unwrap_err(), why, "{name:.20}");
        }
    }

    #[test]
    fn markers() {
        for (name, marker) in [
            ("a/wh.b", Ok(Marker::None)),
            ("a/.wh.b", Ok(Marker::Hide(b"b"))),
            (".wh.b/", Ok(Marker::Hide(b"b"))),
            (".wh....", Ok(Marker::Hide(b"..."))),
            ("a/.wh..wh..opq", Ok(Marker::Opaque)),
            (".wh..wh.plnk", Ok(Marker::Aufs)),
            (".wh..wh.plnk/1.2", Ok(Marker::Aufs)),
            (".wh..wh.aufs", Ok(Marker::Aufs)),
            ("a/.wh.", Err(Refusal::InvalidWhiteout)),
            ("a/.wh..", Err(Refusal::InvalidWhiteout)),
            ("a/.wh...", Err(Refusal::InvalidWhiteout)),
            (".wh.a/b", Err(Refusal::InvalidWhiteout)),
        ] {
            assert_eq!(Name::parse(name.as_bytes()).unwrap().marker(), marker, "{name}");
        }
    }
}

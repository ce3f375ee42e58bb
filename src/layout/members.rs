//! The members of a tar archive: where each stands, found in one walk over the headers. The bodies are skipped.

use std::collections::HashMap;
use std::fs::File;

use tar::EntryType;

use super::error::Error;

mod walk;

use walk::{Before, Walk, until_nul};

/// Most members; an archive of the largest images has a few thousand.
const MAX_MEMBERS: usize = 50_000;
/// Longer names are nothing that belongs to an image, nor are links to them.
const MAX_NAME: usize = 1 << 10;
/// Bytes of all names and targets, which are held in memory.
const MAX_NAMES: usize = 16 << 20;
/// Links followed to one member.
const MAX_LINKS: usize = 8;

/// Members by name.
#[derive(Debug, Default)]
pub(super) struct Members {
    named: HashMap<Box<[u8]>, Member>,
    /// Bytes of names and targets that came.
    bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Member {
    File {
        offset: u64,
        size: u64,
    },
    /// The full name of another member.
    Link(Vec<u8>),
    Other,
    /// Two readers could take two things for it.
    Twice,
}

impl Member {
    fn link(target: Option<Vec<u8>>) -> Self {
        match target {
            Some(target) if target.len() > MAX_NAME => Self::Other,
            target => Self::Link(target.unwrap_or_default()),
        }
    }
}

/// What stands at a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    File {
        offset: u64,
        size: u64,
    },
    Nothing,
    /// Something that can't be read, and why.
    Other(&'static str),
}

impl Members {
    /// Lists the members of `file`, which is called `shown` in messages.
    pub(super) fn of(file: &File, shown: &str) -> Result<Self, Error> {
        let length = file
            .metadata()
            .map_err(|source| Error::File { action: "look at", shown: shown.to_owned(), source })?
            .len();
        let mut walk = Walk { file, shown, length, at: 0 };
        let (mut members, mut before) = (Self::default(), Before::default());
        while let Some(header) = walk.header()? {
            let flag = header.entry_type();
            let kept = match flag {
                EntryType::GNULongName
                | EntryType::GNULongLink
                | EntryType::XHeader
                | EntryType::XGlobalHeader => {
                    let size = header.entry_size().map_err(|_| walk.wrong("a size is malformed"))?;
                    let body = walk.metadata(size)?;
                    match flag {
                        EntryType::GNULongName => before.name = Some(until_nul(body)),
                        EntryType::GNULongLink => before.target = Some(until_nul(body)),
                        EntryType::XHeader => {
                            before.records(&body).ok_or_else(|| walk.wrong("a PAX record is malformed"))?;
                        }
                        _ => {}
                    }
                    continue;
                }
                _ => std::mem::take(&mut before),
            };
            let size = match kept.size {
                Some(size) => size,
                None => header.entry_size().map_err(|_| walk.wrong("a size is malformed"))?,
            };
            let name = kept.name.unwrap_or_else(|| header.path_bytes().into_owned());
            let target = || {
                let within = header.link_name_bytes().map(|name| name.into_owned()).unwrap_or_default();
                kept.target.clone().unwrap_or(within)
            };
            let has_body = !matches!(
                flag,
                EntryType::Link
                    | EntryType::Symlink
                    | EntryType::Char
                    | EntryType::Block
                    | EntryType::Directory
                    | EntryType::Fifo
            );
            let member = match flag {
                EntryType::Regular | EntryType::Continuous if !kept.sparse => {
                    Member::File { offset: walk.at, size }
                }
                EntryType::Link => Member::link(clean(&target())),
                EntryType::Symlink => Member::link(beside(&name, &target())),
                _ => Member::Other,
            };
            if has_body {
                walk.skip(size)?;
            }
            members.put(&name, member).map_err(|why| walk.wrong(why))?;
        }
        Ok(members)
    }

    fn put(&mut self, name: &[u8], member: Member) -> Result<(), &'static str> {
        let Some(name) = clean(name).filter(|name| name.len() <= MAX_NAME) else { return Ok(()) };
        self.bytes += name.len() + if let Member::Link(target) = &member { target.len() } else { 0 };
        if self.bytes > MAX_NAMES {
            return Err("the names in it are longer than 16 MiB together");
        }
        let again =
            self.named.get(&*name).is_some_and(|there| member != Member::Other || *there != Member::Other);
        self.named.insert(name.into(), if again { Member::Twice } else { member });
        if self.named.len() > MAX_MEMBERS { Err("it has more than 50000 members") } else { Ok(()) }
    }

    /// What stands at `name`, links of the archive resolved.
    pub(super) fn find(&self, name: &str) -> Found {
        let Some(mut name) = clean(name.as_bytes()) else { return Found::Nothing };
        for _ in 0..MAX_LINKS {
            match self.named.get(&*name) {
                Some(Member::File { offset, size }) => return Found::File { offset: *offset, size: *size },
                Some(Member::Link(target)) => name.clone_from(target),
                Some(Member::Other) => return Found::Other("is not a regular file"),
                Some(Member::Twice) => return Found::Other("is there twice"),
                None => return Found::Nothing,
            }
        }
        Found::Other("has too many links on its way")
    }
}

/// A name as it is looked up: no leading `/`, no `.`, no doubled slash; `None` with `..`, or when nothing is left.
fn clean(name: &[u8]) -> Option<Vec<u8>> {
    let parts: Vec<&[u8]> =
        name.split(|byte| *byte == b'/').filter(|part| !matches!(part, [] | [b'.'])).collect();
    (!parts.is_empty() && !parts.contains(&&b".."[..])).then(|| parts.join(&b'/'))
}

/// What a symbolic link at `name` leads to; `None` when that is no member.
fn beside(name: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    if target.starts_with(b"/") {
        return None;
    }
    let name = clean(name)?;
    let mut parts: Vec<&[u8]> = name.split(|byte| *byte == b'/').collect();
    parts.pop();
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tar::Header;

    use super::*;

    fn members(bytes: &[u8]) -> Result<Members, Error> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Members::of(&file, "x.tar")
    }

    /// A header without a name record, and its body.
    fn member(name: &str, kind: EntryType, target: &str, body: &[u8]) -> Vec<u8> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_size(body.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(body);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    fn file(name: &str, body: &[u8]) -> Vec<u8> {
        member(name, EntryType::Regular, "", body)
    }

    #[test]
    fn names_are_found() {
        let long = format!("a/{}", "x".repeat(200));
        let longer = "x".repeat(MAX_NAME + 1);
        let bytes = [
            file("./one", b"1"),
            member("dir/", EntryType::Directory, "", b""),
            member("dir/", EntryType::Directory, "", b""),
            member("@", EntryType::GNULongName, "", format!("{long}\0").as_bytes()),
            file("cut", b"long"),
            member("@", EntryType::XHeader, "", b"12 path=b/c\n"),
            file("cut", b"pax"),
            member("dir/link", EntryType::Symlink, "../one", b""),
            member("dir/far", EntryType::Symlink, "../../../etc/passwd", b""),
            member("dir/root", EntryType::Symlink, "/one", b""),
            member("hard", EntryType::Link, "./one", b""),
            member("loop", EntryType::Symlink, "loop", b""),
            member("@", EntryType::GNULongLink, "", longer.as_bytes()),
            member("long", EntryType::Link, "cut", b""),
            member("@", EntryType::GNULongLink, "", longer.as_bytes()),
            member("longsym", EntryType::Symlink, "cut", b""),
            member("fifo", EntryType::Fifo, "", b""),
            file("../up", b"u"),
            file("twice", b"1"),
            file("twice", b"2"),
            vec![0; 1024],
        ]
        .concat();
        let members = members(&bytes).unwrap();
        let text = |name: &str| match members.find(name) {
            Found::File { offset, size } => {
                String::from_utf8(bytes[offset as usize..(offset + size) as usize].to_vec()).unwrap()
            }
            Found::Nothing => "nothing".into(),
            Found::Other(why) => why.into(),
        };
        for (name, expected) in [
            ("one", "1"),
            ("/one", "1"),
            (&long, "long"),
            ("cut", "nothing"),
            ("b/c", "pax"),
            ("dir/link", "1"),
            ("hard", "1"),
            ("dir/far", "nothing"),
            ("dir/root", "nothing"),
            ("dir", "is not a regular file"),
            ("long", "is not a regular file"),
            ("longsym", "is not a regular file"),
            ("fifo", "is not a regular file"),
            ("loop", "has too many links on its way"),
            ("twice", "is there twice"),
            ("up", "nothing"),
            ("../up", "nothing"),
            ("", "nothing"),
        ] {
            assert_eq!(text(name), expected, "{name}");
        }
    }

    #[test]
    fn hostile_archives() {
        let claims = |size: u64| {
            let mut header = Header::new_gnu();
            header.set_size(size);
            header.set_cksum();
            header.as_bytes().to_vec()
        };
        let mut sum = file("a", b"");
        sum[0] ^= 1;
        let mut names = Vec::new();
        for number in 0..17 << 10 {
            let name = format!("{number:0>MAX_NAME$}");
            names.extend(member("@", EntryType::GNULongName, "", name.as_bytes()));
            names.extend(file("cut", b""));
        }
        let mut memory = Header::new_gnu();
        memory.set_entry_type(EntryType::XHeader);
        memory.set_size(1 << 33);
        memory.set_cksum();
        for (why, bytes) in [
            ("cut off", vec![]),
            ("cut off", vec![1; 100]),
            ("empty", vec![0; 1024]),
            ("checksum", vec![7; 1024]),
            ("checksum", sum),
            ("cut off", claims(1)),
            ("cut off", claims(u64::MAX >> 1)),
            ("cut off", claims(u64::MAX)),
            ("16 MiB together", names),
            ("longer than 64 KiB", memory.as_bytes().to_vec()),
            ("PAX", member("@", EntryType::XHeader, "", b"99 path=x\n")),
            ("PAX", member("@", EntryType::XHeader, "", b"11 size=-1\n")),
        ] {
            let error = members(&bytes).unwrap_err().to_string();
            assert!(error.contains(why), "{why}: {error}");
        }
    }
}

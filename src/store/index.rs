//! The side index of a layer: what an inode of the caller's can't hold.
//!
//! A line of text for each entry that has something to tell, names and values escaped so that any byte fits:
//!
//! ```text
//! devbox-index 1
//! f 2755 0 5 - usr/bin/wall              kind, mode, uid, gid, device or -, path
//! x security.capability \x01\x00\x00\x02 an attribute of the entry above, not set on the inode
//! c 600 0 0 5:1 dev/console              a device, not made
//! i 2 opt/a/b                            the last 2 folders of a path without entries, made for what lies there
//! f 644 0 0 - etc/a                      again and ordinary: this entry took the place of an earlier one
//! ```
//!
//! Kinds are `f` file, `d` folder, `l` symbolic link, `h` hard link, `p` FIFO, `c` and `b` devices (`c` for a hard link
//! to any). The last line of a path holds; one that is not a folder ends all below it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::ops::Bound;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::error::{At, Error};
use crate::sys::fd;

const HEAD: &str = "devbox-index 1";

/// An entry of a layer that belongs to someone else than 0:0 in the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Below the layer's tree, without a leading `/`; empty for the root itself.
    pub path: PathBuf,
    /// User in the image.
    pub uid: u32,
    /// Group in the image.
    pub gid: u32,
    /// Permission bits, with setuid, setgid and sticky.
    pub mode: u32,
}

/// An entry as the index holds it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub(super) kind: u8,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) device: Option<(u32, u32)>,
}

/// Writes an index as the entries come.
pub(super) struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Writer {
    pub(super) fn create(path: PathBuf) -> Result<Self, Error> {
        let file = File::create_new(&path).at("make", &path)?;
        let mut writer = Self { path, file: BufWriter::with_capacity(64 << 10, file) };
        writer.put(|file| writeln!(file, "{HEAD}"))?;
        Ok(writer)
    }

    pub(super) fn entry(&mut self, line: &Line, path: &[u8]) -> Result<(), Error> {
        let Line { kind, mode, uid, gid, device } = line;
        self.put(|file| {
            write!(file, "{} {mode:o} {uid} {gid} ", char::from(*kind))?;
            match device {
                Some((major, minor)) => write!(file, "{major}:{minor} ")?,
                None => write!(file, "- ")?,
            }
            escape(file, path)?;
            writeln!(file)
        })
    }

    /// Folders without entries: the last `count` of `path`.
    pub(super) fn implied(&mut self, path: &[u8], count: u64) -> Result<(), Error> {
        self.put(|file| {
            write!(file, "i {count} ")?;
            escape(file, path)?;
            writeln!(file)
        })
    }

    /// An attribute of the entry written last.
    pub(super) fn xattr(&mut self, name: &[u8], value: &[u8]) -> Result<(), Error> {
        self.put(|file| {
            write!(file, "x ")?;
            escape(file, name)?;
            write!(file, " ")?;
            escape(file, value)?;
            writeln!(file)
        })
    }

    pub(super) fn finish(mut self) -> Result<(), Error> {
        self.put(BufWriter::flush)
    }

    fn put(&mut self, put: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<(), Error> {
        put(&mut self.file).at("write", &self.path)
    }
}

/// Reads the entries that do not belong to 0:0, in order of path.
pub(super) fn foreign_owners(path: &Path) -> Result<Vec<Owner>, Error> {
    Ok(read(path, &mut |_, _, _| {})?.0)
}

/// Who is told of attributes: path, name, value.
pub(super) type Aside<'a> = dyn FnMut(&[u8], &[u8], &[u8]) + 'a;

/// The same, and how many of the lines have such an owner; `aside` is called with each attribute that is not set on
/// the inode that is there in the end: the path, its name and its value.
pub(super) fn read(path: &Path, aside: &mut Aside<'_>) -> Result<(Vec<Owner>, u64), Error> {
    let damaged = |why: &str| Error::Damaged { path: path.to_owned(), why: why.to_owned() };
    let file = File::open(path).at("open", path)?;
    let mut lines = BufReader::new(file).lines();
    let head = lines.next().transpose().at("read", path)?;
    if head.as_deref() != Some(HEAD) {
        return Err(damaged("it does not begin as an index"));
    }
    let mut entries: BTreeMap<Vec<u8>, Line> = BTreeMap::new();
    let mut attributes: BTreeMap<Vec<u8>, Vec<fd::Xattr>> = BTreeMap::new();
    let (mut count, mut last) = (0, Vec::new());
    for text in lines {
        let text = text.at("read", path)?;
        if let Some(attribute) = text.strip_prefix("x ") {
            let (name, value) = attribute.split_once(' ').ok_or_else(|| damaged("a line is no attribute"))?;
            match (unescape(name), unescape(value)) {
                (Some(name), Some(value)) => attributes.entry(last.clone()).or_default().push((name, value)),
                _ => return Err(damaged("a line is no attribute")),
            }
            continue;
        }
        if text.starts_with("i ") {
            continue;
        }
        let (line, name) = parse(&text).ok_or_else(|| damaged("a line is not an entry"))?;
        // a folder that comes again keeps what it had
        if line.kind != b'd' || entries.get(&name).is_some_and(|before| before.kind != b'd') {
            attributes.remove(&name);
        }
        if line.kind != b'd' {
            forget_below(&mut entries, &name);
            forget_below(&mut attributes, &name);
        }
        count += u64::from((line.uid, line.gid) != (0, 0));
        last.clone_from(&name);
        entries.insert(name, line);
    }
    for (path, attributes) in &attributes {
        attributes.iter().for_each(|(name, value)| aside(path, name, value));
    }
    let foreign = entries.into_iter().filter(|(_, line)| (line.uid, line.gid) != (0, 0));
    let owners = foreign
        .filter(|(_, line)| !matches!(line.kind, b'c' | b'b'))
        .map(|(name, Line { mode, uid, gid, .. })| Owner {
            path: OsString::from_vec(name).into(),
            uid,
            gid,
            mode,
        })
        .collect();
    Ok((owners, count))
}

/// Removes all paths below `name`.
pub(super) fn forget_below<T>(entries: &mut BTreeMap<Vec<u8>, T>, name: &[u8]) {
    let first = [name, b"/"].concat();
    let end = [name, b"0"].concat(); // the byte after `/`
    let below: Vec<Vec<u8>> = entries
        .range::<Vec<u8>, _>((Bound::Included(&first), Bound::Excluded(&end)))
        .map(|(name, _)| name.clone())
        .collect();
    for name in below {
        entries.remove(&name);
    }
}

fn parse(text: &str) -> Option<(Line, Vec<u8>)> {
    let mut fields = text.splitn(6, ' ');
    let kind = fields.next()?;
    let line = Line {
        kind: *kind.as_bytes().first().filter(|_| kind.len() == 1)?,
        mode: u32::from_str_radix(fields.next()?, 8).ok()?,
        uid: fields.next()?.parse().ok()?,
        gid: fields.next()?.parse().ok()?,
        device: match fields.next()? {
            "-" => None,
            numbers => {
                let (major, minor) = numbers.split_once(':')?;
                Some((major.parse().ok()?, minor.parse().ok()?))
            }
        },
    };
    Some((line, unescape(fields.next()?)?))
}

/// Printable ASCII but space and `\` stays; the rest becomes `\xNN`.
fn escape(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    for run in bytes.chunk_by(|a, b| plain(*a) && plain(*b)) {
        match run {
            [byte] if !plain(*byte) => write!(out, "\\x{byte:02x}")?,
            run => out.write_all(run)?,
        }
    }
    Ok(())
}

fn plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'\\'
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'\\' {
            bytes.push(first);
            continue;
        }
        let [b'x', digits @ ..] = rest else { return None };
        let pair = std::str::from_utf8(digits.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(pair, 16).ok()?);
        rest = &digits[2..];
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_byte_survives() {
        let all: Vec<u8> = (0..=255).collect();
        let mut text = Vec::new();
        escape(&mut text, &all).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
        assert_eq!(unescape(&text).unwrap(), all);
        for bad in ["\\", "\\x", "\\x1", "\\y11", "\\xg1"] {
            assert_eq!(unescape(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_last_word_on_a_path_holds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index");
        let mut writer = Writer::create(path.clone()).unwrap();
        let line = |kind, uid| Line { kind, mode: 0o640, uid, gid: 42, device: None };
        let ours = Line { kind: b'f', mode: 0o644, uid: 0, gid: 0, device: None };
        for (line, path) in [
            (line(b'f', 0), "etc/shadow"),
            (line(b'f', 7), "a b\n"),
            (line(b'f', 1), "again"),
            (ours, "again"),
            (line(b'd', 1), "gone"),
            (line(b'f', 1), "gone/below"),
            (line(b'f', 1), "gone.not"),
            (ours, "gone"),
            (Line { device: Some((5, 1)), ..line(b'c', 3) }, "dev/console"),
        ] {
            writer.entry(&line, path.as_bytes()).unwrap();
            writer.xattr(b"user.x", b"\0 \n").unwrap();
        }
        writer.implied(b"a/b", 2).unwrap();
        writer.finish().unwrap();
        let found: Vec<(String, u32)> = foreign_owners(&path)
            .unwrap()
            .into_iter()
            .map(|owner| (owner.path.to_str().unwrap().to_owned(), owner.uid))
            .collect();
        let expected = [("a b\n", 7), ("etc/shadow", 0), ("gone.not", 1)];
        assert_eq!(found, expected.map(|(path, uid)| (path.to_owned(), uid)));
    }

    #[test]
    fn damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index");
        for text in ["", "devbox-index 2\n", "devbox-index 1\nf 644 0\n", "devbox-index 1\nf 9 0 0 - a\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(foreign_owners(&path), Err(Error::Damaged { .. })), "{text:?}");
        }
    }
}

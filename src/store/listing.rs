//! Layers and trees as a few readable lines, for tests.
//!
//! ```text
//! d 755 etc                            kind, mode, name
//! f 644 etc/passwd root:x:0            a file and its content
//! f 4755 bin/su | uid=0 gid=5 mtime=1.5 user.note=x
//! l etc/mtab ../proc/mounts            links have no mode
//! h etc/a etc/b                        a hard link to etc/b
//! p 600 fifo
//! c 600 dev/null 1:3
//! ```
//!
//! Names, targets and contents have no spaces; `\xNN` stands for any byte. Options follow a `|`; those the plain
//! header has no room for become PAX records.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use tar::{EntryType, Header};

use crate::sys::fd;

/// An uncompressed layer, with its two zero blocks.
pub(crate) fn layer(listing: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in listing.lines().map(str::trim).filter(|line| !line.is_empty()) {
        entry(&mut bytes, line);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// Appends a header for `body`, and the body padded to whole blocks.
pub(crate) fn append(bytes: &mut Vec<u8>, mut header: Header, body: &[u8]) {
    header.set_size(body.len() as u64);
    header.set_cksum();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(body);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
}

/// A ustar header without a size; a name longer than its field is cut.
pub(crate) fn header(kind: u8, mode: u32, name: &[u8]) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::new(kind));
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let length = name.len().min(100);
    header.as_old_mut().name[..length].copy_from_slice(&name[..length]);
    header
}

/// Appends PAX records for the next entry (`x`) or all later ones (`g`).
pub(crate) fn append_records(bytes: &mut Vec<u8>, kind: u8, records: &[(&[u8], &[u8])]) {
    let mut body = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (rest + 1..).find(|length| rest + length.to_string().len() == *length).unwrap();
        body.extend([length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat());
    }
    append(bytes, header(kind, 0o644, b"records"), &body);
}

fn entry(bytes: &mut Vec<u8>, line: &str) {
    let (line, options) = line.split_once(" | ").unwrap_or((line, ""));
    let mut words = line.split(' ');
    let mut word = || unescape(words.next().unwrap_or_default());
    let kind = word()[0];
    let mode = if matches!(kind, b'l' | b'h') { b"777".to_vec() } else { word() };
    let mode = u32::from_str_radix(std::str::from_utf8(&mode).unwrap(), 8).unwrap();
    let (name, rest) = (word(), word());
    let flag = b"01234567"[b"fhlcbdp".iter().position(|known| *known == kind).unwrap()];
    let mut header = header(flag, mode, &name);
    let mut records: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    if name.len() > 100 {
        records.push((b"path".to_vec(), name));
    }
    match kind {
        b'l' | b'h' if rest.len() > 100 => records.push((b"linkpath".to_vec(), rest.clone())),
        b'l' | b'h' => header.as_old_mut().linkname[..rest.len()].copy_from_slice(&rest),
        b'c' | b'b' => {
            let numbers = String::from_utf8(rest.clone()).unwrap();
            let (major, minor) = numbers.split_once(':').unwrap();
            header.set_device_major(major.parse().unwrap()).unwrap();
            header.set_device_minor(minor.parse().unwrap()).unwrap();
        }
        _ => {}
    }
    for option in options.split(' ').filter(|option| !option.is_empty()) {
        let (key, value) = option.split_once('=').unwrap();
        match key {
            "uid" => header.set_uid(value.parse().unwrap()),
            "gid" => header.set_gid(value.parse().unwrap()),
            key if key.contains("sparse") || !key.contains('.') => {
                records.push((key.as_bytes().to_vec(), unescape(value)));
            }
            key => records.push((format!("SCHILY.xattr.{key}").into_bytes(), unescape(value))),
        }
    }
    if !records.is_empty() {
        let records: Vec<(&[u8], &[u8])> =
            records.iter().map(|(key, value)| (&key[..], &value[..])).collect();
        append_records(bytes, b'x', &records);
    }
    append(bytes, header, if kind == b'f' { &rest } else { b"" });
}

fn unescape(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    bytes
}

/// What stands below `root`, a line each in order of name, the root itself as `.`. Whiteouts are `w`, other
/// devices `c` and `b`; an opaque folder ends in ` opaque=y`, and all hard links to an inode but the first name it.
pub(crate) fn tree(root: &Path) -> String {
    let mut lines = Vec::new();
    let mut links = std::collections::BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let found = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap();
        let name = if name == Path::new("") { Path::new(".") } else { name };
        let name = name.as_os_str().as_bytes().escape_ascii().to_string();
        let (kind, mode) = (found.file_type(), found.mode() & 0o7777);
        let line = if kind.is_dir() {
            let mut below: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
            below.sort();
            below.reverse();
            todo.extend(below);
            format!("d {mode:o} {name}{}", attributes(&path))
        } else if kind.is_symlink() {
            format!("l {name} {}", fs::read_link(&path).unwrap().as_os_str().as_bytes().escape_ascii())
        } else if let Some(first) = links.get(&found.ino()) {
            format!("h {name} {first}")
        } else {
            links.insert(found.ino(), name.clone());
            if kind.is_file() {
                let content = fs::read(&path).map(|content| content.escape_ascii().to_string());
                format!("f {mode:o} {name} {}{}", content.unwrap_or("(closed)".into()), attributes(&path))
            } else if kind.is_fifo() {
                format!("p {mode:o} {name}")
            } else if kind.is_char_device() && found.rdev() == 0 {
                format!("w {name}")
            } else {
                format!("? {name}")
            }
        };
        lines.push(line.trim_end().to_owned());
    }
    lines.join("\n")
}

/// The attributes tests ask for, each as ` name=value`.
fn attributes(path: &Path) -> String {
    let Ok(file) = fs::File::open(path) else { return String::new() };
    ["user.overlay.opaque", "user.overlay.whiteout", "user.overlay.redirect", "user.note"]
        .iter()
        .filter_map(|name| Some((name, fd::fgetxattr(file.as_fd(), name.as_bytes()).ok()?)))
        .map(|(name, value)| format!(" {name}={}", value.escape_ascii()))
        .collect()
}

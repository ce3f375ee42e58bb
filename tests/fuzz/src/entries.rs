//! Layers of a few entries whose names and targets lead into, over and through each other.

#![no_main]

mod store;

use libfuzzer_sys::fuzz_target;

const NAMES: &[&str] = &[
    "a",
    "b",
    "c",
    "a/b",
    "a/b/c",
    "b/a",
    "l",
    "l/a",
    "l/b/c",
    "a/l",
    "a/l/x",
    ".",
    "./a/",
    "/",
    "/a",
    "a/",
    "..",
    "../x",
    "a/../b",
    "a/../../x",
    ".wh.a",
    ".wh.b",
    "a/.wh.b",
    "a/.wh..wh..opq",
    ".wh..wh..opq",
    "l/.wh.a",
    ".wh.",
    ".wh..",
    ".wh..wh.plnk/1",
    "",
    "outside/secret",
    "../../outside/secret",
    "/dev/shm",
    "x\u{1b}[31m",
];

/// One entry, of twelve bytes of the input.
#[derive(Debug, Default)]
struct Entry {
    kind: u8,
    name: u8,
    target: u8,
    mode: u16,
    owner: u8,
    time: u8,
    size: u16,
    form: u8,
    sparse: (u8, u8),
}

fuzz_target!(|data: &[u8]| {
    let mut tar = Vec::new();
    let (entries, rest) = data.as_chunks::<12>();
    for entry in entries.iter().take(40) {
        let &[kind, name, target, m, n, owner, time, s, t, form, a, b] = entry;
        let (mode, size) = (u16::from_le_bytes([m, n]), u16::from_le_bytes([s, t]));
        Entry { kind, name, target, mode, owner, time, size, form, sparse: (a, b) }.write(&mut tar);
    }
    tar.resize(tar.len() + 512 * rest.len(), 0);
    store::unpack(&tar);
});

impl Entry {
    fn write(&self, tar: &mut Vec<u8>) {
        let name = NAMES[usize::from(self.name) % NAMES.len()];
        let target = NAMES[usize::from(self.target) % NAMES.len()];
        let flag = *b"0000011122223456S7gA".get(usize::from(self.kind) % 20).unwrap();
        let is_file = matches!(flag, b'0' | b'7' | b'S');
        let size = if is_file { usize::from(self.size) % 1500 } else { usize::from(self.size % 2) };
        let mut name_in_header = name;
        match self.form % 8 {
            1 => {
                pax(tar, &[("path", name), ("linkpath", target)]);
                name_in_header = "short";
            }
            2 => {
                header(tar, b'L', "././@LongLink", "", 0, 0, name.len() + 1, self);
                body(tar, name.len() + 1, name.as_bytes());
                name_in_header = "short";
            }
            3 => pax(
                tar,
                &[("SCHILY.xattr.user.x", "y"), ("SCHILY.xattr.security.capability", "z"), ("mtime", "-1.5")],
            ),
            4 => pax(
                tar,
                &[("size", &size.to_string()), ("uid", "7"), ("SCHILY.xattr.user.overlay.opaque", "y")],
            ),
            5 if is_file => {
                let (at, length) = self.sparse;
                let map = format!("{at},{length},{},{}", u32::from(at) + u32::from(length), size);
                let real = (usize::from(at) + usize::from(length) + size * 2).to_string();
                pax(tar, &[("GNU.sparse.map", &map), ("GNU.sparse.size", &real)]);
            }
            _ => {}
        }
        header(tar, flag, name_in_header, target, u32::from(self.mode), u32::from(self.owner), size, self);
        body(tar, size, &[self.owner, self.kind, self.form]);
    }
}

fn pax(tar: &mut Vec<u8>, records: &[(&str, &str)]) {
    let mut text = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (rest + 1..).find(|length| rest + length.to_string().len() == *length).unwrap();
        text.extend(format!("{length} {key}={value}\n").bytes());
    }
    let entry = Entry::default();
    header(tar, b'x', "records", "", 0o644, 0, text.len(), &entry);
    let length = text.len();
    body(tar, length, &text);
}

#[allow(clippy::too_many_arguments)]
fn header(
    tar: &mut Vec<u8>,
    flag: u8,
    name: &str,
    target: &str,
    mode: u32,
    owner: u32,
    size: usize,
    entry: &Entry,
) {
    let mut block = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, format!("{mode:07o}").as_bytes());
    put(108, format!("{owner:07o}").as_bytes());
    put(116, format!("{:07o}", owner / 2).as_bytes());
    put(124, format!("{size:011o}").as_bytes());
    put(136, format!("{:011o}", entry.time).as_bytes());
    put(148, b"        ");
    put(156, &[flag]);
    put(157, target.as_bytes());
    put(257, b"ustar\x0000");
    put(329, b"0000005");
    put(337, b"0000001");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    tar.extend_from_slice(&block);
}

fn body(tar: &mut Vec<u8>, size: usize, pattern: &[u8]) {
    tar.extend(pattern.iter().copied().chain(pattern.iter().copied().cycle()).take(size));
    tar.resize(tar.len().next_multiple_of(512), 0);
}

//! Writing a layer: ustar headers, with PAX records (pax(1)) for what those can't say, sparse files in GNU's form 1.0.
//!
//! The same entries give the same bytes: no clock, no name of a user, no process number goes in.

use std::io::{self, Read, Write};

use tar::{EntryType, Header};

use super::BLOCK;

/// Kind of an entry that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// With its size in bytes.
    File(u64),
    /// A folder.
    Folder,
    /// Its target is the entry's.
    Symlink,
    /// To an earlier entry, the entry's target.
    HardLink,
    /// A FIFO.
    Fifo,
    /// A character device, major and minor number.
    CharDevice(u32, u32),
    /// A block device.
    BlockDevice(u32, u32),
}

/// An entry's header.
#[derive(Debug)]
pub struct Head<'a> {
    /// Without a leading `/`.
    pub path: &'a [u8],
    /// What it is.
    pub kind: Kind,
    /// Permission bits, with setuid, setgid and sticky.
    pub mode: u32,
    /// User and group.
    pub owner: (u32, u32),
    /// Seconds since the epoch.
    pub modified: i64,
    /// Target of a link.
    pub target: &'a [u8],
    /// Extended attributes, sorted.
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

/// Writes an archive as the entries come.
#[derive(Debug)]
pub struct TarWriter<W> {
    out: W,
}

impl<W: Write> TarWriter<W> {
    /// Nothing is written yet.
    pub fn new(out: W) -> Self {
        Self { out }
    }

    /// An entry without a body.
    pub fn entry(&mut self, head: &Head<'_>) -> io::Result<()> {
        self.head(head, head.path, Vec::new(), 0)
    }

    /// A file whose bytes are those of `body`, as many as its kind says.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` when `body` has fewer.
    pub fn file(&mut self, head: &Head<'_>, body: impl Read) -> io::Result<()> {
        let Kind::File(size) = head.kind else { return Err(io::ErrorKind::InvalidInput.into()) };
        self.head(head, head.path, Vec::new(), size)?;
        self.body(body, size)?;
        self.pad(size)
    }

    /// A file that is zero but for `segments` (offset and length, in order), whose bytes are those of `body`.
    pub fn sparse(&mut self, head: &Head<'_>, segments: &[(u64, u64)], body: impl Read) -> io::Result<()> {
        let Kind::File(size) = head.kind else { return Err(io::ErrorKind::InvalidInput.into()) };
        let mut map = format!("{}\n", segments.len() + 1);
        for (offset, length) in segments.iter().chain([&(size, 0)]) {
            map.push_str(&format!("{offset}\n{length}\n"));
        }
        let padded = map.len().next_multiple_of(BLOCK);
        let data: u64 = segments.iter().map(|(_, length)| length).sum();
        let mut records = Vec::new();
        record(&mut records, b"GNU.sparse.major", b"1");
        record(&mut records, b"GNU.sparse.minor", b"0");
        record(&mut records, b"GNU.sparse.name", head.path);
        record(&mut records, b"GNU.sparse.realsize", size.to_string().as_bytes());
        let stored = padded as u64 + data;
        let head = Head { kind: Kind::File(stored), path: b"GNUSparseFile.0/sparse", ..*head };
        self.head(&head, head.path, records, stored)?;
        self.out.write_all(map.as_bytes())?;
        self.out.write_all(&[0; BLOCK][..padded - map.len()])?;
        self.body(body, data)?;
        self.pad(data)
    }

    /// Gives back where it goes, the archive not ended.
    pub fn into_inner(self) -> W {
        self.out
    }

    /// Ends the archive; gives back where it went.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn body(&mut self, body: impl Read, size: u64) -> io::Result<()> {
        match io::copy(&mut body.take(size), &mut self.out)? {
            count if count == size => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter while it was read")),
        }
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let rest = (size.next_multiple_of(BLOCK as u64) - size) as usize;
        self.out.write_all(&[0; BLOCK][..rest])
    }

    fn head(&mut self, head: &Head<'_>, path: &[u8], mut records: Vec<u8>, size: u64) -> io::Result<()> {
        let mut header = Header::new_ustar();
        let mut path = path.to_vec();
        if head.kind == Kind::Folder {
            path.push(b'/');
        }
        let fields = header.as_old_mut();
        if !put(&mut fields.name, &path) {
            record(&mut records, b"path", &path);
        }
        if !put(&mut fields.linkname, head.target) {
            record(&mut records, b"linkpath", head.target);
        }
        for (key, id, limit) in
            [(&b"uid"[..], head.owner.0, 0o7_777_777), (b"gid", head.owner.1, 0o7_777_777)]
        {
            if id > limit {
                record(&mut records, key, id.to_string().as_bytes());
            }
        }
        let octal = |number: u64, most: u64| if number > most { 0 } else { number };
        header.set_uid(octal(head.owner.0.into(), 0o7_777_777));
        header.set_gid(octal(head.owner.1.into(), 0o7_777_777));
        if size > 0o77_777_777_777 {
            record(&mut records, b"size", size.to_string().as_bytes());
        }
        header.set_size(octal(size, 0o77_777_777_777));
        let modified = u64::try_from(head.modified).ok().filter(|seconds| *seconds <= 0o77_777_777_777);
        if modified.is_none() {
            record(&mut records, b"mtime", head.modified.to_string().as_bytes());
        }
        header.set_mtime(modified.unwrap_or_default());
        header.set_mode(head.mode & 0o7777);
        let (kind, device) = match head.kind {
            Kind::File(_) => (EntryType::Regular, None),
            Kind::Folder => (EntryType::Directory, None),
            Kind::Symlink => (EntryType::Symlink, None),
            Kind::HardLink => (EntryType::Link, None),
            Kind::Fifo => (EntryType::Fifo, None),
            Kind::CharDevice(major, minor) => (EntryType::Char, Some((major, minor))),
            Kind::BlockDevice(major, minor) => (EntryType::Block, Some((major, minor))),
        };
        header.set_entry_type(kind);
        if let Some((major, minor)) = device {
            header.set_device_major(major)?;
            header.set_device_minor(minor)?;
        }
        for (name, value) in head.xattrs {
            record(&mut records, &[b"SCHILY.xattr.", name.as_slice()].concat(), value);
        }
        if !records.is_empty() {
            self.records(&records)?;
        }
        header.set_cksum();
        self.out.write_all(header.as_bytes())
    }

    fn records(&mut self, records: &[u8]) -> io::Result<()> {
        let mut header = Header::new_ustar();
        put(&mut header.as_old_mut().name, b"PaxHeaders.0/entry");
        header.set_size(records.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_entry_type(EntryType::XHeader);
        header.set_cksum();
        self.out.write_all(header.as_bytes())?;
        self.out.write_all(records)?;
        self.pad(records.len() as u64)
    }
}

/// Puts `bytes` into a field; what does not fit is cut, and said so by `false`.
fn put(field: &mut [u8; 100], bytes: &[u8]) -> bool {
    let length = bytes.len().min(field.len());
    field[..length].copy_from_slice(&bytes[..length]);
    length == bytes.len()
}

/// Adds `LENGTH KEY=VALUE\n`, whose length counts its own digits.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let digits = |number: usize| number.to_string().len();
    let mut length = rest + digits(rest);
    length = rest + digits(length);
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(path: &[u8], kind: Kind) -> Head<'_> {
        Head { path, kind, mode: 0o644, owner: (0, 0), modified: 1, target: b"", xattrs: &[] }
    }

    #[test]
    fn lengths_count_themselves() {
        for value in
            [0, 1, 2, 3, 4, 5, 84, 85, 86, 87, 88, 89, 90, 91, 980, 981, 982, 983, 984, 985, 986, 987]
        {
            let mut records = Vec::new();
            record(&mut records, b"path", &vec![b'x'; value]);
            let text = String::from_utf8(records.clone()).unwrap();
            let said: usize = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(said, records.len(), "{value}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let long = [b"d/".repeat(80), b"x".repeat(200)].concat();
        let xattrs =
            [(b"security.capability".to_vec(), vec![1, 0, 0, 2, 0]), (b"user.x".to_vec(), b"\n=".to_vec())];
        let mut writer = TarWriter::new(Vec::new());
        writer.entry(&Head { mode: 0o2755, owner: (0, 5), ..head(b"d", Kind::Folder) }).unwrap();
        let big = Head { owner: (3_000_000, 4_000_000_000), xattrs: &xattrs, ..head(&long, Kind::File(3)) };
        writer.file(&big, &b"abc"[..]).unwrap();
        writer.entry(&Head { target: &long, ..head(b"d/h", Kind::HardLink) }).unwrap();
        writer.entry(&Head { target: b"\xff", modified: -5, ..head(b"d/l\xfe", Kind::Symlink) }).unwrap();
        writer.entry(&head(b"d/null", Kind::CharDevice(1, 3))).unwrap();
        writer.sparse(&head(b"d/holes", Kind::File(1 << 30)), &[(0, 2), (1 << 20, 1)], &b"abc"[..]).unwrap();
        writer.file(&head(b"d/short", Kind::File(2)), &b"a"[..]).unwrap_err();
        let mut writer = TarWriter::new(writer.out);
        writer.out.truncate(writer.out.len() - 513); // what the refused one left
        let bytes = writer.finish().unwrap();
        let mut archive = super::super::Archive::new(&bytes[..]);
        let mut seen = Vec::new();
        while let Some(entry) = archive.next().unwrap() {
            while !archive.body(0, u64::MAX).unwrap().is_empty() {}
            seen.push(entry);
        }
        assert_eq!(seen.len(), 6);
        assert_eq!((seen[0].mode, seen[0].uid, seen[0].gid), (0o2755, 0, 5));
        assert_eq!(
            (seen[1].path.as_slice(), seen[1].uid, seen[1].gid),
            (&long[..], 3_000_000, 4_000_000_000)
        );
        assert_eq!(seen[1].xattrs, xattrs);
        assert_eq!(seen[2].target, long);
        assert_eq!((seen[3].target.as_slice(), seen[3].path.as_slice()), (&b"\xff"[..], &b"d/l\xfe"[..]));
        assert_eq!(seen[5].path, b"d/holes");
        let sparse = seen[5].sparse.as_ref().unwrap();
        assert_eq!((sparse.size, sparse.segments.len()), (1 << 30, 3));
    }
}

//! Writes an OCI image layout as a tar archive, in one pass: to a file or into a pipe.

use std::collections::HashSet;
use std::io::{self, Read, Write};

use tar::{EntryType, Header};

use crate::oci::digest::Digest;
use crate::oci::layout::{INDEX, MARKER, MARKER_TEXT, blob_path};
use crate::oci::manifest::Descriptor;

/// An archive being written. The same images give the same bytes.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    written: HashSet<Digest>,
}

/// Why an archive could not be written.
#[derive(Debug)]
pub enum WriteError {
    /// What is written to takes no more.
    Out(io::Error),
    /// The blob's reader failed; its own error, untouched.
    Blob(io::Error),
}

impl<W: Write> Writer<W> {
    /// Begins the archive.
    pub fn new(out: W) -> Result<Self, WriteError> {
        let mut writer = Self { out, written: HashSet::new() };
        writer.member(MARKER, MARKER_TEXT.len() as u64, MARKER_TEXT.as_bytes())?;
        for folder in ["blobs/", "blobs/sha256/"] {
            let header = header(folder, EntryType::Directory, 0o755, 0).map_err(WriteError::Out)?;
            writer.out.write_all(header.as_bytes()).map_err(WriteError::Out)?;
        }
        Ok(writer)
    }

    /// Whether a blob is in it already.
    pub fn has(&self, digest: &Digest) -> bool {
        self.written.contains(digest)
    }

    /// Adds a blob of exactly `size` bytes, unless it is there.
    pub fn blob(&mut self, digest: &Digest, size: u64, bytes: impl Read) -> Result<(), WriteError> {
        if self.written.insert(*digest) { self.member(&blob_path(digest), size, bytes) } else { Ok(()) }
    }

    /// Writes the index, which points to the images, and the end.
    pub fn finish(mut self, images: &[Descriptor]) -> Result<W, WriteError> {
        let index = serde_json::json!({ "schemaVersion": 2, "manifests": images }).to_string();
        self.member(INDEX, index.len() as u64, index.as_bytes())?;
        self.out.write_all(&[0; 1024]).and_then(|()| self.out.flush()).map_err(WriteError::Out)?;
        Ok(self.out)
    }

    fn member(&mut self, name: &str, size: u64, mut bytes: impl Read) -> Result<(), WriteError> {
        let header = header(name, EntryType::Regular, 0o644, size).map_err(WriteError::Out)?;
        self.out.write_all(header.as_bytes()).map_err(WriteError::Out)?;
        let mut buffer = vec![0; 256 << 10];
        let mut count = 0;
        loop {
            let piece = match bytes.read(&mut buffer) {
                Ok(0) => break,
                Ok(piece) => piece,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(WriteError::Blob(error)),
            };
            count += piece as u64;
            if count > size {
                break;
            }
            self.out.write_all(&buffer[..piece]).map_err(WriteError::Out)?;
        }
        if count != size {
            let why = format!("it has {count} bytes or more, not {size}");
            return Err(WriteError::Blob(io::Error::new(io::ErrorKind::InvalidData, why)));
        }
        let padding = (size.next_multiple_of(512) - size) as usize;
        self.out.write_all(&[0; 512][..padding]).map_err(WriteError::Out)
    }
}

fn header(name: &str, kind: EntryType, mode: u32, size: u64) -> io::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_path(name)?;
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    Ok(header)
}

#[cfg(test)]
mod tests {
    use std::io::Seek;

    use super::*;
    use crate::layout::{Images, open_archive};
    use crate::oci::media_type::OCI_MANIFEST;

    #[test]
    fn what_is_written_is_read() {
        let bytes = vec![7; 1000];
        let digest = Digest::of(&bytes);
        let entry = Descriptor {
            media_type: OCI_MANIFEST.into(),
            digest,
            size: 1000,
            platform: None,
            annotations: Default::default(),
        };
        let mut file = tempfile::tempfile().unwrap();
        let mut writer = Writer::new(&mut file).unwrap();
        for _ in 0..2 {
            writer.blob(&digest, 1000, &bytes[..]).unwrap();
        }
        writer.finish(std::slice::from_ref(&entry)).unwrap();
        assert_eq!(file.stream_position().unwrap(), 512 * (2 + 2 + 3 + 2 + 2));
        let Images::Layout(layout) = open_archive(file, "x").unwrap() else { panic!() };
        assert_eq!(layout.entries, [entry]);
        let mut read = Vec::new();
        layout.blob(&layout.entries[0]).unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read, bytes);
    }

    #[test]
    fn sizes_must_be_right() {
        for size in [9, 11] {
            let mut writer = Writer::new(Vec::new()).unwrap();
            let failed = writer.blob(&Digest::of(b"x"), size, &[1; 10][..]);
            assert!(matches!(failed, Err(WriteError::Blob(_))), "{size}");
        }
    }
}

//! The small files that say how to reach registries, read with a limit.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Such files are small; a larger one is none.
const MAX: u64 = 1 << 20;

/// All bytes of a regular file, links followed. `/dev/null` is a file that says nothing.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    // looked at before it is opened: a FIFO would wait for its writer
    let kind = path.metadata()?.file_type();
    if !kind.is_file() && !kind.is_char_device() {
        return Err(invalid("it is not a file".into()));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX {
        return Err(invalid(format!("it is larger than {MAX} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_file() {
        assert_eq!(read(Path::new("/dev/null")).unwrap(), b"");
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for other in [folder.path(), &fifo] {
            assert_eq!(read(other).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        assert!(read(Path::new("/dev/zero")).unwrap_err().to_string().contains("larger than"));
    }
}

//! The small files that say how to reach registries, read with a limit.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Such files are small; a larger one is none.
const MAX: u64 = 1 << 20;

/// All bytes of a regular file, links followed.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    // looked at before it is opened: a FIFO would wait for its writer
    if !path.metadata()?.is_file() {
        return Err(invalid("it is not a file".into()));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX {
        return Err(invalid(format!("it is larger than {MAX} bytes")));
    }
    Ok(bytes)
}

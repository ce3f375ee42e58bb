//! Bytes that can be read only once, kept for as long as someone works on them.

use std::fs::{self, File};
use std::io::{self, Read};

use super::Store;
use super::error::{At, Error};
use super::record;

impl Store {
    /// Copies all of `input` to a file in staging that has no name, so that it goes away with its handle, whatever
    /// becomes of the process. An error of `input` comes back untouched as [`Error::Input`].
    pub fn spool(&self, mut input: impl Read) -> Result<File, Error> {
        let (path, mut file) = record::draft(&self.staging())?;
        fs::remove_file(&path).at("remove", &path)?;
        let mut buffer = vec![0; 512 << 10];
        loop {
            let count = match input.read(&mut buffer) {
                Ok(0) => return Ok(file),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::Input(error)),
            };
            io::Write::write_all(&mut file, &buffer[..count]).at("write", &self.staging())?;
        }
    }
}

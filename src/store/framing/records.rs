//! Reading a framing, one record at a time.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::{FILE, Place};
use crate::store::error::{At, Error};

/// Longest path of a tree: its depth times the longest name.
const LONGEST: u32 = 4 << 20;

/// One record; see the format in the parent module.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store) enum Record {
    /// So many bytes follow, to be had by [`Records::bytes`].
    Bytes(u32),
    /// What comes of the entry.
    Place(Place),
    /// Bytes of the file last placed.
    Content { offset: u64, length: u64, crc: u32 },
    /// What stood at this path was set aside.
    Aside(Vec<u8>),
    /// Nothing follows.
    End,
}

/// A framing being read.
pub(in crate::store) struct Records {
    path: PathBuf,
    input: BufReader<zstd::Decoder<'static, BufReader<File>>>,
}

impl Records {
    /// Opens the framing in a layer's folder.
    pub(in crate::store) fn open(layer: &Path) -> Result<Self, Error> {
        let path = layer.join(FILE);
        let file = File::open(&path).at("open", &path)?;
        let input = zstd::Decoder::new(file).at("read", &path)?;
        Ok(Self { path, input: BufReader::with_capacity(64 << 10, input) })
    }

    /// The next record. Bytes announced before must have been taken.
    pub(in crate::store) fn next(&mut self) -> Result<Record, Error> {
        let [tag] = self.array()?;
        Ok(match tag {
            b'B' => Record::Bytes(u32::from_le_bytes(self.array()?)),
            b'P' => Record::Place(Place::At(self.path()?)),
            b'W' => Record::Place(Place::Hides(self.path()?)),
            b'O' => Record::Place(Place::HidesAll(self.path()?)),
            b'D' => Record::Place(Place::Device(self.path()?)),
            b'N' => Record::Place(Place::Nowhere),
            b'C' => Record::Content {
                offset: u64::from_le_bytes(self.array()?),
                length: u64::from_le_bytes(self.array()?),
                crc: u32::from_le_bytes(self.array()?),
            },
            b'A' => Record::Aside(self.path()?),
            b'E' => {
                // so that the frame's checksum is looked at
                match self.input.fill_buf().map(<[u8]>::is_empty) {
                    Ok(true) => Record::End,
                    Ok(false) => return Err(self.damaged("something follows its end")),
                    Err(error) => return Err(self.damaged(&error.to_string())),
                }
            }
            _ => return Err(self.damaged("it holds an unknown record")),
        })
    }

    /// Some of the bytes announced, at least one and no more than fit.
    pub(in crate::store) fn bytes(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        match self.input.read(buffer) {
            Ok(0) => Err(self.damaged("it is cut off")),
            Ok(count) => Ok(count),
            Err(error) => Err(self.damaged(&error.to_string())),
        }
    }

    /// Passes over bytes announced.
    pub(in crate::store) fn skip(&mut self, mut count: u32) -> Result<(), Error> {
        while count > 0 {
            let there = self.input.fill_buf().map(<[u8]>::len);
            let there = there.map_err(|error| self.damaged(&error.to_string()))?;
            if there == 0 {
                return Err(self.damaged("it is cut off"));
            }
            let taken = there.min(count as usize);
            self.input.consume(taken);
            count -= taken as u32;
        }
        Ok(())
    }

    fn path(&mut self) -> Result<Vec<u8>, Error> {
        let length = u32::from_le_bytes(self.array()?);
        if length > LONGEST {
            return Err(self.damaged("it holds a path too long"));
        }
        let mut path = vec![0; length as usize];
        self.exact(&mut path)?;
        Ok(path)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        self.exact(&mut array)?;
        Ok(array)
    }

    fn exact(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        self.input.read_exact(buffer).map_err(|error| self.damaged(&error.to_string()))
    }

    fn damaged(&self, why: &str) -> Error {
        Error::Damaged { path: self.path.clone(), why: why.to_owned() }
    }
}

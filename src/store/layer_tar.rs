//! A layer's tar archive, made again from its tree and its framing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use nix::errno::Errno;

use super::Store;
use super::access::Access;
use super::error::{At, Error, shown};
use super::framing::{Place, REPLACED, Record, Records};

use crate::oci::digest::{Digest, Hasher};

/// The bytes of a layer, uncompressed, exactly as they were unpacked.
///
/// They are checked on the way: what is not as it was unpacked ends in an error, at the latest in place of the end,
/// so that who has read to the end has the bytes of the diff id. Such an error holds an [`Error`].
pub struct LayerTar {
    diff_id: Digest,
    folder: PathBuf,
    records: Records,
    access: Access,
    moves: Moves,
    /// Entries placed so far, and the place of the last.
    placed: u64,
    place: Vec<u8>,
    now: Now,
    check: Check,
}

/// What is being given out.
enum Now {
    Records,
    Bytes(u32),
    Content(Content),
    Ended,
}

struct Content {
    file: Option<File>,
    offset: u64,
    left: u64,
    expected: u32,
    crc: crc32fast::Hasher,
}

/// What happens to damage.
enum Check {
    /// The first ends the reading.
    Strict(Option<Hasher>),
    /// It is gathered, and zeros stand for what is lost.
    Gather(Vec<(Vec<u8>, String)>),
}

impl Store {
    /// Reads the uncompressed tar archive of a layer that is here, byte for byte as it was unpacked.
    ///
    /// Fails with [`Error::Damaged`] when the layer was unpacked by a version that kept no framing. To be called
    /// under a [`Store::hold`], lest the layer is removed meanwhile.
    pub fn layer_tar(&self, diff_id: &Digest) -> Result<LayerTar, Error> {
        self.read_layer(diff_id, Check::Strict(Some(Hasher::default())))
    }

    /// The same, but damage is gathered; see [`LayerTar::damage`].
    pub(super) fn damaged_layer_tar(&self, diff_id: &Digest) -> Result<LayerTar, Error> {
        self.read_layer(diff_id, Check::Gather(Vec::new()))
    }

    fn read_layer(&self, diff_id: &Digest, check: Check) -> Result<LayerTar, Error> {
        let folder = self.layer_folder(diff_id);
        let moves = Moves::read(&mut Records::open(&folder)?, &mut |_| {})?;
        Ok(LayerTar {
            diff_id: *diff_id,
            records: Records::open(&folder)?,
            access: Access::new(&folder).at("open", &folder)?,
            moves,
            placed: 0,
            place: Vec::new(),
            now: Now::Records,
            check,
            folder,
        })
    }
}

impl LayerTar {
    /// Files that are not as they were, with what is wrong, of a reader that gathers damage.
    pub(super) fn damage(&mut self) -> Vec<(Vec<u8>, String)> {
        match &mut self.check {
            Check::Strict(_) => Vec::new(),
            Check::Gather(found) => std::mem::take(found),
        }
    }

    /// Goes on to the next record.
    fn advance(&mut self) -> Result<(), Error> {
        match self.records.next()? {
            Record::Bytes(count) => self.now = Now::Bytes(count),
            Record::Place(place) => {
                self.placed += 1;
                self.place = match place {
                    Place::At(path) => path,
                    _ => Vec::new(),
                };
            }
            Record::Aside(_) => {}
            Record::Content { offset, length, crc } => {
                let path = self.moves.path(self.placed, &self.place);
                let found = match self.access.open(&path) {
                    Err(error) if error.errno == Errno::ENOENT => Err("is missing".to_owned()),
                    Err(error) => Err(format!("can't be read: {}", error.errno.desc())),
                    Ok(file) => match file.metadata() {
                        Ok(found) if found.is_file() => Ok(file),
                        Ok(_) => Err("is of another kind".to_owned()),
                        Err(error) => Err(format!("can't be read: {error}")),
                    },
                };
                let file = match found {
                    Ok(file) => Some(file),
                    Err(why) => {
                        self.wrong(why)?;
                        None
                    }
                };
                let crc32 = crc32fast::Hasher::new();
                self.now = Now::Content(Content { file, offset, left: length, expected: crc, crc: crc32 });
            }
            Record::End => {
                if let Check::Strict(hasher) = &mut self.check
                    && hasher.take().map(Hasher::finish) != Some(self.diff_id)
                {
                    let why = "its layer does not have its digest".to_owned();
                    return Err(Error::Damaged { path: self.folder.clone(), why });
                }
                self.now = Now::Ended;
            }
        }
        Ok(())
    }

    /// Takes note of damage to the file of the present entry.
    fn wrong(&mut self, why: String) -> Result<(), Error> {
        match &mut self.check {
            Check::Strict(_) => {
                Err(Error::DamagedLayer { layer: self.diff_id, entry: shown(&self.place), why })
            }
            Check::Gather(found) => {
                if found.last().is_none_or(|(place, _)| *place != self.place) {
                    found.push((self.place.clone(), why));
                }
                Ok(())
            }
        }
    }

    fn give(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match &mut self.now {
                Now::Ended => return Ok(0),
                Now::Records | Now::Bytes(0) => self.advance()?,
                Now::Bytes(left) => {
                    let most = buffer.len().min(*left as usize);
                    let count = self.records.bytes(&mut buffer[..most])?;
                    *left -= count as u32;
                    return Ok(count);
                }
                Now::Content(content) if content.left == 0 => {
                    let intact = content.file.is_none() || content.crc.clone().finalize() == content.expected;
                    self.now = Now::Records;
                    if !intact {
                        self.wrong("has other bytes".to_owned())?;
                    }
                }
                Now::Content(content) => {
                    let most = buffer.len().min(usize::try_from(content.left).unwrap_or(usize::MAX));
                    let (count, lost) = content.give(&mut buffer[..most]);
                    if let Some(why) = lost {
                        self.wrong(why)?;
                    }
                    return Ok(count);
                }
            }
        }
    }
}

impl Content {
    /// Some bytes of the file; zeros when they are lost, with the reason when that comes out now.
    fn give(&mut self, buffer: &mut [u8]) -> (usize, Option<String>) {
        let (count, lost) = match &self.file {
            None => {
                buffer.fill(0);
                (buffer.len(), None)
            }
            Some(file) => match file.read_at(buffer, self.offset) {
                Ok(0) => (0, Some("is too short".to_owned())),
                Ok(count) => (count, None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return self.give(buffer),
                Err(error) => (0, Some(error.to_string())),
            },
        };
        if lost.is_some() {
            self.file = None;
            return (self.give(buffer).0, lost);
        }
        self.crc.update(&buffer[..count]);
        self.offset += count as u64;
        self.left -= count as u64;
        (count, lost)
    }
}

impl Read for LayerTar {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.give(buffer).map_err(io::Error::other)?;
        if let Check::Strict(Some(hasher)) = &mut self.check {
            hasher.update(&buffer[..count]);
        }
        Ok(count)
    }
}

/// What was replaced by later entries of the same layer, and so is not in its tree.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// By path: how many entries had been placed when it was set aside, and its number there.
    of: BTreeMap<Vec<u8>, Vec<(u64, u64)>>,
}

impl Moves {
    /// Reads a framing to its end; `each` is called with the place of each entry.
    pub(super) fn read(records: &mut Records, each: &mut dyn FnMut(&Place)) -> Result<Self, Error> {
        let mut moves = Self::default();
        let (mut placed, mut number) = (0, 0);
        loop {
            match records.next()? {
                Record::Bytes(count) => records.skip(count)?,
                Record::Place(place) => {
                    placed += 1;
                    each(&place);
                }
                Record::Content { .. } => {}
                Record::Aside(path) => {
                    moves.of.entry(path).or_default().push((placed, number));
                    number += 1;
                }
                Record::End => return Ok(moves),
            }
        }
    }

    /// Where in the layer's folder entry number `entry`, placed at `place`, has come to lie.
    fn path(&self, entry: u64, place: &[u8]) -> Vec<u8> {
        self.aside_path(entry, place).unwrap_or_else(|| [b"tree/", place].concat())
    }

    /// The same, if the entry was set aside, be it itself or a folder it lay in.
    pub(super) fn aside_path(&self, entry: u64, place: &[u8]) -> Option<Vec<u8>> {
        if self.of.is_empty() {
            return None;
        }
        let ends = place.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let first = |end: usize| {
            // those of a path are in order of time
            let moves = self.of.get(&place[..end])?;
            let later = moves.partition_point(|(placed, _)| *placed < entry);
            moves.get(later).map(|(placed, number)| (*placed, *number, end))
        };
        let earliest = ends.chain([place.len()]).filter_map(first).min()?;
        let (_, number, end) = earliest;
        Some([format!("{REPLACED}/{number}").as_bytes(), &place[end..]].concat())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::store::listing::layer;

    const LISTING: &str = "d 755 d\nf 000 d/closed secret\nd 000 shut\nd 755 shut/up\nf 644 shut/up/file x\n\
        f 644 a one\nf 644 a two\nd 755 e\nf 644 e/f three\nh e/g e/f\nl l d\nf 644 l/open four\nf 644 e five";

    fn add(store: &Store, tar: &[u8]) -> Digest {
        let hold = store.hold(&mut |_| {}).unwrap();
        let lock = store.take_layer(&hold, &Digest::of(tar));
        store.publish_layer(store.unpack_layer(&lock, tar).unwrap()).unwrap().diff_id
    }

    fn read(store: &Store, layer: &Digest) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let read = store.layer_tar(layer).unwrap().read_to_end(&mut bytes);
        read.map_err(|error| error.to_string())?;
        Ok(bytes)
    }

    #[test]
    fn the_archive_comes_out_as_it_went_in() {
        let place = tempfile::tempdir().unwrap();
        let store = Store::open(&place.path().join("store")).unwrap();
        let mut tar = layer(LISTING);
        tar.extend(b"junk that follows the archive".repeat(10_000));
        let id = add(&store, &tar);
        assert!(read(&store, &id).unwrap() == tar);
        let mode =
            |path| fs::symlink_metadata(store.layer_tree(&id).join(path)).unwrap().permissions().mode();
        assert_eq!((mode("d/closed") & 0o7777, mode("shut") & 0o7777), (0, 0), "modes are as before");
        // a byte at a time, too
        let mut bytes = Vec::new();
        let mut archive = store.layer_tar(&id).unwrap();
        let mut one = [0];
        while archive.read(&mut one).unwrap() == 1 {
            bytes.push(one[0]);
        }
        assert!(bytes == tar);
    }

    #[test]
    fn damage_is_named() {
        let tar = layer(LISTING);
        type Break = fn(&std::path::Path);
        let breaks: [(Break, &str); 7] = [
            (|tree| fs::write(tree.join("a"), "twO").unwrap(), "`a` has other bytes"),
            (|tree| fs::write(tree.join("a"), "tw").unwrap(), "`a` is too short"),
            (|tree| fs::remove_file(tree.join("a")).unwrap(), "`a` "),
            (
                |tree| {
                    fs::remove_file(tree.join("a")).unwrap();
                    symlink("d", tree.join("a")).unwrap();
                },
                "`a` ",
            ),
            (|tree| fs::write(tree.join("../replaced/1/f"), "tHree").unwrap(), "`e/f` has other bytes"),
            (
                |tree| {
                    let framing = tree.join("../framing");
                    let mut bytes = fs::read(&framing).unwrap();
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 1;
                    fs::write(framing, bytes).unwrap();
                },
                "framing is damaged",
            ),
            (|tree| fs::write(tree.join("d/open"), "fouR").unwrap(), "`d/open` has other bytes"),
        ];
        for (damage, words) in breaks {
            let place = tempfile::tempdir().unwrap();
            let store = Store::open(&place.path().join("store")).unwrap();
            let id = add(&store, &tar);
            damage(&store.layer_tree(&id));
            let error = match store.layer_tar(&id) {
                Ok(mut archive) => archive.read_to_end(&mut Vec::new()).unwrap_err().to_string(),
                Err(error) => error.to_string(),
            };
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}

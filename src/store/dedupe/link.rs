//! Links in place of files: each equal one of a group gets the inode of another.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::time::TimeSpec;

use super::{Deduped, Inode, Layer, Name, Quiet, apart};
use crate::oci::digest::Digest;
use crate::store::access::Access;
use crate::store::error::{At, Error};
use crate::sys::fd;

/// A file others may become links of, and the layers its names are in.
struct Master<'a> {
    inode: &'a Inode,
    layers: Vec<u32>,
}

/// The work of linking, group by group.
pub(super) struct Linking<'a> {
    pub(super) layers: &'a [Layer],
    pub(super) staging: &'a Path,
    pub(super) quiet: &'a mut Quiet<'a>,
    pub(super) advance: &'a mut dyn FnMut(u64),
    pub(super) done: Deduped,
}

impl Linking<'_> {
    /// Links what is equal in a group.
    pub(super) fn group(&mut self, group: &[Inode]) -> Result<(), Error> {
        let mut masters: HashMap<u64, Vec<Master<'_>>> = HashMap::new();
        let hasher = RandomState::new();
        for inode in group {
            let name = &inode.names[0];
            let folder = &self.layers[name.layer as usize].folder;
            let mut access = Access::new(folder).at("open", folder)?;
            let Some(file) = open(&mut access, inode).at("look at", folder)? else { continue };
            (self.advance)(file.metadata().at("look at", folder)?.size());
            let sum = hasher.hash_one((contents(&file).at("read", folder)?, attributes(&file)));
            let masters = masters.entry(sum).or_default();
            if inode.links == 1 && self.join(masters, inode, &file, &mut access)? {
                continue;
            }
            // a name that is not known may be one of another layer
            if inode.links == inode.names.len() as u64 {
                masters.push(Master { inode, layers: inode.names.iter().map(|name| name.layer).collect() });
            }
        }
        Ok(())
    }

    /// Makes a file a link of the first master it can be one of; false when it stays a file of its own.
    fn join(
        &mut self,
        masters: &mut [Master<'_>],
        inode: &Inode,
        file: &File,
        access: &mut Access,
    ) -> Result<bool, Error> {
        let Name { layer, path } = &inode.names[0];
        let layers = self.layers;
        let own = &layers[*layer as usize];
        for master in masters {
            if !master.layers.iter().all(|other| apart(layers, *other, *layer)) {
                continue;
            }
            let there = &layers[master.inode.names[0].layer as usize];
            let mut beside = Access::new(&there.folder).at("open", &there.folder)?;
            let Some(other) = open(&mut beside, master.inode).at("look at", &there.folder)? else { continue };
            if !equal(&other, file).at("read", &own.folder)? {
                continue;
            }
            let mut all: Vec<Digest> =
                master.layers.iter().map(|layer| layers[*layer as usize].digest).collect();
            all.push(own.digest);
            let Some(_quiet) = (self.quiet)(&all) else { continue };
            let found = file.metadata().at("look at", &own.folder)?;
            match replace(&other, access, path, self.staging) {
                Ok(()) => {
                    master.layers.push(*layer);
                    self.done.linked += 1;
                    self.done.bytes += found.blocks() * 512;
                    return Ok(true);
                }
                // as many names as the file system allows: the next begins anew
                Err(error) if error.errno == Errno::EMLINK => {}
                Err(error) => return Err(error).at("link", &own.folder),
            }
        }
        Ok(false)
    }
}

/// Opens a file by its first name; none when it is gone, another, or no longer to be read: none of our business here.
fn open(access: &mut Access, inode: &Inode) -> io::Result<Option<File>> {
    let Ok(file) = access.open(&inode.names[0].path) else { return Ok(None) };
    let found = file.metadata()?;
    Ok((found.is_file() && found.ino() == inode.number).then_some(file))
}

/// Puts `master` in the place of the file at `path`; the time of the folder stays.
fn replace(master: &File, access: &mut Access, path: &[u8], staging: &Path) -> Result<(), crate::sys::Error> {
    let spare = spare(master, staging)?;
    // what is made writable here nobody must take for left by a crash
    let replaced = access.locked(path, |folder, name| {
        let time = fd::stat_at(folder, b".")?;
        let mode = fd::mode(folder)?;
        let closed = mode & 0o200 == 0;
        if closed {
            fd::fchmod(folder, mode | 0o200)?;
        }
        let moved = fd::rename_to(&spare, folder, name);
        if closed {
            let _ = fd::fchmod(folder, mode);
        }
        moved?;
        fd::futimens(folder, &TimeSpec::new(time.st_mtime, time.st_mtime_nsec))
    });
    if replaced.is_err() {
        // what can't be removed now is swept later
        let _ = std::fs::remove_file(&spare);
    }
    replaced
}

/// One more name of `master`, which nobody else has.
fn spare(master: &File, staging: &Path) -> Result<PathBuf, crate::sys::Error> {
    let mut number = 0;
    loop {
        let path = staging.join(format!("link-{}-{number}", std::process::id()));
        match fd::link_handle(master.as_fd(), &path) {
            Err(error) if error.errno == Errno::EEXIST => number += 1,
            linked => return linked.map(|()| path),
        }
    }
}

/// A sum over the bytes, to find what may be equal.
fn contents(mut file: &File) -> io::Result<u32> {
    let mut sum = crc32fast::Hasher::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(sum.finalize()),
            Ok(count) => sum.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether two files have the same bytes and attributes: a sum may deceive.
fn equal(one: &File, other: &File) -> io::Result<bool> {
    use std::os::unix::fs::FileExt;
    if attributes(one) != attributes(other) {
        return Ok(false);
    }
    let (mut a, mut b) = (vec![0; 128 << 10], vec![0; 128 << 10]);
    let mut at = 0;
    loop {
        let count = one.read_at(&mut a, at)?;
        if count == 0 {
            return Ok(other.read_at(&mut b[..1], at)? == 0);
        }
        if other.read_exact_at(&mut b[..count], at).is_err() || a[..count] != b[..count] {
            return Ok(false);
        }
        at += count as u64;
    }
}

/// All attributes of a file, sorted.
fn attributes(file: &File) -> Vec<(Vec<u8>, Vec<u8>)> {
    fd::xattrs(file.as_fd()).unwrap_or_default()
}

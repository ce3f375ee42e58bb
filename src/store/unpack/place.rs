//! One entry at its place.

use std::collections::HashSet;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::folders::{Folders, Id, ROOT};
use super::name::{Marker, Name};
use super::tally::Tally;
use super::{Fault, xattr};
use crate::store::archive::{Archive, Entry, Kind};
use crate::store::error::{Refusal, shown};
use crate::store::framing::Place;
use crate::store::index::{self, Line};
use crate::store::limits;
use crate::sys;
use crate::sys::fd;

/// A layer half unpacked.
pub(super) struct Unpack<'a, R> {
    pub(super) archive: Archive<R>,
    pub(super) folders: Folders<'a>,
    pub(super) index: index::Writer,
    pub(super) tally: Tally,
    /// Where device nodes would be, for hard links to them.
    pub(super) devices: HashSet<(Id, Vec<u8>)>,
    /// Mode bits that new files lose here.
    pub(super) masked: u32,
}

/// What became of an entry.
#[derive(Default)]
struct Placed {
    /// It may have taken the place of an earlier entry.
    again: bool,
    /// It is a device, not made.
    device: bool,
    /// Attributes not set, by their place in the entry.
    aside: Vec<usize>,
}

impl<R: Read> Unpack<'_, R> {
    pub(super) fn place(&mut self, entry: &Entry) -> Result<(), Fault> {
        self.tally.entries += 1;
        if self.tally.entries > limits::ENTRIES {
            return Err(Refusal::Limit(format!("{} entries", limits::ENTRIES)).into());
        }
        let name = Name::parse(&entry.path)?;
        match name.marker()? {
            Marker::None => {}
            Marker::Aufs => return self.comes_to(&Place::Nowhere),
            Marker::Opaque => {
                let at = self.folders.make_all(name.parent(), entry.modified)?;
                self.folders.hide_all(at);
                return self.comes_to(&Place::HidesAll(self.folders.path_of(at, b"")));
            }
            Marker::Hide(hidden) => {
                let at = self.folders.make_all(name.parent(), entry.modified)?;
                self.folders.hide(at, hidden)?;
                return self.comes_to(&Place::Hides(self.folders.path_of(at, hidden)));
            }
        }
        if name.is_root() && entry.kind != Kind::Folder {
            return Err(Refusal::ReplacesRoot.into());
        }
        let at = self.folders.make_all(name.parent(), entry.modified)?;
        let last = name.last();
        // nothing of it is in the tree, but the index has a line of it
        let over_device = self.devices.remove(&(at, last.to_owned()));
        let mut placed = match entry.kind {
            Kind::File => self.file(at, last, entry)?,
            Kind::Folder => self.folder(at, last, entry)?,
            Kind::Symlink => self.symlink(at, last, entry)?,
            Kind::HardLink => self.hard_link(at, last, entry)?,
            Kind::Fifo => self.fifo(at, last, entry)?,
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } => self.device(at, last, entry)?,
            Kind::Other(kind) => return Err(Refusal::Unsupported(kind).into()),
        };
        placed.again |= over_device;
        if entry.kind != Kind::File {
            let path = self.folders.path_of(at, last);
            self.comes_to(&if placed.device { Place::Device(path) } else { Place::At(path) })?;
        }
        self.write_down(at, last, entry, &placed)
    }

    fn file(&mut self, at: Id, name: &[u8], entry: &Entry) -> Result<Placed, Fault> {
        // an attribute can only be set while we may write, a write takes setuid and setgid away, and the umask
        // what it masks; all others get their mode at once
        let settle = !entry.xattrs.is_empty() || entry.mode & (0o6000 | self.masked) != 0;
        let mode = if settle { 0o600 } else { entry.mode };
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let (file, again) = self.fresh(at, name, |dir| fd::openat(dir, name, flags, mode))?;
        self.comes_to(&Place::At(self.folders.path_of(at, name)))?;
        self.tally.bytes += fill(file.as_fd(), entry, &mut self.archive)?;
        let aside = set_attributes(file.as_fd(), entry)?;
        if settle {
            fd::fchmod(file.as_fd(), entry.mode)?;
        }
        fd::futimens(file.as_fd(), &entry.modified)?;
        Ok(Placed { again, device: false, aside })
    }

    /// A folder over a folder keeps what is in it.
    fn folder(&mut self, at: Id, name: &[u8], entry: &Entry) -> Result<Placed, Fault> {
        let known = if name.is_empty() { Some(ROOT) } else { self.folders.folder(at, name) };
        let (id, again) = match known {
            Some(id) => (id, true),
            None => match self.folders.make(at, name, entry.modified) {
                Err(Fault::Call(error)) if error.errno == Errno::EEXIST => {
                    self.set_aside(at, name)?;
                    (self.folders.make(at, name, entry.modified)?, true)
                }
                made => (made?, false),
            },
        };
        self.folders.describe(id, entry.mode, entry.modified);
        let aside = if entry.xattrs.is_empty() {
            Vec::new()
        } else {
            set_attributes(self.folders.open(id)?.as_fd(), entry)?
        };
        Ok(Placed { again, device: false, aside })
    }

    fn symlink(&mut self, at: Id, name: &[u8], entry: &Entry) -> Result<Placed, Fault> {
        if entry.target.is_empty() {
            return Err(Refusal::Empty("target").into());
        }
        if entry.target.contains(&0) {
            return Err(Refusal::Nul.into());
        }
        let ((), again) = self.fresh(at, name, |dir| fd::symlinkat(&entry.target, dir, name))?;
        fd::utimensat(self.folders.open(at)?.as_fd(), name, &entry.modified)?;
        Ok(Placed { again, device: false, aside: (0..entry.xattrs.len()).collect() })
    }

    fn hard_link(&mut self, at: Id, name: &[u8], entry: &Entry) -> Result<Placed, Fault> {
        let target = || shown(&entry.target);
        let source = Name::parse(&entry.target).map_err(|why| match why {
            Refusal::LeavesRoot => Refusal::LinkLeavesRoot(target()),
            Refusal::Empty(_) => Refusal::Empty("target"),
            why => why,
        })?;
        let nothing = || Refusal::LinkToNothing(target());
        let from = self.folders.find(source.parent())?.ok_or_else(nothing)?;
        let from_name = source.last();
        if source.is_root() || self.folders.folder(from, from_name).is_some() {
            return Err(Refusal::LinkToFolder(target()).into());
        }
        if (from, from_name) == (at, name) {
            return Err(Refusal::LinkToItself.into());
        }
        // the link would take the place of the folder its source lies in
        if self.folders.folder(at, name).is_some_and(|replaced| self.folders.lies_in(from, replaced)) {
            return Err(nothing().into());
        }
        let folder = self.folders.open(from)?;
        match self.fresh(at, name, |dir| fd::linkat(folder.as_fd(), from_name, dir, name)) {
            Ok(((), again)) => Ok(Placed { again, device: false, aside: Vec::new() }),
            Err(Fault::Call(error)) if error.errno == Errno::ENOENT => {
                if self.devices.contains(&(from, from_name.to_owned())) {
                    return self.device(at, name, entry);
                }
                Err(nothing().into())
            }
            Err(fault) => Err(fault),
        }
    }

    fn fifo(&mut self, at: Id, name: &[u8], entry: &Entry) -> Result<Placed, Fault> {
        let ((), again) = self.fresh(at, name, |dir| fd::mkfifoat(dir, name))?;
        // without O_NONBLOCK this would wait for a writer
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
        let fifo = fd::openat(self.folders.open(at)?.as_fd(), name, flags, 0)?;
        fd::fchmod(fifo.as_fd(), entry.mode)?;
        fd::futimens(fifo.as_fd(), &entry.modified)?;
        Ok(Placed { again, device: false, aside: (0..entry.xattrs.len()).collect() })
    }

    /// Not made, only written down; it still ends what an earlier entry put there.
    fn device(&mut self, at: Id, name: &[u8], entry: &Entry) -> Result<Placed, Fault> {
        self.set_aside(at, name)?;
        if self.devices.len() >= limits::FOLDERS {
            return Err(Refusal::Limit(format!("{} devices", limits::FOLDERS)).into());
        }
        self.devices.insert((at, name.to_owned()));
        self.tally.devices.add(&entry.path);
        Ok(Placed { again: true, device: true, aside: (0..entry.xattrs.len()).collect() })
    }

    /// Makes what was not there, in place of what is; whether something was.
    fn fresh<T>(
        &mut self,
        at: Id,
        name: &[u8],
        make: impl Fn(BorrowedFd<'_>) -> Result<T, sys::Error>,
    ) -> Result<(T, bool), Fault> {
        let folder = self.folders.open(at)?;
        match make(folder.as_fd()) {
            Err(error) if error.errno == Errno::EEXIST => {
                self.set_aside(at, name)?;
                Ok((make(folder.as_fd())?, true))
            }
            made => Ok((made?, false)),
        }
    }

    /// Takes what stands at `name` out of the tree; nothing there is no error.
    fn set_aside(&mut self, at: Id, name: &[u8]) -> Result<(), Fault> {
        if self.folders.set_aside(at, name)?
            && let Some(framing) = self.archive.framing()
        {
            framing.aside(&self.folders.path_of(at, name))?;
        }
        Ok(())
    }

    /// Puts what the present entry comes to into the framing, before its bytes.
    fn comes_to(&mut self, place: &Place) -> Result<(), Fault> {
        self.archive.framing().map_or(Ok(()), |framing| framing.place(place))?;
        Ok(())
    }

    /// Puts into the side index what the inode does not say.
    fn write_down(&mut self, at: Id, name: &[u8], entry: &Entry, placed: &Placed) -> Result<(), Fault> {
        let Entry { mode, uid, gid, .. } = *entry;
        let (kind, device) = match entry.kind {
            Kind::File | Kind::Other(_) => (b'f', None),
            Kind::Folder => (b'd', None),
            Kind::Symlink => (b'l', None),
            // to a device, which is not made either
            Kind::HardLink if placed.device => (b'c', None),
            Kind::HardLink => (b'h', None),
            Kind::Fifo => (b'p', None),
            Kind::CharDevice { major, minor } => (b'c', Some((major, minor))),
            Kind::BlockDevice { major, minor } => (b'b', Some((major, minor))),
        };
        let foreign = (uid, gid) != (0, 0);
        if !foreign && !placed.again && placed.aside.is_empty() {
            return Ok(());
        }
        self.tally.foreign_owners += u64::from(foreign);
        self.index.entry(&Line { kind, mode, uid, gid, device }, &self.folders.path_of(at, name))?;
        let aside = || placed.aside.iter().filter_map(|at| entry.xattrs.get(*at));
        for (name, value) in aside() {
            self.index.xattr(name, value)?;
        }
        if aside().any(|(name, _)| xattr::is_overlay(name)) {
            self.tally.overlay_xattrs.add(&entry.path);
        }
        if aside().any(|(name, _)| !xattr::is_overlay(name)) {
            self.tally.xattrs.add(&entry.path);
        }
        Ok(())
    }
}

/// Writes an entry's body, its holes left out; how many bytes.
fn fill(file: BorrowedFd<'_>, entry: &Entry, archive: &mut Archive<impl Read>) -> Result<u64, Fault> {
    let mut written = 0;
    let Some(sparse) = &entry.sparse else {
        loop {
            let piece = archive.body(written, u64::MAX)?;
            if piece.is_empty() {
                return Ok(written);
            }
            fd::write(file, piece)?;
            written += piece.len() as u64;
        }
    };
    fd::ftruncate(file, sparse.size).map_err(|error| match error.errno {
        Errno::EFBIG | Errno::EINVAL => Refusal::TooLarge(sparse.size).into(),
        _ => Fault::Call(error),
    })?;
    for segment in &sparse.segments {
        let end = segment.offset + segment.length;
        let mut at = segment.offset;
        while at < end {
            let piece = archive.body(at, end - at)?;
            fd::pwrite(file, piece, at)?;
            at += piece.len() as u64;
            written += piece.len() as u64;
        }
    }
    Ok(written)
}

/// Which of the entry's attributes were not set.
fn set_attributes(fd: BorrowedFd<'_>, entry: &Entry) -> Result<Vec<usize>, sys::Error> {
    let mut aside = Vec::new();
    for (at, (name, value)) in entry.xattrs.iter().enumerate() {
        if !xattr::set(fd, name, value)? {
            aside.push(at);
        }
    }
    Ok(aside)
}

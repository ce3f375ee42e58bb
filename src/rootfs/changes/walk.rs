//! The walk over a box's files, in order of path, folders before what is in them.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::lower::{self, Found, Stack, kind};
use super::{Change, Entry, Error, Files, OWNER, SETUP, What};
use crate::mount::Driver;
use crate::sys;
use crate::sys::fd::{self, Xattr};

/// How fuse-overlayfs names whiteouts where it can make nothing better.
const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Where a start lets a box's time zone lead.
const LOCAL_TIME: &[u8] = b"/run/devbox/localtime";
/// And where its list of mounts.
const MOUNTS: &[u8] = b"/proc/self/mounts";
/// Account files are this large at most.
const MAX_ACCOUNTS: usize = 1 << 20;

/// Who is told of the changes.
pub(super) type Taker<'t> =
    dyn FnMut(&Change<'_>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> + 't;

/// Who is told of a copy of the image's, by its folder and name, and whether it is a folder.
pub(super) type Same<'s> = dyn FnMut(BorrowedFd<'_>, &[u8], bool) -> Result<(), sys::Error> + 's;

/// Calls `take` for every change, in order of path. A folder that is itself as it was comes as [`What::Kept`], when
/// something in it is changed. A box may run meanwhile: what vanishes is passed over.
pub fn walk(files: &Files<'_>, take: &mut Taker<'_>) -> Result<(), Error> {
    walk_with(files, take, None)
}

/// As [`walk`], and every folder comes that is in the image too. `same` is told of what lies in the upper over its like in
/// the image, of folders after all that is in them.
pub(super) fn walk_all(files: &Files<'_>, take: &mut Taker<'_>, same: &mut Same<'_>) -> Result<(), Error> {
    walk_with(files, take, Some(same))
}

fn walk_with<'s>(files: &Files<'_>, take: &mut Taker<'_>, same: Option<&mut Same<'s>>) -> Result<(), Error> {
    let upper = File::open(files.upper).map_err(|error| Error::Call {
        path: Vec::new(),
        source: sys::Error {
            call: "open",
            args: files.upper.display().to_string(),
            errno: Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)),
        },
    })?;
    let mut walk = Walk { files, take, same, path: Vec::new(), frames: Vec::new() };
    let lowers = lower::roots(files.lowers).map_err(|source| walk.failed(source))?;
    let root = Frame::new(files, upper.into(), lowers, false).map_err(|source| walk.failed(source))?;
    walk.frames.push(root);
    while let Some(frame) = walk.frames.last_mut() {
        let length = frame.path_length;
        walk.path.truncate(length);
        let Some(name) = frame.names.next() else {
            let kept = walk.frames.pop().and_then(|frame| frame.kept);
            if let (Some(name), Some(outer)) = (kept, walk.frames.last()) {
                let outer = Rc::clone(&outer.folder);
                walk.copied((*outer).as_fd(), &name, true)?;
            }
            continue;
        };
        if length > 0 {
            walk.path.push(b'/');
        }
        walk.path.extend_from_slice(&name);
        walk.name(name)?;
    }
    Ok(())
}

struct Walk<'a, 't, 'u, 's> {
    files: &'a Files<'a>,
    take: &'t mut Taker<'u>,
    same: Option<&'t mut Same<'s>>,
    path: Vec<u8>,
    frames: Vec<Frame>,
}

/// A folder being walked through.
struct Frame {
    folder: Rc<OwnedFd>,
    names: std::vec::IntoIter<Vec<u8>>,
    lowers: Stack,
    /// Nothing of the layers shows through.
    whole: bool,
    path_length: usize,
    /// Its name, when it is as it was in the image.
    kept: Option<Vec<u8>>,
    /// Itself, told of only when something in it is.
    pending: Option<Pending>,
}

struct Pending {
    name: Vec<u8>,
    what: What,
    stat: libc::stat,
    owner: (u32, u32),
    xattrs: Vec<Xattr>,
    before: Option<libc::stat>,
}

impl Frame {
    /// `whole` when the folder it lies in is.
    fn new(files: &Files<'_>, folder: OwnedFd, lowers: Stack, whole: bool) -> Result<Self, sys::Error> {
        let mut names = fd::names(folder.as_fd(), usize::MAX)?;
        let mark = names.iter().position(|name| files.has_mark_files() && name == OPAQUE);
        let marked = mark.map(|at| names.swap_remove(at)).is_some();
        let whole = whole || marked || files.is_anew(folder.as_fd());
        if whole {
            names.extend(lower::names(&lowers)?);
        }
        names.sort_unstable();
        names.dedup();
        Ok(Self {
            folder: Rc::new(folder),
            names: names.into_iter(),
            lowers,
            whole,
            path_length: 0,
            kept: None,
            pending: None,
        })
    }
}

impl Walk<'_, '_, '_, '_> {
    fn failed(&self, source: sys::Error) -> Error {
        Error::Call { path: self.path.clone(), source }
    }

    /// Looks at the name that ends the path.
    fn name(&mut self, name: Vec<u8>) -> Result<(), Error> {
        let Some(frame) = self.frames.last() else { return Ok(()) };
        let folder = (*frame.folder).as_fd();
        let stat = match fd::stat_at(folder, &name) {
            Err(error) if error.errno == Errno::ENOENT && frame.whole => return self.gone(&name),
            Err(error) if error.errno == Errno::ENOENT => return Ok(()),
            found => found.map_err(|source| self.failed(source))?,
        };
        if self.files.has_mark_files()
            && let Some(hidden) = name.strip_prefix(PREFIX)
            && kind(&stat) != libc::S_IFDIR
            && stat.st_size == 0
        {
            self.path.truncate(self.path.len() - name.len());
            self.path.extend_from_slice(hidden);
            return self.gone(hidden);
        }
        if self.files.is_gone(folder, &name, &stat).map_err(|source| self.failed(source))? {
            return self.gone(&name);
        }
        let below = lower::find(&frame.lowers, &name).map_err(|source| self.failed(source))?;
        match kind(&stat) {
            libc::S_IFDIR => self.folder(name, stat, below),
            // it is there only while the box runs; what was there before is gone
            libc::S_IFSOCK => self.gone(&name),
            _ => self.other(&name, stat, &below),
        }
    }

    /// The name that ends the path is gone; something if there was something.
    fn gone(&mut self, name: &[u8]) -> Result<(), Error> {
        let Some(frame) = self.frames.last() else { return Ok(()) };
        let below = lower::find(&frame.lowers, name).map_err(|source| self.failed(source))?;
        if !below.is_there() {
            return Ok(());
        }
        let before = stat_of(&below).map_err(|source| self.failed(source))?;
        self.tell_folders()?;
        let path = &self.path.clone();
        self.tell(&Change { path, what: What::Deleted, entry: None, before, same_content: false })
    }

    fn folder(&mut self, name: Vec<u8>, stat: libc::stat, below: Found) -> Result<(), Error> {
        let Some(frame) = self.frames.last() else { return Ok(()) };
        let whole = frame.whole;
        let opened = match fd::open_folder((*frame.folder).as_fd(), &name) {
            Err(error) if matches!(error.errno, Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
            opened => opened.map_err(|source| self.failed(source))?,
        };
        let all = fd::xattrs(opened.as_fd()).map_err(|source| self.failed(source))?;
        let before = match &below {
            Found::Folder(stack) => stack.first().map(|(place, folder)| (*place, folder.as_fd())),
            _ => None,
        };
        let image_owner = before.map(|(place, _)| self.image_owner(place));
        let owner = self.owner(&stat, &all, image_owner);
        let xattrs = own_xattrs(all.clone());
        let (what, made_by_us) = match (&below, before) {
            (Found::Folder(_), Some((_, folder))) => {
                let found = fd::mode(folder).map_err(|source| self.failed(source))?;
                let theirs = fd::xattrs(folder).map(own_xattrs).map_err(|source| self.failed(source))?;
                let same = found == stat.st_mode & 0o7777 && Some(owner) == image_owner && theirs == xattrs;
                (if same { What::Kept } else { What::Changed }, false)
            }
            (Found::Nothing, _) => (What::Added, is_setup(&all)),
            _ => (What::Changed, false),
        };
        let before = stat_of(&below).map_err(|source| self.failed(source))?;
        let lowers = if let Found::Folder(stack) = below { stack } else { Stack::new() };
        let mut inner =
            Frame::new(self.files, opened, lowers, whole).map_err(|source| self.failed(source))?;
        inner.path_length = self.path.len();
        inner.kept = (what == What::Kept && !inner.whole).then(|| name.clone());
        inner.pending = Some(Pending { name, what, stat, owner, xattrs, before });
        self.frames.push(inner);
        let untold = what == What::Kept && self.same.is_none();
        if untold || made_by_us { Ok(()) } else { self.tell_folders() }
    }

    fn other(&mut self, name: &[u8], stat: libc::stat, below: &Found) -> Result<(), Error> {
        let Some(frame) = self.frames.last() else { return Ok(()) };
        // held apart from `self`, which is told of it
        let own_folder = Rc::clone(&frame.folder);
        let folder = (*own_folder).as_fd();
        let all = match attributes(folder, name, &stat) {
            Err(error) if error.errno == Errno::ENOENT => return Ok(()),
            all => all.map_err(|source| self.failed(source))?,
        };
        let same_kind = match below {
            Found::Other(place, folder, found) if kind(found) == kind(&stat) => {
                Some((*place, folder.as_fd(), found))
            }
            _ => None,
        };
        let image_owner = same_kind.map(|(place, ..)| self.image_owner(place));
        let owner = self.owner(&stat, &all, image_owner);
        if self.is_ours(folder, name, &stat, &all, below).map_err(|source| self.failed(source))? {
            return Ok(());
        }
        let mut entry = Entry { stat, owner, xattrs: own_xattrs(all), folder, name, content: None };
        let mut same_content = false;
        if let Some((_, their_folder, found)) = same_kind
            && Some(owner) == image_owner
        {
            same_content = self.is_untouched(&stat, found)
                || is_same(&entry, their_folder, found).map_err(|source| self.failed(source))?;
            // another name of it may be new; a copy has those of the image
            let linked_before = self.files.driver == Driver::Copy && found.st_nlink > 1;
            if same_content && stat.st_mode == found.st_mode && (stat.st_nlink == 1 || linked_before) {
                return self.copied(folder, name, false);
            }
        }
        if let Some(lines) = self.account_lines() {
            let theirs = same_kind.and_then(|(_, folder, _)| content(folder, name));
            if let Some(without) =
                content(folder, name).and_then(|text| without_line(&text, lines, theirs.as_deref()))
            {
                if Some(&without) == theirs.as_ref()
                    && same_kind.is_some_and(|(.., found)| found.st_mode == stat.st_mode)
                {
                    return self.copied(folder, name, false);
                }
                entry.content = Some(without);
            }
        }
        self.tell_folders()?;
        let before = stat_of(below).map_err(|source| self.failed(source))?;
        let what = if below.is_there() { What::Changed } else { What::Added };
        self.tell(&Change { path: &self.path.clone(), what, entry: Some(&entry), before, same_content })
    }

    /// Whether a file is as it was copied. A box can set any time of a file but that of its last change.
    fn is_untouched(&self, stat: &libc::stat, found: &libc::stat) -> bool {
        let looks = |stat: &libc::stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
        self.files.untouched_before.is_some_and(|moment| (stat.st_ctime, stat.st_ctime_nsec) < moment)
            && looks(stat) == looks(found)
    }

    /// A copy of the image's. In a folder that hides the image's it is not one to be missed.
    fn copied(&mut self, folder: BorrowedFd<'_>, name: &[u8], is_folder: bool) -> Result<(), Error> {
        let hidden = self.frames.last().is_some_and(|frame| frame.whole);
        match &mut self.same {
            Some(same) if !hidden => same(folder, name, is_folder).map_err(|source| self.failed(source)),
            _ => Ok(()),
        }
    }

    /// Whether a start of ours put it there.
    fn is_ours(
        &self,
        folder: BorrowedFd<'_>,
        name: &[u8],
        stat: &libc::stat,
        xattrs: &[Xattr],
        below: &Found,
    ) -> Result<bool, sys::Error> {
        match kind(stat) {
            libc::S_IFREG => Ok(stat.st_size == 0 && !below.is_there() && is_setup(xattrs)),
            libc::S_IFLNK if self.path == b"etc/localtime" => Ok(fd::readlinkat(folder, name)? == LOCAL_TIME),
            libc::S_IFLNK if self.path == b"etc/mtab" && !below.is_there() => {
                Ok(fd::readlinkat(folder, name)? == MOUNTS)
            }
            _ => Ok(false),
        }
    }

    /// The lines a start may have added to the file at the path.
    fn account_lines(&self) -> Option<&[Vec<u8>]> {
        match self.path.as_slice() {
            // and the copies that shadow's tools make before they write
            b"etc/passwd" | b"etc/passwd-" => Some(&self.files.account[0]),
            b"etc/group" | b"etc/group-" => Some(&self.files.account[1]),
            _ => None,
        }
    }

    fn image_owner(&self, place: usize) -> (u32, u32) {
        self.files.lowers[place].owners.get(&self.path).copied().unwrap_or_default()
    }

    fn owner(&self, stat: &libc::stat, xattrs: &[Xattr], image: Option<(u32, u32)>) -> (u32, u32) {
        if self.files.many_ids || (stat.st_uid, stat.st_gid) != (0, 0) {
            return (stat.st_uid, stat.st_gid);
        }
        let before = image.unwrap_or_default();
        let noted = xattrs.iter().find(|(name, _)| name == OWNER).and_then(|(_, value)| noted_owner(value));
        noted.map_or(before, |(uid, gid)| (uid.unwrap_or(before.0), gid.unwrap_or(before.1)))
    }

    /// Tells of the folders on the way that nobody was told of yet.
    fn tell_folders(&mut self) -> Result<(), Error> {
        for at in 1..self.frames.len() {
            let Some(pending) = self.frames[at].pending.take() else { continue };
            let Pending { name, what, stat, owner, xattrs, before } = pending;
            let path = self.path[..self.frames[at].path_length].to_vec();
            let folder = (*self.frames[at - 1].folder).as_fd();
            let entry = Entry { stat, owner, xattrs, folder, name: &name, content: None };
            let change = Change { path: &path, what, entry: Some(&entry), before, same_content: false };
            (self.take)(&change).map_err(Error::Taker)?;
        }
        Ok(())
    }

    fn tell(&mut self, change: &Change<'_>) -> Result<(), Error> {
        (self.take)(change).map_err(Error::Taker)
    }
}

/// What the layers have at a name; of a folder, the topmost one's.
fn stat_of(found: &Found) -> Result<Option<libc::stat>, sys::Error> {
    match found {
        Found::Nothing => Ok(None),
        Found::Other(.., stat) => Ok(Some(*stat)),
        Found::Folder(stack) => stack.first().map(|(_, folder)| fd::stat(folder.as_fd())).transpose(),
    }
}

/// All attributes of a name; of files alone, for nothing else but folders can have the user's.
fn attributes(folder: BorrowedFd<'_>, name: &[u8], stat: &libc::stat) -> Result<Vec<Xattr>, sys::Error> {
    if kind(stat) != libc::S_IFREG {
        return Ok(Vec::new());
    }
    fd::xattrs(fd::openat(folder, name, OFlag::O_RDONLY | OFlag::O_NONBLOCK, 0)?.as_fd())
}

/// Attributes that belong to the file, and not to a driver, a label of this host or us.
fn own_xattrs(mut xattrs: Vec<Xattr>) -> Vec<Xattr> {
    const OTHERS: [&[u8]; 8] = [
        b"user.overlay.",
        b"trusted.",
        b"user.fuseoverlayfs.",
        b"user.containers.",
        b"user.devbox.",
        b"security.selinux",
        b"security.ima",
        b"security.evm",
    ];
    xattrs.retain(|(name, _)| !OTHERS.iter().any(|other| name.starts_with(other)));
    xattrs
}

fn is_setup(xattrs: &[Xattr]) -> bool {
    xattrs.iter().any(|(name, _)| name == SETUP.to_bytes())
}

/// `UID:GID`, none for -1.
fn noted_owner(value: &[u8]) -> Option<(Option<u32>, Option<u32>)> {
    let (uid, gid) = std::str::from_utf8(value).ok()?.split_once(':')?;
    let id = |text: &str| match text.parse::<i64>().ok()? {
        -1 => Some(None),
        id => u32::try_from(id).ok().map(|id| Some(id).filter(|id| *id != u32::MAX)),
    };
    Some((id(uid)?, id(gid)?))
}

/// Whether a thing other than a folder is as in the image, mode and owner apart: what a driver copied up and nobody
/// wrote to.
fn is_same(entry: &Entry<'_>, folder: BorrowedFd<'_>, found: &libc::stat) -> Result<bool, sys::Error> {
    let stat = &entry.stat;
    Ok(match kind(stat) {
        libc::S_IFREG => {
            let time = |stat: &libc::stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
            time(stat) == time(found)
                && own_xattrs(attributes(folder, entry.name, found)?) == entry.xattrs
                // Times prove nothing: many images have one for all their files.
                && has_same_content(entry, folder)?
        }
        libc::S_IFLNK => fd::readlinkat(folder, entry.name)? == fd::readlinkat(entry.folder, entry.name)?,
        _ => stat.st_rdev == found.st_rdev,
    })
}

fn has_same_content(entry: &Entry<'_>, folder: BorrowedFd<'_>) -> Result<bool, sys::Error> {
    let open =
        |folder| fd::openat(folder, entry.name, OFlag::O_RDONLY | OFlag::O_NONBLOCK, 0).map(File::from);
    let failed = |error: std::io::Error| sys::Error {
        call: "read",
        args: entry.name.escape_ascii().to_string(),
        errno: Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)),
    };
    is_equal(open(entry.folder)?, open(folder)?).map_err(failed)
}

/// Whether two files have the same bytes from where they stand.
pub(super) fn is_equal(mut a: File, mut b: File) -> std::io::Result<bool> {
    let (mut one, mut other) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let count = a.read(&mut one)?;
        if count == 0 {
            return Ok(b.read(&mut other[..1])? == 0);
        }
        match b.read_exact(&mut other[..count]) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        if one[..count] != other[..count] {
            return Ok(false);
        }
    }
}

fn content(folder: BorrowedFd<'_>, name: &[u8]) -> Option<Vec<u8>> {
    let file = fd::openat(folder, name, OFlag::O_RDONLY | OFlag::O_NONBLOCK, 0).ok()?;
    fd::read_from(file, MAX_ACCOUNTS).ok()
}

/// `text` without the first of `lines` that it has and `before` has not; none when there is no such line. A line break
/// that had to be added before it goes, too.
fn without_line(text: &[u8], lines: &[Vec<u8>], before: Option<&[u8]>) -> Option<Vec<u8>> {
    let find = |text: &[u8], line: &[u8]| {
        let starts = |at: &usize| *at == 0 || text[at - 1] == b'\n';
        (0..text.len()).filter(starts).find(|at| text[*at..].starts_with(line))
    };
    let (at, line) = lines
        .iter()
        .filter(|line| before.is_none_or(|before| find(before, line).is_none()))
        .find_map(|line| Some((find(text, line)?, line)))?;
    let mut without = [&text[..at], &text[at + line.len()..]].concat();
    if before.is_some_and(|before| without.strip_suffix(b"\n") == Some(before)) {
        without.pop();
    }
    Some(without)
}

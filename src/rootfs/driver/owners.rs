//! A box's own files when it goes over from one id to many, and back.
//!
//! With one id every file is the caller's, which is root's, and the wanted owner of some stands in an attribute
//! ([`OWNER`]). With many ids owners are what the kernel says. To be run as root of all the ids there are.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::upper;
use crate::sys::{self, fd};

/// `UID:GID` in decimal, of which -1 is what it would be without: the image's, or root's.
pub const OWNER: &[u8] = b"user.devbox.owner";
const CAPABILITY: &[u8] = b"security.capability";

/// Owners in the image that are not root, by path relative to the root.
pub type Owners = HashMap<Vec<u8>, (u32, u32)>;

/// Gives every file below `top` to root and notes whose it was. Links and devices can't bear a note.
pub fn to_one(top: OwnedFd) -> Result<(), sys::Error> {
    walk(top, &mut |place| {
        if (place.found.st_uid, place.found.st_gid) == (0, 0) {
            return Ok(());
        }
        let note = format!("{}:{}", place.found.st_uid, place.found.st_gid);
        if let Some(handle) = place.open()? {
            fd::fsetxattr(handle.as_fd(), OWNER, note.as_bytes())?;
        }
        place.give(0, 0)
    })
}

/// Gives every file below `top` to whom it is noted for, or to whom it is in the image; gives how many such owners are
/// beyond the ids there are, whose files stay root's and keep their note.
pub fn to_many(top: OwnedFd, image: &Owners) -> Result<u64, sys::Error> {
    let mut beyond = 0;
    walk(top, &mut |place| {
        // Given already: by its users, or before this was cut short.
        if (place.found.st_uid, place.found.st_gid) != (0, 0) {
            return Ok(());
        }
        let usual = image.get(place.path).copied().unwrap_or((0, 0));
        let handle = place.open()?;
        let note = match &handle {
            Some(handle) => fd::xattrs(handle.as_fd())?.into_iter().find(|(name, _)| name == OWNER),
            None => None,
        };
        let (uid, gid) = note.as_ref().map_or(usual, |(_, text)| noted(text, usual));
        if (uid, gid) != (0, 0) {
            match place.give(uid, gid) {
                Err(error) if error.errno == Errno::EINVAL => {
                    beyond += 1;
                    return Ok(());
                }
                given => given?,
            }
        }
        match (note, handle) {
            // One for root stays: without it the file would be whom the image gives it to.
            (Some(_), Some(handle)) if (uid, gid) != (0, 0) => fd::fremovexattr(handle.as_fd(), OWNER),
            _ => Ok(()),
        }
    })?;
    Ok(beyond)
}

/// What a note says; nonsense says nothing.
fn noted(text: &[u8], usual: (u32, u32)) -> (u32, u32) {
    let read = || {
        let (uid, gid) = std::str::from_utf8(text).ok()?.split_once(':')?;
        let one = |text: &str, usual: u32| if text == "-1" { Some(usual) } else { text.parse().ok() };
        Some((one(uid, usual.0)?, one(gid, usual.1)?))
    };
    read().unwrap_or(usual)
}

/// One file or folder of a box.
struct Place<'a> {
    folder: BorrowedFd<'a>,
    name: &'a [u8],
    /// Relative to the top.
    path: &'a [u8],
    found: libc::stat,
}

impl Place<'_> {
    /// A handle on what can bear notes: a regular file or a folder.
    fn open(&self) -> Result<Option<OwnedFd>, sys::Error> {
        let kind = match self.found.st_mode & libc::S_IFMT {
            libc::S_IFDIR => OFlag::O_DIRECTORY,
            libc::S_IFREG => OFlag::empty(),
            _ => return Ok(None),
        };
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | kind;
        fd::openat(self.folder, self.name, flags, 0).map(Some)
    }

    /// Changes the owner; what the kernel takes away meanwhile (set-id bits, capabilities) is put back.
    fn give(&self, uid: u32, gid: u32) -> Result<(), sys::Error> {
        let handle = self.open()?;
        let capability = match &handle {
            Some(handle) => fd::xattrs(handle.as_fd())?.into_iter().find(|(name, _)| name == CAPABILITY),
            None => None,
        };
        fd::chown_at(self.folder, self.name, uid, gid)?;
        let Some(handle) = handle else { return Ok(()) };
        if self.found.st_mode & 0o6000 != 0 {
            fd::fchmod(handle.as_fd(), self.found.st_mode & 0o7777)?;
        }
        match capability {
            Some((_, value)) => fd::fsetxattr(handle.as_fd(), CAPABILITY, &value),
            None => Ok(()),
        }
    }
}

/// Shows every entry below `top` but whiteouts, a folder before what is in it.
fn walk(top: OwnedFd, visit: &mut dyn FnMut(&Place<'_>) -> Result<(), sys::Error>) -> Result<(), sys::Error> {
    let mut path = Vec::new();
    let mut way = vec![(fd::names(top.as_fd(), usize::MAX)?, top, 0)];
    while let Some((names, folder, length)) = way.last_mut() {
        path.truncate(*length);
        let Some(name) = names.pop() else {
            way.pop();
            continue;
        };
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(&name);
        let found = fd::stat_at(folder.as_fd(), &name)?;
        if upper::is_whiteout(folder.as_fd(), &name, &found)? {
            continue;
        }
        visit(&Place { folder: folder.as_fd(), name: &name, path: &path, found })?;
        if found.st_mode & libc::S_IFMT == libc::S_IFDIR {
            let below = fd::open_folder(folder.as_fd(), &name)?;
            way.push((fd::names(below.as_fd(), usize::MAX)?, below, path.len()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read() {
        for (text, owner) in [
            ("33:34", (33, 34)),
            ("-1:5", (1, 5)),
            ("5:-1", (5, 2)),
            ("-1:-1", (1, 2)),
            ("", (1, 2)),
            ("x:1", (1, 2)),
            ("1", (1, 2)),
            ("4294967296:0", (1, 2)),
        ] {
            assert_eq!(noted(text.as_bytes(), (1, 2)), owner, "{text:?}");
        }
    }

    #[test]
    fn every_entry_is_shown_once_and_folders_first() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(place.path().join("a/b")).unwrap();
        for file in ["a/b/one", "a/two", "three"] {
            std::fs::write(place.path().join(file), "").unwrap();
        }
        std::os::unix::fs::symlink("/", place.path().join("a/link")).unwrap();
        let top = std::fs::File::open(place.path()).unwrap();
        fd::make_whiteout(top.as_fd(), b"gone").unwrap();
        let mut shown: Vec<String> = Vec::new();
        walk(top.into(), &mut |place| {
            let path = String::from_utf8(place.path.to_vec()).unwrap();
            assert!(!path.contains('/') || shown.contains(&path[..path.rfind('/').unwrap()].to_owned()));
            shown.push(path);
            Ok(())
        })
        .unwrap();
        shown.sort();
        assert_eq!(shown, ["a", "a/b", "a/b/one", "a/link", "a/two", "three"]);
    }
}

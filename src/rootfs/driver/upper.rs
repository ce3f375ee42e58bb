//! The forms in which a box's own files say what they hide of the layers.
//!
//! | | overlay, and every layer | fuse-overlayfs |
//! |---|---|---|
//! | a name is gone | a character device 0:0; in a layer also an empty file with `user.overlay.whiteout` | the device; `.wh.NAME` where it can't make one |
//! | a folder starts anew | `user.overlay.opaque` = `y` | a file `.wh..wh..opq` in it, `user.fuseoverlayfs.opaque` = `y`, or both; whiteouts in it may be left |
//!
//! fuse-overlayfs reads both columns, the kernel its own alone. So an upper that fuse-overlayfs wrote is translated
//! ([`settle`]) before the kernel merges it. A copy hides nothing: what looks so in it is the user's own.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::sys::{self, fd};

/// Attributes that drivers keep for themselves.
const PRIVATE: [&[u8]; 2] = [b"user.overlay.", b"user.fuseoverlayfs."];
/// A file that stands for the attribute, where there are none.
const OPAQUE_FILE: &[u8] = b".wh..wh..opq";
/// Before the name that is gone.
const GONE: &[u8] = b".wh.";

/// True for an attribute that is a driver's and no file's.
pub fn is_private(name: &[u8]) -> bool {
    PRIVATE.iter().any(|prefix| name.starts_with(prefix))
}

/// True for what says that a name of the layers is gone, in either of the kernel's forms. `found` is what stands there.
pub fn is_whiteout(folder: BorrowedFd<'_>, name: &[u8], found: &libc::stat) -> Result<bool, sys::Error> {
    match found.st_mode & libc::S_IFMT {
        libc::S_IFCHR => Ok(found.st_rdev == 0),
        libc::S_IFREG if found.st_size == 0 => {
            Ok(is_marked_gone(fd::openat(folder, name, OFlag::O_PATH, 0)?.as_fd()))
        }
        _ => Ok(false),
    }
}

/// True for a file that says so by an attribute: what layers have where such a device can't be made.
pub fn is_marked_gone(file: BorrowedFd<'_>) -> bool {
    fd::has_attribute(file, c"user.overlay.whiteout")
}

/// True for a folder that hides the layers' folders of its name, in the kernel's form.
pub fn is_opaque(folder: BorrowedFd<'_>) -> bool {
    fd::has_xattr(folder, c"user.overlay.opaque", b"y")
}

/// The first path, relative to `upper`, whose name fuse-overlayfs would take for a mark of its own and not show. To be
/// run as [`settle`].
pub fn reserved_name(upper: OwnedFd) -> Result<Option<Vec<u8>>, sys::Error> {
    let mut way = vec![(fd::names(upper.as_fd(), usize::MAX)?, upper, Vec::new())];
    while let Some((names, folder, path)) = way.last_mut() {
        let Some(name) = names.pop() else {
            way.pop();
            continue;
        };
        let path = [path, &name[..]].concat();
        if name.starts_with(GONE) {
            return Ok(Some(path));
        }
        match fd::open_folder(folder.as_fd(), &name) {
            Err(error) if matches!(error.errno, Errno::ENOTDIR | Errno::ELOOP) => {}
            below => {
                let below = below?;
                way.push((fd::names(below.as_fd(), usize::MAX)?, below, [&path, &b"/"[..]].concat()));
            }
        }
    }
    Ok(None)
}

/// Brings an upper folder that fuse-overlayfs wrote into the kernel's form; what has it already stays. Cut short, it is
/// done again. To be run where the caller may read and write all of the upper.
pub fn settle(upper: OwnedFd) -> Result<(), sys::Error> {
    let mut way = vec![(settle_folder(upper.as_fd())?, upper)];
    while let Some((names, folder)) = way.last_mut() {
        let Some(name) = names.pop() else {
            way.pop();
            continue;
        };
        match fd::open_folder(folder.as_fd(), &name) {
            Err(error) if matches!(error.errno, Errno::ENOTDIR | Errno::ELOOP) => {}
            below => {
                let below = below?;
                way.push((settle_folder(below.as_fd())?, below));
            }
        }
    }
    Ok(())
}

/// One folder; gives the names in it that may be folders.
fn settle_folder(folder: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, sys::Error> {
    let mut names = fd::names(folder, usize::MAX)?;
    let opaque = is_opaque(folder)
        || fd::has_xattr(folder, c"user.fuseoverlayfs.opaque", b"y")
        || names.iter().any(|name| name == OPAQUE_FILE);
    if opaque {
        // before the file goes
        fd::fsetxattr(folder, b"user.overlay.opaque", b"y")?;
    }
    let mut fault = None;
    names.retain(|name| {
        let done = settle_name(folder, name, opaque);
        let keep = *done.as_ref().unwrap_or(&false);
        fault = fault.take().or(done.err());
        keep
    });
    fault.map_or(Ok(names), Err)
}

/// One name; false when it is no folder.
fn settle_name(folder: BorrowedFd<'_>, name: &[u8], opaque: bool) -> Result<bool, sys::Error> {
    let found = fd::stat_at(folder, name)?;
    let is_mark = found.st_mode & libc::S_IFMT == libc::S_IFREG && found.st_size == 0;
    if let Some(gone) = name.strip_prefix(GONE).filter(|_| is_mark) {
        if !opaque {
            match fd::make_whiteout(folder, gone) {
                // made anew since, or said twice
                Err(error) if error.errno == Errno::EEXIST => {}
                made => made?,
            }
        }
        fd::unlinkat(folder, name)?;
        return Ok(false);
    }
    if opaque && is_whiteout(folder, name, &found)? {
        // nothing is left to hide, and the kernel would show the name
        fd::unlinkat(folder, name)?;
    }
    Ok(found.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::listing;

    #[test]
    fn what_a_user_named_like_a_mark_is_found_and_stays() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        let top = || OwnedFd::from(fs::File::open(place.path()).unwrap());
        fs::create_dir_all(at("a/b/.whale")).unwrap();
        fd::make_whiteout(top().as_fd(), b"x").unwrap();
        assert_eq!(reserved_name(top()), Ok(None));
        fs::create_dir(at("a/b/.wh.folder")).unwrap();
        assert_eq!(reserved_name(top()), Ok(Some(b"a/b/.wh.folder".to_vec())));
        fs::write(at("a/.wh.notes"), "text").unwrap();
        std::os::unix::fs::symlink("nowhere", at("a/.wh.link")).unwrap();
        let before = listing::tree(place.path());
        settle(top()).unwrap();
        assert_eq!(listing::tree(place.path()), before);
    }

    #[test]
    fn what_fuse_overlayfs_wrote_is_what_the_kernel_reads() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::create_dir_all(at("c")).unwrap();
        fd::make_whiteout(fs::File::open(at("a")).unwrap().as_fd(), b".wh..opq").unwrap();
        fd::make_whiteout(fs::File::open(at("a")).unwrap().as_fd(), b"x").unwrap();
        fd::make_whiteout(fs::File::open(place.path()).unwrap().as_fd(), b"x").unwrap();
        for name in ["a/.wh..wh..opq", "a/b/.wh.gone", "a/b/.wh.again", "a/b/again", "a/.whale"] {
            fs::write(at(name), "").unwrap();
        }
        let folder = fs::File::open(at("c")).unwrap();
        fd::fsetxattr(folder.as_fd(), b"user.fuseoverlayfs.opaque", b"y").unwrap();
        for _ in 0..2 {
            settle(fs::File::open(place.path()).unwrap().into()).unwrap();
            let found = listing::tree(place.path());
            let lines: Vec<_> = found.lines().skip(1).collect();
            assert_eq!(
                lines,
                [
                    "d 755 a user.overlay.opaque=y",
                    "f 644 a/.whale",
                    "d 755 a/b",
                    "f 644 a/b/again",
                    "w a/b/gone",
                    "d 755 c user.overlay.opaque=y",
                    "w x",
                ]
            );
        }
    }
}

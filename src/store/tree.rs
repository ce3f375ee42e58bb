//! Removing trees nobody can be trusted to have made well: unreadable, endlessly deep, full of links.
//!
//! Everything goes by handles and single names. Depth costs nothing: a folder inside a folder inside the tree
//! is first moved up to the tree's top, so that no more than two are open at any time. A mount is never entered:
//! every folder is first tried with `rmdir`, which refuses a mount point (`EBUSY`) whatever is in it.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::error::{At, Error};
use crate::sys;
use crate::sys::fd;

/// Names read at a time.
const BATCH: usize = 4096;

/// Removes whatever stands at `path`, with all below it; nothing there is no error.
///
/// The folder `path` lies in is trusted, what lies at and below it is not: links are removed, not followed,
/// folders closed to us are opened, and where something is mounted it ends with [`Error::Mounted`].
pub fn remove_tree(path: &Path) -> Result<(), Error> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(sys::Error { call: "unlinkat", args: String::new(), errno: Errno::EINVAL })
            .at("remove", path);
    };
    let parent = File::open(parent).at("open", parent)?;
    remove_at(parent.as_fd(), name.as_bytes(), path)
}

/// Removes `name` in `parent`; `path` is for messages.
pub(super) fn remove_at(parent: BorrowedFd<'_>, name: &[u8], path: &Path) -> Result<(), Error> {
    if unlinked(parent, name, path)? {
        return Ok(());
    }
    let top = enter(parent, name, path)?;
    let mut moved = 0;
    loop {
        let names = fd::names(top.as_fd(), BATCH).at("read", path)?;
        if names.is_empty() {
            return fd::rmdirat(parent, name).at("remove", path);
        }
        for name in names {
            if unlinked(top.as_fd(), &name, path)? {
                continue;
            }
            let folder = enter(top.as_fd(), &name, path)?;
            hollow(folder.as_fd(), top.as_fd(), &mut moved, path)?;
            fd::rmdirat(top.as_fd(), &name).at("remove", path)?;
        }
    }
}

/// Removes all in `folder`, but moves folders that hold something to `top`.
fn hollow(folder: BorrowedFd<'_>, top: BorrowedFd<'_>, moved: &mut u64, path: &Path) -> Result<(), Error> {
    loop {
        let names = fd::names(folder, BATCH).at("read", path)?;
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            if !unlinked(folder, &name, path)? {
                raise(folder, &name, top, moved, path)?;
            }
        }
    }
}

/// Moves the folder `name` to `top` under a name that is free there.
fn raise(
    folder: BorrowedFd<'_>,
    name: &[u8],
    top: BorrowedFd<'_>,
    moved: &mut u64,
    path: &Path,
) -> Result<(), Error> {
    let mut opened = false;
    loop {
        *moved += 1;
        match fd::renameat(folder, name, top, format!("removed-{moved}").as_bytes()) {
            Err(error) if matches!(error.errno, Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOTDIR) => {}
            // its `..` is to change, for which the folder itself must be writable
            Err(error) if error.errno == Errno::EACCES && !opened => {
                open_up(folder, name, path)?;
                opened = true;
            }
            renamed => return renamed.at("remove", path),
        }
    }
}

/// True when `name` is gone: not a folder, an empty one, or never there.
fn unlinked(parent: BorrowedFd<'_>, name: &[u8], path: &Path) -> Result<bool, Error> {
    let removed = match fd::unlinkat(parent, name) {
        Err(error) if error.errno == Errno::EISDIR => fd::rmdirat(parent, name),
        removed => removed,
    };
    match removed {
        Err(error) if error.errno == Errno::ENOENT => Ok(true),
        Err(error) if matches!(error.errno, Errno::ENOTEMPTY | Errno::EEXIST) => Ok(false),
        Err(error) if error.errno == Errno::EBUSY => Err(Error::Mounted { path: path.to_owned() }),
        removed => removed.map(|()| true).at("remove", path),
    }
}

/// Opens a folder of the tree and makes it ours to empty.
fn enter(parent: BorrowedFd<'_>, name: &[u8], path: &Path) -> Result<OwnedFd, Error> {
    let folder = match fd::open_folder(parent, name) {
        Err(error) if error.errno == Errno::EACCES => {
            open_up(parent, name, path)?;
            fd::open_folder(parent, name)
        }
        opened => opened,
    };
    let folder = folder.at("open", path)?;
    if fd::mode(folder.as_fd()).at("look at", path)? & 0o700 != 0o700 {
        fd::fchmod(folder.as_fd(), 0o700).at("open", path)?;
    }
    Ok(folder)
}

/// Lets us into a folder of ours whose mode shuts us out.
fn open_up(parent: BorrowedFd<'_>, name: &[u8], path: &Path) -> Result<(), Error> {
    let handle = fd::openat(parent, name, OFlag::O_PATH | OFlag::O_DIRECTORY, 0).at("open", path)?;
    fd::chmod_handle(handle.as_fd(), 0o700).at("open", path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn closed_folders_links_and_odd_names() {
        let place = tempfile::tempdir().unwrap();
        let outside = place.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "x").unwrap();
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o750)).unwrap();
        let tree = place.path().join("tree");
        fs::create_dir_all(tree.join("a/b/c")).unwrap();
        fs::create_dir_all(tree.join("removed-1/x")).unwrap();
        fs::write(tree.join("removed-2"), "in the way").unwrap();
        fs::write(tree.join("a/b/c/\u{1b}[2J"), "x").unwrap();
        symlink(&outside, tree.join("a/b/out")).unwrap();
        symlink("../../outside/kept", tree.join("a/file")).unwrap();
        for (folder, mode) in
            [("a/b/c", 0o000), ("a/b", 0o555), ("a", 0o111), ("removed-1", 0o555), ("", 0o500)]
        {
            fs::set_permissions(tree.join(folder), fs::Permissions::from_mode(mode)).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        assert_eq!(fs::read(outside.join("kept")).unwrap(), b"x");
        assert_eq!(fs::metadata(&outside).unwrap().permissions().mode() & 0o7777, 0o750);
    }

    #[test]
    fn ten_thousand_levels() {
        let place = tempfile::tempdir().unwrap();
        let mut folder: OwnedFd = File::open(place.path()).unwrap().into();
        for _ in 0..10_000 {
            fd::mkdirat(folder.as_fd(), b"d", 0o700).unwrap();
            folder = fd::open_folder(folder.as_fd(), b"d").unwrap();
        }
        drop(folder);
        remove_tree(&place.path().join("d")).unwrap();
        assert!(!place.path().join("d").exists());
    }

    #[test]
    fn nothing_a_file_and_a_link() {
        let place = tempfile::tempdir().unwrap();
        remove_tree(&place.path().join("nothing")).unwrap();
        fs::write(place.path().join("file"), "").unwrap();
        remove_tree(&place.path().join("file")).unwrap();
        symlink(place.path(), place.path().join("link")).unwrap();
        remove_tree(&place.path().join("link")).unwrap();
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }
}

//! What the host changed since the box first saw it, where the box changed it too.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::sys;
use crate::sys::fd;

use super::edits::{Edit, Kind};
use super::handles::Tree;
use super::{Error, Project};

/// A path that both changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// Relative to the project.
    pub path: Vec<u8>,
    /// What the host did.
    pub why: String,
}

/// The conflicts of `edits` with what stands in the project, and with `base` where that is known.
pub(super) fn conflicts<'e>(
    project: &Project,
    host: &mut Tree,
    mut base: Option<Tree>,
    edits: impl Iterator<Item = &'e Edit>,
) -> Result<Vec<Conflict>, Error> {
    let mut found = Vec::new();
    // what is in a folder that comes with it needs none on the host
    let mut coming: Option<&[u8]> = None;
    for edit in edits {
        let failed = |source| Error::Call { what: "look at", path: edit.path.clone(), source };
        let comes_along = coming
            .is_some_and(|folder| edit.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with(b"/")));
        if !comes_along {
            coming = (edit.is_folder && edit.kind != Kind::Mode).then_some(&edit.path[..]);
            if edit.kind != Kind::Deleted && !has_folder(host, &edit.path).map_err(failed)? {
                found.push(Conflict {
                    path: edit.path.clone(),
                    why: "the folder it is in is gone from the project".to_owned(),
                });
                continue;
            }
        }
        let why = match &mut base {
            None => since(project, host, edit),
            Some(base) => against(base, host, edit),
        };
        if let Some(why) = why.map_err(failed)? {
            found.push(Conflict { path: edit.path.clone(), why: why.to_owned() });
        }
    }
    Ok(found)
}

/// Whether the project has the folder that a path lies in.
fn has_folder(host: &mut Tree, path: &[u8]) -> Result<bool, sys::Error> {
    match host.parent(path) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.errno, Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(false),
        Err(error) => Err(error),
    }
}

/// By the time of its last change on the host.
fn since(project: &Project, host: &mut Tree, edit: &Edit) -> Result<Option<&'static str>, sys::Error> {
    let Some(found) = host.stat(&edit.path)? else {
        return Ok(match edit.kind {
            Kind::Added if project.seen.known.contains(&edit.path) => Some("it was removed from the project"),
            _ => None,
        });
    };
    let changed = (found.st_ctime, found.st_ctime_nsec);
    if project.seen.applied.get(&edit.path) == Some(&(found.st_ino, changed)) {
        return Ok(None);
    }
    let is_folder = found.st_mode & libc::S_IFMT == libc::S_IFDIR;
    let late = changed > project.seen.since;
    if is_folder && edit.is_folder {
        // what comes into a folder or goes changes both its times; another mode only the one
        let entries = (found.st_mtime, found.st_mtime_nsec) == changed;
        return Ok((late && !entries).then_some("its mode was changed in the project"));
    }
    if is_folder {
        let (parent, name) = host.parent(&edit.path)?;
        let folder = fd::open_folder(parent, name)?;
        return Ok(is_newer(folder.as_fd(), project.seen.since)?
            .then_some("something in it was changed in the project"));
    }
    Ok(late.then_some(if edit.kind == Kind::Added {
        "it was made in the project, too"
    } else {
        "it was changed in the project"
    }))
}

/// Whether anything in a folder has changed after `since`.
fn is_newer(folder: BorrowedFd<'_>, since: (i64, i64)) -> Result<bool, sys::Error> {
    for name in fd::names(folder, usize::MAX)? {
        let found = fd::stat_at(folder, &name)?;
        let is_folder = found.st_mode & libc::S_IFMT == libc::S_IFDIR;
        if (found.st_ctime, found.st_ctime_nsec) > since
            || is_folder && is_newer(fd::open_folder(folder, &name)?.as_fd(), since)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// By what the box saw.
fn against(base: &mut Tree, host: &mut Tree, edit: &Edit) -> Result<Option<&'static str>, sys::Error> {
    let (before, now) = (base.stat(&edit.path)?, host.stat(&edit.path)?);
    let (Some(before), Some(now)) = (before, now) else {
        return Ok(match (before, now) {
            (None, Some(_)) => Some("it was made in the project, too"),
            (Some(_), None) if edit.kind != Kind::Deleted => Some("it was removed from the project"),
            _ => None,
        });
    };
    let ((a, name), (b, _)) = (base.parent(&edit.path)?, host.parent(&edit.path)?);
    let deep = !edit.is_folder;
    Ok((!is_same((a, &before), (b, &now), name, deep)?).then_some("it was changed in the project"))
}

/// Whether both folders have the same at a name, by what can be seen without reading; with `deep`, also below.
fn is_same(
    (a, before): (BorrowedFd<'_>, &libc::stat),
    (b, now): (BorrowedFd<'_>, &libc::stat),
    name: &[u8],
    deep: bool,
) -> Result<bool, sys::Error> {
    if before.st_mode != now.st_mode {
        return Ok(false);
    }
    match now.st_mode & libc::S_IFMT {
        libc::S_IFLNK => Ok(fd::readlinkat(a, name)? == fd::readlinkat(b, name)?),
        libc::S_IFDIR if deep => {
            let (a, b) = (fd::open_folder(a, name)?, fd::open_folder(b, name)?);
            let sorted = |folder| {
                fd::names(folder, usize::MAX).map(|mut names| {
                    names.sort_unstable();
                    names
                })
            };
            let names = sorted(a.as_fd())?;
            if names != sorted(b.as_fd())? {
                return Ok(false);
            }
            for name in names {
                let (before, now) = (fd::stat_at(a.as_fd(), &name)?, fd::stat_at(b.as_fd(), &name)?);
                if !is_same((a.as_fd(), &before), (b.as_fd(), &now), &name, true)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        libc::S_IFDIR => Ok(true),
        _ => {
            let look = |stat: &libc::stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
            Ok(look(before) == look(now))
        }
    }
}

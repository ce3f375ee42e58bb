//! What the host changed since the box first saw it, where the box changed it too.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::sys;
use crate::sys::fd;

use super::edits::{Edit, Kind};
use super::handles::Tree;
use super::seen::{Seen, now};
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
            None => since(&project.seen, host, edit),
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

/// By the time of its last change on the host, and by how it looked at the end of the session that changed it: a clock
/// may have been set.
fn since(seen: &Seen, host: &mut Tree, edit: &Edit) -> Result<Option<&'static str>, sys::Error> {
    let Some(found) = host.stat(&edit.path)? else {
        return Ok(match edit.kind {
            Kind::Added if seen.known.contains_key(&edit.path) => Some("it was removed from the project"),
            _ => None,
        });
    };
    let changed = (found.st_ctime, found.st_ctime_nsec);
    let applied = seen.applied.get(&edit.path);
    if applied == Some(&(found.st_ino, changed)) {
        return Ok(None);
    }
    let is_folder = found.st_mode & libc::S_IFMT == libc::S_IFDIR;
    let since = if now() < seen.since { (0, 0) } else { seen.since };
    let late = changed > since || applied.is_some() && !is_folder;
    let noted = seen.known.get(&edit.path).and_then(Option::as_ref);
    if is_folder && edit.is_folder {
        // what comes into a folder or goes changes both its times; another mode only the one
        let entries = (found.st_mtime, found.st_mtime_nsec) == changed;
        let is_other = noted.is_some_and(|noted| noted.mode != found.st_mode);
        return Ok((is_other || late && !entries).then_some("its mode was changed in the project"));
    }
    let (parent, name) = host.parent(&edit.path)?;
    let is_other = match noted {
        Some(noted) => !noted.is_at(parent, name, false)?,
        None => false,
    };
    if is_folder {
        let folder = fd::open_folder(parent, name)?;
        return Ok((is_other || is_newer(folder.as_fd(), since)?)
            .then_some("something in it was changed in the project"));
    }
    Ok((is_other || late).then_some(if edit.kind == Kind::Added {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rootfs::project::{journal, seen};
    use std::fs;
    use std::path::Path;

    fn edit(path: &str, kind: Kind) -> Edit {
        let path = path.into();
        Edit { kind, path, size: None, is_folder: false, apart: None, unfit: None, set_id: false }
    }

    fn found(folder: &Path, edits: &[Edit]) -> Vec<String> {
        let project = Project::of(&folder.join("box")).unwrap().unwrap();
        let mut host = Tree::new(journal::open(&project.folder).unwrap());
        let found = conflicts(&project, &mut host, None, edits.iter()).unwrap();
        found.into_iter().map(|conflict| String::from_utf8(conflict.path).unwrap()).collect()
    }

    #[test]
    fn by_a_clock_that_was_ahead() {
        let root = tempfile::tempdir().unwrap();
        let (project, kept) = (root.path().join("project"), root.path().join("box/mounts/00"));
        fs::create_dir_all(project.join("dir")).unwrap();
        fs::create_dir_all(&kept).unwrap();
        for name in ["a", "b", "dir/in"] {
            fs::write(project.join(name), "old").unwrap();
        }
        let edits = [edit("a", Kind::Changed), edit("b", Kind::Changed), edit("dir", Kind::Deleted)];
        let (now, hour) = (now(), 3600);
        let started = |since| {
            seen::put(&kept, &project, Some((since, 0))).unwrap();
            Project::of(&root.path().join("box")).unwrap().unwrap()
        };
        // it still is before the start
        started(now.0 + hour);
        assert_eq!(found(root.path(), &edits), ["a", "b", "dir"]);
        // also later, when a session ended meanwhile
        started(now.0 + hour).remember(&edits).unwrap();
        let project_now = Project::of(&root.path().join("box")).unwrap().unwrap();
        assert_eq!(project_now.seen.since, (0, 0));
        assert_eq!(found(root.path(), &edits), ["a", "b", "dir"]);
        // it was set back after the session's end, and is later than the start again
        std::thread::sleep(std::time::Duration::from_millis(20));
        let after = self::now();
        let mut seen = started(0).seen;
        seen.since = after;
        seen.write(&kept).unwrap();
        Project::of(&root.path().join("box")).unwrap().unwrap().remember(&edits).unwrap();
        assert_eq!(found(root.path(), &edits), Vec::<String>::new());
        fs::write(project.join("a"), "host").unwrap();
        fs::write(project.join("dir/more"), "host").unwrap();
        let mut seen = Seen::read(&kept).unwrap().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        seen.since = self::now();
        seen.write(&kept).unwrap();
        assert_eq!(found(root.path(), &edits), ["a", "dir"]);
    }
}

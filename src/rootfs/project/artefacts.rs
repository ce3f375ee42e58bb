//! Single files and folders of a project as the box sees it, copied out to a folder of the host.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::Mode;

use crate::rootfs::changes::{self, Found, Lower, Stack};
use crate::sys::{self, fd};
use crate::{store, userns};

use super::edits::OURS;
use super::runs_later::leads_out;
use super::stage::{mode, modified, write};
use super::{Error, Project, own_ids};

/// Copies each of `paths`, relative to the project, to its last name in the folder `to`, which is made when it is not
/// there. What has that name is replaced at once. Links that lead out of the project, FIFOs and devices are left out,
/// set-id bits are dropped.
///
/// # Errors
///
/// What was copied whole by then stays.
pub fn take_out(project: &Project, paths: &[Vec<u8>], to: &Path) -> Result<(), Error> {
    let failed = |what| move |source| Error::File { what, path: to.to_owned(), source };
    fs::create_dir_all(to).map_err(failed("make"))?;
    let to = fs::canonicalize(to).map_err(failed("open"))?;
    let work = |_| {
        nix::sys::stat::umask(Mode::empty());
        Ok(all(project, paths, &to)?)
    };
    Ok(userns::piped(&own_ids(), work, |told| drop(told.read(&mut [0])))?)
}

fn all(project: &Project, paths: &[Vec<u8>], to: &Path) -> Result<(), Error> {
    let mut lowers = vec![Lower { tree: project.upper(), owners: Default::default() }];
    if !project.is_copy() || !project.upper().exists() {
        lowers.push(Lower { tree: project.folder.clone(), owners: Default::default() });
    }
    lowers.retain(|lower| lower.tree.is_dir());
    let draft_name = [OURS, std::process::id().to_string().as_bytes()].concat();
    let draft =
        to.join(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(draft_name.clone()));
    let clear = || {
        store::remove_tree(&draft).map_err(|error| Error::File {
            what: "remove",
            path: draft.clone(),
            source: io::Error::other(error),
        })
    };
    let target: OwnedFd =
        File::open(to).map_err(|source| Error::File { what: "open", path: to.to_owned(), source })?.into();
    for path in paths {
        clear()?;
        let failed = |source| Error::Call { what: "copy", path: path.clone(), source };
        let copied = one(&lowers, path, target.as_fd(), &draft_name).map_err(failed);
        clear()?;
        copied?;
    }
    Ok(())
}

fn one(lowers: &[Lower], path: &[u8], to: BorrowedFd<'_>, draft: &[u8]) -> Result<(), sys::Error> {
    let none = || sys::Error { call: "openat", args: path.escape_ascii().to_string(), errno: Errno::ENOENT };
    let mut stack = changes::roots(lowers)?;
    let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    let (last, above) = names.split_last().ok_or_else(none)?;
    for name in above {
        let Found::Folder(below) = changes::find(&stack, name)? else { return Err(none()) };
        stack = below;
    }
    let found = changes::find(&stack, last)?;
    if !found.is_there() {
        return Err(none());
    }
    fd::mkdirat(to, draft, 0o700)?;
    let folder = fd::open_folder(to, draft)?;
    // seen from where it is copied to, a link must not lead out of what is copied
    copy(&found, last, folder.as_fd(), last)?;
    if fd::stat_at(folder.as_fd(), last).is_err() {
        return Err(sys::Error {
            call: "openat",
            args: path.escape_ascii().to_string(),
            errno: Errno::ELOOP,
        });
    }
    match fd::exchange(folder.as_fd(), last, to, last) {
        Err(error) if error.errno == Errno::ENOENT => fd::rename_new(folder.as_fd(), last, to, last),
        exchanged => exchanged,
    }
}

/// `path` is relative to what is copied as a whole.
fn copy(found: &Found, name: &[u8], to: BorrowedFd<'_>, path: &[u8]) -> Result<(), sys::Error> {
    match found {
        Found::Nothing => Ok(()),
        Found::Other(_, folder, stat) => match stat.st_mode & libc::S_IFMT {
            libc::S_IFREG => write(folder.as_fd(), name, stat, &[], to, name),
            libc::S_IFLNK if !leads_out(path, &fd::readlinkat(folder.as_fd(), name)?) => {
                write(folder.as_fd(), name, stat, &[], to, name)
            }
            _ => Ok(()),
        },
        Found::Folder(stack) => {
            fd::mkdirat(to, name, 0o700)?;
            let target = fd::open_folder(to, name)?;
            for name in changes::names(stack)? {
                let below = changes::find(stack, &name)?;
                copy(&below, &name, target.as_fd(), &[path, b"/", &name].concat())?;
            }
            settle(stack, target.as_fd())
        }
    }
}

fn settle(stack: &Stack, target: BorrowedFd<'_>) -> Result<(), sys::Error> {
    let Some((_, folder)) = stack.first() else { return Ok(()) };
    let found = fd::stat(folder.as_fd())?;
    fd::fchmod(target, mode(&found))?;
    fd::futimens(target, &modified(&found))
}

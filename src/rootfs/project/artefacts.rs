//! Single files and folders of a project as the box sees it, copied out to a folder of the host.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};

use crate::rootfs::changes::{self, Found, Lower, Stack};
use crate::sys::{self, fd};
use crate::{store, userns};

use super::edits::{OURS, judge};
use super::repositories::{is_held, is_repository};
use super::runs_later::{GIT, Judge, Stands, leads_out};
use super::stage::{mode, modified, write};
use super::{Chosen, Error, Project, own_ids};

/// What was not copied out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Relative to the project.
    pub path: Vec<u8>,
    /// Why not.
    pub why: String,
}

/// Copies each of `paths`, relative to the project, to its last name in the folder `to`, which is made when it is not
/// there. What has that name is replaced at once. What runs later and isn't named itself, links that lead out of what is
/// copied, FIFOs and devices are left out, which is told; set-id bits are dropped. The caller holds the box's lock.
///
/// # Errors
///
/// What was copied whole by then stays.
pub fn take_out(project: &Project, paths: &[Vec<u8>], to: &Path) -> Result<Vec<LeftOut>, Error> {
    let failed = |what| move |source| Error::File { what, path: to.to_owned(), source };
    fs::create_dir_all(to).map_err(failed("make"))?;
    let to = fs::canonicalize(to).map_err(failed("open"))?;
    let work = |out: File| {
        nix::sys::stat::umask(Mode::empty());
        Ok(serde_json::to_writer(io::BufWriter::new(out), &all(project, paths, &to)?)?)
    };
    let read = |told: &mut userns::Output| serde_json::from_reader(io::BufReader::new(told));
    userns::piped(&own_ids(), work, read)?.map_err(|error: serde_json::Error| {
        userns::Error::Work(userns::Failed { words: error.to_string(), errno: 0 }).into()
    })
}

fn all(project: &Project, paths: &[Vec<u8>], to: &Path) -> Result<Vec<LeftOut>, Error> {
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
    let chosen = Chosen { paths: paths.to_vec(), force: false };
    let mut copying = Copying { judge: judge(project)?, chosen, whole: 0, left: Vec::new() };
    for path in paths {
        clear()?;
        let failed = |source| Error::Call { what: "copy", path: path.clone(), source };
        let copied = one(&lowers, path, target.as_fd(), &draft_name, &mut copying).map_err(failed);
        clear()?;
        copied?;
    }
    Ok(copying.left)
}

fn one(
    lowers: &[Lower],
    path: &[u8],
    to: BorrowedFd<'_>,
    draft: &[u8],
    copying: &mut Copying,
) -> Result<(), sys::Error> {
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
    copying.whole = path.len() - last.len();
    copying.copy(&found, last, folder.as_fd(), path)?;
    if fd::stat_at(folder.as_fd(), last).is_err() {
        // it was left out itself, which is told
        return Ok(());
    }
    match fd::exchange(folder.as_fd(), last, to, last) {
        Err(error) if error.errno == Errno::ENOENT => fd::rename_new(folder.as_fd(), last, to, last),
        exchanged => exchanged,
    }
}

/// What is copied, and what was left out so far.
struct Copying {
    judge: Judge,
    chosen: Chosen,
    /// Bytes of a path that are above what is copied as a whole.
    whole: usize,
    left: Vec<LeftOut>,
}

impl Copying {
    /// `path` is relative to the project.
    fn copy(
        &mut self,
        found: &Found,
        name: &[u8],
        to: BorrowedFd<'_>,
        path: &[u8],
    ) -> Result<(), sys::Error> {
        let is_folder = matches!(found, Found::Folder(_));
        let later = self.judge.look(path, Stands { is_folder, ..Stands::default() });
        if let Some(later) = later.filter(|later| !self.chosen.names(path, later.names)) {
            self.leave(path, later.why);
            return Ok(());
        }
        match found {
            Found::Nothing => {}
            Found::Other(_, folder, stat) => match stat.st_mode & libc::S_IFMT {
                libc::S_IFREG => write(folder.as_fd(), name, stat, &[], to, name)?,
                libc::S_IFLNK => {
                    // made of the text that was looked at
                    let target = fd::readlinkat(folder.as_fd(), name)?;
                    // seen from where it is copied to, a link must not lead out of what is copied
                    if leads_out(&path[self.whole..], &target) {
                        self.leave(path, "the link leads out of what is copied");
                    } else {
                        fd::symlinkat(&target, to, name)?;
                        fd::utimensat(to, name, &modified(stat))?;
                    }
                }
                _ => self.leave(path, "it is a FIFO, a socket or a device"),
            },
            Found::Folder(stack) => {
                fd::mkdirat(to, name, 0o700)?;
                let target = fd::open_folder(to, name)?;
                let names = changes::names(stack)?;
                let has = |mark: &str| names.iter().any(|name| name.eq_ignore_ascii_case(mark.as_bytes()));
                let is_repository = is_repository(|mark| Ok::<_, sys::Error>(has(mark)))?;
                for name in names {
                    let inner = [path, b"/", &name].concat();
                    let depth = inner.split(|byte| *byte == b'/').count();
                    if is_repository && is_held(&name) && later.is_none() && !self.chosen.names(&inner, depth)
                    {
                        self.leave(&inner, GIT);
                        continue;
                    }
                    self.copy(&changes::find(stack, &name)?, &name, target.as_fd(), &inner)?;
                }
                settle(stack, target.as_fd())?;
            }
        }
        Ok(())
    }

    fn leave(&mut self, path: &[u8], why: &str) {
        self.left.push(LeftOut { path: path.to_vec(), why: why.to_owned() });
    }
}

fn settle(stack: &Stack, target: BorrowedFd<'_>) -> Result<(), sys::Error> {
    let Some((_, folder)) = stack.first() else { return Ok(()) };
    let found = fd::stat(folder.as_fd())?;
    fd::fchmod(target, mode(&found))?;
    fd::futimens(target, &modified(&found))
}

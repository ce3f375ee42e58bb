//! What a box changed in its project, one path after the other.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use serde::{Deserialize, Serialize};

use crate::rootfs::changes::{Change, What, walk};
use crate::sys::fd;
use crate::userns;

use super::aliases::aliases;
use super::handles::Tree;
use super::runs_later::{Judge, Stands, leads_out};
use super::{Error, Project, journal, repositories};

/// Names an apply itself makes in a project begin so.
pub(super) const OURS: &[u8] = b".devbox-apply-";

/// What became of a path of the project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It is new.
    Added,
    /// Its content or its kind is another.
    Changed,
    /// Only its mode is another.
    Mode,
    /// It is gone.
    Deleted,
}

/// One path of the project that the box changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// What became of it.
    pub kind: Kind,
    /// Relative to the project.
    pub path: Vec<u8>,
    /// Bytes of a regular file as it is now.
    pub size: Option<u64>,
    /// A folder stands there now.
    pub is_folder: bool,
    /// Why it is applied only when it is named, and how many names of the path are the least that names it.
    pub apart: Option<(usize, String)>,
    /// Why it is never applied.
    pub unfit: Option<String>,
    /// It has set-id bits, which are dropped.
    pub set_id: bool,
}

impl Edit {
    /// The path as text; bytes that are none are replaced.
    pub fn shown(&self) -> String {
        let slash = if self.is_folder { "/" } else { "" };
        format!("{}{slash}", String::from_utf8_lossy(&self.path))
    }
}

/// Whether the box wrote nothing over the project: cheap to be asked, and false when it takes a closer look.
pub fn is_unchanged(project: &Project) -> bool {
    let listed = |folder: File| fd::names(folder.as_fd(), 1).map_err(|error| io::Error::from(error.errno));
    !project.is_copy()
        && match File::open(project.upper()).and_then(listed) {
            Ok(names) => names.is_empty(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
}

/// All that the box changed, in order of path. The box may run meanwhile.
pub fn list(project: &Project) -> Result<Vec<Edit>, Error> {
    if is_unchanged(project) {
        return Ok(Vec::new());
    }
    let work = |out: File| Ok(serde_json::to_writer(io::BufWriter::new(out), &edits(project)?)?);
    let read = |told: &mut userns::Output| serde_json::from_reader(io::BufReader::new(told));
    userns::piped(&super::own_ids(), work, read)?.map_err(|error: serde_json::Error| {
        let failed = userns::Failed { words: error.to_string(), errno: 0 };
        userns::Error::Work(failed).into()
    })
}

/// As [`list`], where this process is root of [`super::own_ids`].
pub(super) fn edits(project: &Project) -> Result<Vec<Edit>, Error> {
    let mut found = Vec::new();
    each(project, &mut |edit, _| {
        found.push(edit);
        Ok(())
    })?;
    if !found.is_empty() {
        let mut host = Tree::new(journal::open(&project.folder)?);
        let is_folder = |found: libc::stat| found.st_mode & libc::S_IFMT == libc::S_IFDIR;
        repositories::hold(&mut found, |path| {
            let failed = |source| Error::Call { what: "look at", path: path.to_vec(), source };
            Ok::<_, Error>(host.stat(path).map_err(failed)?.map(is_folder))
        })?;
    }
    Ok(found)
}

/// Who tells what of a project runs later.
pub(super) fn judge(project: &Project) -> Result<Judge, Error> {
    if !project.folder.is_dir() {
        return Ok(Judge::default());
    }
    let root = journal::open(&project.folder)?;
    let failed = |source| Error::Call { what: "look at", path: Vec::new(), source };
    Ok(Judge::new(aliases(root.as_fd(), &project.folder).map_err(failed)?))
}

/// Calls `take` with each edit and the change it comes from. Of repositories without `.git` an edit knows nothing yet.
pub(super) fn each(
    project: &Project,
    take: &mut dyn FnMut(Edit, &Change<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let upper = project.upper();
    if is_unchanged(project) || !upper.exists() {
        return Ok(());
    }
    if !project.folder.is_dir() {
        return Err(Error::Gone(project.folder.clone()));
    }
    let mut judge = judge(project)?;
    walk(&project.files(&upper), &mut |change| {
        if change.path.len() >= libc::PATH_MAX as usize {
            return Err(Error::TooDeep(change.path.to_vec()).into());
        }
        let Some(edit) = of(change, &mut judge) else { return Ok(()) };
        Ok(take(edit, change)?)
    })?;
    Ok(())
}

fn of(change: &Change<'_>, judge: &mut Judge) -> Option<Edit> {
    let mode = |stat: &libc::stat| stat.st_mode & libc::S_IFMT;
    let is = |kind| change.entry.is_some_and(|entry| mode(&entry.stat) == kind);
    let was_folder = change.before.is_some_and(|before| mode(&before) == libc::S_IFDIR);
    let is_folder = is(libc::S_IFDIR);
    let both = change.entry.map(|entry| entry.stat.st_mode).zip(change.before.map(|before| before.st_mode));
    let is_broken = change.before.is_some()
        && both.is_none_or(|(now, before)| {
            now & libc::S_IFMT != before & libc::S_IFMT || now & 0o700 != before & 0o700
        });
    // each folder on the way is looked at, also one that is as it was
    let found = judge.look(change.path, Stands { is_folder, was_folder, is_broken });
    let kind = match (change.what, change.entry, change.before) {
        (What::Kept, ..) => return None,
        (What::Added, ..) => Kind::Added,
        (What::Deleted, ..) => Kind::Deleted,
        // a folder has nothing but its mode that a project could be given
        (_, Some(entry), Some(before)) if is_folder && was_folder => {
            if entry.stat.st_mode == before.st_mode {
                return None;
            }
            Kind::Mode
        }
        (_, Some(entry), Some(before)) if change.same_content && entry.stat.st_mode != before.st_mode => {
            Kind::Mode
        }
        _ => Kind::Changed,
    };
    let named = |names, why: &str| (names, why.to_owned());
    let names = change.path.split(|byte| *byte == b'/').count();
    let apart = found.map(|found| named(found.names, found.why));
    let target = || change.entry.and_then(|entry| fd::readlinkat(entry.folder, entry.name).ok());
    let out = || leads_out(change.path, &target().unwrap_or_default());
    let apart = apart
        .or_else(|| (is(libc::S_IFLNK) && out()).then(|| named(names, "the link leads out of the project")));
    let unfit = if is(libc::S_IFIFO) {
        Some("it is a FIFO")
    } else if is(libc::S_IFCHR) || is(libc::S_IFBLK) {
        Some("it is a device")
    } else if change.path.starts_with(OURS) {
        Some("devbox itself uses such names while it applies")
    } else {
        None
    };
    Some(Edit {
        kind,
        path: change.path.to_vec(),
        size: change.entry.filter(|_| is(libc::S_IFREG)).map(|entry| entry.stat.st_size as u64),
        is_folder,
        apart,
        unfit: unfit.map(str::to_owned),
        set_id: is(libc::S_IFREG) && change.entry.is_some_and(|entry| entry.stat.st_mode & 0o6000 != 0),
    })
}

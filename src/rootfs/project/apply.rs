//! What a box wrote over its project becomes the project's own, or is dropped.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};

use crate::rootfs::changes::{Forgotten, forget};
use crate::sys::fd;
use crate::{store, userns};

use super::conflict::{Conflict, conflicts};
use super::edits::{Edit, Kind, OURS, each, edits};
use super::handles::Tree;
use super::journal::{self, Journal, Place};
use super::look::Look;
use super::stage::Stage;
use super::{BASE, Error, Project, mirror, own_ids, seen};

/// Which of the edits are meant.
#[derive(Debug, Clone, Default)]
pub struct Chosen {
    /// These paths, relative to the project, with all below them; none for all there are.
    pub paths: Vec<Vec<u8>>,
    /// Also where the host changed the same.
    pub force: bool,
}

/// What came of it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Applied {
    /// What was applied or dropped.
    pub done: Vec<Edit>,
    /// What was left in the box: it has to be named, or is never applied.
    pub left: Vec<Edit>,
    /// Both sides changed these; then nothing was done.
    pub conflicts: Vec<Conflict>,
    /// Chosen paths at which nothing is changed; then nothing was done.
    pub unchanged: Vec<Vec<u8>>,
    /// Paths that can't be dropped alone, for this folder above them is as a whole gone or anew.
    pub hidden: Vec<(Vec<u8>, Vec<u8>)>,
}

/// How far an apply is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Progress {
    /// So many bytes are to be copied.
    Total(u64),
    /// So many more are.
    Bytes(u64),
}

/// What the process that does the work says, a line each.
#[derive(Serialize, Deserialize)]
enum Told {
    Progress(Progress),
    Done(Applied),
}

/// Applies what is chosen, all of it or nothing. The caller holds the box's lock, and no apply is left half-made. `hear` is
/// told of long work.
pub fn apply(project: &Project, chosen: &Chosen, hear: impl FnMut(Progress)) -> Result<Applied, Error> {
    in_own_process(|tell| applied(project, chosen, tell), hear)
}

/// Drops what is chosen. The caller holds the box's lock.
pub fn discard(project: &Project, chosen: &Chosen) -> Result<Applied, Error> {
    in_own_process(|_| discarded(project, chosen), |_| ())
}

fn in_own_process(
    work: impl FnOnce(&mut dyn FnMut(Progress)) -> Result<Applied, Error>,
    mut hear: impl FnMut(Progress),
) -> Result<Applied, Error> {
    let work = |out: File| {
        // modes are those of the files
        nix::sys::stat::umask(Mode::empty());
        let mut out = io::BufWriter::new(out);
        let mut tell = |progress| {
            // nobody listens any more when this fails
            let told = serde_json::to_writer(&mut out, &Told::Progress(progress)).is_ok();
            drop((told, out.flush()));
        };
        let done = work(&mut tell)?;
        serde_json::to_writer(&mut out, &Told::Done(done))?;
        Ok(out.flush()?)
    };
    let answer = userns::piped(&own_ids(), work, |told| {
        for told in serde_json::Deserializer::from_reader(io::BufReader::new(told)).into_iter() {
            match told? {
                Told::Progress(progress) => hear(progress),
                Told::Done(done) => return Ok(Some(done)),
            }
        }
        Ok(None)
    })?;
    let failed = |words| Error::from(userns::Error::Work(userns::Failed { words, errno: 0 }));
    answer
        .map_err(|error: serde_json::Error| failed(error.to_string()))?
        .ok_or_else(|| failed("the process that was at work went away".to_owned()))
}

impl Chosen {
    fn covers(&self, path: &[u8]) -> bool {
        self.paths.is_empty() || self.paths.iter().any(|chosen| is_within(path, chosen))
    }

    /// Whether the path is named by at least so many of its names.
    pub(super) fn names(&self, path: &[u8], least: usize) -> bool {
        let names = |chosen: &[u8]| chosen.split(|byte| *byte == b'/').count();
        self.paths
            .iter()
            .any(|chosen| is_within(path, chosen) && !chosen.is_empty() && names(chosen) >= least)
    }
}

/// Whether `path` is `above` or below it; the project itself is the empty path.
fn is_within(path: &[u8], above: &[u8]) -> bool {
    above.is_empty() || path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

fn applied(project: &Project, chosen: &Chosen, tell: &mut dyn FnMut(Progress)) -> Result<Applied, Error> {
    if !project.folder.is_dir() {
        return Err(Error::Gone(project.folder.clone()));
    }
    let _lock = journal::lock(&project.folder)?;
    let mut answer = Applied::default();
    let all = edits(project)?;
    answer.unchanged = untouched(chosen, &all);
    if !answer.unchanged.is_empty() {
        return Ok(answer);
    }
    let is_free = |edit: &Edit| {
        edit.unfit.is_none() && edit.apart.as_ref().is_none_or(|(least, _)| chosen.names(&edit.path, *least))
    };
    let mut wanted: BTreeSet<&[u8]> = BTreeSet::new();
    for edit in all.iter().filter(|edit| chosen.covers(&edit.path)) {
        if is_free(edit) {
            wanted.insert(&edit.path);
        } else {
            answer.left.push(edit.clone());
        }
    }
    // a file needs the folders above it
    let folders: BTreeSet<&[u8]> = all
        .iter()
        .filter(|edit| edit.is_folder && edit.kind != Kind::Mode)
        .map(|edit| &edit.path[..])
        .collect();
    let mut above: BTreeSet<&[u8]> = BTreeSet::new();
    for path in &wanted {
        // those above one that is known are known
        parents(path).take_while(|parent| above.insert(parent)).for_each(drop);
    }
    wanted.extend(above.intersection(&folders));
    let is_wanted = |edit: &&Edit| wanted.contains(&edit.path[..]);
    answer.done = all.iter().filter(is_wanted).cloned().collect();
    let mut host = Tree::new(journal::open(&project.folder)?);
    // before the conflicts are looked for: what the host changes from here on is told from it, step by step
    let looks = looks(&mut host, &answer.done)?;
    if !chosen.force {
        let base =
            if project.is_copy() { Some(Tree::new(journal::open(&project.kept.join(BASE))?)) } else { None };
        answer.conflicts = conflicts(project, &mut host, base, answer.done.iter())?;
    }
    if answer.done.is_empty() || !answer.conflicts.is_empty() {
        return Ok(answer);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let name = [OURS, format!("{}-{now}", std::process::id()).as_bytes()].concat();
    let place = Place::make(&project.box_folder, &project.folder, &name)?;
    tell(Progress::Total(answer.done.iter().filter_map(|edit| edit.size).sum()));
    let steps = make_ready(project, &place, &wanted, (&mut host, &looks), tell);
    let decided = steps.and_then(|steps| {
        let applied = (answer.done.len() < all.len())
            .then(|| answer.done.iter().map(|edit| edit.path.clone()).collect());
        let mount = project.kept.file_name().map(|name| name.as_bytes().to_vec()).unwrap_or_default();
        let journal = Journal { steps, mount, applied };
        place.decide(&journal).map(|()| journal)
    });
    match decided {
        // what fails from here on is taken back, or finished by whoever has the lock next
        Ok(journal) => place.carry_out(&journal).map(|()| answer),
        Err(error) => {
            place.clear()?;
            Err(error)
        }
    }
}

fn make_ready(
    project: &Project,
    place: &Place,
    wanted: &BTreeSet<&[u8]>,
    (host, looks): (&mut Tree, &HashMap<Vec<u8>, Look>),
    tell: &mut dyn FnMut(Progress),
) -> Result<Vec<journal::Step>, Error> {
    /// Bytes between two words of progress.
    const STEP: u64 = 4 << 20;
    let mut due = 0;
    let staged = place.stage()?;
    let failed = |source| Error::Call { what: "make ready", path: Vec::new(), source };
    let mut stage = Stage::new(fd::open_folder(staged.as_fd(), journal::NEW).map_err(failed)?, looks);
    each(project, &mut |edit, change| match wanted.contains(&edit.path[..]) {
        true => {
            stage.add(&edit, change.entry, host)?;
            due += edit.size.unwrap_or(0);
            if due >= STEP {
                tell(Progress::Bytes(std::mem::take(&mut due)));
            }
            Ok(())
        }
        false => Ok(()),
    })?;
    let steps = stage.finish().map_err(failed)?;
    fd::syncfs(staged).map_err(failed)?;
    Ok(steps)
}

/// How the project looks where it is changed.
fn looks(host: &mut Tree, edits: &[Edit]) -> Result<HashMap<Vec<u8>, Look>, Error> {
    let mut looks = HashMap::new();
    for edit in edits {
        let found = host.look(&edit.path, !edit.is_folder);
        let found = found.map_err(|source| Error::Call { what: "look at", path: edit.path.clone(), source });
        looks.extend(found?.map(|look| (edit.path.clone(), look)));
    }
    Ok(looks)
}

/// Chosen paths at and below which nothing is changed.
fn untouched(chosen: &Chosen, all: &[Edit]) -> Vec<Vec<u8>> {
    let is_touched = |path: &Vec<u8>| all.iter().any(|edit| is_within(&edit.path, path));
    chosen.paths.iter().filter(|path| !is_touched(path)).cloned().collect()
}

/// The paths above one, the longest first.
fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = path;
    std::iter::from_fn(move || {
        rest = &rest[..rest.iter().rposition(|byte| *byte == b'/')?];
        Some(rest)
    })
}

/// Takes out of the box what is the project's own now: these paths, or everything.
pub(super) fn let_go(mut project: Project, applied: Option<&[Vec<u8>]>) -> Result<(), Error> {
    let Some(paths) = applied else { return drop_all(&project) };
    let mut host = Tree::new(journal::open(&project.folder)?);
    let failed = |path: &[u8]| {
        let path = path.to_vec();
        move |source| Error::Call { what: "let go of", path, source }
    };
    if project.is_copy() {
        let mut base = Tree::new(journal::open(&project.kept.join(BASE))?);
        let mut upper = Tree::new(journal::open(&project.upper())?);
        let mut links = mirror::Links::new();
        for path in paths {
            mirror::one(&mut upper, &mut base, path, &mut links).map_err(failed(path))?;
        }
        return Ok(());
    }
    let _lock = seen::lock(&project.kept)?;
    if let Some(seen) = seen::Seen::read(&project.kept)? {
        project.seen = seen;
    }
    let mut upper = Tree::new(journal::open(&project.upper())?);
    // what is in a folder before the folder
    for path in paths.iter().rev() {
        project.seen.known.remove(path);
        forget_one(&project, &mut upper, &mut host, path)?;
        if let Some(found) = host.stat(path).map_err(failed(path))? {
            let changed = (found.st_ctime, found.st_ctime_nsec);
            project.seen.applied.insert(path.clone(), (found.st_ino, changed));
        }
    }
    project.seen.write(&project.kept)
}

/// Lets the project's own show at a path, and in the folders above it that have nothing more of the box's.
fn forget_one(
    project: &Project,
    upper: &mut Tree,
    host: &mut Tree,
    path: &[u8],
) -> Result<Option<Vec<u8>>, Error> {
    let failed = |source| Error::Call { what: "let go of", path: path.to_vec(), source };
    let is_folder = |stat: &libc::stat| stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
    let found = upper.stat(path).map_err(failed)?;
    if !found.as_ref().is_some_and(is_folder)
        && let Forgotten::Hidden(above) = take_out(project, path)?
    {
        return Ok(Some(above));
    }
    for folder in [path].into_iter().chain(parents(path)) {
        let (Some(ours), Some(theirs)) =
            (upper.stat(folder).map_err(failed)?, host.stat(folder).map_err(failed)?)
        else {
            continue;
        };
        if !is_folder(&ours) || !is_folder(&theirs) || ours.st_mode != theirs.st_mode {
            break;
        }
        upper.moved();
        let (parent, name) = upper.parent(folder).map_err(failed)?;
        match fd::rmdirat(parent, name) {
            Err(error) if matches!(error.errno, Errno::ENOTEMPTY | Errno::EEXIST) => break,
            removed => removed.map_err(failed)?,
        }
    }
    Ok(None)
}

/// Moves what the upper has at a path out of it, and removes that.
fn take_out(project: &Project, path: &[u8]) -> Result<Forgotten, Error> {
    const ASIDE: &str = "dropped";
    let aside = project.kept.join(ASIDE);
    remove(&aside)?;
    let upper = project.upper();
    let kept: OwnedFd = journal::open(&project.kept)?;
    let done = forget(&project.files(&upper), path, &kept, ASIDE.as_bytes())?;
    remove(&aside)?;
    Ok(done)
}

fn discarded(project: &Project, chosen: &Chosen) -> Result<Applied, Error> {
    let mut answer = Applied::default();
    // without the project what it was is not known, and need not be
    if chosen.paths.is_empty() {
        // nor is it kept for what can't be listed
        if project.folder.is_dir() {
            answer.done = edits(project).unwrap_or_default();
        }
        drop_all(project)?;
        return Ok(answer);
    }
    let all = edits(project)?;
    answer.unchanged = untouched(chosen, &all);
    if !answer.unchanged.is_empty() {
        return Ok(answer);
    }
    let mut upper = Tree::new(journal::open(&project.upper())?);
    let failed = |path: &[u8]| {
        let path = path.to_vec();
        move |source| Error::Call { what: "drop", path, source }
    };
    if project.is_copy() {
        let mut base = Tree::new(journal::open(&project.kept.join(BASE))?);
        for edit in all.iter().filter(|edit| chosen.covers(&edit.path)) {
            mirror::whole(&mut base, &mut upper, &edit.path).map_err(failed(&edit.path))?;
            answer.done.push(edit.clone());
        }
        return Ok(answer);
    }
    let mut host = Tree::new(journal::open(&project.folder)?);
    let mut hidden = BTreeMap::new();
    for edit in all.iter().rev().filter(|edit| chosen.covers(&edit.path)) {
        let above = match edit.kind {
            Kind::Mode if edit.is_folder => {
                let theirs = host.stat(&edit.path).map_err(failed(&edit.path))?;
                let (folder, name) = upper.parent(&edit.path).map_err(failed(&edit.path))?;
                let handle = fd::openat(folder, name, OFlag::O_PATH, 0).map_err(failed(&edit.path))?;
                let mode = theirs.map_or(0o755, |theirs| theirs.st_mode & 0o7777);
                fd::chmod_handle(handle.as_fd(), mode).map_err(failed(&edit.path))?;
                forget_one(project, &mut upper, &mut host, &edit.path)?
            }
            _ if edit.is_folder => match take_out(project, &edit.path)? {
                Forgotten::Hidden(above) => Some(above),
                Forgotten::Done(_) => None,
            },
            _ => forget_one(project, &mut upper, &mut host, &edit.path)?,
        };
        upper.moved();
        match above {
            Some(above) => drop(hidden.insert(edit.path.clone(), above)),
            None => answer.done.push(edit.clone()),
        }
    }
    answer.done.reverse();
    answer.hidden = hidden.into_iter().collect();
    Ok(answer)
}

/// Drops everything; a copy is made anew at the next start.
fn drop_all(project: &Project) -> Result<(), Error> {
    let gone = project.kept.join("dropped");
    remove(&gone)?;
    // of a copy first what is written to, without which the other does not count
    for name in [super::UPPER, BASE] {
        let path = project.kept.join(name);
        match fs::rename(&path, &gone) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed.map_err(|source| Error::File { what: "remove", path, source })?,
        }
        remove(&gone)?;
    }
    Ok(())
}

fn remove(path: &std::path::Path) -> Result<(), Error> {
    store::remove_tree(path).map_err(|error| Error::File {
        what: "remove",
        path: path.to_owned(),
        source: io::Error::other(error),
    })
}

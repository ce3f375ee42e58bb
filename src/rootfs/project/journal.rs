//! What an apply decided to do, written down before it is done, so that it is done as a whole or not at all.
//!
//! ```text
//! boxes/NAME/apply/stage     the project, and the folder in it in which things stand ready: nothing is decided
//!                  journal   the steps: from here on they are carried out, by whoever has the box's lock next
//!                  undo      the same, when one of them could not be: they are taken back
//! ```
//!
//! Each step can be told from what is there to be done or not, so that both ways may begin anew at any point. What is
//! taken out of the way stays beside the rest until all is done.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::store;
use crate::sys::{self, fd};
use crate::userns;

use super::handles::Tree;
use super::look::Look;
use super::{Error, Project, WORK, own_ids};

const STAGE: &str = "stage";
const JOURNAL: &str = "journal";
const UNDO: &str = "undo";
/// In the folder in the project.
pub(super) const NEW: &[u8] = b"new";
pub(super) const OLD: &[u8] = b"old";
/// A path takes a hundred bytes or two.
const MAX: usize = 1 << 30;
/// Stands for the call where none failed, but the host changed what a step is on.
const CHANGED: &str = "compare";
/// How long another may have the project.
const PATIENCE: Duration = Duration::from_secs(60);

/// One thing to be done in the project. What is put there, and what is taken away, bears the step's number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// What stands ready goes to the path, in place of that which looks so.
    Place { path: Vec<u8>, new: Look, over: Option<Look> },
    /// What stands there goes.
    Remove { path: Vec<u8>, over: Look },
    /// Another mode.
    Mode { path: Vec<u8>, mode: u32, over: Look },
}

/// All of an apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Journal {
    pub(super) steps: Vec<Step>,
    /// Folder of the mount whose upper lets go of what is applied.
    pub(super) mount: Vec<u8>,
    /// These paths; none for all it has.
    pub(super) applied: Option<Vec<Vec<u8>>>,
}

/// The folders of an apply.
pub(super) struct Place {
    pub(super) box_folder: PathBuf,
    project: PathBuf,
    stage: PathBuf,
}

impl Place {
    /// Makes the folders for an apply, by this name in the project.
    pub(super) fn make(box_folder: &Path, project: &Path, name: &[u8]) -> Result<Self, Error> {
        let stage = project.join(OsString::from_vec(name.to_vec()));
        let place = Self { box_folder: box_folder.to_owned(), project: project.to_owned(), stage };
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::File { what: "make", path, source }
        };
        fs::create_dir(place.work()).map_err(failed(&place.work()))?;
        let text = [project.as_os_str().as_bytes(), b"\0", name].concat();
        place.write(STAGE, &text)?;
        use std::os::unix::fs::DirBuilderExt;
        let make = |path: &Path| fs::DirBuilder::new().mode(0o700).create(path).map_err(failed(path));
        make(&place.stage)?;
        make(&place.stage.join(OsString::from_vec(NEW.to_vec())))?;
        make(&place.stage.join(OsString::from_vec(OLD.to_vec())))?;
        Ok(place)
    }

    /// What is noted of one that was cut short; none when it had not begun.
    fn find(box_folder: &Path) -> Result<Option<Self>, Error> {
        let path = box_folder.join(WORK).join(STAGE);
        let text = match fd::read_small(&path, 1 << 16) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|source| Error::File { what: "read", path: path.clone(), source })?,
        };
        let at = text.iter().position(|byte| *byte == 0).ok_or(Error::Damaged(path))?;
        let project = PathBuf::from(OsString::from_vec(text[..at].to_vec()));
        let stage = project.join(OsString::from_vec(text[at + 1..].to_vec()));
        Ok(Some(Self { box_folder: box_folder.to_owned(), project, stage }))
    }

    fn work(&self) -> PathBuf {
        self.box_folder.join(WORK)
    }

    pub(super) fn stage(&self) -> Result<OwnedFd, Error> {
        open(&self.stage)
    }

    /// A small file, whole or not at all, and on the disk.
    fn write(&self, name: &str, text: &[u8]) -> Result<(), Error> {
        let (path, draft) = (self.work().join(name), self.work().join(format!("{name}.new")));
        let write = || {
            let mut file = File::create(&draft)?;
            file.write_all(text)?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            File::open(self.work())?.sync_all()
        };
        write().map_err(|source| Error::File { what: "write", path: path.clone(), source })
    }

    /// Decides on the journal.
    pub(super) fn decide(&self, journal: &Journal) -> Result<(), Error> {
        self.write(JOURNAL, &journal.encode())
    }

    /// Carries out what is decided; what fails is taken back.
    pub(super) fn carry_out(&self, journal: &Journal) -> Result<(), Error> {
        let mut trees = Trees::open(&self.project, &self.stage()?)?;
        if let Err(error) = trees.all(&journal.steps) {
            let (decided, undo) = (self.work().join(JOURNAL), self.work().join(UNDO));
            fs::rename(&decided, &undo).map_err(|source| Error::File {
                what: "rename",
                path: decided,
                source,
            })?;
            self.take_back(&mut trees, &journal.steps)?;
            return Err(error);
        }
        let sync = fd::syncfs(trees.host.root());
        sync.map_err(|source| Error::Call { what: "sync", path: Vec::new(), source })?;
        if let Some(project) = Project::of(&self.box_folder)?
            && project.kept.file_name().is_some_and(|name| name.as_bytes() == journal.mount)
        {
            super::apply::let_go(project, journal.applied.as_deref())?;
        }
        self.clear()
    }

    /// Takes back what is done of the steps. What has no place to go back to stays where it is, and is told.
    fn take_back(&self, trees: &mut Trees, steps: &[Step]) -> Result<(), Error> {
        let left = trees.back(steps)?;
        let Some(Left { path, name }) = left.first() else { return self.clear() };
        // first that by which the folder in the project is found, and removed
        for name in [STAGE, JOURNAL, UNDO] {
            self.remove(name)?;
        }
        remove_tree(&self.work())?;
        let at = self.stage.join(OsString::from_vec(name.clone()));
        Err(Error::Displaced { path: path.clone(), at, stage: self.stage.clone() })
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        match fs::remove_file(self.work().join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::File { what: "remove", path: self.work().join(name), source: error })
            }
            _ => Ok(()),
        }
    }

    /// Removes the folders: what is decided first, for without it the rest is a leftover.
    pub(super) fn clear(&self) -> Result<(), Error> {
        for name in [JOURNAL, UNDO] {
            self.remove(name)?;
        }
        remove_tree(&self.stage)?;
        remove_tree(&self.work())
    }
}

fn remove_tree(path: &Path) -> Result<(), Error> {
    store::remove_tree(path).map_err(|error| Error::File {
        what: "remove",
        path: path.to_owned(),
        source: io::Error::other(error),
    })
}

/// Finishes or takes back an apply that was cut short. To be called with the box's lock; next to nothing when there is
/// none. With `removing`, a project that is gone is no error: the box goes, too.
pub fn recover(box_folder: &Path, removing: bool) -> Result<(), Error> {
    if fs::symlink_metadata(box_folder.join(WORK)).is_err() {
        return Ok(());
    }
    let work = |_| match finish(box_folder) {
        Err(Error::Gone(_)) if removing => Ok(()),
        finished => Ok(finished?),
    };
    Ok(userns::piped(&own_ids(), work, |told| drop(told.read(&mut [0])))?)
}

fn finish(box_folder: &Path) -> Result<(), Error> {
    let work = box_folder.join(WORK);
    let unread = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { what: "remove", path, source }
    };
    let is_decided = [JOURNAL, UNDO].iter().any(|name| work.join(name).exists());
    let place = match Place::find(box_folder)? {
        Some(place) if place.project.is_dir() => place,
        // where it went to, it has with it what was taken out of the way
        Some(place) if is_decided => return Err(Error::Gone(place.project)),
        _ => return fs::remove_dir_all(&work).map_err(unread(&work)),
    };
    let read = |name: &str| match fd::read_small(&work.join(name), MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::File { what: "read", path: work.join(name), source }),
        Ok(text) => Journal::decode(&text).map(Some).ok_or(Error::Damaged(work.join(name))),
    };
    let _lock = lock(&place.project)?;
    // all is done, or nothing is decided, when even its folder is not there
    if fs::symlink_metadata(&place.stage).is_err() {
        return place.clear();
    }
    if let Some(journal) = read(JOURNAL)? {
        return place.carry_out(&journal);
    }
    if let Some(journal) = read(UNDO)? {
        let mut trees = Trees::open(&place.project, &place.stage()?)?;
        return place.take_back(&mut trees, &journal.steps);
    }
    place.clear()
}

/// One apply at a time in a project; waits a minute for another.
pub(super) fn lock(project: &Path) -> Result<File, Error> {
    let failed = |source| Error::File { what: "lock", path: project.to_owned(), source };
    let file = File::open(project).map_err(failed)?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => return Err(Error::Locked(project.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
}

pub(super) fn open(path: &Path) -> Result<OwnedFd, Error> {
    let opened =
        File::open(path).map_err(|source| Error::File { what: "open", path: path.to_owned(), source });
    opened.map(OwnedFd::from)
}

/// What has no place in the project to go back to.
struct Left {
    /// Where it was.
    path: Vec<u8>,
    /// Where it is in the stage.
    name: Vec<u8>,
}

/// What steps are done on.
struct Trees {
    host: Tree,
    new: OwnedFd,
    old: OwnedFd,
}

impl Trees {
    fn open(project: &Path, stage: &OwnedFd) -> Result<Self, Error> {
        let below = |name: &[u8]| {
            let opened = fd::open_folder(stage.as_fd(), name);
            opened.map_err(|source| Error::Call { what: "open", path: name.to_vec(), source })
        };
        Ok(Self { host: Tree::new(open(project)?), new: below(NEW)?, old: below(OLD)? })
    }

    fn all(&mut self, steps: &[Step]) -> Result<(), Error> {
        for (number, step) in steps.iter().enumerate() {
            self.host.moved_by(step);
            let done = self.step(&number.to_string().into_bytes(), step);
            done.map_err(|source| match source.call {
                CHANGED => Error::Changed(step.path().to_vec()),
                _ => Error::Call { what: "change", path: step.path().to_vec(), source },
            })?;
        }
        Ok(())
    }

    /// As far as the steps are done, the last first. Gives what of the host's is left in the stage.
    fn back(&mut self, steps: &[Step]) -> Result<Vec<Left>, Error> {
        let mut left = Vec::new();
        for (number, step) in steps.iter().enumerate().rev() {
            self.host.moved_by(step);
            let number = number.to_string().into_bytes();
            let done = match self.undo(&number, step) {
                // the host has taken away the folder it was in
                Err(error) if matches!(error.errno, Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(()),
                done => done,
            };
            let found = done.and_then(|()| self.left(&number, step));
            let found =
                found.map_err(|source| Error::Call { what: "put back", path: step.path().to_vec(), source });
            left.extend(found?.map(|name| Left { path: step.path().to_vec(), name }));
        }
        Ok(left)
    }

    /// What is not ours in the stage.
    fn left(&self, number: &[u8], step: &Step) -> Result<Option<Vec<u8>>, sys::Error> {
        let (new, old) = (self.new.as_fd(), self.old.as_fd());
        if ino_at(old, number)?.is_some() {
            return Ok(Some([OLD, b"/", number].concat()));
        }
        Ok(match step {
            Step::Place { new: ready, .. }
                if ino_at(new, number)?.is_some() && !ready.is_at(new, number, true)? =>
            {
                Some([NEW, b"/", number].concat())
            }
            _ => None,
        })
    }

    fn step(&mut self, number: &[u8], step: &Step) -> Result<(), sys::Error> {
        let Self { host, new, old } = self;
        let (new, old) = (new.as_fd(), old.as_fd());
        match step {
            Step::Place { path, new: ready, over } => {
                let (staged, aside) = (ino_at(new, number)?, ino_at(old, number)?.is_some());
                // what is out of the way already is what the apply was decided on
                if let Some(over) = over {
                    let out = staged.is_some_and(|staged| staged != ready.ino);
                    unchanged(!aside || over.is_at(old, number, true)?)?;
                    unchanged(!out || over.is_at(new, number, true)?)?;
                }
                if staged != Some(ready.ino) {
                    return Ok(());
                }
                let (folder, name) = host.parent(path)?;
                if ino_at(folder, name)?.is_none() {
                    return put(new, number, folder, name);
                }
                let Some(over) = over else { return unchanged(false) };
                unchanged(over.is_at(folder, name, false)?)?;
                match fd::exchange(new, number, folder, name) {
                    // in two steps where the file system knows no other way
                    Err(error) if is_unknown(&error) => {
                        fd::renameat(folder, name, old, number)?;
                        unchanged(over.is_at(old, number, true)?)?;
                        put(new, number, folder, name)
                    }
                    // it may have been changed between the look and the rename
                    exchanged => exchanged.and_then(|()| unchanged(over.is_at(new, number, true)?)),
                }
            }
            Step::Remove { path, over } => {
                if ino_at(old, number)?.is_some() {
                    return unchanged(over.is_at(old, number, true)?);
                }
                let (folder, name) = host.parent(path)?;
                if ino_at(folder, name)?.is_none() {
                    return Ok(());
                }
                unchanged(over.is_at(folder, name, false)?)?;
                fd::renameat(folder, name, old, number)?;
                unchanged(over.is_at(old, number, true)?)
            }
            Step::Mode { path, mode, over } => {
                let (handle, found) = handle(host, path)?;
                unchanged(found.st_ino == over.ino)?;
                fd::chmod_handle(handle.as_fd(), *mode)
            }
        }
    }

    fn undo(&mut self, number: &[u8], step: &Step) -> Result<(), sys::Error> {
        let Self { host, new, old } = self;
        let (new, old) = (new.as_fd(), old.as_fd());
        match step {
            Step::Place { path, new: ready, .. } => {
                let (staged, aside) = (ino_at(new, number)?, ino_at(old, number)?.is_some());
                let is_ready = staged == Some(ready.ino);
                if is_ready && !aside {
                    return Ok(());
                }
                let (folder, name) = host.parent(path)?;
                match ino_at(folder, name)? {
                    None if aside => put(old, number, folder, name),
                    None if staged.is_some() => put(new, number, folder, name),
                    None => Ok(()),
                    // the host was faster to change it again
                    Some(there) if there != ready.ino => Ok(()),
                    Some(_) if staged.is_some() => fd::exchange(new, number, folder, name),
                    Some(_) => {
                        fd::renameat(folder, name, new, number)?;
                        if aside { put(old, number, folder, name) } else { Ok(()) }
                    }
                }
            }
            Step::Remove { path, .. } => {
                if ino_at(old, number)?.is_none() {
                    return Ok(());
                }
                let (folder, name) = host.parent(path)?;
                match ino_at(folder, name)? {
                    None => put(old, number, folder, name),
                    Some(_) => Ok(()),
                }
            }
            Step::Mode { path, mode, over } => {
                let (handle, found) = handle(host, path)?;
                match found.st_ino == over.ino && found.st_mode & 0o7777 == *mode {
                    true => fd::chmod_handle(handle.as_fd(), over.mode & 0o7777),
                    false => Ok(()),
                }
            }
        }
    }
}

impl Tree {
    /// A step on a path may put something else where a folder was.
    fn moved_by(&mut self, step: &Step) {
        if !matches!(step, Step::Mode { .. }) && self.is_below(step.path()) {
            self.moved();
        }
    }
}

fn is_unknown(error: &sys::Error) -> bool {
    matches!(error.errno, Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP)
}

fn ino_at(folder: BorrowedFd<'_>, name: &[u8]) -> Result<Option<u64>, sys::Error> {
    match fd::stat_at(folder, name) {
        Err(error) if error.errno == Errno::ENOENT => Ok(None),
        found => Ok(Some(found?.st_ino)),
    }
}

/// Fails when the host has changed something since the apply was decided on.
fn unchanged(is_so: bool) -> Result<(), sys::Error> {
    let failed = || sys::Error { call: CHANGED, args: String::new(), errno: Errno::EBUSY };
    is_so.then_some(()).ok_or_else(failed)
}

/// Moves something of the stage to where nothing is.
fn put(from: BorrowedFd<'_>, number: &[u8], folder: BorrowedFd<'_>, name: &[u8]) -> Result<(), sys::Error> {
    match fd::rename_new(from, number, folder, name) {
        Err(error) if is_unknown(&error) => fd::renameat(from, number, folder, name),
        renamed => renamed,
    }
}

fn handle(host: &mut Tree, path: &[u8]) -> Result<(OwnedFd, libc::stat), sys::Error> {
    let (folder, name) = host.parent(path)?;
    let handle = fd::openat(folder, name, OFlag::O_PATH, 0)?;
    let found = fd::stat(handle.as_fd())?;
    Ok((handle, found))
}

impl Step {
    fn path(&self) -> &[u8] {
        match self {
            Self::Place { path, .. } | Self::Remove { path, .. } | Self::Mode { path, .. } => path,
        }
    }
}

impl Journal {
    /// Fields with a NUL after each, three to a step: its kind, numbers, the path.
    fn encode(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let mut line = |kind: &str, path: &[u8], numbers: String| {
            text.extend_from_slice(format!("{kind}\0{numbers}\0").as_bytes());
            text.extend_from_slice(path);
            text.push(0);
        };
        line("mount", &self.mount, String::new());
        for step in &self.steps {
            match step {
                Step::Place { path, new, over: None } => line("place", path, new.text()),
                Step::Place { path, new, over: Some(over) } => {
                    line("exchange", path, format!("{} {}", new.text(), over.text()));
                }
                Step::Remove { path, over } => line("remove", path, over.text()),
                Step::Mode { path, mode, over } => line("mode", path, format!("{mode} {}", over.text())),
            }
        }
        match &self.applied {
            None => line("all", b"", String::new()),
            Some(paths) => paths.iter().for_each(|path| line("applied", path, String::new())),
        }
        text
    }

    fn decode(text: &[u8]) -> Option<Self> {
        let mut journal = Self { steps: Vec::new(), mount: Vec::new(), applied: Some(Vec::new()) };
        let mut fields = text.strip_suffix(b"\0")?.split(|byte| *byte == 0);
        while let Some(kind) = fields.next() {
            let words = &mut str::from_utf8(fields.next()?).ok()?.split(' ');
            let path = fields.next()?.to_vec();
            match kind {
                b"mount" => journal.mount = path,
                b"place" => journal.steps.push(Step::Place { path, new: Look::read(words)?, over: None }),
                b"exchange" => {
                    let (new, over) = (Look::read(words)?, Some(Look::read(words)?));
                    journal.steps.push(Step::Place { path, new, over });
                }
                b"remove" => journal.steps.push(Step::Remove { path, over: Look::read(words)? }),
                b"mode" => {
                    let mode = words.next()?.parse().ok()?;
                    journal.steps.push(Step::Mode { path, mode, over: Look::read(words)? });
                }
                b"all" => journal.applied = None,
                b"applied" => journal.applied.as_mut()?.push(path),
                _ => return None,
            }
        }
        Some(journal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_written() {
        let look = Look::at(File::open("/").unwrap().as_fd(), b".", false).unwrap().unwrap();
        let place = |over| Step::Place { path: b"a\nb/c \xff".to_vec(), new: look, over };
        let journal = Journal {
            steps: vec![
                place(None),
                place(Some(look)),
                Step::Remove { path: b"x".to_vec(), over: look },
                Step::Mode { path: b"y".to_vec(), mode: 0o755, over: look },
            ],
            mount: b"00ff".to_vec(),
            applied: Some(vec![b"a\nb".to_vec(), b"x".to_vec()]),
        };
        assert_eq!(Journal::decode(&journal.encode()), Some(journal.clone()));
        let all = Journal { applied: None, ..journal };
        assert_eq!(Journal::decode(&all.encode()), Some(all.clone()));
        assert_eq!(Journal::decode(&all.encode()[..20]), None);
    }

    /// A project, and an apply in it that is decided: every kind of step.
    fn decided(root: &Path) -> (Place, Journal) {
        let (project, box_folder) = (root.join("project"), root.join("box"));
        fs::create_dir_all(project.join("dir/deep")).unwrap();
        fs::create_dir_all(project.join("gone-dir/deep")).unwrap();
        fs::create_dir_all(box_folder.join("mounts")).unwrap();
        for name in ["changed", "gone", "gone-dir/deep/in", "dir/deep/file", "mode", "was-file"] {
            fs::write(project.join(name), "old").unwrap();
        }
        let place = Place::make(&box_folder, &project, b".devbox-apply-1").unwrap();
        let new = project.join(".devbox-apply-1/new");
        let root = File::open("/").unwrap();
        let look =
            |path: PathBuf| Look::at(root.as_fd(), path.as_os_str().as_bytes(), true).unwrap().unwrap();
        let mut steps = Vec::new();
        for (number, (path, folder)) in
            [("added", false), ("changed", false), ("dir", false), ("was-file", true)].into_iter().enumerate()
        {
            let made = new.join(number.to_string());
            if folder {
                fs::create_dir(&made).unwrap();
                fs::write(made.join("in"), "new").unwrap();
            } else {
                fs::write(&made, "new").unwrap();
            }
            let over = project.join(path).exists().then(|| look(project.join(path)));
            steps.push(Step::Place { path: path.into(), new: look(made), over });
        }
        for path in ["gone", "gone-dir"] {
            steps.push(Step::Remove { path: path.into(), over: look(project.join(path)) });
        }
        steps.push(Step::Mode { path: b"mode".to_vec(), mode: 0o600, over: look(project.join("mode")) });
        let journal = Journal { steps, mount: b"none".to_vec(), applied: None };
        place.write(JOURNAL, &journal.encode()).unwrap();
        (place, journal)
    }

    fn listed(root: &Path) -> String {
        store::listing::tree(&root.join("project"))
    }

    #[test]
    fn cut_short_anywhere_it_is_finished_or_taken_back() {
        let root = tempfile::tempdir().unwrap();
        let (place, journal) = decided(root.path());
        fs::rename(place.work().join(JOURNAL), place.work().join("aside")).unwrap();
        finish(&place.box_folder).unwrap();
        let before = listed(root.path());
        assert!(!place.work().exists() && before.contains("gone") && !before.contains("added"), "{before}");
        let mut after = None;
        for (undo, twice) in [(false, false), (false, true), (true, false), (true, true)] {
            for cut in 0..=journal.steps.len() {
                let root = tempfile::tempdir().unwrap();
                let (place, journal) = decided(root.path());
                let mut trees = Trees::open(&place.project, &place.stage().unwrap()).unwrap();
                trees.all(&journal.steps[..cut]).unwrap();
                if undo {
                    fs::rename(place.work().join(JOURNAL), place.work().join(UNDO)).unwrap();
                }
                if twice && undo {
                    trees.back(&journal.steps).unwrap();
                } else if twice {
                    trees.all(&journal.steps[..cut]).unwrap();
                }
                finish(&place.box_folder).unwrap();
                assert!(!place.work().exists());
                let found = listed(root.path());
                if undo {
                    assert_eq!(found, before, "undone after {cut}");
                } else {
                    assert_eq!(&found, after.get_or_insert(found.clone()), "done after {cut}");
                    assert!(
                        found.contains("added new")
                            && found.contains("was-file/in new")
                            && !found.contains("gone")
                    );
                }
            }
        }
    }

    #[test]
    fn a_project_that_is_away_is_waited_for() {
        let root = tempfile::tempdir().unwrap();
        let (place, _) = decided(root.path());
        let away = root.path().join("away");
        fs::rename(&place.project, &away).unwrap();
        assert!(matches!(finish(&place.box_folder), Err(Error::Gone(_))));
        fs::rename(&away, &place.project).unwrap();
        finish(&place.box_folder).unwrap();
        assert!(listed(root.path()).contains("added new") && !place.work().exists());
    }

    #[test]
    fn what_the_host_changes_just_then_is_not_lost() {
        let root = tempfile::tempdir().unwrap();
        let (place, journal) = decided(root.path());
        let before = listed(root.path());
        // another file, under the same name
        let path = place.project.join("was-file");
        fs::write(place.project.join("other"), "old").unwrap();
        fs::rename(place.project.join("other"), &path).unwrap();
        place.carry_out(&journal).unwrap_err();
        assert!(!place.work().exists());
        let after = listed(root.path());
        let kept = |text: &str| {
            text.lines().filter(|line| !line.contains(".devbox")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(kept(&after), kept(&before));
    }

    /// Carries out some of the steps, lets the host do something, and gives what the next command finds.
    fn met(steps: usize, host: impl Fn(&Path, &Path)) -> (tempfile::TempDir, Error) {
        let root = tempfile::tempdir().unwrap();
        let (place, journal) = decided(root.path());
        let mut trees = Trees::open(&place.project, &place.stage().unwrap()).unwrap();
        trees.all(&journal.steps[..steps]).unwrap();
        host(&place.project, &place.stage);
        let error = finish(&place.box_folder).unwrap_err();
        assert!(!place.work().exists());
        (root, error)
    }

    #[test]
    fn what_the_host_wrote_in_place_meanwhile_stays() {
        let append = |path: PathBuf| {
            File::options().append(true).open(path).unwrap().write_all(b"+host").unwrap();
        };
        // before the step, and after it by who had the file open
        for (steps, staged) in [(0, None), (1, None), (2, Some("new/1")), (7, Some("new/1"))] {
            let (root, error) = met(steps, |project, stage| {
                append(staged.map_or(project.join("changed"), |staged| stage.join(staged)));
            });
            assert!(matches!(&error, Error::Changed(path) if path == b"changed"), "{steps}: {error}");
            let found = listed(root.path());
            assert!(found.contains("changed old+host") && !found.contains("added"), "{steps}: {found}");
            assert!(!found.contains(".devbox"), "{steps}: {found}");
        }
        // the same size, and the time set back
        let (root, _) = met(0, |project, _| {
            let path = project.join("changed");
            let modified = fs::metadata(&path).unwrap().modified().unwrap();
            std::thread::sleep(Duration::from_millis(20));
            fs::write(&path, "OLD").unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        });
        assert!(listed(root.path()).contains("changed OLD"));
    }

    #[test]
    fn what_the_host_put_into_a_folder_on_its_way_out_stays() {
        for (steps, below) in [(0, "gone-dir/deep"), (5, "gone-dir"), (6, ".devbox-apply-1/old/5/deep")] {
            let (root, error) =
                met(steps, |project, _| fs::write(project.join(below).join("more"), "host").unwrap());
            assert!(matches!(&error, Error::Changed(path) if path == b"gone-dir"), "{steps}: {error}");
            let found = listed(root.path());
            assert!(
                found.contains("more host") && found.contains("gone-dir/deep/in old"),
                "{steps}: {found}"
            );
            assert!(found.contains("gone old") && !found.contains(".devbox"), "{steps}: {found}");
        }
    }

    #[test]
    fn what_has_no_place_to_go_back_to_is_kept_and_named() {
        // the host changes `gone-dir`, so that all is taken back, and these meanwhile
        let kept = |steps, host: &dyn Fn(&Path)| {
            let (root, error) = met(steps, |project, stage| {
                host(project);
                let there = [project.join("gone-dir"), stage.join("old/5")];
                fs::write(there.iter().find(|path| path.exists()).unwrap().join("more"), "host").unwrap();
            });
            let Error::Displaced { at, .. } = &error else { panic!("{error}") };
            let text = fs::read_to_string(at).unwrap();
            (root, text)
        };
        // another file where one was taken away
        let (root, text) = kept(6, &|project| fs::write(project.join("gone"), "host").unwrap());
        assert!(text == "old" && listed(root.path()).contains("gone host"));
        // and where one was exchanged
        let (root, text) = kept(2, &|project| {
            fs::write(project.join("other"), "host").unwrap();
            fs::rename(project.join("other"), project.join("changed")).unwrap();
        });
        assert!(text == "old" && listed(root.path()).contains("changed host"));
        // an edit of what had just come
        let (root, text) = kept(2, &|project| fs::write(project.join("changed"), "new+host").unwrap());
        assert!(text == "new+host" && listed(root.path()).contains("changed old"));
    }

    #[test]
    fn a_mode_is_given_to_no_other_file() {
        use std::os::unix::fs::PermissionsExt;
        for steps in [0, 7] {
            let (root, error) = met(steps, |project, _| {
                fs::write(project.join("other"), "host").unwrap();
                fs::set_permissions(project.join("other"), fs::Permissions::from_mode(0o640)).unwrap();
                fs::rename(project.join("other"), project.join("mode")).unwrap();
            });
            assert!(matches!(&error, Error::Changed(path) if path == b"mode"), "{error}");
            let found = fs::metadata(root.path().join("project/mode")).unwrap();
            assert_eq!(found.permissions().mode() & 0o7777, 0o640);
        }
    }
}

//! The boxes on disk: names, records, locks.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use crate::dirs::{self, Dirs};
use crate::idmap::{IdMap, IdMaps};
use crate::limits::Limit;
use crate::rootfs::project;
use crate::sandbox::wire::Request;
use crate::sys::fd;
use crate::{store, userns};

use super::{Error, Limited, Record, at, ended, parts};

/// Longer than any record we write.
const MAX_RECORD: usize = 16 << 20;
/// The layout this code reads and writes.
const VERSION: u32 = 1;
const MAX_NAME: usize = 64;
const MAX_WORD: usize = 64;
/// Follows the word of a last start when the next one is to put in place again what a first one does.
pub const ANEW: &str = " anew";
/// How long another devbox may take to start or end a box.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// All boxes of the caller.
#[derive(Debug, Clone)]
pub struct Boxes {
    root: PathBuf,
    runtime: PathBuf,
}

impl Boxes {
    /// Makes nothing.
    pub fn new(dirs: &Dirs) -> Self {
        Self { root: dirs.boxes(), runtime: dirs.runtime.clone() }
    }

    /// The folder of a box; the name is checked by its grammar, so the folder lies below ours.
    pub fn folder(&self, name: &str) -> Result<PathBuf, Error> {
        check_name(name)?;
        Ok(self.root.join(name))
    }

    /// Reads a record; none when there is no such box.
    pub fn load(&self, name: &str) -> Result<Option<Record>, Error> {
        let path = self.folder(name)?.join("record.json");
        let text = match fd::read_small(&path, MAX_RECORD) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            read => read.map_err(at("read", &path))?,
        };
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let newer = || Error::NewerRecord(name.to_owned());
        match serde_json::from_slice::<Record>(&text) {
            Ok(record) if record.version > VERSION => Err(newer()),
            // the folder is the box, whatever it was called
            Ok(record) => Ok(Some(Record { name: name.to_owned(), ..record })),
            // a newer one may have lost what we need, but not this
            Err(error) => match serde_json::from_slice::<Versioned>(&text) {
                Ok(found) if found.version > VERSION => Err(newer()),
                _ => Err(Error::Record { name: name.to_owned(), why: error.to_string() }),
            },
        }
    }

    /// Like `load`, and an error when there is no such box.
    pub fn require(&self, name: &str) -> Result<Record, Error> {
        self.load(name)?.ok_or_else(|| Error::NoSuchBox(name.to_owned()))
    }

    /// Makes a box: all of it, then one rename; its lock comes with it, so that nobody sweeps it before its first
    /// start. When another devbox was faster, theirs is kept and returned, without a lock.
    pub fn create(&self, mut record: Record) -> Result<(Record, Option<OwnedFd>), Error> {
        let staging = self.staging(&record.name)?;
        let _ = store::remove_tree(&staging);
        self.furnish(&staging, &mut record)?;
        match self.publish(&staging, &record.name) {
            Ok(lock) => Ok((record, Some(lock))),
            Err(error) => {
                let _ = store::remove_tree(&staging);
                self.load(&record.name)?.map(|theirs| (theirs, None)).ok_or(error)
            }
        }
    }

    /// The same with files in it, which `fill` puts into the folder it is given; `ids` are those they belong to. A box
    /// that is there stays and is an error.
    pub(super) fn create_filled(
        &self,
        mut record: Record,
        ids: &IdMaps,
        fill: impl FnOnce(&Path) -> Result<(), Error>,
    ) -> Result<OwnedFd, Error> {
        if self.load(&record.name)?.is_some() {
            return Err(Error::BoxThere(record.name));
        }
        let staging = self.staging(&record.name)?;
        parts::remove(std::slice::from_ref(&staging), ids)?;
        let made = self
            .furnish(&staging, &mut record)
            .and_then(|()| fill(&staging))
            .and_then(|()| self.publish(&staging, &record.name));
        made.or_else(|error| {
            let _ = parts::remove(&[staging], ids);
            match self.load(&record.name)? {
                Some(_) => Err(Error::BoxThere(record.name)),
                None => Err(error),
            }
        })
    }

    /// Where a box is made; the process in its name tells whether it is still at work.
    fn staging(&self, name: &str) -> Result<PathBuf, Error> {
        check_name(name)?;
        dirs::ensure_private(&self.root)?;
        Ok(self.root.join(format!(".new-{name}-{}", std::process::id())))
    }

    /// Makes a box's folder with its record and empty parts.
    fn furnish(&self, staging: &Path, record: &mut Record) -> Result<(), Error> {
        record.version = VERSION;
        record.created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        for part in ["", "upper", "work", "home", "root", "mounts"] {
            let path = staging.join(part);
            // The upper is the root folder of the box, seen by all its users.
            let mode = if part == "upper" { 0o755 } else { 0o700 };
            fs::DirBuilder::new().mode(mode).create(&path).map_err(at("make", &path))?;
        }
        let path = staging.join("record.json");
        let text = serde_json::to_vec_pretty(record)
            .map_err(|error| Error::Record { name: record.name.clone(), why: error.to_string() })?;
        File::create(&path)
            .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
            .map_err(at("write", &path))
    }

    /// Gives a box its name; fails when it is taken.
    fn publish(&self, staging: &Path, name: &str) -> Result<OwnedFd, Error> {
        let (path, folder) = (staging.join("lock"), self.folder(name)?);
        let lock =
            File::create(&path).and_then(|lock| lock.lock().map(|()| lock)).map_err(at("make", &path))?;
        // a folder with something in it is never replaced
        fs::rename(staging, &folder).map_err(at("make", &folder))?;
        File::open(&self.root).and_then(|root| root.sync_all()).map_err(at("sync", &self.root))?;
        Ok(lock.into())
    }

    /// Gives a box whose lock the caller holds another name.
    pub fn rename(&self, name: &str, new: &str) -> Result<(), Error> {
        let (folder, target) = (self.folder(name)?, self.folder(new)?);
        if self.require(name)?.step.is_some() {
            // it was to be thrown away
            self.keep(name)?;
        }
        // Before another box can have this name.
        let _ = fs::remove_file(self.runtime.join(format!("{name}.sock")));
        match fs::rename(&folder, &target) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                ) =>
            {
                return Err(Error::BoxThere(new.to_owned()));
            }
            renamed => renamed.map_err(at("rename", &folder))?,
        }
        File::open(&self.root).and_then(|root| root.sync_all()).map_err(at("sync", &self.root))?;
        // the folder's name is what counts; the record says the same
        self.rewrite(&self.require(new)?.called(new))
    }

    /// A folder beside the boxes for what is to become one; swept when this process is no more.
    pub fn anteroom(&self) -> Result<PathBuf, Error> {
        let path = self.staging("import")?;
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(at("make", &path))?;
        Ok(path)
    }

    /// Makes a box of parts that stand in `from`, which they leave. `started` is the word of its last start, if it had
    /// one. A box that is there stays and is an error.
    pub fn create_from(
        &self,
        record: Record,
        from: &Path,
        started: Option<&str>,
        ids: &IdMaps,
    ) -> Result<OwnedFd, Error> {
        self.create_filled(record, ids, |staging| {
            for part in ["upper", "home"] {
                if fs::symlink_metadata(from.join(part)).is_ok_and(|found| found.is_dir()) {
                    let target = staging.join(part);
                    fs::remove_dir(&target).map_err(at("replace", &target))?;
                    fs::rename(from.join(part), &target).map_err(at("make", &target))?;
                }
            }
            match started {
                Some(word) => fs::write(staging.join("started"), word).map_err(at("write", staging)),
                None => Ok(()),
            }
        })
    }

    /// Replaces the record of a box whose lock the caller holds.
    pub fn rewrite(&self, record: &Record) -> Result<(), Error> {
        let folder = self.folder(&record.name)?;
        let (path, draft) = (folder.join("record.json"), folder.join("record.new"));
        let text = serde_json::to_vec_pretty(record)
            .map_err(|error| Error::Record { name: record.name.clone(), why: error.to_string() })?;
        File::create(&draft)
            .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
            .map_err(at("write", &draft))?;
        fs::rename(&draft, &path).and_then(|()| File::open(&folder)?.sync_all()).map_err(at("replace", &path))
    }

    /// Keeps a box that was to be thrown away, and whose lock the caller holds: what it wrote without a sync is on the disk
    /// when this returns.
    pub fn keep(&self, name: &str) -> Result<(), Error> {
        let folder = self.folder(name)?;
        File::open(&folder)
            .and_then(|open| fd::syncfs(&open).map_err(|error| io::Error::from(error.errno)))
            .map_err(at("sync", &folder))?;
        // the mark of a volatile mount, which the kernel takes for a crash (overlayfs.rst, "Volatile mount")
        let work = folder.join("work/work");
        store::remove_tree(&work).map_err(|source| Error::Remove { name: name.to_owned(), source })?;
        self.rewrite(&Record { ephemeral: false, ..self.require(name)? })
    }

    /// Names of all boxes, sorted; half-made ones have names that are none.
    pub fn names(&self) -> Result<Vec<String>, Error> {
        let entries = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.map_err(at("list", &self.root))?,
        };
        let mut names: Vec<_> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| check_name(name).is_ok())
            .collect();
        names.sort();
        Ok(names)
    }

    /// The word the box's last start left behind, an empty one before version 0.2; none until the first session has begun.
    pub fn last_start(&self, name: &str) -> Result<Option<String>, Error> {
        let path = self.folder(name)?.join("started");
        match fd::read_small(&path, MAX_WORD) {
            Ok(word) => Ok(Some(String::from_utf8_lossy(&word).trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at("read", &path)(error)),
        }
    }

    /// Notes that a session has begun, with a word for the next start. When that fails, what a first start puts in place
    /// is put there again.
    pub fn mark_started(&self, name: &str, word: &str) -> Result<(), Error> {
        let path = self.folder(name)?.join("started");
        fs::write(&path, word).map_err(at("write", &path))
    }

    /// Lets the next start of a box whose lock the caller holds put in place again what a first one does.
    pub fn mark_anew(&self, name: &str) -> Result<(), Error> {
        match self.last_start(name)? {
            None => Ok(()),
            Some(word) if word.ends_with(ANEW) => Ok(()),
            Some(word) if word.is_empty() => {
                let path = self.folder(name)?.join("started");
                fs::remove_file(&path).map_err(at("remove", &path))
            }
            Some(word) => self.mark_started(name, &format!("{word}{ANEW}")),
        }
    }

    /// What the box was limited to at its last start.
    pub fn limited(&self, name: &str) -> Result<Limited, Error> {
        Ok(ended::limited(&self.folder(name)?))
    }

    /// The error of a session that was ended for its time; noted in the audit log.
    pub fn out_of_time(&self, name: &str) -> Result<Error, Error> {
        let folder = self.folder(name)?;
        let held = ended::limited(&folder).held.into_iter().find(|held| held.limit == Limit::Time);
        let held = held.ok_or(Error::Lost)?;
        ended::note(&folder, &held);
        Ok(Error::Over { name: name.to_owned(), held })
    }

    /// `error`, or when the box ended because of a limit, that.
    pub fn because(&self, name: &str, error: Error) -> Error {
        let (Error::Lost | Error::Unready(_), Ok(folder)) = (&error, self.folder(name)) else { return error };
        let began = Instant::now();
        // What the kernel has ended for its cgroup, who looks after that finds out now: as long as it has the lock.
        while ended::limited(&folder).cgroup.is_some() && began.elapsed() < Duration::from_secs(2) {
            if ended::read(&folder).is_some() || matches!(self.try_claim(name), Ok(Some(_)) | Err(_)) {
                break;
            }
            pause(began);
        }
        match ended::read(&folder) {
            Some(held) => Error::Over { name: name.to_owned(), held },
            None => error,
        }
    }

    /// Whether the owners of the box's files are those of its users (`full` ids).
    pub fn has_many_ids(&self, name: &str) -> Result<bool, Error> {
        Ok(self.last_start(name)?.is_some_and(|word| word.starts_with("full")))
    }

    /// Takes the lock of a box that is not running, and ends a change of it that was cut short; none while it runs,
    /// starts or ends.
    pub fn try_lock(&self, name: &str) -> Result<Option<OwnedFd>, Error> {
        let lock = self.try_claim(name)?;
        if lock.is_some() {
            self.carry_out(name)?;
        }
        Ok(lock)
    }

    /// As `try_lock`, of a box in whatever state.
    fn try_claim(&self, name: &str) -> Result<Option<OwnedFd>, Error> {
        let path = self.folder(name)?.join("lock");
        let file = match OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(&path)
        {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::NoSuchBox(name.to_owned()));
            }
            opened => opened.map_err(at("open", &path))?,
        };
        match file.try_lock() {
            // Removed, and perhaps made anew, between opening and locking: the lock of a box that is no more.
            Ok(()) if !is_at(&file, &path) => Ok(None),
            Ok(()) => Ok(Some(file.into())),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(at("lock", &path)(error)),
        }
    }

    /// Finishes or takes back an apply of an untrusted box, whose lock the caller holds, that was cut short. Not a part of
    /// `try_lock`, for starts of other boxes need no look.
    pub fn finish_apply(&self, name: &str) -> Result<(), Error> {
        self.recover(name, false)
    }

    fn recover(&self, name: &str, removing: bool) -> Result<(), Error> {
        project::recover(&self.folder(name)?, removing)
            .map_err(|source| Error::HalfApplied { name: name.to_owned(), source: Box::new(source) })
    }

    /// Waits until the box is neither running, starting nor ending, and takes its lock as `try_lock` does; an apply that was
    /// cut short is finished.
    pub fn lock(&self, name: &str) -> Result<OwnedFd, Error> {
        let lock = self.claim(name)?;
        self.finish_apply(name)?;
        self.carry_out(name)?;
        Ok(lock)
    }

    fn claim(&self, name: &str) -> Result<OwnedFd, Error> {
        let began = Instant::now();
        loop {
            if let Some(lock) = self.try_claim(name)? {
                return Ok(lock);
            }
            if began.elapsed() > PATIENCE {
                return Err(Error::Busy(name.to_owned()));
            }
            pause(began);
        }
    }

    /// Takes the lock of a box that must not run; one that does is [`Error::Running`].
    pub fn lock_stopped(&self, name: &str) -> Result<OwnedFd, Error> {
        let lock = self.claim_stopped(name)?;
        self.finish_apply(name)?;
        self.carry_out(name)?;
        Ok(lock)
    }

    fn claim_stopped(&self, name: &str) -> Result<OwnedFd, Error> {
        // A session that has just ended leaves its box ending for some milliseconds.
        let began = Instant::now();
        while self.is_running(name)? {
            if began.elapsed() > Duration::from_millis(300) {
                return Err(Error::Running(name.to_owned()));
            }
            pause(began);
        }
        self.claim(name)
    }

    /// True while sessions can be had from it; a box that ends just now is no longer running.
    pub fn is_running(&self, name: &str) -> Result<bool, Error> {
        Ok(self.connect(name)?.is_some() && self.try_claim(name)?.is_none())
    }

    /// True when nobody has the box's lock: it is neither running, starting nor ending.
    pub fn is_idle(&self, name: &str) -> Result<bool, Error> {
        Ok(self.try_claim(name)?.is_some())
    }

    /// Connects to a running box; none when it does not run.
    pub fn connect(&self, name: &str) -> Result<Option<UnixStream>, Error> {
        let address = match Address::of(&self.runtime, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            address => address.map_err(at("open", &self.runtime))?,
        };
        match UnixStream::connect(&address.path) {
            Ok(stream) => Ok(Some(stream)),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                Ok(None)
            }
            Err(error) => Err(at("connect to", &self.runtime.join(format!("{name}.sock")))(error)),
        }
    }

    /// Where sockets are.
    pub(super) fn runtime(&self) -> &Path {
        &self.runtime
    }

    /// Listens in the name of a box whose lock the caller holds.
    pub(super) fn listen(&self, name: &str) -> Result<OwnedFd, Error> {
        dirs::ensure_private(&self.runtime)?;
        let Address { path, .. } = &Address::of(&self.runtime, name).map_err(at("open", &self.runtime))?;
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at("replace", path)(error)),
            _ => {}
        }
        let listener = std::os::unix::net::UnixListener::bind(path).map_err(at("listen at", path))?;
        Ok(listener.into())
    }

    /// Ends a running box: SIGTERM to all in it, SIGKILL after `grace`. Returns when it is gone; false when it did
    /// not run.
    pub fn stop(&self, name: &str, grace: Duration) -> Result<bool, Error> {
        if !self.folder(name)?.exists() {
            return Err(Error::NoSuchBox(name.to_owned()));
        }
        if !self.is_running(name)? {
            return Ok(false);
        }
        let began = Instant::now();
        while began.elapsed() < grace + PATIENCE {
            if let Some(mut stream) = self.connect(name)? {
                let frame = Request::Stop(u32::try_from(grace.as_millis()).unwrap_or(u32::MAX)).encode();
                let _ = stream.write_all(&frame);
                drop(self.claim(name)?);
                return Ok(true);
            }
            // It starts or ends just now.
            if self.try_claim(name)?.is_some() {
                return Ok(true);
            }
            pause(began);
        }
        Err(Error::Busy(name.to_owned()))
    }

    /// Removes a box that is not running, whatever is in it, without following a link out of it. What other users of
    /// the box own is removed as their root, with the maps of `full`, when it can't be otherwise.
    pub fn remove(
        &self,
        name: &str,
        full: impl FnOnce() -> Option<(Vec<IdMap>, Vec<IdMap>)>,
    ) -> Result<(), Error> {
        let lock = self.claim_stopped(name)?;
        self.remove_locked(name, lock, full)
    }

    /// As `remove`, of a box whose lock the caller has.
    pub fn remove_locked(
        &self,
        name: &str,
        _lock: OwnedFd,
        full: impl FnOnce() -> Option<(Vec<IdMap>, Vec<IdMap>)>,
    ) -> Result<(), Error> {
        let folder = self.folder(name)?;
        // what an apply took out of the way is the project's, not the box's
        self.recover(name, true)?;
        // Out of sight first: a removal cut short leaves a folder whose name is no box's.
        let doomed = self.root.join(format!(".old-{name}-{}", std::process::id()));
        fs::rename(&folder, &doomed).map_err(at("remove", &folder))?;
        let _ = fs::remove_file(self.runtime.join(format!("{name}.sock")));
        remove_whole(name, &doomed, full)
    }

    /// Removes what commands that were killed left half-made or half-removed. Cheap when there is nothing. `full` is as for
    /// `remove`.
    pub fn sweep(&self, full: impl Fn() -> Option<(Vec<IdMap>, Vec<IdMap>)>) {
        let Ok(entries) = fs::read_dir(&self.root) else { return };
        for entry in entries.filter_map(Result::ok) {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let maker = name.rsplit('-').next().and_then(|pid| pid.parse::<u32>().ok());
            let half_made = name.starts_with(".new-") || name.starts_with(".old-");
            if half_made && maker.is_none_or(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
                let _ = remove_whole(&name, &self.root.join(&name), &full);
            } else if !half_made
                && let Ok(Some(record)) = self.load(&name)
                && record.ephemeral
                && let Ok(Some(lock)) = self.try_lock(&name)
            {
                let _ = self.remove_locked(&name, lock, &full);
            }
        }
    }
}

/// Removes a folder of a box or of boxes, as root of the ids of `full` where it can't be done otherwise.
pub(super) fn remove_whole(
    name: &str,
    doomed: &Path,
    full: impl FnOnce() -> Option<(Vec<IdMap>, Vec<IdMap>)>,
) -> Result<(), Error> {
    let Err(source) = store::remove_tree(doomed) else { return Ok(()) };
    match full() {
        Some((uids, gids)) if userns::as_root(&uids, &gids, || store::remove_tree(doomed).is_ok())? => Ok(()),
        _ => Err(Error::Remove { name: name.to_owned(), source }),
    }
}

/// Where a box's socket is. Addresses hold 107 bytes (unix(7)); a longer path is shortened by a handle on its folder.
pub(super) struct Address {
    pub(super) path: PathBuf,
    _folder: Option<File>,
}

impl Address {
    pub(super) fn of(runtime: &Path, name: &str) -> io::Result<Self> {
        use std::os::fd::AsRawFd;
        let path = runtime.join(format!("{name}.sock"));
        if path.as_os_str().len() <= 107 {
            return Ok(Self { path, _folder: None });
        }
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
        let folder = OpenOptions::new().read(true).custom_flags(flags).open(runtime)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{name}.sock", folder.as_raw_fd()));
        Ok(Self { path, _folder: Some(folder) })
    }
}

/// Whether `path` is still the open file.
fn is_at(file: &File, path: &Path) -> bool {
    let place = |found: fs::Metadata| (found.dev(), found.ino());
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(found)) => place(open) == place(found),
        _ => false,
    }
}

/// Checks a box's name by its grammar.
pub fn check_name(name: &str) -> Result<(), Error> {
    let mut bytes = name.bytes();
    let good = bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
        && name.len() <= MAX_NAME;
    if good { Ok(()) } else { Err(Error::BadName(name.chars().take(100).collect())) }
}

/// Short waits first: a start takes milliseconds.
pub fn pause(began: Instant) {
    let wait = (began.elapsed() / 8).clamp(Duration::from_micros(500), Duration::from_millis(50));
    std::thread::sleep(wait);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_our_folder() {
        for good in ["a", "rust-env", "A.b_c-9"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        let long = "a".repeat(65);
        for bad in ["", ".", "..", ".a", "-a", "a/b", "../a", "a b", "ä", "a\0", "a\n", &long] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}

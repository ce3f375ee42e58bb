//! A project's folder as it is looked at: names, and small text files, never through a link.

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::OFlag;

use crate::sys::{self, fd};

/// Largest file that is read.
const MAX_BYTES: usize = 4 << 20;
/// Most names of a folder that are looked at.
const MAX_NAMES: usize = 4096;
/// Most folders of a folder that are looked into.
const MAX_FOLDERS: usize = 64;
/// Folders of what was fetched or built, not of the project.
const NOT_ITS_OWN: [&str; 6] = ["node_modules", "target", "vendor", "build", "dist", "venv"];

/// An open folder.
pub(super) struct Folder<'f> {
    handle: Handle<'f>,
    /// What stands before its names when they are told: empty, or a name and `/`.
    prefix: String,
    names: Vec<String>,
    ignored: RefCell<Vec<String>>,
}

enum Handle<'f> {
    Lent(BorrowedFd<'f>),
    Own(OwnedFd),
}

impl<'f> Folder<'f> {
    /// Lists `folder`; names that are not UTF-8 are none we know.
    pub(super) fn open(folder: BorrowedFd<'f>, prefix: &str) -> Result<Self, sys::Error> {
        Self::new(Handle::Lent(folder), prefix)
    }

    fn new(handle: Handle<'f>, prefix: &str) -> Result<Self, sys::Error> {
        let mut names: Vec<String> = fd::names(handle.fd(), MAX_NAMES)?
            .into_iter()
            .filter_map(|name| String::from_utf8(name).ok())
            .collect();
        names.sort_unstable();
        Ok(Self { handle, prefix: prefix.to_owned(), names, ignored: RefCell::default() })
    }

    /// Whether there is something of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.binary_search_by(|known| known.as_str().cmp(name)).is_ok()
    }

    /// The first of `names` that is there.
    pub(super) fn first(&self, names: &[&'static str]) -> Option<&'static str> {
        names.iter().copied().find(|name| self.has(name))
    }

    /// `command` for a step that starts in the project's folder.
    pub(super) fn here(&self, command: &str) -> String {
        match self.prefix.is_empty() {
            true => command.to_owned(),
            false => format!("cd ./{} && {{ {command}; }}", self.prefix),
        }
    }

    /// Whether it has, or a folder `src` in it has, a file whose name ends so.
    pub(super) fn has_sources(&self, endings: &[&str]) -> bool {
        let one = |names: &[String]| names.iter().any(|name| endings.iter().any(|end| name.ends_with(end)));
        one(&self.names) || self.below("src").is_some_and(|src| one(&src.names))
    }

    /// `name` as people are told it.
    pub(super) fn shown(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The text of the file `name`; none when there is none. One that can't be used is written down.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        if !self.has(name) {
            return None;
        }
        match self.read(name) {
            Ok(text) => Some(text),
            Err(why) => {
                self.ignore(name, why);
                None
            }
        }
    }

    /// Writes down that the file `name` is not used.
    pub(super) fn ignore(&self, name: &str, why: &str) {
        self.ignored.borrow_mut().push(format!("{} is left out: {why}", self.shown(name)));
    }

    /// What was written down so.
    pub(super) fn ignored(&self) -> Vec<String> {
        self.ignored.take()
    }

    /// The folders in it, but for hidden ones and those of other people's code.
    pub(super) fn folders(&self) -> Vec<Self> {
        let plain = |name: &&String| {
            name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-+".contains(&byte))
                && !name.starts_with('.')
                && !NOT_ITS_OWN.contains(&name.as_str())
        };
        self.names.iter().filter(plain).filter_map(|name| self.below(name)).take(MAX_FOLDERS).collect()
    }

    fn below(&self, name: &str) -> Option<Self> {
        let handle = fd::open_folder(self.handle.fd(), name.as_bytes()).ok()?;
        Self::new(Handle::Own(handle), &self.shown(&format!("{name}/"))).ok()
    }

    fn read(&self, name: &str) -> Result<String, &'static str> {
        // without O_NONBLOCK the open of a FIFO would wait for a writer
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let file =
            fd::openat(self.handle.fd(), name.as_bytes(), flags, 0).map_err(|error| match error.errno {
                nix::errno::Errno::ELOOP => "it is a link",
                _ => "it can't be opened",
            })?;
        let facts = fd::stat(file.as_fd()).map_err(|_| "it can't be read")?;
        if facts.st_mode & libc::S_IFMT != libc::S_IFREG {
            return Err("it is not a regular file");
        }
        let bytes = fd::read_from(&file, MAX_BYTES).map_err(|error| match error.raw_os_error() {
            Some(libc::EFBIG) => "it is larger than 4 MiB",
            _ => "it can't be read",
        })?;
        String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text")
    }
}

impl Handle<'_> {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Lent(handle) => *handle,
            Self::Own(handle) => handle.as_fd(),
        }
    }
}

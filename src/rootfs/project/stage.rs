//! Makes ready, on the project's file system, what an apply puts in place: each file once more, made by us, with the
//! content, the mode and the time that the box gave it, and nothing else of it.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::time::TimeSpec;

use crate::rootfs::changes::Entry;
use crate::sys::fd::Xattr;
use crate::sys::{self, copy, fd};

use super::Error;
use super::edits::{Edit, Kind};
use super::handles::Tree;
use super::journal::Step;
use super::look::Look;

/// What is made ready.
pub(super) struct Stage<'l> {
    /// The folder it stands in, by numbers.
    new: OwnedFd,
    /// How the project looked before its conflicts with the box were.
    looks: &'l HashMap<Vec<u8>, Look>,
    pub(super) steps: Vec<Step>,
    /// New folders that we are in, the outermost first.
    way: Vec<Folder>,
    /// Where the first of several names of a file went.
    links: HashMap<(u64, u64), Vec<u8>>,
}

struct Folder {
    /// In the project.
    path: Vec<u8>,
    /// Below `new`.
    staged: Vec<u8>,
    folder: OwnedFd,
    mode: u32,
    modified: TimeSpec,
}

impl<'l> Stage<'l> {
    pub(super) fn new(new: OwnedFd, looks: &'l HashMap<Vec<u8>, Look>) -> Self {
        Self { new, looks, steps: Vec::new(), way: Vec::new(), links: HashMap::new() }
    }

    /// Takes the next edit, in order of path. `host` is the project.
    pub(super) fn add(
        &mut self,
        edit: &Edit,
        entry: Option<&Entry<'_>>,
        host: &mut Tree,
    ) -> Result<(), Error> {
        let failed = |what| move |source| Error::Call { what, path: edit.path.clone(), source };
        self.leave(Some(&edit.path)).map_err(failed("make ready"))?;
        let Some(entry) = entry else {
            if let Some(over) = self.looks.get(&edit.path) {
                self.steps.push(Step::Remove { path: edit.path.clone(), over: *over });
            }
            return Ok(());
        };
        let mut over = None;
        if self.way.is_empty()
            && let Some(found) = host.stat(&edit.path).map_err(failed("look at"))?
        {
            over = self.looks.get(&edit.path).copied();
            let both = found.st_mode & libc::S_IFMT == entry.stat.st_mode & libc::S_IFMT;
            let (mode, before) = (mode(&entry.stat), found.st_mode & 0o7777);
            if both && edit.is_folder || both && edit.kind == Kind::Mode && entry.stat.st_nlink == 1 {
                if let Some(over) = over.filter(|_| mode != before) {
                    self.steps.push(Step::Mode { path: edit.path.clone(), mode, over });
                }
                return Ok(());
            }
        }
        self.make(edit, entry, over).map_err(failed("make ready"))
    }

    /// Gives the steps once all is made.
    pub(super) fn finish(mut self) -> Result<Vec<Step>, sys::Error> {
        self.leave(None)?;
        for (number, step) in self.steps.iter_mut().enumerate() {
            if let Step::Place { new, .. } = step
                && let Some(look) = Look::at(self.new.as_fd(), number.to_string().as_bytes(), true)?
            {
                *new = look;
            }
        }
        Ok(self.steps)
    }

    fn make(&mut self, edit: &Edit, entry: &Entry<'_>, over: Option<Look>) -> Result<(), sys::Error> {
        let last = edit.path.rsplit(|byte| *byte == b'/').next().unwrap_or(&edit.path);
        let number = self.steps.len().to_string().into_bytes();
        let (folder, name, staged) = match self.way.last() {
            Some(above) => (above.folder.as_fd(), last, [&above.staged, &b"/"[..], last].concat()),
            None => (self.new.as_fd(), &number[..], number.clone()),
        };
        if edit.is_folder {
            fd::mkdirat(folder, name, 0o700)?;
            let below = Folder {
                path: edit.path.clone(),
                folder: fd::open_folder(folder, name)?,
                staged,
                mode: mode(&entry.stat),
                modified: modified(&entry.stat),
            };
            self.place(edit, &number, over)?;
            self.way.push(below);
            return Ok(());
        }
        let inode = (entry.stat.st_dev, entry.stat.st_ino);
        let first = self.links.get(&inode).filter(|_| entry.stat.st_nlink > 1);
        let linked = match first.map(|first| fd::linkat(self.new.as_fd(), first, folder, name)) {
            None => false,
            // a name too long to be said in one, or as many links as the file system lets
            Some(Err(error)) if matches!(error.errno, Errno::ENAMETOOLONG | Errno::EMLINK) => false,
            Some(linked) => linked.map(|()| true)?,
        };
        if !linked {
            write(entry.folder, entry.name, &entry.stat, &entry.xattrs, folder, name)?;
            self.links.insert(inode, staged);
        }
        self.place(edit, &number, over)
    }

    /// The step for what was just made in `new`; none for what is in a folder made there.
    fn place(&mut self, edit: &Edit, number: &[u8], over: Option<Look>) -> Result<(), sys::Error> {
        // how a folder looks is known once all is in it
        if self.way.is_empty()
            && let Some(new) = Look::at(self.new.as_fd(), number, false)?
        {
            self.steps.push(Step::Place { path: edit.path.clone(), new, over });
        }
        Ok(())
    }

    /// Leaves the new folders that `path` is not in.
    fn leave(&mut self, path: Option<&[u8]>) -> Result<(), sys::Error> {
        let holds = |folder: &Folder| {
            path.and_then(|path| path.strip_prefix(&folder.path[..]))
                .is_some_and(|rest| rest.starts_with(b"/"))
        };
        while let Some(folder) = self.way.pop_if(|folder| !holds(folder)) {
            // last, for each name in it changes its time and a mode may shut us out
            fd::fchmod(folder.folder.as_fd(), folder.mode)?;
            fd::futimens(folder.folder.as_fd(), &folder.modified)?;
        }
        Ok(())
    }
}

/// Makes the file or link `to_name` in `to` of one that stands in another tree.
pub(super) fn write(
    from: BorrowedFd<'_>,
    name: &[u8],
    found: &libc::stat,
    xattrs: &[Xattr],
    to: BorrowedFd<'_>,
    to_name: &[u8],
) -> Result<(), sys::Error> {
    if found.st_mode & libc::S_IFMT == libc::S_IFLNK {
        fd::symlinkat(&fd::readlinkat(from, name)?, to, to_name)?;
        return fd::utimensat(to, to_name, &modified(found));
    }
    let source = fd::openat(from, name, OFlag::O_RDONLY | OFlag::O_NONBLOCK, 0)?;
    let target = fd::openat(to, to_name, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL, 0o600)?;
    // what was opened, and not what stood there when it was looked at
    let found = fd::stat(source.as_fd())?;
    if found.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(sys::Error {
            call: "openat",
            args: name.escape_ascii().to_string(),
            errno: Errno::EINVAL,
        });
    }
    if found.st_size > 0 && !copy::share(&source, &target)? {
        let mut untold = |_| -> Result<(), sys::Error> { Ok(()) };
        copy::copy(source.as_fd(), target.as_fd(), found.st_size as u64, &mut untold)?;
    }
    for (name, value) in xattrs {
        match fd::fsetxattr(target.as_fd(), name, value) {
            // labels of the host, which it gives itself, and lists of rights where there are none
            Err(error) if matches!(error.errno, Errno::ENOTSUP | Errno::EPERM) => {}
            set => set?,
        }
    }
    fd::fchmod(target.as_fd(), mode(&found))?;
    fd::futimens(target.as_fd(), &modified(&found))
}

/// The mode a project is given: without set-id bits but for those of folders, which only pass a group on.
pub(super) fn mode(found: &libc::stat) -> u32 {
    match found.st_mode & libc::S_IFMT {
        libc::S_IFDIR => found.st_mode & 0o3777,
        _ => found.st_mode & 0o1777,
    }
}

pub(super) fn modified(found: &libc::stat) -> TimeSpec {
    TimeSpec::new(found.st_mtime, found.st_mtime_nsec)
}

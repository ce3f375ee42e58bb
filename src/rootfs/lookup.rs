//! Reads small files as the box will see them, before anything is mounted: the upper folder over the layers, with
//! whiteouts, opaque folders and links, by handles.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat};

use super::Wanted;
use crate::sys::fd;

/// Links followed on one path, as the kernel does.
const MAX_LINKS: usize = 40;
/// Account files are this large at most.
const MAX_SIZE: usize = 1 << 20;

/// A box's root before it is mounted.
pub struct Merged {
    /// Handles of the upper folder and the layers, topmost first.
    roots: Stack,
}

/// The folders that merge into one, topmost first.
type Stack = Vec<Rc<OwnedFd>>;

impl Merged {
    /// Opens the folders `trees`, topmost first.
    pub fn open(trees: impl IntoIterator<Item = impl AsRef<Path>>) -> nix::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let open = |tree: &Path| open(tree, flags, Mode::empty()).map(Rc::new);
        Ok(Self { roots: trees.into_iter().map(|tree| open(tree.as_ref())).collect::<Result<_, _>>()? })
    }

    pub(super) fn of(wanted: &Wanted<'_>) -> nix::Result<Self> {
        Self::open(std::iter::once(wanted.folder.join("upper")).chain(wanted.lowers.iter().cloned()))
    }

    /// Content of the regular file at `path` (relative to the root); none when there is no such file.
    pub fn read(&self, path: &str) -> Option<Vec<u8>> {
        match self.find(path) {
            // Through the handle just checked; a FIFO never gets here.
            Ok(Entry::Other(found, SFlag::S_IFREG)) => fd::read_handle(found.as_fd(), MAX_SIZE).ok(),
            _ => None,
        }
    }

    /// Whether something is at `path`.
    pub fn exists(&self, path: &str) -> bool {
        !matches!(self.find(path), Ok(Entry::None) | Err(_))
    }

    fn find(&self, path: &str) -> nix::Result<Entry> {
        // Folders on the way below the root.
        let mut way: Vec<Stack> = Vec::new();
        let mut rest: VecDeque<Vec<u8>> = components(path.as_bytes()).collect();
        let mut links = 0;
        while let Some(name) = rest.pop_front() {
            if name == b".." {
                way.pop();
                continue;
            }
            match entry(way.last().unwrap_or(&self.roots), &name)? {
                Entry::Folder(stack) => way.push(stack),
                Entry::Other(found, SFlag::S_IFLNK) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Ok(Entry::None);
                    }
                    let target = readlinkat(&found, "")?;
                    if target.as_bytes().starts_with(b"/") {
                        way.clear();
                    }
                    for part in components(target.as_bytes()).collect::<Vec<_>>().into_iter().rev() {
                        rest.push_front(part);
                    }
                }
                found @ Entry::Other(..) if rest.is_empty() => return Ok(found),
                _ => return Ok(Entry::None),
            }
        }
        Ok(Entry::Folder(way.pop().unwrap_or_else(|| self.roots.clone())))
    }
}

enum Entry {
    None,
    Folder(Stack),
    Other(OwnedFd, SFlag),
}

/// One name in a merged folder.
fn entry(stack: &Stack, name: &[u8]) -> nix::Result<Entry> {
    let mut folders = Stack::new();
    for folder in stack {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let found = match openat(folder, name, flags, Mode::empty()) {
            Err(Errno::ENOENT) => continue,
            result => result?,
        };
        match SFlag::from_bits_truncate(fstat(&found)?.st_mode & libc::S_IFMT) {
            SFlag::S_IFDIR => {
                let opaque = fd::has_xattr(&found, c"user.overlay.opaque", b"y");
                folders.push(Rc::new(found));
                if opaque {
                    break;
                }
            }
            // A whiteout, or a file below a folder of an upper layer: nothing further down counts.
            SFlag::S_IFCHR => break,
            kind if folders.is_empty() => return Ok(Entry::Other(found, kind)),
            _ => break,
        }
    }
    Ok(if folders.is_empty() { Entry::None } else { Entry::Folder(folders) })
}

fn components(path: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").map(<[u8]>::to_vec)
}

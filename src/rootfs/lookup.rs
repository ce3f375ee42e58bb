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

use super::driver::upper::is_marked_gone;
use super::{Wanted, driver};
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
        Self::open(driver::trees(wanted.driver, wanted.folder, wanted.lowers.clone()))
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

    /// Whether what folder number `depth`, counted from the topmost, has at `path` is not to be seen: those above have
    /// an entry of their own there, a whiteout, or something on the way that lets nothing through.
    pub fn is_covered(&self, depth: usize, path: &Path) -> nix::Result<bool> {
        for tree in &self.roots[..depth] {
            if covers(tree, path)? {
                return Ok(true);
            }
        }
        Ok(false)
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

/// Whether a layer has an entry of its own at `path` or whites it out, or has on the way something that is no folder,
/// or an opaque one. Links are not followed.
fn covers(tree: &OwnedFd, path: &Path) -> nix::Result<bool> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut folder: Option<OwnedFd> = None;
    let mut rest = components(path.as_os_str().as_bytes()).peekable();
    while let Some(name) = rest.next() {
        let above = folder.as_ref().map_or(tree.as_fd(), AsFd::as_fd);
        let found = match openat(above, &*name, flags, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(false),
            result => result?,
        };
        let kind = SFlag::from_bits_truncate(fstat(&found)?.st_mode & libc::S_IFMT);
        if rest.peek().is_none()
            || kind != SFlag::S_IFDIR
            || fd::has_xattr(&found, c"user.overlay.opaque", b"y")
        {
            return Ok(true);
        }
        folder = Some(found);
    }
    Ok(true)
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
        let stat = fstat(&found)?;
        match SFlag::from_bits_truncate(stat.st_mode & libc::S_IFMT) {
            SFlag::S_IFDIR => {
                let opaque = fd::has_xattr(&found, c"user.overlay.opaque", b"y");
                folders.push(Rc::new(found));
                if opaque {
                    break;
                }
            }
            // A whiteout, or a file below a folder of an upper layer: nothing further down counts.
            SFlag::S_IFCHR => break,
            SFlag::S_IFREG if stat.st_size == 0 && is_marked_gone(found.as_fd()) => break,
            kind if folders.is_empty() => return Ok(Entry::Other(found, kind)),
            _ => break,
        }
    }
    Ok(if folders.is_empty() { Entry::None } else { Entry::Folder(folders) })
}

fn components(path: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_gone_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        for layer in ["low", "top"] {
            fs::create_dir(at(layer)).unwrap();
            fs::write(at(layer).join("marked"), if layer == "top" { "" } else { "low" }).unwrap();
        }
        for name in ["device", "kept", "empty"] {
            fs::write(at("low").join(name), name).unwrap();
        }
        fs::write(at("top/empty"), "").unwrap();
        fd::make_whiteout(fs::File::open(at("top")).unwrap().as_fd(), b"device").unwrap();
        let marked = fs::File::open(at("top/marked")).unwrap();
        fd::fsetxattr(marked.as_fd(), b"user.overlay.whiteout", b"y").unwrap();
        let merged = Merged::open(["top", "low"].map(at)).unwrap();
        for (path, text) in [("device", None), ("marked", None), ("kept", Some("kept")), ("empty", Some(""))]
        {
            assert_eq!(merged.read(path).as_deref(), text.map(str::as_bytes), "{path}");
            assert_eq!(merged.exists(path), text.is_some(), "{path}");
        }
    }

    #[test]
    fn what_layers_above_hide() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        for path in ["host/secret", "low/a/b", "low/link/secret", "mid/a", "top/opaque", "top/a/own"] {
            fs::create_dir_all(at(path)).unwrap();
        }
        // to a folder of the host that has the name that is looked for
        symlink(at("host"), at("top/link")).unwrap();
        symlink(at("host"), at("top/a/out")).unwrap();
        fs::write(at("top/file"), "").unwrap();
        let handle = fs::File::open(at("top/opaque")).unwrap();
        fd::fsetxattr(handle.as_fd(), b"user.overlay.opaque", b"y").unwrap();
        let merged = Merged::open(["top", "mid", "low"].map(at)).unwrap();
        for (path, covered) in [
            ("a/b", false),
            ("a", true),
            ("a/own", true),
            ("a/own/below", false),
            ("elsewhere/b", false),
            ("link/secret", true),
            ("link/elsewhere", true),
            ("a/out/elsewhere", true),
            ("file/below", true),
            ("opaque/below", true),
            ("", true),
        ] {
            assert_eq!(merged.is_covered(2, Path::new(path)), Ok(covered), "{path}");
            assert_eq!(merged.is_covered(0, Path::new(path)), Ok(false), "nothing is above: {path}");
        }
        assert_eq!(merged.is_covered(1, Path::new("a")), Ok(true));
    }
}

//! Reads small files as the box will see them, before anything is mounted: the upper folder over the layers, with
//! whiteouts, opaque folders and links, by handles.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat};

use super::Wanted;

/// Links followed on one path, as the kernel does.
const MAX_LINKS: usize = 40;
/// Account files are this large at most.
const MAX_SIZE: u64 = 1 << 20;

/// Content of the regular file at `path` (relative to the root); none when there is no such file.
pub(super) fn read(wanted: &Wanted<'_>, path: &str) -> Option<Vec<u8>> {
    read_in(&trees(wanted), path)
}

/// Whether something is at `path`.
pub(super) fn exists(wanted: &Wanted<'_>, path: &str) -> bool {
    matches!(find(&trees(wanted), path), Ok(Some(_)))
}

/// As `read`, over the folders `trees`, topmost first.
pub fn read_in(trees: &[impl AsRef<Path>], path: &str) -> Option<Vec<u8>> {
    let found = find(trees, path).ok().flatten()?;
    if kind(&found).ok()? != SFlag::S_IFREG {
        return None;
    }
    // Through the handle just checked; a FIFO never gets here.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&found));
    let file = File::open(path).ok()?;
    let mut content = Vec::new();
    file.take(MAX_SIZE + 1).read_to_end(&mut content).ok()?;
    (content.len() as u64 <= MAX_SIZE).then_some(content)
}

fn trees(wanted: &Wanted<'_>) -> Vec<std::path::PathBuf> {
    std::iter::once(wanted.folder.join("upper")).chain(wanted.lowers.iter().cloned()).collect()
}

fn find(trees: &[impl AsRef<Path>], path: &str) -> nix::Result<Option<OwnedFd>> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let roots =
        trees.iter().map(|tree| open(tree.as_ref(), flags, Mode::empty())).collect::<Result<Vec<_>, _>>()?;
    // Folders on the way, each as the stack of handles that merge into it.
    let mut way: Vec<Vec<OwnedFd>> = vec![copies(&roots)?];
    let mut rest: VecDeque<Vec<u8>> = components(path.as_bytes()).collect();
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == b".." {
            if way.len() > 1 {
                way.pop();
            }
            continue;
        }
        let Some(stack) = way.last() else { return Ok(None) };
        match entry(stack, &name)? {
            Entry::None => return Ok(None),
            Entry::Folder(stack) => way.push(stack),
            Entry::Other(found) if rest.is_empty() && kind(&found)? != SFlag::S_IFLNK => {
                return Ok(Some(found));
            }
            Entry::Other(found) if kind(&found)? == SFlag::S_IFLNK => {
                links += 1;
                if links > MAX_LINKS {
                    return Ok(None);
                }
                let target = readlinkat(&found, "")?;
                let target = std::os::unix::ffi::OsStrExt::as_bytes(&*target);
                if target.starts_with(b"/") {
                    way.truncate(1);
                }
                for part in components(target).collect::<Vec<_>>().into_iter().rev() {
                    rest.push_front(part);
                }
            }
            Entry::Other(_) => return Ok(None),
        }
    }
    Ok(way.pop().and_then(|mut stack| if stack.is_empty() { None } else { Some(stack.swap_remove(0)) }))
}

enum Entry {
    None,
    Folder(Vec<OwnedFd>),
    Other(OwnedFd),
}

/// One name in a merged folder.
fn entry(stack: &[OwnedFd], name: &[u8]) -> nix::Result<Entry> {
    let mut folders = Vec::new();
    for folder in stack {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let found = match openat(folder, name, flags, Mode::empty()) {
            Err(Errno::ENOENT) => continue,
            result => result?,
        };
        match kind(&found)? {
            SFlag::S_IFDIR => {
                let opaque = crate::sys::fd::has_xattr(&found, c"user.overlay.opaque", b"y");
                folders.push(found);
                if opaque {
                    break;
                }
            }
            // A whiteout, or a file below a folder of an upper layer: nothing further down counts.
            SFlag::S_IFCHR => break,
            _ if folders.is_empty() => return Ok(Entry::Other(found)),
            _ => break,
        }
    }
    Ok(if folders.is_empty() { Entry::None } else { Entry::Folder(folders) })
}

fn kind(found: &OwnedFd) -> nix::Result<SFlag> {
    Ok(SFlag::from_bits_truncate(fstat(found.as_fd())?.st_mode & libc::S_IFMT))
}

fn copies(handles: &[OwnedFd]) -> nix::Result<Vec<OwnedFd>> {
    handles.iter().map(nix::unistd::dup).collect()
}

fn components(path: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").map(<[u8]>::to_vec)
}

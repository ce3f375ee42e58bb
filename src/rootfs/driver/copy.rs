//! A copy of the image in the box: works wherever a user namespace does.
//!
//! Blocks are shared where the file system can (ioctl_ficlone(2)). Files are never hard-linked to those of the layers:
//! a box writes in place, so that what looks read-only today would be written in all boxes tomorrow.
//!
//! The copy is made aside and renamed, so that a box has all of it or nothing. It is on the disk before it has its name.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::Mode;

use super::flatten::{Fault, flatten};
use super::{Error, Wanted};
use crate::idmap::IdMaps;
use crate::mount::{Root, c_path};
use crate::sys::{copy, fd};
use crate::{store, userns};

/// Bytes between two words of progress.
const STEP: u64 = 4 << 20;

/// Where the copy stands.
pub fn tree(folder: &Path) -> PathBuf {
    folder.join("tree")
}

pub(super) fn root(wanted: &Wanted<'_>) -> Result<Root, Error> {
    Ok(Root::Tree(c_path(tree(wanted.folder))?))
}

/// Whether files in `folder` can share blocks with those in `lower`.
pub fn shares(folder: &Path, lower: &Path) -> bool {
    let try_it = || -> io::Result<bool> {
        let (from, to) = (tempfile_in(folder)?, tempfile_in(folder)?);
        (&from).write_all(b"devbox")?;
        use std::os::unix::fs::MetadataExt;
        Ok(copy::share(&from, &to)? && fs::metadata(folder)?.dev() == fs::metadata(lower)?.dev())
    };
    try_it().unwrap_or(false)
}

/// A file without a name.
fn tempfile_in(folder: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(folder)
}

/// Copies `lowers`, topmost first, into the box whose lock the caller holds, unless it has its copy. `maps` are the
/// caller's own id, `advance` is told bytes. A copy that fails leaves nothing.
pub fn make(
    folder: &Path,
    lowers: &[PathBuf],
    maps: &IdMaps,
    volatile: bool,
    advance: &mut dyn FnMut(u64),
) -> Result<(), Error> {
    let (tree, draft) = (tree(folder), folder.join("tree.new"));
    if tree.exists() {
        return Ok(());
    }
    let failed = |what: &'static str, path: &Path, source: io::Error| Error::File {
        what,
        path: path.to_owned(),
        source,
    };
    let discard =
        || store::remove_tree(&draft).map_err(|error| failed("remove", &draft, io::Error::other(error)));
    // of one who was killed
    discard()?;
    // the root folder of the box, seen by all its users
    fs::DirBuilder::new().mode(0o755).create(&draft).map_err(|source| failed("make", &draft, source))?;
    let work = |mut out: File| {
        // modes are the image's
        nix::sys::stat::umask(Mode::empty());
        let mut due = 0;
        let done = flatten(lowers.iter().rev(), &draft, &mut |bytes| {
            due += bytes;
            if due >= STEP {
                tell(&mut out, &Told::Bytes(std::mem::take(&mut due)))?;
            }
            Ok(())
        });
        let done = done.and_then(|()| match volatile {
            true => Ok(()),
            false => written(&draft),
        });
        // nobody listens any more when this fails
        let _ = tell(
            &mut out,
            &match done {
                Ok(()) => Told::Done(due),
                Err(fault) => Told::Failed(fault),
            },
        );
    };
    let outcome = userns::within(maps, work, |told| hear(told, advance))?;
    let placed = match outcome {
        Ok(()) => fs::rename(&draft, &tree).map_err(|source| failed("make", &tree, source)),
        Err(Fault { path, errno }) => {
            let name = String::from_utf8_lossy(path.strip_prefix(b"/").unwrap_or(&path)).into_owned();
            Err(Error::Copy { name, source: errno.into() })
        }
    };
    if placed.is_err() {
        discard()?;
    }
    placed
}

/// All of the copy on the disk: without it, a power cut could leave a name for files without content.
fn written(draft: &Path) -> Result<(), Fault> {
    let opened = File::open(draft).map_err(|error| Fault {
        path: Vec::new(),
        errno: Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)),
    });
    Ok(fd::syncfs(opened?)?)
}

/// What the copying process says, a line each.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Bytes(u64),
    Done(u64),
    Failed(Fault),
}

fn tell(out: &mut impl Write, told: &Told) -> Result<(), Fault> {
    let line = match told {
        Told::Bytes(bytes) => format!("bytes {bytes}\n"),
        Told::Done(bytes) => format!("done {bytes}\n"),
        Told::Failed(Fault { path, errno }) => format!("failed {} {}\n", *errno as i32, path.escape_ascii()),
    };
    out.write_all(line.as_bytes()).map_err(|_| Fault { path: Vec::new(), errno: Errno::EPIPE })
}

fn hear(told: impl io::Read, advance: &mut dyn FnMut(u64)) -> Result<(), Fault> {
    for line in BufReader::new(told).lines().map_while(Result::ok) {
        let (word, rest) = line.split_once(' ').unwrap_or_default();
        match word {
            "bytes" => advance(rest.parse().unwrap_or(0)),
            "done" => {
                advance(rest.parse().unwrap_or(0));
                return Ok(());
            }
            _ => {
                let (number, path) = rest.split_once(' ').unwrap_or_default();
                let errno = Errno::from_raw(number.parse().unwrap_or(libc::EIO));
                return Err(Fault { path: path.as_bytes().to_vec(), errno });
            }
        }
    }
    // it was killed, most likely for memory
    Err(Fault { path: Vec::new(), errno: Errno::EINTR })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::store::listing;

    fn copied(place: &Path, layers: &[&str]) -> Result<String, Error> {
        let lowers: Vec<_> = layers.iter().map(|layer| place.join(layer)).collect();
        let target = Path::new("box");
        fs::create_dir_all(place.join(target)).unwrap();
        flattened(place, &lowers).map(|()| listing::tree(&tree(&place.join(target))))
    }

    /// As `make` does, but in this process, for tests have threads.
    fn flattened(place: &Path, lowers: &[PathBuf]) -> Result<(), Error> {
        let tree = tree(&place.join("box"));
        fs::create_dir(&tree).unwrap();
        flatten(lowers.iter().rev(), &tree, &mut |_| Ok(())).map_err(|fault| Error::Copy {
            name: String::from_utf8_lossy(&fault.path).into_owned(),
            source: fault.errno.into(),
        })
    }

    #[test]
    fn layers_become_what_an_overlay_shows() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        for folder in [
            "low/etc/old",
            "low/kept",
            "low/over/x",
            "low/file-then-folder-not",
            "top/etc",
            "top/over",
            "top/f",
        ] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        for (name, text) in [
            ("low/etc/a", "a"),
            ("low/etc/gone", "x"),
            ("low/etc/marked", "x"),
            ("top/etc/marked", ""),
            ("low/etc/old/deep", "x"),
            ("low/over/hidden", "x"),
            ("low/kept/one", "same"),
            ("low/f", "a file"),
            ("top/etc/a", "b"),
            ("top/over/new", "n"),
            ("top/f/g", "in a folder now"),
        ] {
            fs::write(at(name), text).unwrap();
        }
        fs::hard_link(at("low/kept/one"), at("low/kept/two")).unwrap();
        symlink("../outside", at("low/link")).unwrap();
        let folder = |name: &str| File::open(at(name)).unwrap();
        fd::make_whiteout(folder("top/etc").as_fd(), b"gone").unwrap();
        fd::make_whiteout(folder("top/etc").as_fd(), b"old").unwrap();
        fd::make_whiteout(folder("top").as_fd(), b"link").unwrap();
        fd::fsetxattr(folder("top/over").as_fd(), b"user.overlay.opaque", b"y").unwrap();
        // how layers say it where no device can be made
        fd::fsetxattr(folder("top/etc/marked").as_fd(), b"user.overlay.whiteout", b"y").unwrap();
        fd::fsetxattr(folder("top/etc").as_fd(), b"user.overlay.opaque", b"x").unwrap();
        fd::fsetxattr(folder("low/etc/a").as_fd(), b"user.note", b"low").unwrap();
        fd::fsetxattr(folder("top/etc/a").as_fd(), b"user.note", b"top").unwrap();
        let found = copied(place.path(), &["top", "low"]).unwrap();
        let expected = [
            "d 755 .",
            "d 755 etc",
            "f 644 etc/a b user.note=top",
            "d 755 f",
            "f 644 f/g in a folder now",
            "d 755 file-then-folder-not",
            "d 755 kept",
            "f 644 kept/one same",
            "h kept/two kept/one",
            "d 755 over",
            "f 644 over/new n",
        ];
        assert_eq!(found.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn equal_files_of_two_layers_stay_two() {
        let place = tempfile::tempdir().unwrap();
        for layer in ["low", "top"] {
            fs::create_dir(place.path().join(layer)).unwrap();
        }
        fs::write(place.path().join("low/a"), "same").unwrap();
        fs::hard_link(place.path().join("low/a"), place.path().join("top/b")).unwrap();
        assert_eq!(copied(place.path(), &["top", "low"]).unwrap(), "d 755 .\nf 644 a same\nf 644 b same");
    }

    #[test]
    fn what_is_told_is_heard() {
        for told in
            [Told::Done(7), Told::Failed(Fault { path: b"/a b\n\xff".to_vec(), errno: Errno::ENOSPC })]
        {
            let mut bytes = Vec::new();
            tell(&mut bytes, &Told::Bytes(5)).unwrap();
            tell(&mut bytes, &told).unwrap();
            let mut sum = 0;
            let heard = hear(&bytes[..], &mut |bytes| sum += bytes);
            match told {
                Told::Failed(fault) => {
                    let path = fault.path.escape_ascii().to_string().into_bytes();
                    assert_eq!(heard, Err(Fault { path, ..fault }));
                }
                _ => assert_eq!((heard, sum), (Ok(()), 12)),
            }
        }
        assert!(hear(&b"bytes 5\n"[..], &mut |_| {}).is_err());
    }
}

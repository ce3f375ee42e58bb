//! A root over a folder of the host that is a root file system already (`image = "dir:…"`). It is the lowest layer,
//! read where it stands and never written.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::lookup::Merged;
use super::{Error, Wanted, files};
use crate::mount::mounted;
use crate::sys::{self, fd};

/// Where targets of mounts of ours lie that an image may lack, and what a first start writes to.
const OURS: [&str; 2] = ["/etc", "/run/lock"];

/// The folder to take as the lowest layer, its links followed; refused where it can't be one. `boxes` is the folder
/// that holds the box's own files.
pub fn lower(path: &Path, boxes: &Path) -> Result<PathBuf, Error> {
    let file = |source| Error::File { what: "use as a root", path: path.to_owned(), source };
    let unfit = |why: String| Error::Unfit { path: path.to_owned(), why };
    let real = path.canonicalize().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::NoFolder(path.to_owned()),
        _ => file(source),
    })?;
    if !fs::metadata(&real).map_err(file)?.is_dir() {
        return Err(unfit("it is not a folder".into()));
    }
    if real == Path::new("/") {
        return Err(unfit("it is this machine's own root; `host` is the image for that".into()));
    }
    if boxes.canonicalize().is_ok_and(|boxes| boxes.starts_with(&real)) {
        return Err(unfit("the boxes themselves are kept in it".into()));
    }
    // the kernel takes no folder that others are mounted in, for it would show what they hide
    let mounts = fs::read("/proc/self/mountinfo").map_err(file)?;
    if let Some(found) = mounted(&mounts).map(|one| one.at).find(|at| *at != real && at.starts_with(&real)) {
        return Err(unfit(format!("{} is mounted in it", found.display())));
    }
    fs::read_dir(&real).map_err(file)?;
    Ok(real)
}

/// Whether the folder's files are not the caller's, so that a box can read but not change them.
pub(super) fn is_foreign(wanted: &Wanted<'_>) -> bool {
    let owner = wanted.lowers.first().and_then(|lower| fs::metadata(lower).ok());
    owner.is_some_and(|owner| owner.uid() != wanted.caller.uid)
}

/// What a box over someone else's files lacks.
pub(super) fn note(wanted: &Wanted<'_>) -> String {
    format!(
        "the files of {} are not yours: the box reads what their modes let you read, and can't change or remove them, so \
         packages can't be installed; new files beside them are the box's own",
        wanted.plan.image
    )
}

/// Before the first start: folders on the way to what is mounted become the box's own, or nothing could be put into
/// them, and so do the account files. What is in the upper already stays, and no link in it is followed: a first start
/// that was cut short may have run a command.
pub(super) fn make_ours(wanted: &Wanted<'_>, merged: &Merged) -> Result<(), Error> {
    let Some(lower) = wanted.lowers.first() else { return Ok(()) };
    let path = wanted.folder.join("upper");
    let failed = |source: io::Error| Error::File { what: "prepare", path: path.clone(), source };
    let upper: OwnedFd = fs::File::open(&path).map_err(failed)?.into();
    let targets = wanted.plan.mounts.iter().map(|mount| mount.target.as_path());
    let ways = targets.chain([wanted.caller.home.as_path()]).chain(wanted.plan.project.as_deref());
    let ways = ways.filter_map(Path::parent).chain(OURS.iter().map(Path::new));
    for way in ways {
        let mut below = PathBuf::new();
        let mut at = upper.try_clone().map_err(failed)?;
        for part in way.components().filter(|part| matches!(part, Component::Normal(_))) {
            below.push(part);
            // what is missing is made later; a link leads elsewhere
            if !fs::symlink_metadata(lower.join(&below)).is_ok_and(|found| found.is_dir()) {
                break;
            }
            let Some(folder) =
                own_folder(&at, part.as_os_str().as_bytes()).map_err(|error| failed(error.into()))?
            else {
                break;
            };
            at = folder;
        }
    }
    if let Some(etc) = own_folder(&upper, b"etc").map_err(|error| failed(error.into()))? {
        for (name, text) in files::whole_accounts(wanted, merged) {
            put(&etc, name.as_bytes(), &text).map_err(|error| failed(error.into()))?;
        }
    }
    Ok(())
}

/// The folder `name` in `at`, made when nothing is there; none when something else is.
fn own_folder(at: &OwnedFd, name: &[u8]) -> Result<Option<OwnedFd>, sys::Error> {
    match fd::mkdirat(at.as_fd(), name, 0o755) {
        Err(error) if error.errno != Errno::EEXIST => return Err(error),
        _ => {}
    }
    match fd::open_folder(at.as_fd(), name) {
        Err(error) if matches!(error.errno, Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
        opened => opened.map(Some),
    }
}

/// Makes the file `name`, whole or not at all, unless something has that name.
fn put(folder: &OwnedFd, name: &[u8], text: &[u8]) -> Result<(), sys::Error> {
    const DRAFT: &[u8] = b".devbox-draft";
    let ignore = |errno| move |error: sys::Error| if error.errno == errno { Ok(()) } else { Err(error) };
    let folder = folder.as_fd();
    fd::unlinkat(folder, DRAFT).or_else(ignore(Errno::ENOENT))?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
    fd::write(fd::openat(folder, DRAFT, flags, 0o644)?.as_fd(), text)?;
    fd::linkat(folder, DRAFT, folder, name).or_else(ignore(Errno::EEXIST))?;
    fd::unlinkat(folder, DRAFT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_box_planted_is_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::create_dir(at("upper")).unwrap();
        fs::create_dir(at("outside")).unwrap();
        fs::write(at("mine"), "mine").unwrap();
        let upper: OwnedFd = fs::File::open(at("upper")).unwrap().into();
        let etc = own_folder(&upper, b"etc").unwrap().unwrap();
        for link in ["upper/etc/passwd", "upper/etc/.devbox-draft"] {
            std::os::unix::fs::symlink(at("mine"), at(link)).unwrap();
        }
        put(&etc, b"passwd", b"theirs").unwrap();
        put(&etc, b"group", b"theirs").unwrap();
        assert_eq!(fs::read_to_string(at("mine")).unwrap(), "mine");
        assert_eq!(fs::read_to_string(at("upper/etc/group")).unwrap(), "theirs");
        std::os::unix::fs::symlink(at("outside"), at("upper/run")).unwrap();
        assert!(own_folder(&upper, b"run").unwrap().is_none());
        assert_eq!(fs::read_dir(at("upper/etc")).unwrap().count(), 2);
    }

    #[test]
    fn unfit_folders() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::create_dir_all(at("root/etc")).unwrap();
        fs::create_dir_all(at("data/boxes")).unwrap();
        fs::write(at("file"), "").unwrap();
        std::os::unix::fs::symlink("root", at("link")).unwrap();
        let said = |path: &Path| lower(path, &at("data/boxes")).map_err(|error| error.to_string());
        assert_eq!(said(&at("link")), Ok(at("root").canonicalize().unwrap()));
        for (path, words) in [
            (at("none"), "there is no folder"),
            (at("file"), "not a folder"),
            ("/".into(), "`host`"),
            (at("data"), "boxes themselves"),
            (place.path().to_owned(), "boxes themselves"),
            ("/dev".into(), "is mounted in it"),
        ] {
            let error = said(&path).unwrap_err();
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}

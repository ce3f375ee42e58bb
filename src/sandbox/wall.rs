//! A second wall around the sessions of an untrusted box, where the kernel has Landlock (landlock(7)): what is not below the
//! box's root can't be opened, whichever way it is come by, and no device is made.
//!
//! A session has a ruleset of its own, for what it was given as standard input and output may be a file of the host: it
//! can be opened again (`/dev/stdout`), with the rights it was given with and no others.
//!
//! Landlock knows allowances, which count for all below a folder, and none to the contrary: `/proc` and `/sys` are the
//! masks' (`rootfs::masks`). Ports are left alone: the network of a box is its own, and programs talk to each other on
//! its loopback.

use std::os::fd::{AsFd, OwnedFd};

use landlock::{
    ABI, Access, AccessFs, BitFlags, PathBeneath, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr,
    RulesetError, Scope,
};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::stat::{Mode, SFlag, fstat};

use crate::sys::confine;

/// Before this version every ruleset forbids to move files between folders (Linux 5.19).
const OLDEST: u32 = 2;
/// The newest version whose rights were looked at (Linux 6.12): what later ones add is not handled, and so allowed. The
/// library leaves out what the kernel does not know.
const NEWEST: ABI = ABI::V6;

/// The version of Landlock that boxes get, when there is one.
pub fn version() -> Option<u32> {
    confine::landlock_version().filter(|version| *version >= OLDEST)
}

/// The ruleset of a session that gets `given` as its standard descriptors. Made in the box's root, where `/` is the box's.
pub(super) fn build(given: &[&OwnedFd]) -> nix::Result<OwnedFd> {
    // The library's own errors end with the system's.
    let ruleset = rules(given).map_err(|_| Errno::last())?;
    Option::<OwnedFd>::from(ruleset).ok_or(Errno::EOPNOTSUPP)
}

fn rules(given: &[&OwnedFd]) -> Result<RulesetCreated, RulesetError> {
    let all = AccessFs::from_all(NEWEST);
    let everywhere = all & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev);
    let mut ruleset =
        Ruleset::default().handle_access(all)?.scope(Scope::AbstractUnixSocket | Scope::Signal)?.create()?;
    let path = OFlag::O_PATH | OFlag::O_CLOEXEC;
    for (folder, allowed) in [(c"/", everywhere), (c"/dev", AccessFs::IoctlDev.into())] {
        // What is not there needs no rule, and without one nothing is allowed.
        if let Ok(folder) = open(folder, path, Mode::empty()) {
            ruleset = ruleset.add_rule(PathBeneath::new(folder, allowed))?;
        }
    }
    for file in given {
        if let Some(allowed) = again(file) {
            ruleset = ruleset.add_rule(PathBeneath::new(file, allowed))?;
        }
    }
    Ok(ruleset)
}

/// What may be done with an open file when it is opened again; none for what has no place in a file system (pipes, sockets).
fn again(file: impl AsFd) -> Option<BitFlags<AccessFs>> {
    let kind = SFlag::from_bits_truncate(fstat(&file).ok()?.st_mode & SFlag::S_IFMT.bits());
    let device = match kind {
        SFlag::S_IFREG => BitFlags::EMPTY,
        SFlag::S_IFCHR => AccessFs::IoctlDev.into(),
        _ => return None,
    };
    let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL).ok()?);
    let write = AccessFs::WriteFile | AccessFs::Truncate;
    Some(match flags & OFlag::O_ACCMODE {
        OFlag::O_WRONLY => device | write,
        OFlag::O_RDWR => device | write | AccessFs::ReadFile,
        // also of a mere handle (O_PATH), which gives nothing away
        _ => device | AccessFs::ReadFile,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, OpenOptions};

    #[test]
    fn a_file_is_opened_again_as_it_was_given() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let written = again(File::create(&path).unwrap()).unwrap();
        assert_eq!(written, AccessFs::WriteFile | AccessFs::Truncate);
        assert_eq!(again(File::open(&path).unwrap()), Some(AccessFs::ReadFile.into()));
        let both = again(OpenOptions::new().read(true).append(true).open(&path).unwrap()).unwrap();
        assert_eq!(both, AccessFs::WriteFile | AccessFs::Truncate | AccessFs::ReadFile);
        let null = again(File::open("/dev/null").unwrap()).unwrap();
        assert_eq!(null, AccessFs::ReadFile | AccessFs::IoctlDev);
        assert_eq!(again(nix::unistd::pipe().unwrap().0), None);
        assert_eq!(again(File::open(folder.path()).unwrap()), None);
    }

    #[test]
    fn a_ruleset_is_made_where_there_is_landlock() {
        let given = [(); 3].map(|()| OwnedFd::from(File::open("/dev/null").unwrap()));
        assert_eq!(build(&given.each_ref()).is_ok(), version().is_some());
    }
}

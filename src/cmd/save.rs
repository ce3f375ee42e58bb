//! `devbox save`: images into an archive.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::linkat;

use super::naming;
use crate::cli::SaveArgs;
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::push::{self, Outgoing, Sent};
use crate::store::Store;
use crate::ui::{Ui, count};

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &SaveArgs) -> Result<ExitCode, Error> {
    let output = args.output.as_deref().filter(|path| *path != Path::new("-"));
    if output.is_none() && ui.writes_terminal() {
        return Err(Error::ArchiveOnTerminal);
    }
    let store = Store::open(&dirs.store())?;
    let found: Vec<_> =
        args.references.iter().map(|name| naming::image(ui, &store, dirs, name)).collect::<Result<_, _>>()?;
    let images: Vec<_> = found
        .iter()
        .map(|(image, name)| Outgoing { image, name: name.as_ref().and_then(|name| name.parse().ok()) })
        .collect();
    let progress = |name: &str| ui.transfer("saving", name);
    let sent = match output {
        Some(path) => {
            let target = Target::open(path)?;
            let sent = push::save(&store, dirs, &images, BufWriter::new(target.file()), &progress)?;
            target.publish()?;
            sent
        }
        None => push::save(&store, dirs, &images, BufWriter::new(ui.bytes()), &progress)?,
    };
    for ((found, _), Sent { manifest_digest, repacked }) in found.iter().zip(&sent) {
        if *repacked > 0 && found.manifest_digest != *manifest_digest {
            ui.note(&format!(
                "{} packed anew: the manifest is {manifest_digest} instead of {}; diff ids are the same",
                count(*repacked, "layer"),
                found.manifest_digest
            ));
        }
        if output.is_some() {
            ui.line(&manifest_digest.to_string())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the archive goes. What stands at its place stays until the new one is whole, and one that is not leaves
/// nothing, however the process ends.
pub(super) enum Target {
    /// A file without a name, to be put at the path.
    File(File, PathBuf),
    /// The same with a name of its own, for file systems that know no other.
    Named(File, PathBuf, Draft),
    /// A pipe or device, which is written to as it is.
    Stream(File),
}

impl Target {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Archive { path: path.to_owned(), source };
        let (path, mode) = match fs::metadata(path) {
            Ok(found) if found.is_dir() => return Err(failed(io::ErrorKind::IsADirectory.into())),
            Ok(found) if found.is_file() => {
                (path.canonicalize().map_err(failed)?, Some(found.permissions().mode() & 0o777))
            }
            Ok(_) => return File::options().write(true).open(path).map(Self::Stream).map_err(failed),
            Err(_) => (path.to_owned(), None),
        };
        // what was for the user alone stays so
        let like_before = |file: &File| match mode {
            Some(mode) => file.set_permissions(Permissions::from_mode(mode)).map_err(failed),
            None => Ok(()),
        };
        let folder = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        let made = mode.map_or(0o666, |mode| mode & 0o600);
        let nameless = File::options().write(true).custom_flags(libc::O_TMPFILE).mode(made).open(folder);
        if let Ok(file) = nameless {
            like_before(&file)?;
            return Ok(Self::File(file, path));
        }
        let draft = Draft::beside(&path);
        let file = File::options().write(true).create_new(true).mode(made).open(&draft.0).map_err(failed)?;
        like_before(&file)?;
        Ok(Self::Named(file, path, draft))
    }

    pub(super) fn file(&self) -> &File {
        match self {
            Self::File(file, _) | Self::Named(file, ..) | Self::Stream(file) => file,
        }
    }

    pub(super) fn publish(self) -> Result<(), Error> {
        if let Self::File(file, path) | Self::Named(file, path, _) = &self {
            // else a crash could leave an empty file in place of the old one
            file.sync_all().map_err(|source| Error::Archive { path: path.clone(), source })?;
        }
        let (path, draft) = match self {
            Self::Stream(_) => return Ok(()),
            Self::Named(_, path, draft) => (path, draft),
            Self::File(file, path) => {
                let draft = Draft::beside(&path);
                let nameless = format!("/proc/self/fd/{}", file.as_raw_fd());
                let linked =
                    linkat(AT_FDCWD, nameless.as_str(), AT_FDCWD, &draft.0, AtFlags::AT_SYMLINK_FOLLOW);
                linked.map_err(|errno| Error::Archive { path: path.clone(), source: errno.into() })?;
                (path, draft)
            }
        };
        fs::rename(&draft.0, &path).map_err(|source| Error::Archive { path, source })
    }
}

/// A name beside the archive's, taken away again unless it was moved to its place.
pub(super) struct Draft(PathBuf);

impl Draft {
    fn beside(target: &Path) -> Self {
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".devbox-{}", std::process::id()));
        Self(target.with_file_name(name))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // moved, most likely; else its name tells whose it was
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_replaced_keeps_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.tar");
        for mode in [0o600, 0o640, 0o444] {
            let _ = fs::remove_file(&path);
            fs::write(&path, "old").unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let target = Target::open(&path).unwrap();
            target.file().write_all(b"new").unwrap();
            target.publish().unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"new");
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, mode);
        }
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }
}

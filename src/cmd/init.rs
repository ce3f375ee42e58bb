//! `devbox init`: a `devbox.toml` for the project in a folder. It is written whole or not at all, and never over anything.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use crate::cli::InitArgs;
use crate::dirs::{self, Dirs};
use crate::error::{Error, ExitCode};
use crate::profile::PROJECT_FILE;
use crate::sys::{self, fd};
use crate::toolchain::{self, Starter};
use crate::ui::{Ui, size};

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &InitArgs) -> Result<ExitCode, Error> {
    let here = || dirs::current().map_err(|source| Error::Init { path: ".".into(), source });
    let folder = args.dir.as_ref().map_or_else(here, |dir| Ok(here()?.join(dir)))?;
    let failed = |source: io::Error| Error::Init { path: folder.clone(), source };
    let handle = File::open(&folder).map_err(failed)?;
    let path = fd::real_path(&folder).map_err(failed)?.join(PROJECT_FILE);
    // told before the folder is looked at, and once more by the kernel when the file gets its name
    if !args.print && fs::symlink_metadata(&path).is_ok() {
        return Err(there(path));
    }
    let project = toolchain::survey(handle.as_fd()).map_err(|error| failed(error.errno.into()))?;
    let starter = Starter::of(&project);
    for line in &starter.ignored {
        ui.warning(line);
    }
    for line in &starter.chosen {
        ui.note(line);
    }
    if args.print {
        ui.text(&starter.text)?;
        return Ok(ExitCode::SUCCESS);
    }
    match write(handle.as_fd(), starter.text.as_bytes()) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(there(path)),
        Err(source) => return Err(Error::Init { path, source }),
    }
    ui.line(&path.display().to_string())?;
    if path.parent() == Some(&dirs.home) {
        ui.warning("a home folder is not mounted as a project, and every folder below it that has no other finds this file");
    }
    ui.note("`devbox plan` shows what comes of it, `devbox enter` opens a shell in its box");
    Ok(ExitCode::SUCCESS)
}

/// Makes the file in `folder` with `bytes` in it; `EEXIST` when anything is there, a link that leads nowhere included.
fn write(folder: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    let name = PROJECT_FILE.as_bytes();
    let fill = |file: Result<OwnedFd, sys::Error>| -> io::Result<File> {
        let mut file = File::from(file.map_err(|error| io::Error::from(error.errno))?);
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(file)
    };
    // it has no name until it is whole, so that nothing is left of one that was cut short
    match fill(fd::openat(folder, b".", OFlag::O_TMPFILE | OFlag::O_WRONLY, 0o666)) {
        Ok(file) => {
            let path = format!("/proc/self/fd/{}/{PROJECT_FILE}", folder.as_raw_fd());
            fd::link_handle(file.as_fd(), Path::new(&path)).map_err(|error| error.errno.into())
        }
        // file systems without such files, NFS among them
        Err(error) if no_such_files(&error) => {
            let aside = format!(".{PROJECT_FILE}-{}", std::process::id());
            let aside = aside.as_bytes();
            let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY;
            let made = fill(fd::openat(folder, aside, flags, 0o666));
            let named = made.and_then(|_| {
                fd::linkat(folder, aside, folder, name)
                    .or_else(|error| match error.errno {
                        nix::errno::Errno::EEXIST => Err(error),
                        _ => fd::rename_new(folder, aside, folder, name),
                    })
                    .map_err(|error| error.errno.into())
            });
            let _ = fd::unlinkat(folder, aside);
            named
        }
        Err(error) => Err(error),
    }
}

fn no_such_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL | libc::ENOENT))
}

/// The refusal, with what is at `path`.
fn there(path: PathBuf) -> Error {
    let what = match fs::symlink_metadata(&path) {
        Ok(facts) if facts.is_file() => format!("a file of {}", size(facts.len())),
        Ok(facts) if facts.is_dir() => "a folder".to_owned(),
        Ok(facts) if facts.is_symlink() => fs::read_link(&path)
            .map_or_else(|_| "a link".to_owned(), |to| format!("a link to {}", to.display())),
        _ => "something that is not a file".to_owned(),
    };
    Error::ThereAlready { path, what }
}

#[cfg(test)]
mod tests;

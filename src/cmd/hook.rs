//! `devbox hook`: a shell outside enters the boxes of projects on its way and goes on where their shells leave to.
//!
//! The hook runs `devbox enter --hook PID`; the shell in the box writes where it wants to go into the box's folder and
//! ends; that is taken over into a file of the runtime folder, which `devbox hook --left PID` prints and removes. What a
//! box writes is believed no further than that the shell changes its folder.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::opening::Hook;
use crate::cli::{HookArgs, Shell};
use crate::dirs::{self, Dirs};
use crate::error::{Error, ExitCode};
use crate::plan::Plan;
use crate::profile::PROJECT_FILE;
use crate::rootfs::STATE_FOLDER;
use crate::session::Boxes;
use crate::sys::fd;
use crate::ui::Ui;

/// Longest path (path_resolution(7)).
const MAX: usize = 4096;

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &HookArgs) -> Result<ExitCode, Error> {
    if let Some(shell) = args.left {
        let path = taken(dirs, shell);
        let Ok(target) = fs::read(&path) else { return Ok(ExitCode::from(1)) };
        let _ = fs::remove_file(&path);
        ui.raw(&target)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(shell) = args.shell {
        ui.raw(script(shell).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn script(shell: Shell) -> &'static str {
    match shell {
        Shell::Bash => include_str!("hook/devbox.bash"),
        Shell::Zsh => include_str!("hook/devbox.zsh"),
        Shell::Fish => include_str!("hook/devbox.fish"),
    }
}

/// Who enters, when the hook of `shell` may: into a box that its user made by entering it once, from a folder that the
/// box shows. Else it is said why not.
pub(super) fn admit(
    ui: &Ui,
    dirs: &Dirs,
    plan: &Plan,
    cwd: &Path,
    shell: u32,
) -> Result<Option<Hook>, Error> {
    let _ = fs::remove_file(taken(dirs, shell));
    let Some(origin) = plan.profiles.last().filter(|origin| origin.name == PROJECT_FILE) else {
        return Ok(None);
    };
    let project = Path::new(&origin.from).parent().map(Path::to_owned).unwrap_or_default();
    let record = Boxes::new(dirs).load(&plan.name)?;
    if record.is_none_or(|record| record.profiles.last() != Some(origin)) {
        ui.note(&format!(
            "{} has a box that was never entered: `devbox enter` once, and it is entered on the way from then on",
            project.display()
        ));
        return Ok(None);
    }
    if !plan.project.as_ref().is_some_and(|shown| cwd.starts_with(shown)) {
        ui.note(&format!("box `{}` does not show this folder and is not entered", plan.name));
        return Ok(None);
    }
    Ok(Some(Hook { shell, project }))
}

/// Takes over where the shell in the box `name` wants to go.
pub(super) fn take(dirs: &Dirs, name: &str, shell: u32) -> Result<(), Error> {
    let path = Boxes::new(dirs).folder(name)?.join(STATE_FOLDER).join(format!("left.{shell}"));
    // the box may have put anything there
    let read = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(&path)
        .and_then(|file| match file.metadata()?.is_file() {
            true => fd::read_from(&file, MAX),
            false => Err(io::ErrorKind::InvalidData.into()),
        });
    let _ = fs::remove_file(&path);
    let Some(target) = read.ok().and_then(|bytes| String::from_utf8(bytes).ok()) else { return Ok(()) };
    if target.starts_with('/') && !target.contains(char::is_control) {
        dirs::ensure_private(&dirs.runtime)?;
        let path = taken(dirs, shell);
        fs::write(&path, target).map_err(|source| Error::Archive { path, source })?;
    }
    Ok(())
}

/// Where the way out waits for the shell.
fn taken(dirs: &Dirs, shell: u32) -> PathBuf {
    dirs.runtime.join(format!("left.{shell}"))
}

//! `devbox completions [SHELL]`: prints the shell's script, or puts it where the shell looks.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::ValueEnum as _;

use crate::cli::{CompletionsArgs, Shell};
use crate::dirs::{self, Dirs};
use crate::error::{Error, ExitCode};
use crate::ui::Ui;

/// Stands in each of our scripts, by which they are known again.
const MARK: &str = "completion for devbox: asks devbox itself";

pub(super) fn run(ui: &Ui, args: &CompletionsArgs) -> Result<ExitCode, Error> {
    if args.install {
        let dirs = Dirs::from_environment()?;
        install(ui, &dirs, args.shell.or_else(own_shell).ok_or(Error::WhichShell)?, args.force)?;
    } else if let Some(shell) = args.shell {
        ui.raw(shell.script().as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The caller's shell, when it is one there is a script for.
fn own_shell() -> Option<Shell> {
    let path = PathBuf::from(dirs::variable("SHELL")?);
    Shell::from_str(path.file_name()?.to_str()?, false).ok()
}

fn install(ui: &Ui, dirs: &Dirs, shell: Shell, force: bool) -> Result<(), Error> {
    let (path, then) = place(dirs, shell);
    let failed = |source| Error::Script { path: path.clone(), source };
    let there = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        read => Some(read.map_err(failed)?),
    };
    let script = shell.script().as_bytes();
    if there.as_deref() == Some(script) {
        ui.note(&format!("{} is up to date", path.display()));
    } else {
        let ours = |text: &Vec<u8>| String::from_utf8_lossy(text).contains(MARK);
        if !force && !there.as_ref().is_none_or(ours) {
            return Err(Error::NotOurScript { path });
        }
        write(&path, script).map_err(failed)?;
    }
    ui.line(&path.display().to_string())?;
    ui.note(&then.unwrap_or_else(|| "new shells complete `devbox`".to_owned()));
    Ok(())
}

/// Where the shell looks for the script, and what else it wants before it does.
fn place(dirs: &Dirs, shell: Shell) -> (PathBuf, Option<String>) {
    let (data, config) = (dirs.data.with_file_name(""), dirs.config.with_file_name(""));
    match shell {
        Shell::Bash => {
            // bash-completion(7): the first folder of its own variable, else below XDG_DATA_HOME
            let own = dirs::variable("BASH_COMPLETION_USER_DIR");
            let own = own.and_then(|list| list.to_str()?.split(':').next().map(PathBuf::from));
            let folder = own.filter(|own| own.is_absolute()).unwrap_or_else(|| data.join("bash-completion"));
            let loader = "/usr/share/bash-completion/bash_completion";
            let then = (!Path::new(loader).exists()).then(|| {
                "bash looks there when the package `bash-completion` is installed, which it does not seem to be".to_owned()
            });
            (folder.join("completions/devbox"), then)
        }
        Shell::Fish => (config.join("fish/completions/devbox.fish"), None),
        Shell::Zsh => {
            let rc =
                dirs::variable("ZDOTDIR").map_or_else(|| dirs.home.clone(), PathBuf::from).join(".zshrc");
            let text =
                fs::read(&rc).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
            let exported =
                dirs::variable("FPATH").and_then(|list| list.into_string().ok()).unwrap_or_default();
            let usual = data.join("zsh/site-functions");
            let named = [usual.clone(), dirs.home.join(".zfunc"), dirs.home.join(".zsh/completions")];
            let is_named = |folder: &PathBuf| {
                exported.split(':').any(|one| Path::new(one) == folder) || mentions(&text, &dirs.home, folder)
            };
            match named.into_iter().find(is_named) {
                Some(folder) => (folder.join("_devbox"), None),
                None => {
                    let line = format!("fpath=({} $fpath)", usual.display());
                    let then = format!("{} needs this line before `compinit`: {line}", rc.display());
                    (usual.join("_devbox"), Some(then))
                }
            }
        }
    }
}

/// Whether a line of a start file that counts names the folder, in one of the ways people write it.
fn mentions(text: &str, home: &Path, folder: &Path) -> bool {
    let below = folder.strip_prefix(home).map(|below| below.display().to_string());
    let mut ways = vec![folder.display().to_string()];
    ways.extend(
        below.iter().flat_map(|below| ["~/", "$HOME/", "${HOME}/"].map(|home| format!("{home}{below}"))),
    );
    let lines = text.lines().map(str::trim_start).filter(|line| !line.starts_with('#'));
    lines
        .filter(|line| line.to_lowercase().contains("fpath"))
        .any(|line| ways.iter().any(|way| line.contains(way)))
}

/// Replaces the file in one step; a link keeps leading to it.
fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    let draft = folder.join(format!(".devbox-completion-{}", std::process::id()));
    let written = fs::File::create(&draft)
        .and_then(|mut file| file.write_all(text).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&draft, &path));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_known_again() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            assert!(shell.script().contains(MARK), "{shell:?}");
        }
    }

    #[test]
    fn folders_as_people_name_them() {
        let home = Path::new("/home/me");
        for (text, named) in [
            ("fpath=(~/.zfunc $fpath)\ncompinit", true),
            ("fpath+=$HOME/.zfunc", true),
            ("  export FPATH=/home/me/.zfunc:$FPATH", true),
            ("# fpath=(~/.zfunc $fpath)", false),
            ("source ~/.zfunc/x", false),
            ("", false),
        ] {
            assert_eq!(mentions(text, home, &home.join(".zfunc")), named, "{text}");
        }
    }
}

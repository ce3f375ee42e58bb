//! `devbox man`: the manual, made from the definitions of the command line and of profiles.

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory as _;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use crate::cli::{Cli, ManArgs};
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::profile;
use crate::ui::Ui;

const SOURCE: &str = concat!("devbox ", env!("CARGO_PKG_VERSION"));

pub(super) fn run(ui: &Ui, args: &ManArgs) -> Result<ExitCode, Error> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    if let Some(dir) = &args.dir {
        write_all(&command, dir, dir)?;
    } else if args.install {
        let folder = Dirs::from_environment()?.data.with_file_name("man");
        write_all(&command, &folder.join("man1"), &folder.join("man5"))?;
        ui.line(&folder.display().to_string())?;
        ui.note("`man devbox`, `man devbox-enter`, `man devbox.toml`; where man(1) does not find them, MANPATH names the folder");
    } else {
        let page = of_command(&command);
        ui.raw(&page.map_err(|source| Error::ManPage { path: "devbox.1".into(), source })?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// All pages: those of commands into the one folder, those of files into the other.
fn write_all(command: &clap::Command, commands: &Path, files: &Path) -> Result<(), Error> {
    write(commands, "devbox.1", of_command(command))?;
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        write(commands, &format!("devbox-{}.1", verb.get_name()), of_command(verb))?;
    }
    write(files, "devbox.toml.5", of_profiles())
}

/// Puts a page in the place of an older one, whole.
fn write(dir: &Path, name: &str, page: io::Result<Vec<u8>>) -> Result<(), Error> {
    let path = dir.join(name);
    let draft = dir.join(format!(".{name}.{}", std::process::id()));
    let written = page.and_then(|page| {
        fs::create_dir_all(dir)?;
        fs::write(&draft, page).and_then(|()| fs::rename(&draft, &path)).inspect_err(|_| {
            // the failure is what is told
            let _ = fs::remove_file(&draft);
        })
    });
    written.map_err(|source| Error::ManPage { path, source })
}

/// The page of the program or of one verb, in roff.
fn of_command(command: &clap::Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let title = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let name = title.clone();
    let man = Man::new(command.clone()).title(title).source(SOURCE).manual("devbox");
    man.render(&mut page)?;
    if name == "devbox" {
        return see_also(&["devbox.toml"], page);
    }
    see_also(&["devbox", "devbox.toml"], page)
}

fn see_also(pages: &[&str], mut page: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    for (index, name) in pages.iter().enumerate() {
        let section = if name.ends_with(".toml") { "(5)" } else { "(1)" };
        let end = if index + 1 < pages.len() { ", " } else { "" };
        roff.text([bold(*name), roman(format!("{section}{end}"))]);
    }
    roff.to_writer(&mut page)?;
    Ok(page)
}

/// The page of `devbox.toml` and all other profiles.
fn of_profiles() -> io::Result<Vec<u8>> {
    let mut roff = Roff::new();
    roff.control("TH", ["devbox.toml", "5", "", SOURCE, "devbox"]);
    roff.control("SH", ["NAME"]);
    roff.text([roman("devbox.toml - what a box of devbox is made of")]);
    roff.control("SH", ["DESCRIPTION"]);
    roff.text([roman(
        "A profile in TOML. The nearest devbox.toml in the current folder or above it is the project's; \
         $XDG_CONFIG_HOME/devbox/profiles/NAME.toml and /etc/devbox/profiles/NAME.toml are named by NAME. It is read at \
         each start. Every key may be left out; one that is not known is an error.",
    )]);
    roff.control("SH", ["KEYS"]);
    for key in profile::described() {
        roff.control("TP", []);
        roff.text([bold(key.path)]);
        let mut text = inline(key.description);
        if let Some(default) = key.default {
            text.extend([roman(" Default: "), italic(default), roman(".")]);
        }
        text.extend([roman(" Example: "), italic(key.example)]);
        roff.text(text);
    }
    roff.control("SH", ["FILES"]);
    for (file, what) in [
        (
            "devbox-lock.toml",
            "beside devbox.toml: the digests of its image and of what its set-up gave, by devbox lock.",
        ),
        ("/etc/devbox/policy.toml", "what is forbidden on this machine."),
    ] {
        roff.control("TP", []);
        roff.text([bold(file)]);
        roff.text([roman(what)]);
    }
    let mut page = Vec::new();
    roff.to_writer(&mut page)?;
    see_also(&["devbox", "devbox-init", "devbox-plan", "devbox-config"], page)
}

/// Text with words in backticks.
fn inline(text: &str) -> Vec<Inline> {
    let mut parts: Vec<Inline> = Vec::new();
    for (index, part) in text.split('`').enumerate() {
        parts.push(if index % 2 == 1 { bold(part) } else { roman(part) });
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_for_each_verb_and_one_for_profiles() {
        let dir = tempfile::tempdir().unwrap();
        let ui = Ui::new(crate::ui::Color::Never, true, false, false);
        for _ in 0..2 {
            run(&ui, &ManArgs { install: false, dir: Some(dir.path().join("man")) }).unwrap();
        }
        let read = |name: &str| fs::read_to_string(dir.path().join("man").join(name)).unwrap();
        let mut pages = 2;
        for verb in Cli::command().get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let page = read(&format!("devbox-{}.1", verb.get_name()));
            assert!(page.contains(&format!(".TH devbox-{} 1", verb.get_name())), "{page}");
            assert!(page.contains(".SH \"SEE ALSO\""), "{page}");
            pages += 1;
        }
        assert!(read("devbox.1").contains(".TH devbox 1"));
        let profiles = read("devbox.toml.5");
        for key in profile::described() {
            assert!(
                profiles.contains(&format!("\\fB{}\\fR", key.path.replace('-', "\\-"))),
                "{}: {profiles}",
                key.path
            );
        }
        assert_eq!(fs::read_dir(dir.path().join("man")).unwrap().count(), pages, "drafts are left");
    }
}

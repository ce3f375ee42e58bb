//! `devbox man`: the manual, made from the definitions of the command line.

use std::fs;
use std::path::Path;

use clap::CommandFactory as _;
use clap_mangen::Man;

use crate::cli::{Cli, ManArgs};
use crate::error::{Error, ExitCode};
use crate::ui::Ui;

pub(super) fn run(ui: &Ui, args: &ManArgs) -> Result<ExitCode, Error> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let Some(dir) = &args.dir else {
        ui.raw(&page(&command).map_err(|source| Error::ManPage { path: "devbox.1".into(), source })?)?;
        return Ok(ExitCode::SUCCESS);
    };
    write(dir, "devbox.1", &command)?;
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        write(dir, &format!("devbox-{}.1", verb.get_name()), verb)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write(dir: &Path, name: &str, command: &clap::Command) -> Result<(), Error> {
    let path = dir.join(name);
    let written =
        page(command).and_then(|page| fs::create_dir_all(dir).and_then(|()| fs::write(&path, page)));
    written.map_err(|source| Error::ManPage { path, source })
}

/// The page of the program or of one verb, in roff.
fn page(command: &clap::Command) -> std::io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let title = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let source = concat!("devbox ", env!("CARGO_PKG_VERSION"));
    Man::new(command.clone()).title(title).source(source).manual("devbox").render(&mut page)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_for_each_verb() {
        let dir = tempfile::tempdir().unwrap();
        let ui = Ui::new(crate::ui::Color::Never, true, false, false);
        run(&ui, &ManArgs { dir: Some(dir.path().join("man")) }).unwrap();
        for verb in Cli::command().get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let page = dir.path().join(format!("man/devbox-{}.1", verb.get_name()));
            let page = fs::read_to_string(page).unwrap();
            assert!(page.contains(&format!(".TH devbox-{} 1", verb.get_name())), "{page}");
        }
        assert!(dir.path().join("man/devbox.1").exists());
    }
}

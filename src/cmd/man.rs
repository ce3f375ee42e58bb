//! `devbox man`: the manual, made from the definitions of the command line.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_mangen::Man;

use crate::cli::{Cli, ManArgs};
use crate::error::Error;
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
    Man::new(command.clone()).title(title).render(&mut page)?;
    Ok(page)
}

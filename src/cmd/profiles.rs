//! `devbox profiles`: what can be named, and where it comes from.

use crate::cli::{Format, ListArgs};
use crate::dirs::{self, Dirs};
use crate::error::{Error, ExitCode};
use crate::probe;
use crate::profile::{self, Layer, Listed};
use crate::ui::{Table, Ui};

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &ListArgs) -> Result<ExitCode, Error> {
    let cwd = dirs::current().map_err(probe::Error::CurrentFolder)?;
    let profiles = profile::list(dirs, &cwd);
    match args.format {
        Format::Json => ui.json(&profiles)?,
        Format::Table if ui.is_quiet() => {
            profiles.iter().try_for_each(|profile| ui.line(&profile.name))?;
        }
        Format::Table => print(ui, &profiles)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print(ui: &Ui, profiles: &[Listed]) -> Result<(), Error> {
    let mut table = Table::new(["NAME", "FROM", "IMAGE", "DESCRIPTION"]);
    for profile in profiles {
        let image = profile.image.as_ref().map(ToString::to_string).unwrap_or_default();
        let description = profile.description.clone().unwrap_or_default();
        table.row([profile.name.clone(), origin(profile), image, description]);
    }
    ui.table(&table)?;
    for profile in profiles {
        if let Some(problem) = &profile.problem {
            ui.warning(&format!("profile `{}` can't be used: {problem}", profile.name));
        }
    }
    Ok(())
}

/// The file, for those who look for it; the kind for those without one.
fn origin(profile: &Listed) -> String {
    match (&profile.path, profile.from) {
        (Some(path), _) => path.display().to_string(),
        (None, Layer::BuiltIn) => "built in".to_owned(),
        (None, Layer::System) => "system".to_owned(),
        (None, Layer::Personal) => "personal".to_owned(),
        (None, Layer::Project) => "project".to_owned(),
    }
}

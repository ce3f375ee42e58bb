//! `devbox logout`: forgets what `login` kept. The registries' names go to standard output.

use crate::cli::LogoutArgs;
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::fetch::login::{self, Key};
use crate::ui::Ui;

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &LogoutArgs) -> Result<ExitCode, Error> {
    let forgotten = match args.all {
        true => login::forget_all(dirs)?,
        false => {
            let key = Key::parse(&args.registry)?;
            login::forget(dirs, &key)?;
            vec![key.text().to_owned()]
        }
    };
    for key in forgotten {
        ui.line(&key)?;
    }
    Ok(ExitCode::SUCCESS)
}

//! `devbox login`: checks a user and password with a registry and keeps them where podman does.

use std::io::{self, Read};

use crate::cli::LoginArgs;
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::fetch::login::{self, Kept, Key};
use crate::ui::Ui;

/// Longest password.
const MAX: u64 = 64 << 10;

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &LoginArgs) -> Result<ExitCode, Error> {
    let key = Key::parse(&args.registry)?;
    let user = match &args.username {
        Some(user) => user.clone(),
        None if args.password_stdin => return Err(Error::NobodyToAsk("user name")),
        None => ui.ask(&format!("user name for {}", key.text())).ok_or(Error::NobodyToAsk("user name"))?,
    };
    let password = match args.password_stdin {
        true => from_stdin()?,
        false => ui.ask_secret("password").ok_or(Error::NobodyToAsk("password"))?,
    };
    let checked = login::check(dirs, &key, &user, &password)?;
    let kept = login::keep(dirs, &key, &user, &password)?;
    if !checked {
        ui.warning(&format!("{} lets in everybody; whether the password is right is not known", key.text()));
    }
    ui.note(&match kept {
        Kept::File(path) => format!("logged in to {} as {user}; kept in {}", key.text(), path.display()),
        Kept::Helper(name) => {
            format!("logged in to {} as {user}; kept by docker-credential-{name}", key.text())
        }
    });
    Ok(ExitCode::SUCCESS)
}

fn from_stdin() -> Result<String, Error> {
    let mut text = String::new();
    let read = io::stdin().lock().take(MAX).read_to_string(&mut text);
    let password = text.trim_end_matches(['\n', '\r']);
    if read.is_err() || password.is_empty() {
        return Err(Error::NobodyToAsk("password"));
    }
    Ok(password.to_owned())
}

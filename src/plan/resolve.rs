//! What a plan leaves to the image: command, environment, working directory and ids, once its configuration and
//! account files are known. Still pure.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{Error, Home, Host, Ids, Plan, User};

pub use super::accounts::{Account, Accounts};

/// `PATH` where the image sets none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the image's configuration says about running it (image-spec `config.md`); empty for the host's root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageDefaults {
    /// `Env`, each `NAME=VALUE`.
    pub env: Vec<String>,
    /// `Entrypoint`.
    pub entrypoint: Vec<String>,
    /// `Cmd`.
    pub cmd: Vec<String>,
    /// `WorkingDir`.
    pub working_dir: Option<String>,
    /// `User`.
    pub user: Option<String>,
}

/// What is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// An interactive shell.
    Shell,
    /// What the image runs by itself: `Entrypoint` and `Cmd`.
    Image,
    /// This command. It is run as it is: an `Entrypoint` is not put before it, so that a box runs what was typed.
    Command(Vec<OsString>),
}

/// What a session executes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// These words; never empty.
    Argv(Vec<OsString>),
    /// The first of these shells that the box has, names by its `PATH`. The session sets `SHELL` to the one it
    /// found, for only then it is known.
    Shell(Vec<String>),
}

/// All a session needs to be started. Not printable: the environment may hold the host's secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Resolved {
    /// What to execute.
    pub program: Program,
    /// The whole environment; nothing else is passed on.
    pub env: BTreeMap<String, String>,
    /// Working directory in the box.
    pub cwd: PathBuf,
    /// Who the session runs as, in the box's ids.
    pub account: Account,
    /// `Single` or `Full`, never `Auto`.
    pub ids: Ids,
    /// What the user should know, for example that a user could not be had.
    pub notes: Vec<String>,
}

/// Completes `plan` with what the image says.
pub fn resolve(
    plan: &Plan,
    host: &Host,
    image: &ImageDefaults,
    accounts: &Accounts<'_>,
    ask: Ask,
) -> Result<Resolved, Error> {
    let (account, ids, note) = identity(plan, host, image, accounts)?;
    Ok(Resolved {
        program: program(plan, image, &account, ask)?,
        env: environment(plan, host, image, &account),
        cwd: working_directory(plan, host, image, &account),
        account,
        ids,
        notes: note.into_iter().collect(),
    })
}

/// Who the session runs as, the mapping that takes, and what had to be given up for want of it.
fn identity(
    plan: &Plan,
    host: &Host,
    image: &ImageDefaults,
    accounts: &Accounts<'_>,
) -> Result<(Account, Ids, Option<String>), Error> {
    let wanted = match &plan.user {
        User::Me => return Ok((me(host), Ids::Single, None)),
        User::Root => root(accounts)?,
        User::Name(name) => accounts.find(name)?,
        User::Image => match image.user.as_deref() {
            None | Some("" | "0" | "root") => root(accounts)?,
            Some(user) => accounts.find(user)?,
        },
    };
    if plan.ids == Ids::Full {
        return Ok((wanted, Ids::Full, None));
    }
    if wanted.uid == 0 {
        return Ok((Account { gid: 0, groups: Vec::new(), ..wanted }, Ids::Single, None));
    }
    if wanted.uid == host.uid {
        return Ok((me(host), Ids::Single, None));
    }
    if plan.ids == Ids::Auto && host.subordinate_ids {
        return Ok((wanted, Ids::Full, None));
    }
    let reason = if plan.ids == Ids::Single {
        "ids `single` has no other user"
    } else {
        "you have no subordinate ids"
    };
    let name = wanted.name.escape_debug();
    let note = format!("the session runs as `me`, not as `{name}` (uid {}): {reason}", wanted.uid);
    Ok((me(host), Ids::Single, Some(note)))
}

fn me(host: &Host) -> Account {
    Account {
        name: host.user.clone(),
        uid: host.uid,
        gid: host.gid,
        groups: Vec::new(),
        home: host.home.clone(),
        shell: host.shell.clone(),
    }
}

fn root(accounts: &Accounts<'_>) -> Result<Account, Error> {
    let found = accounts.find("0")?;
    // the digits stand for a name where the image has no entry
    Ok(if found.name == "0" { Account { name: "root".into(), home: "/root".into(), ..found } } else { found })
}

fn program(plan: &Plan, image: &ImageDefaults, account: &Account, ask: Ask) -> Result<Program, Error> {
    let argv: Vec<OsString> = match ask {
        Ask::Command(argv) => argv,
        Ask::Image => image.entrypoint.iter().chain(&image.cmd).map(OsString::from).collect(),
        Ask::Shell => {
            let shells = match &plan.shell {
                // who names a shell wants that one or an error
                Some(shell) => vec![shell.clone()],
                None => {
                    let login = account.shell.iter().map(String::as_str);
                    let mut shells: Vec<String> = Vec::new();
                    for shell in login.chain(["/bin/bash", "/bin/sh"]) {
                        if !shells.iter().any(|other| other == shell) {
                            shells.push(shell.to_owned());
                        }
                    }
                    shells
                }
            };
            return Ok(Program::Shell(shells));
        }
    };
    if argv.is_empty() { Err(Error::NoCommand) } else { Ok(Program::Argv(argv)) }
}

/// The image's variables, then the terminal's and the reader's, then who and where, then what was asked for.
fn environment(
    plan: &Plan,
    host: &Host,
    image: &ImageDefaults,
    account: &Account,
) -> BTreeMap<String, String> {
    let mut env = BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]);
    let pairs = image.env.iter().filter_map(|pair| pair.split_once('='));
    env.extend(
        pairs
            .filter(|(name, value)| !name.is_empty() && !name.contains('\0') && !value.contains('\0'))
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    // an image that chooses a locale knows which it has
    let is_locale = |name: &str| name == "LANG" || name == "LANGUAGE" || name.starts_with("LC_");
    let has_locale = env.keys().any(|name| is_locale(name));
    let passed = host.variables.iter().filter(|(name, _)| !(has_locale && is_locale(name)));
    env.extend(passed.map(|(name, value)| (name.clone(), value.clone())));
    let home = account.home.to_string_lossy();
    for (name, value) in [
        ("HOME", &*home),
        ("USER", &account.name),
        ("LOGNAME", &account.name),
        ("HOSTNAME", &plan.hostname),
        ("container", "devbox"),
        ("DEVBOX", &plan.name),
    ] {
        env.insert(name.to_owned(), value.to_owned());
    }
    env.extend(plan.env.iter().map(|(name, value)| (name.clone(), value.value().to_owned())));
    env
}

/// `-w`, else where the caller stands when the box shows that, else the project, else the image's choice, else
/// home for `me`, `/` for others.
fn working_directory(plan: &Plan, host: &Host, image: &ImageDefaults, account: &Account) -> PathBuf {
    if let Some(workdir) = &plan.workdir {
        return workdir.clone();
    }
    let home = (plan.home == Home::Host).then_some(&host.home);
    if plan.project.iter().chain(home).any(|shown| host.cwd.starts_with(shown)) {
        return host.cwd.clone();
    }
    if let Some(project) = &plan.project {
        return project.clone();
    }
    match image.working_dir.as_deref() {
        Some(folder) if folder.starts_with('/') && !folder.contains('\0') => folder.into(),
        _ if account.uid == host.uid => account.home.clone(),
        _ => Path::new("/").to_owned(),
    }
}

#[cfg(test)]
mod tests;

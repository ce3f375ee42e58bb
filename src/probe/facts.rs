//! The facts a plan is made from. On the way of every start, so nothing is asked for twice or in vain.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::System;
use crate::dirs::{self, Dirs};
use crate::idmap;
use crate::oci::platform::Platform;
use crate::plan::Host;
use crate::plan::host::VARIABLES;
use crate::sys::fd;

/// Larger user databases than this are asked through the C library.
const MAX_PASSWD: usize = 16 << 20;

/// Why the facts can't be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder the caller stands in was removed, or may not be looked at.
    #[error("cannot tell the current folder")]
    CurrentFolder(#[source] io::Error),
    /// `ids = "full"` and nothing to map.
    #[error(
        "`{user}` has no subordinate ids in /etc/subuid and /etc/subgid, and the box wants more than one id"
    )]
    NoSubordinateIds {
        /// The caller.
        user: String,
    },
    /// Nothing that leads out of a box's own network.
    #[error("network `private` needs pasta or slirp4netns, and neither is in PATH")]
    NoStack,
    /// No device for it.
    #[error("network `private` needs /dev/net/tun, which can't be opened")]
    NoTun(#[source] io::Error),
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::CurrentFolder(_) => "go to a folder that is there".into(),
            Self::NoStack => {
                "install the package `passt` (or `slirp4netns`); `allow = [\"HOST\", …]` needs neither".into()
            }
            Self::NoTun(_) => {
                "`sudo modprobe tun && sudo chmod 666 /dev/net/tun`; `allow = [\"HOST\", …]` does without"
                    .into()
            }
            Self::NoSubordinateIds { .. } => {
                "`devbox doctor` shows the command that gives you some; `ids = \"single\"` works without"
                    .into()
            }
        })
    }
}

/// Whether the caller has subordinate ids and the helpers that map them.
pub fn has_subordinate_ids() -> bool {
    super::subids::are_usable(&System::this())
}

/// The caller's ranges of user and of group ids, each a first id and a count.
pub fn subordinate_ids(user: &str, uid: u32) -> Result<(Ranges, Ranges), Error> {
    let ranges = |path| {
        let text = fs::read_to_string(path).unwrap_or_default();
        Some(idmap::subordinate_ranges(&text, user, uid)).filter(|ranges| !ranges.is_empty())
    };
    match (ranges("/etc/subuid"), ranges("/etc/subgid")) {
        (Some(uids), Some(gids)) => Ok((uids, gids)),
        _ => Err(Error::NoSubordinateIds { user: user.to_owned() }),
    }
}

type Ranges = Vec<(u32, u32)>;

/// The caller and this machine. Whether there are subordinate ids is left to [`has_subordinate_ids`], for few
/// plans need to know.
pub fn host(dirs: &Dirs) -> Result<Host, Error> {
    let system = System::this();
    let account = system.account();
    let (user, shell) = match account {
        Some(account) => (account.name, account.shell),
        None => (system.uid.to_string(), None),
    };
    Ok(Host {
        uid: system.uid,
        gid: nix::unistd::getegid().as_raw(),
        user,
        real_home: fd::real_path(&dirs.home).unwrap_or_else(|_| dirs.home.clone()),
        home: dirs.home.clone(),
        shell,
        cwd: dirs::current().map_err(Error::CurrentFolder)?,
        cache: dirs.cache.clone(),
        platform: Platform::host().to_string(),
        subordinate_ids: false,
        variables: dirs::variables(VARIABLES),
    })
}

/// A line of the user database.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) shell: Option<String>,
}

impl System {
    /// The caller's account: from `/etc/passwd`, and from the other sources of the C library only when it is
    /// not there, for those are slow to ask.
    pub(super) fn account(&self) -> Option<Account> {
        let text = fd::read_small(&self.path("/etc/passwd"), MAX_PASSWD).unwrap_or_default();
        if let Some(account) = in_passwd(&String::from_utf8_lossy(&text), self.uid) {
            return Some(account);
        }
        let user = nix::unistd::User::from_uid(self.uid.into()).ok().flatten()?;
        Some(Account { name: user.name, shell: shell(&user.shell.to_string_lossy()) })
    }
}

fn in_passwd(text: &str, uid: u32) -> Option<Account> {
    text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, id, _, _, _, login] = fields[..] else { return None };
        (id.parse() == Ok(uid)).then(|| Account { name: name.to_owned(), shell: shell(login) })
    })
}

/// A shell that is one: an absolute path.
fn shell(path: &str) -> Option<String> {
    PathBuf::from(path).is_absolute().then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts() {
        let text =
            "root:x:0:0::/root:/bin/bash\nbroken\nme:x:1000:1000:Me,,,:/home/me:/bin/zsh\nx:x:7:7::/:\n";
        let account = |name: &str, shell: Option<&str>| Account {
            name: name.to_owned(),
            shell: shell.map(str::to_owned),
        };
        assert_eq!(in_passwd(text, 1000), Some(account("me", Some("/bin/zsh"))));
        assert_eq!(in_passwd(text, 0), Some(account("root", Some("/bin/bash"))));
        assert_eq!(in_passwd(text, 7), Some(account("x", None)));
        assert_eq!(in_passwd(text, 8), None);
    }

    #[test]
    fn this_host() {
        let dirs = Dirs::from_environment().unwrap();
        let host = host(&dirs).unwrap();
        assert!(host.cwd.is_absolute() && host.platform.starts_with("linux/"), "{host:?}");
        assert!(!host.user.is_empty());
    }
}

//! The image's users and groups, from the text of its `/etc/passwd` and `/etc/group`.
//!
//! Both are written by whoever made the image: lines that make no sense are skipped, and what can't be found is
//! an error, never root.

use std::path::PathBuf;

use super::Error;

/// Larger files hold no accounts anyone needs.
const MAX_BYTES: usize = 1 << 20;

/// The texts of `/etc/passwd` and `/etc/group`; empty for a file that is not there.
#[derive(Debug, Clone, Copy, Default)]
pub struct Accounts<'a> {
    passwd: &'a str,
    group: &'a str,
}

/// Who a session runs as, in the box's own ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Login name; the id in digits for a user without an entry.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids, sorted.
    pub groups: Vec<u32>,
    /// Home folder, absolute.
    pub home: PathBuf,
    /// Login shell, when the entry names one that is absolute.
    pub shell: Option<String>,
}

impl<'a> Accounts<'a> {
    /// Takes the two texts, each at most 1 MiB.
    pub fn new(passwd: &'a str, group: &'a str) -> Result<Self, Error> {
        for (file, text) in [("/etc/passwd", passwd), ("/etc/group", group)] {
            if text.len() > MAX_BYTES {
                return Err(Error::AccountsTooLarge { file });
            }
        }
        Ok(Self { passwd, group })
    }

    /// Looks up `NAME`, `UID`, `NAME:GROUP` or `UID:GID` (image-spec `config.md`, "User"). A user id without an
    /// entry has group 0 unless one is given, as every runtime has it.
    pub fn find(&self, user: &str) -> Result<Account, Error> {
        let fail = |why| Error::User { user: user.chars().take(100).collect(), why };
        let (who, group) = match user.split_once(':') {
            Some((who, group)) => (who, Some(group)),
            None => (user, None),
        };
        let mut account = match number(who) {
            Some(uid) => self.entries().find(|account| account.uid == uid).unwrap_or_else(|| Account {
                name: uid.to_string(),
                uid,
                gid: 0,
                groups: Vec::new(),
                home: "/".into(),
                shell: None,
            }),
            None if who.is_empty() || who.bytes().all(|byte| byte.is_ascii_digit()) => {
                return Err(fail("that is neither a name nor a user id"));
            }
            None => self
                .entries()
                .find(|account| account.name == who)
                .ok_or_else(|| fail("its /etc/passwd has no such name"))?,
        };
        match group {
            Some(group) => {
                account.gid = match number(group) {
                    Some(gid) => gid,
                    None => self
                        .groups()
                        .find(|(name, ..)| *name == group)
                        .map(|(_, gid, _)| gid)
                        .ok_or_else(|| fail("its /etc/group has no such group"))?,
                };
            }
            None => {
                let member = |members: &str| members.split(',').any(|name| name == account.name);
                let groups = self.groups().filter(|(_, gid, members)| *gid != account.gid && member(members));
                account.groups = groups.map(|(_, gid, _)| gid).collect();
                account.groups.sort_unstable();
                account.groups.dedup();
            }
        }
        Ok(account)
    }

    /// `name:password:uid:gid:comment:home:shell`, line by line.
    fn entries(&self) -> impl Iterator<Item = Account> + use<'a> {
        self.passwd.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, uid, gid, _, home, rest @ ..] = fields.as_slice() else { return None };
            let absolute = |path: &&&str| path.starts_with('/') && !path.contains('\0');
            (!name.is_empty() && !name.starts_with(['+', '-', '#'])).then_some(())?;
            Some(Account {
                name: (*name).to_owned(),
                uid: number(uid)?,
                gid: number(gid)?,
                groups: Vec::new(),
                home: Some(home).filter(absolute).map_or("/", |home| *home).into(),
                shell: rest.first().filter(absolute).map(|shell| (*shell).to_owned()),
            })
        })
    }

    /// `name:password:gid:members`, line by line.
    fn groups(&self) -> impl Iterator<Item = (&'a str, u32, &'a str)> + use<'a> {
        self.group.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
            Some((name, number(gid)?, fields.next().unwrap_or_default()))
        })
    }
}

/// An id in digits alone; the highest means "none" to the kernel.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/bash
# comment
+nis::::::
short:x:1
evil:x:-1:0::/:/bin/sh
huge:x:4294967295:0::/:/bin/sh
words:x:zero:0::/:/bin/sh
empty:x:::::
plus:x:+7:7::/:/bin/sh
node:x:1000:1001:Node:/home/node:/bin/bash
noshell:x:5:5::relative:relative
:x:6:6::/:/bin/sh
node:x:7:7:the second is not looked at:/:/bin/sh
";
    const GROUP: &str =
        "root:x:0:\nnode:x:1001:\naudio:x:29:node,other\nvideo:x:44:node\nbad:x:x:node\nbad\n";

    fn shown(user: &str) -> String {
        match Accounts::new(PASSWD, GROUP).unwrap().find(user) {
            Ok(Account { name, uid, gid, groups, home, shell }) => {
                format!("{name} {uid}:{gid} {groups:?} {} {}", home.display(), shell.unwrap_or_default())
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn look_ups() {
        for (user, expected) in [
            ("root", "root 0:0 [] /root /bin/bash"),
            ("0", "root 0:0 [] /root /bin/bash"),
            ("node", "node 1000:1001 [29, 44] /home/node /bin/bash"),
            ("1000", "node 1000:1001 [29, 44] /home/node /bin/bash"),
            ("node:audio", "node 1000:29 [] /home/node /bin/bash"),
            ("node:7", "node 1000:7 [] /home/node /bin/bash"),
            ("4242", "4242 4242:0 [] / "),
            ("4242:4243", "4242 4242:4243 [] / "),
            ("noshell", "noshell 5:5 [] / "),
            ("nobody", "no user `nobody` in the image: its /etc/passwd has no such name"),
            ("node:none", "no user `node:none` in the image: its /etc/group has no such group"),
            ("node:", "no user `node:` in the image: its /etc/group has no such group"),
            ("", "no user `` in the image: that is neither a name nor a user id"),
            (":0", "no user `:0` in the image: that is neither a name nor a user id"),
            ("4294967295", "no user `4294967295` in the image: that is neither a name nor a user id"),
            ("99999999999", "no user `99999999999` in the image: that is neither a name nor a user id"),
            ("-1", "no user `-1` in the image: its /etc/passwd has no such name"),
            ("+7", "no user `+7` in the image: its /etc/passwd has no such name"),
            ("evil", "no user `evil` in the image: its /etc/passwd has no such name"),
            ("huge", "no user `huge` in the image: its /etc/passwd has no such name"),
            ("words", "no user `words` in the image: its /etc/passwd has no such name"),
            ("empty", "no user `empty` in the image: its /etc/passwd has no such name"),
            ("plus", "no user `plus` in the image: its /etc/passwd has no such name"),
            ("short", "no user `short` in the image: its /etc/passwd has no such name"),
            ("+nis", "no user `+nis` in the image: its /etc/passwd has no such name"),
            ("# comment", "no user `# comment` in the image: its /etc/passwd has no such name"),
        ] {
            assert_eq!(shown(user), expected, "{user}");
        }
    }

    #[test]
    fn missing_files_and_large_ones() {
        assert_eq!(Accounts::default().find("5:6").unwrap().gid, 6);
        assert!(Accounts::default().find("root").is_err());
        let large = "x".repeat(MAX_BYTES + 1);
        assert!(matches!(Accounts::new(&large, ""), Err(Error::AccountsTooLarge { file: "/etc/passwd" })));
        assert!(matches!(Accounts::new("", &large), Err(Error::AccountsTooLarge { file: "/etc/group" })));
    }
}

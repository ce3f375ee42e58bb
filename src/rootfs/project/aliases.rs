//! Where links and settings of a project on the host lead: what is written there counts as what leads to it.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::fcntl::OFlag;

use crate::sys;
use crate::sys::fd;

use super::runs_later::{Alias, Counts, is_way, why_in};

/// Settings of git are no larger.
const MOST: usize = 1 << 20;
const HOOKS: &str = "your settings of git name it for hooks";

/// Those of the links at the top of the project and in the folders there that lead to what runs later, and of
/// `core.hooksPath` in its git settings. `project` is the path of `root`.
pub(super) fn aliases(root: BorrowedFd<'_>, project: &Path) -> Result<Vec<Alias>, sys::Error> {
    let mut found = Vec::new();
    let mut add = |above: &[u8], target: &[u8], counts| {
        if let Some(path) = resolved(above, target, project.as_os_str().as_bytes()) {
            found.push(Alias { path, counts });
        }
    };
    for name in fd::names(root, usize::MAX)? {
        let lower = name.to_ascii_lowercase();
        if !is_way(&lower) {
            continue;
        }
        match fd::stat_at(root, &name)?.st_mode & libc::S_IFMT {
            libc::S_IFLNK => add(b"", &fd::readlinkat(root, &name)?, Counts::As(lower)),
            libc::S_IFDIR => {
                let folder = fd::open_folder(root, &name)?;
                for inner in fd::names(folder.as_fd(), usize::MAX)? {
                    if let Some(why) = why_in(&lower, &inner.to_ascii_lowercase())
                        && fd::stat_at(folder.as_fd(), &inner)?.st_mode & libc::S_IFMT == libc::S_IFLNK
                    {
                        add(&name, &fd::readlinkat(folder.as_fd(), &inner)?, Counts::Apart(why));
                    }
                }
            }
            _ => {}
        }
    }
    if let Ok(git) = fd::open_folder(root, b".git")
        && let Ok(config) = fd::openat(git.as_fd(), b"config", OFlag::O_RDONLY | OFlag::O_NONBLOCK, 0)
        && let Ok(text) = fd::read_from(&config, MOST)
    {
        hooks_paths(&text).for_each(|path| add(b"", path, Counts::Apart(HOOKS)));
    }
    Ok(found)
}

/// The values of all lines `hooksPath = …`: git-config(1).
fn hooks_paths(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').filter_map(|line| {
        // the section may stand on the same line
        let line = line.trim_ascii();
        let line = line.strip_prefix(b"[").map_or(line, |rest| {
            rest.iter().position(|byte| *byte == b']').map_or(rest, |end| &rest[end + 1..])
        });
        let equals = line.iter().position(|byte| *byte == b'=')?;
        let value = line[equals + 1..].trim_ascii();
        let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
        line[..equals].trim_ascii().eq_ignore_ascii_case(b"hookspath").then_some(value)
    })
}

/// The path in the project, in small letters, that `target` is seen from the folder `above`; none when it is not in it.
fn resolved(above: &[u8], target: &[u8], project: &[u8]) -> Option<Vec<u8>> {
    let (base, rest) = match target.first()? {
        b'/' => (&b""[..], target.strip_prefix(project)?.strip_prefix(b"/")?),
        _ => (above, target),
    };
    let mut names: Vec<&[u8]> = base.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
    for name in rest.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop()?),
            name => names.push(name),
        }
    }
    let path = names.join(&b'/').to_ascii_lowercase();
    (!path.is_empty()).then_some(path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_and_settings_that_lead_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let project = folder.path();
        fs::create_dir_all(project.join(".git")).unwrap();
        fs::create_dir_all(project.join(".config")).unwrap();
        fs::write(project.join(".git/config"), "[core]\n\tHooksPath = \"./tools/Hooks/\"\n").unwrap();
        symlink("ci", project.join(".github")).unwrap();
        symlink("../conf/mise", project.join(".config/mise")).unwrap();
        symlink(project.join("editor"), project.join(".vscode")).unwrap();
        symlink("/etc", project.join(".cargo")).unwrap();
        symlink("src", project.join("other")).unwrap();
        let root = fs::File::open(project).unwrap();
        let mut found: Vec<_> = aliases(root.as_fd(), project)
            .unwrap()
            .into_iter()
            .map(|alias| (String::from_utf8(alias.path).unwrap(), alias.counts))
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let [(ci, as_github), (mise, apart), (editor, as_vscode), (hooks, for_hooks)] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(
            (&ci[..], &mise[..], &editor[..], &hooks[..]),
            ("ci", "conf/mise", "editor", "tools/hooks")
        );
        assert_eq!((as_github, as_vscode), (&Counts::As(b".github".into()), &Counts::As(b".vscode".into())));
        assert!(matches!(apart, Counts::Apart(_)) && *for_hooks == Counts::Apart(HOOKS));
    }
}

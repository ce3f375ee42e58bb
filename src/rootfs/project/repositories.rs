//! Repositories that have no folder `.git`: git takes any folder for one that looks so, be it the one somebody stands in or
//! one above, and runs what its settings and hooks name.
//!
//! A folder is judged by what it will hold when all is applied, so that the last piece is held back whenever it comes:
//! gitrepository-layout(5).

use std::collections::{BTreeMap, BTreeSet};

use super::edits::{Edit, Kind};
use super::runs_later::GIT;

/// What makes a folder a repository: the first with the next two, or with the last, which says where those are.
const MARKS: [&str; 4] = ["HEAD", "objects", "refs", "commondir"];
/// What in one is settings or hooks, or says where they are.
const SETTINGS: &[&str] =
    &["config", "config.worktree", "hooks", "commondir", "gitdir", "modules", "worktrees"];

/// Whether a folder in which there are such names is a repository to git. `has` is asked for each of them.
pub(super) fn is_repository<E>(mut has: impl FnMut(&str) -> Result<bool, E>) -> Result<bool, E> {
    let [head, objects, refs, common] = MARKS;
    Ok(has(head)? && (has(common)? || has(objects)? && has(refs)?))
}

/// Whether a name in a repository makes it one.
fn is_mark(name: &[u8]) -> bool {
    MARKS.iter().any(|mark| name.eq_ignore_ascii_case(mark.as_bytes()))
}

fn is_setting(name: &[u8]) -> bool {
    SETTINGS.iter().any(|setting| name.eq_ignore_ascii_case(setting.as_bytes()))
}

/// Whether a name in a repository that comes as a whole is held back.
pub(super) fn is_held(name: &[u8]) -> bool {
    is_mark(name) || is_setting(name)
}

/// Sets apart what makes a folder a repository, or no longer makes it one, and the settings and hooks of those there are.
/// `stands` tells whether something stands at a path of the project now, and whether it is a folder.
pub(super) fn hold<E>(
    edits: &mut [Edit],
    mut stands: impl FnMut(&[u8]) -> Result<Option<bool>, E>,
) -> Result<(), E> {
    let mut coming: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for edit in edits.iter().filter(|edit| edit.kind != Kind::Deleted) {
        let path = edit.path.to_ascii_lowercase();
        let start = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        if is_mark(&path[start..]) {
            coming.entry(path[..start].to_vec()).or_default().insert(path[start..].to_vec());
        }
    }
    // by folder: whether it is one in the project, and whether it will be
    let mut known: BTreeMap<Vec<u8>, (bool, bool)> = BTreeMap::new();
    for edit in edits.iter_mut().filter(|edit| edit.apart.is_none()) {
        let mut start = 0;
        for (depth, name) in edit.path.split(|byte| *byte == b'/').enumerate() {
            let (folder, end) = (&edit.path[..start], start + name.len());
            start = end + 1;
            if !is_held(name) {
                continue;
            }
            let key = folder.to_ascii_lowercase();
            let (was, will) = if let Some(found) = known.get(&key) {
                *found
            } else {
                let mut there =
                    |name: &str| stands(&[folder, name.as_bytes()].concat()).map(|found| found.is_some());
                let was = is_repository(&mut there)?;
                let comes = |name: &str| {
                    coming
                        .get(&key)
                        .is_some_and(|names| names.contains(&name.to_ascii_lowercase().into_bytes()))
                };
                let will = was || is_repository(|name| Ok(comes(name) || there(name)?))?;
                known.insert(key, (was, will));
                (was, will)
            };
            let is_whole = end == edit.path.len();
            let breaks = || -> Result<bool, E> {
                Ok(is_whole
                    && (matches!(edit.kind, Kind::Deleted | Kind::Mode)
                        || !edit.is_folder && edit.size.is_none()
                        || stands(&edit.path)?.is_some_and(|was_folder| was_folder != edit.is_folder)))
            };
            if will && (is_setting(name) || !was || { breaks }()?) {
                edit.apart = Some((depth + 1, GIT.to_owned()));
                break;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(kind: Kind, path: &str) -> Edit {
        let is_folder = path.ends_with('/');
        let path = path.trim_end_matches('/').as_bytes().to_vec();
        let size = (!is_folder && kind != Kind::Deleted).then_some(1);
        Edit { kind, path, size, is_folder, apart: None, unfit: None, set_id: false }
    }

    /// What is held of such edits over a project of these paths.
    fn held(edits: &[(Kind, &str)], project: &[&str]) -> Vec<(String, usize)> {
        let mut edits: Vec<Edit> = edits.iter().map(|(kind, path)| edit(*kind, path)).collect();
        let stands = |path: &[u8]| {
            let at = |there: &&&str| there.trim_end_matches('/').as_bytes() == path;
            Ok::<_, ()>(project.iter().find(at).map(|there| there.ends_with('/')))
        };
        hold(&mut edits, stands).unwrap();
        edits.iter().filter_map(|edit| Some((edit.shown(), edit.apart.as_ref()?.0))).collect()
    }

    #[test]
    fn a_folder_that_becomes_one() {
        use Kind::Added;
        let edits = [
            (Added, "HEAD"),
            (Added, "config"),
            (Added, "objects/"),
            (Added, "objects/.k"),
            (Added, "refs/"),
            (Added, "src/config"),
        ];
        let all = ["HEAD", "config", "objects/", "objects/.k", "refs/"].map(|path| (path.to_owned(), 1));
        assert_eq!(held(&edits, &[]), all);
        // the last piece of one that came before
        let sub = ["sub/HEAD", "sub/objects/", "sub/config"];
        assert_eq!(held(&[(Added, "sub/Refs/")], &sub), [("sub/Refs/".to_owned(), 2)]);
        assert_eq!(held(&[(Added, "w/HEAD"), (Added, "w/commondir")], &[]).len(), 2, "as a worktree has");
        assert_eq!(held(&[(Added, "sub/HEAD"), (Added, "sub/objects/"), (Added, "sub/config")], &[]), []);
    }

    #[test]
    fn one_that_is_there() {
        use Kind::{Added, Changed, Deleted, Mode};
        let bare = [".bare/HEAD", ".bare/objects/", ".bare/refs/", ".bare/config"];
        let free = [(Changed, ".bare/HEAD"), (Added, ".bare/refs/heads/x"), (Added, ".bare/objects/ab/c")];
        assert_eq!(held(&free, &bare), []);
        for broken in [
            (Changed, ".bare/config"),
            (Added, ".bare/hooks/x"),
            (Added, ".bare/worktrees/a/gitdir"),
            (Deleted, ".bare/HEAD"),
            (Mode, ".bare/objects/"),
            (Changed, ".bare/refs"),
        ] {
            assert_eq!(held(&[broken], &bare).len(), 1, "{broken:?}");
        }
    }
}

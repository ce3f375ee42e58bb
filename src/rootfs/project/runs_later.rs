//! What in a project runs code on the host by itself: when somebody goes to its folder, opens it in an editor, commits,
//! installs or pushes. Such paths are applied only when they are named.
//!
//! Sources, Makefiles and build scripts are no part of the list: they run when somebody runs them, who has read the diff.
//! Letters are compared without regard to case, for the project may lie where the file system has none.

/// A pattern in small letters of one name or two, from any folder of the project down (`*` at either end of a name stands
/// for anything), and why.
const TABLE: &[(&str, &str)] = &[
    (".gitmodules", "git fetches from where it says"),
    (".gitconfig", "git takes commands from it"),
    (".config/git", "git takes commands from it"),
    (".husky", "git runs it as a hook"),
    (".githooks", "git runs it as a hook"),
    (".hg/hgrc*", "mercurial takes commands from it"),
    (".hg/sharedpath", "mercurial finds settings there"),
    (".jj", "jujutsu finds repositories and settings there"),
    (".pre-commit-config.yaml", "git runs what it names as a hook"),
    ("lefthook*", "git runs what it names as a hook"),
    (".lefthook*", "git runs what it names as a hook"),
    (".overcommit.yml", "git runs what it names as a hook"),
    (".envrc", "direnv runs it"),
    (".direnv", "direnv runs it"),
    (".env", "autoenv runs it, and programs take variables from it"),
    ("mise.*", "mise runs what it names when you go to its folder"),
    (".mise.*", "mise runs what it names when you go to its folder"),
    (".config/mise", "mise runs what it names when you go to its folder"),
    (".mise", "mise runs what it names when you go to its folder"),
    (".tool-versions", "version managers choose programs by it"),
    ("devbox.toml", "devbox makes boxes of what it says"),
    ("devbox-lock.toml", "devbox makes boxes of what it says"),
    (".vscode", "the editor runs tasks and programs it names"),
    ("*.code-workspace", "the editor runs tasks and programs it names"),
    (".idea", "the editor runs tasks and programs it names"),
    (".run", "the editor runs tasks it names"),
    (".fleet", "the editor runs tasks it names"),
    (".zed", "the editor runs tasks and programs it names"),
    (".helix", "the editor runs programs it names"),
    (".nvim", "the editor runs it"),
    (".nvim.lua", "the editor runs it"),
    (".nvimrc", "the editor runs it"),
    (".vimrc", "the editor runs it"),
    (".exrc", "the editor runs it"),
    (".lvimrc", "the editor runs it"),
    (".local.vimrc", "the editor runs it"),
    (".dir-locals*", "the editor runs it"),
    ("*.sublime-project", "the editor runs programs it names"),
    (".devcontainer", "the editor builds and starts what it says"),
    (".devcontainer.json", "the editor builds and starts what it says"),
    (".claude", "coding assistants start programs it names"),
    (".cursor", "coding assistants start programs it names"),
    (".mcp.json", "coding assistants start programs it names"),
    (".gemini", "coding assistants start programs it names"),
    (".codex", "coding assistants start programs it names"),
    (".windsurf*", "coding assistants start programs it names"),
    (".npmrc", "npm takes scripts and registries from it"),
    (".yarnrc*", "yarn runs plug-ins it names"),
    (".yarn", "yarn runs it"),
    (".pnpmfile*", "pnpm runs it"),
    ("bunfig.toml", "bun loads what it names"),
    (".cargo/config*", "cargo runs wrappers and runners it names"),
    (".cargo", "cargo runs wrappers and runners it names"),
    ("rust-toolchain*", "rustup runs the compiler it names"),
    (".gdbinit", "gdb runs it"),
    (".lldbinit", "lldb runs it"),
    (".pdbrc*", "the debugger of Python runs it"),
    (".rprofile", "R runs it"),
    (".irbrc", "irb runs it"),
    (".pryrc", "pry runs it"),
    (".ghci", "ghci runs it"),
    (".bash*", "the shell runs it"),
    (".profile", "the shell runs it"),
    (".zsh*", "the shell runs it"),
    (".zlog*", "the shell runs it"),
    (".zprofile", "the shell runs it"),
    (".kshrc", "the shell runs it"),
    (".cshrc", "the shell runs it"),
    (".tcshrc", "the shell runs it"),
    (".inputrc", "the shell takes keys from it"),
    (".tmux.conf", "tmux runs commands in it"),
    (".screenrc", "screen runs commands in it"),
    (".github/workflows", "it runs when it is pushed"),
    (".github/actions", "it runs when it is pushed"),
    (".gitea", "it runs when it is pushed"),
    (".forgejo", "it runs when it is pushed"),
    (".gitlab-ci.yml", "it runs when it is pushed"),
    (".circleci", "it runs when it is pushed"),
    (".travis.yml", "it runs when it is pushed"),
    (".drone.yml", "it runs when it is pushed"),
    (".woodpecker*", "it runs when it is pushed"),
    ("azure-pipelines.yml", "it runs when it is pushed"),
    ("bitbucket-pipelines.yml", "it runs when it is pushed"),
    (".buildkite", "it runs when it is pushed"),
    ("jenkinsfile", "it runs when it is pushed"),
];

/// What is plain data in a `.git` folder; all else there is hooks, settings, or says where they are.
const GIT_DATA: &[&str] = &[
    "objects",
    "refs",
    "logs",
    "lfs",
    "head",
    "index",
    "index.lock",
    "packed-refs",
    "shallow",
    "description",
    "*_head",
    "commit_editmsg",
    "merge_msg",
    "merge_mode",
    "squash_msg",
    "auto_merge",
];
/// Without these git takes a folder for no repository, and looks for another.
const GIT_MARKS: &[&str] = &["head", "objects", "refs"];
pub(super) const GIT: &str = "git finds hooks and settings there";

/// A path that is not applied unless it is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RunsLater {
    /// How much of the path names it: this many of its names.
    pub(super) names: usize,
    /// What runs it.
    pub(super) why: &'static str,
}

/// What stands at a path, and stood there.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stands {
    pub(super) is_folder: bool,
    pub(super) was_folder: bool,
    /// It is gone, of another kind, or its owner has other rights to it.
    pub(super) is_broken: bool,
}

/// A place of the project that something else leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Alias {
    /// Relative to the project, in small letters.
    pub(super) path: Vec<u8>,
    /// What it counts as.
    pub(super) counts: Counts,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Counts {
    /// A folder of this name.
    As(Vec<u8>),
    /// Run later, for this reason.
    Apart(&'static str),
}

/// Looks at one path after the other, and at each folder above once, when they come in order.
#[derive(Debug, Default)]
pub(super) struct Judge {
    aliases: Vec<Alias>,
    /// The path looked at last, in small letters, and what was found at each of its names.
    path: Vec<u8>,
    levels: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    /// Bytes of the path to its end.
    end: usize,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Plain,
    /// A `.git` folder.
    Git,
    /// In one, and plain data.
    Data,
    Apart(RunsLater),
}

impl Judge {
    /// `aliases` are the places that count as others.
    pub(super) fn new(aliases: Vec<Alias>) -> Self {
        Self { aliases, ..Self::default() }
    }

    /// Whether the path, relative to the project, runs later or is in what does.
    pub(super) fn look(&mut self, path: &[u8], stands: Stands) -> Option<RunsLater> {
        let lower = path.to_ascii_lowercase();
        let common = lower.iter().zip(&self.path).take_while(|(a, b)| a == b).count();
        // what was found at the path itself may be another now
        let is_above = |level: &Level| level.end <= common && lower.get(level.end) == Some(&b'/');
        while self.levels.pop_if(|level| !is_above(level)).is_some() {}
        self.path = lower;
        loop {
            let start = self.levels.last().map_or(0, |level| level.end + 1);
            let length = self.path[start..].iter().position(|byte| *byte == b'/');
            let end = length.map_or(self.path.len(), |length| start + length);
            let is_last = end == self.path.len();
            let above = Stands { is_folder: true, was_folder: true, is_broken: false };
            let place = self.place(start, end, if is_last { stands } else { above });
            self.levels.push(Level { end, place });
            if is_last {
                return if let Place::Apart(found) = place { Some(found) } else { None };
            }
        }
    }

    /// What the name from `start` to `end` is, below the last level.
    fn place(&self, start: usize, end: usize, stands: Stands) -> Place {
        let names = self.levels.len() + 1;
        let name = &self.path[start..end];
        match self.levels.last().map_or(Place::Plain, |level| level.place) {
            Place::Git if GIT_MARKS.iter().any(|mark| fits(mark, name)) && stands.is_broken => {
                Place::Apart(RunsLater { names: names - 1, why: GIT })
            }
            Place::Git if GIT_DATA.iter().any(|data| fits(data, name)) => Place::Data,
            Place::Git => Place::Apart(RunsLater { names: names - 1, why: GIT }),
            Place::Plain => {
                let above = self.levels.last().map_or(&b""[..], |level| self.name(level.end));
                let alias = self.alias(end);
                if let Some(Counts::Apart(why)) = alias {
                    return Place::Apart(RunsLater { names, why });
                }
                let found = listed(above, name, names, stands);
                match alias {
                    Some(Counts::As(name)) if found == Place::Plain => listed(b"", name, names, stands),
                    _ => found,
                }
            }
            inherited => inherited,
        }
    }

    /// What the path up to `end` counts as.
    fn alias(&self, end: usize) -> Option<&Counts> {
        let found = self.aliases.iter().find(|alias| alias.path == self.path[..end]);
        found.map(|alias| &alias.counts)
    }

    /// The name that ends there, or the one it counts as.
    fn name(&self, end: usize) -> &[u8] {
        match self.alias(end) {
            Some(Counts::As(name)) => name,
            _ => self.path[..end].rsplit(|byte| *byte == b'/').next().unwrap_or_default(),
        }
    }
}

/// Whether a link of this name, in small letters, leads to what runs later.
pub(super) fn is_way(name: &[u8]) -> bool {
    name == b".git"
        || TABLE.iter().any(|(pattern, _)| fits(pattern.split('/').next().unwrap_or(pattern), name))
}

/// Why a name in a folder of that name runs later, both in small letters.
pub(super) fn why_in(folder: &[u8], name: &[u8]) -> Option<&'static str> {
    if folder == b".git" && name == b"hooks" {
        return Some(GIT);
    }
    let fitting = |pattern: &str| {
        pattern.split_once('/').is_some_and(|(first, last)| fits(first, folder) && fits(last, name))
    };
    TABLE.iter().find(|(pattern, _)| fitting(pattern)).map(|(_, why)| *why)
}

fn listed(above: &[u8], name: &[u8], names: usize, stands: Stands) -> Place {
    if name == b".git" {
        // a folder that was there before says nothing by itself; what takes its place, its coming and its going do
        return match stands.is_folder && stands.was_folder && !stands.is_broken {
            true => Place::Git,
            false => Place::Apart(RunsLater { names, why: GIT }),
        };
    }
    for (pattern, why) in TABLE {
        let names = match pattern.split_once('/') {
            None if fits(pattern, name) => names,
            Some((first, last)) if fits(first, above) && fits(last, name) => names - 1,
            // a link in place of the folder on the way leads to it as well
            Some((first, _)) if !stands.is_folder && fits(first, name) => names,
            _ => continue,
        };
        return Place::Apart(RunsLater { names, why });
    }
    Place::Plain
}

fn fits(pattern: &str, name: &[u8]) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(end), _) => name.ends_with(end.as_bytes()),
        (None, Some(begin)) => name.starts_with(begin.as_bytes()),
        (None, None) => name == pattern.as_bytes(),
    }
}

/// Whether a link with this text at `path` may lead out of the project. Whatever isn't plain is taken for it: another
/// link on the way decides what a `..` after it means.
pub(super) fn leads_out(path: &[u8], target: &[u8]) -> bool {
    if target.is_empty() || target[0] == b'/' {
        return true;
    }
    let mut depth = path.iter().filter(|byte| **byte == b'/').count();
    let mut went_down = false;
    for name in target.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." if went_down || depth == 0 => return true,
            b".." => depth -= 1,
            _ => went_down = true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_apart() {
        for (path, folder, names) in [
            (".git/hooks/pre-commit", false, Some(1)),
            (".git/hooks", true, Some(1)),
            (".git/config", false, Some(1)),
            (".GIT/Config", false, Some(1)),
            (".git/modules/lib/hooks/x", false, Some(1)),
            (".git/commondir", false, Some(1)),
            (".git", false, Some(1)),
            (".git/refs/heads/lefthook-x", false, None),
            (".git/objects/ab/cdef", false, None),
            (".git/refs/heads/main", false, None),
            (".git/HEAD", false, None),
            (".git/FETCH_HEAD", false, None),
            ("lib/.git/config", false, Some(2)),
            ("sub/.envrc", false, Some(2)),
            (".vscode/tasks.json", false, Some(1)),
            ("a/b.code-workspace", false, Some(2)),
            ("devbox.toml", false, Some(1)),
            ("Devbox.TOML", false, Some(1)),
            (".cargo/config.toml", false, Some(1)),
            (".github/workflows/ci.yml", false, Some(1)),
            (".github/CODEOWNERS", false, None),
            (".github", true, None),
            (".github", false, Some(1)),
            ("a/.config", true, None),
            ("a/.config", false, Some(2)),
            (".bashrc", false, Some(1)),
            (".githooks/pre-commit", false, Some(1)),
            (".hg/hgrc", false, Some(1)),
            (".hg/store/data", false, None),
            ("mise.local.toml", false, Some(1)),
            ("a/.config/mise/config.toml", false, Some(2)),
            (".config/mise.toml", false, Some(2)),
            ("misery", false, None),
            (".Rprofile", false, Some(1)),
            (".irbrc", false, Some(1)),
            (".pryrc", false, Some(1)),
            (".pdbrc", false, Some(1)),
            (".ghci", false, Some(1)),
            (".lvimrc", false, Some(1)),
            (".local.vimrc", false, Some(1)),
            ("a/.env", false, Some(2)),
            (".jj/repo/x", false, Some(1)),
            (".gemini/settings.json", false, Some(1)),
            (".codex/config.toml", false, Some(1)),
            (".windsurf/x", false, Some(1)),
            (".buildkite/pipeline.yml", false, Some(1)),
            ("bitbucket-pipelines.yml", false, Some(1)),
            ("Jenkinsfile", false, Some(1)),
            ("Makefile", false, None),
            ("src/main.rs", false, None),
            ("gitconfig", false, None),
        ] {
            let stands = Stands { is_folder: folder, ..Stands::default() };
            let found = Judge::default().look(path.as_bytes(), stands).map(|found| found.names);
            assert_eq!(found, names, "{path}");
        }
    }

    #[test]
    fn a_table_in_small_letters_of_two_names_at_most() {
        for (pattern, _) in TABLE {
            assert_eq!(*pattern, pattern.to_ascii_lowercase());
            assert!(pattern.split('/').count() <= 2, "{pattern}");
        }
    }

    #[test]
    fn a_git_folder_is_free_only_where_one_was() {
        let look = |path: &str, is_folder, was_folder, is_broken| {
            let mut judge = Judge::default();
            judge.look(b".git", Stands { is_folder: true, was_folder, is_broken: !was_folder });
            judge.look(path.as_bytes(), Stands { is_folder, was_folder, is_broken }).map(|found| found.names)
        };
        assert_eq!(look(".git", true, true, false), None);
        assert_eq!(look(".git", true, false, true), Some(1), "a file or nothing was there");
        assert_eq!(look(".git/HEAD", false, false, false), Some(1), "and all in it");
        assert_eq!(look(".git/HEAD", false, true, false), None);
        for mark in ["HEAD", "objects", "refs"] {
            assert_eq!(look(&format!(".git/{mark}"), false, true, true), Some(1), "{mark} is gone");
        }
        assert_eq!(look(".git/index", false, true, true), None);
    }

    #[test]
    fn places_that_count_as_others() {
        let alias = |path: &str, counts| Alias { path: path.into(), counts };
        let aliases = || {
            vec![
                alias("ci", Counts::As(b".github".to_vec())),
                alias("conf/editor", Counts::As(b".vscode".to_vec())),
                alias("tools/hooks", Counts::Apart(GIT)),
            ]
        };
        let mut judge = Judge::new(aliases());
        for (path, names) in [
            ("ci/CODEOWNERS", None),
            ("ci/workflows/x.yml", Some(1)),
            ("Conf/editor/tasks.json", Some(2)),
            ("tools/hooks/pre-commit", Some(2)),
            ("tools/x", None),
        ] {
            let found = judge.look(path.as_bytes(), Stands::default()).map(|found| found.names);
            assert_eq!(found, names, "{path}");
        }
    }

    #[test]
    fn a_deep_path_takes_one_look_at_each_folder() {
        let mut judge = Judge::default();
        let mut path = Vec::new();
        let began = std::time::Instant::now();
        for _ in 0..2000 {
            path.extend_from_slice(if path.is_empty() { b"d" } else { b"/d" });
            assert_eq!(judge.look(&path, Stands { is_folder: true, ..Stands::default() }), None);
        }
        assert_eq!(judge.levels.len(), 2000);
        assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
        path.extend_from_slice(b"/.envrc");
        assert_eq!(judge.look(&path, Stands::default()).map(|found| found.names), Some(2001));
    }

    #[test]
    fn links_that_may_lead_out() {
        for (path, target, out) in [
            ("a", "b", false),
            ("a", "./b/c", false),
            ("a", "..", true),
            ("a/b", "../c", false),
            ("a/b", "../../c", true),
            ("a/b/c", "../../x/y", false),
            ("a", "/etc/passwd", true),
            ("a/b", "x/../../..", true),
            ("a/b", "x/../y", true),
            ("a", "", true),
        ] {
            assert_eq!(leads_out(path.as_bytes(), target.as_bytes()), out, "{path} -> {target}");
        }
    }
}

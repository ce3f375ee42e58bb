//! What in a project runs code on the host by itself: when somebody goes to its folder, opens it in an editor, commits,
//! installs or pushes. Such paths are applied only when they are named.
//!
//! Sources, Makefiles and build scripts are no part of the list: they run when somebody runs them, who has read the diff.
//! Letters are compared without regard to case, for the project may lie where the file system has none.

/// A pattern, from any folder of the project down (`*` at either end of a name stands for anything), and why.
const TABLE: &[(&str, &str)] = &[
    (".gitmodules", "git fetches from where it says"),
    (".gitconfig", "git takes commands from it"),
    (".config/git", "git takes commands from it"),
    (".husky", "git runs it as a hook"),
    (".pre-commit-config.yaml", "git runs what it names as a hook"),
    ("lefthook*", "git runs what it names as a hook"),
    (".lefthook*", "git runs what it names as a hook"),
    (".overcommit.yml", "git runs what it names as a hook"),
    (".envrc", "direnv runs it"),
    (".direnv", "direnv runs it"),
    ("mise.toml", "mise runs what it names when you go to its folder"),
    (".mise.toml", "mise runs what it names when you go to its folder"),
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
    (".dir-locals*", "the editor runs it"),
    ("*.sublime-project", "the editor runs programs it names"),
    (".devcontainer", "the editor builds and starts what it says"),
    (".devcontainer.json", "the editor builds and starts what it says"),
    (".claude", "coding assistants start programs it names"),
    (".cursor", "coding assistants start programs it names"),
    (".mcp.json", "coding assistants start programs it names"),
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
    ("Jenkinsfile", "it runs when it is pushed"),
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
pub(super) const GIT: &str = "git finds hooks and settings there";

/// A path that is not applied unless it is named.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RunsLater {
    /// How much of the path names it: this many of its names.
    pub(super) names: usize,
    /// What runs it.
    pub(super) why: &'static str,
}

/// Whether the path, relative to the project, is such a one or below one. `is_folder` when a folder stands there now.
pub(super) fn runs_later(path: &[u8], is_folder: bool) -> Option<RunsLater> {
    let lower = path.to_ascii_lowercase();
    let names: Vec<&[u8]> = lower.split(|byte| *byte == b'/').collect();
    for start in 0..names.len() {
        if names[start] == b".git" {
            match names.get(start + 1) {
                // the folder alone says nothing; a file or link in its place, or its going, does
                None if is_folder => {}
                None => return Some(RunsLater { names: start + 1, why: GIT }),
                Some(name) if GIT_DATA.iter().any(|data| fits(data, name)) => {}
                Some(_) => return Some(RunsLater { names: start + 1, why: GIT }),
            }
            return None;
        }
        for (pattern, why) in TABLE {
            let parts: Vec<&str> = pattern.split('/').collect();
            // a link in place of a folder on the way leads to it as well
            let is_whole = names.len() - start >= parts.len() || !is_folder;
            if is_whole && parts.iter().zip(&names[start..]).all(|(part, name)| fits(part, name)) {
                return Some(RunsLater { names: start + 1, why });
            }
        }
    }
    None
}

fn fits(pattern: &str, name: &[u8]) -> bool {
    let pattern = pattern.to_ascii_lowercase();
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
            (".git", true, None),
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
            ("Makefile", false, None),
            ("src/main.rs", false, None),
            ("gitconfig", false, None),
        ] {
            let found = runs_later(path.as_bytes(), folder).map(|found| found.names);
            assert_eq!(found, names, "{path}");
        }
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

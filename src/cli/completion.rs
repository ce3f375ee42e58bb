//! Completion: a small script a shell, and the answers it asks for.
//!
//! A script runs `DEVBOX_COMPLETE=INDEX devbox WORD...` with the words of the line so far, and reads one
//! `candidate<TAB>help` a line. All that can be completed is known from the definitions in this module.

use std::ffi::OsString;

use clap::{CommandFactory as _, ValueEnum};
use clap_complete::engine;

use super::Cli;
use crate::dirs;

const ASKED: &str = "DEVBOX_COMPLETE";

/// A shell we have a script for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU bash 4.4 and later.
    Bash,
    /// zsh.
    Zsh,
    /// fish 3.1 and later.
    Fish,
}

impl Shell {
    /// The script, which calls the `devbox` in `PATH`.
    pub fn script(self) -> &'static str {
        match self {
            Self::Bash => include_str!("../../completions/devbox.bash"),
            Self::Zsh => include_str!("../../completions/_devbox"),
            Self::Fish => include_str!("../../completions/devbox.fish"),
        }
    }
}

/// The candidates a script asks for, or none when this is a run like any other. `argv` is the program's own.
pub fn answer(argv: &[OsString]) -> Option<String> {
    let index = dirs::variable(ASKED)?.to_str()?.parse().ok()?;
    Some(candidates(argv.get(1..).unwrap_or_default(), index))
}

/// One line a candidate for the word at `index` of `words`, the program's name being the first.
fn candidates(words: &[OsString], index: usize) -> String {
    let folder = dirs::current().ok();
    if index >= words.len() {
        return String::new();
    }
    let found = engine::complete(&mut Cli::command(), words.to_vec(), index, folder.as_deref());
    let mut text = String::new();
    for candidate in found.unwrap_or_default() {
        let value = candidate.get_value().to_string_lossy();
        // a name that would act on the terminal is not worth completing
        if value.chars().any(char::is_control) {
            continue;
        }
        text += &value;
        if let Some(help) = candidate.get_help() {
            text.push('\t');
            text.push_str(help.to_string().lines().next().unwrap_or_default());
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(line: &str) -> Vec<String> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let value = |line: &str| line.split('\t').next().unwrap_or_default().to_owned();
        candidates(&words, words.len() - 1).lines().map(value).collect()
    }

    #[test]
    fn verbs_and_flags() {
        let verbs = complete("devbox ");
        for verb in ["enter", "run", "ls", "plan", "doctor"] {
            assert!(verbs.contains(&verb.to_owned()), "{verbs:?}");
        }
        assert!(!verbs.contains(&"man".to_owned()), "{verbs:?}");
        assert_eq!(complete("devbox ent"), ["enter"]);
        assert_eq!(complete("devbox enter --netw"), ["--network"]);
        assert_eq!(complete("devbox enter --network "), ["host", "none"]);
        assert_eq!(complete("devbox completions z"), ["zsh"]);
    }

    #[test]
    fn nothing_beyond_the_words() {
        assert_eq!(candidates(&[], 0), "");
        assert_eq!(candidates(&["devbox".into()], 7), "");
    }

    #[test]
    fn scripts_call_devbox_from_the_path() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = shell.script();
            assert!(script.contains(ASKED) && script.contains(" devbox "), "{shell:?}");
            assert!(!script.contains("/devbox"), "{shell:?}");
        }
    }
}

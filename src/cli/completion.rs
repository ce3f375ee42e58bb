//! Completion: a small script a shell, and the answers it asks for.
//!
//! A script runs `DEVBOX_COMPLETE=INDEX devbox WORD...` with the words of the line so far, and reads one
//! `candidate<TAB>help` a line. All that can be completed is known from the definitions in this module.

use std::ffi::{OsStr, OsString};
use std::sync::OnceLock;

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
    let words = argv.get(1..).unwrap_or_default();
    let _ = WORDS.set(words.get(..index).unwrap_or(words).to_vec());
    Some(candidates(words, index))
}

/// The line being completed, without the word at the cursor; empty in any other run.
pub(super) fn words() -> &'static [OsString] {
    WORDS.get().map_or(&[], Vec::as_slice)
}

static WORDS: OnceLock<Vec<OsString>> = OnceLock::new();

/// One line a candidate for the word at `index` of `words`, the program's name being the first.
fn candidates(words: &[OsString], index: usize) -> String {
    let folder = dirs::current().ok();
    if index >= words.len() {
        return String::new();
    }
    let found = engine::complete(&mut Cli::command(), words.to_vec(), index, folder.as_deref());
    let mut found = found.unwrap_or_default();
    let is_flag = |word: &OsStr| word.as_encoded_bytes().starts_with(b"-");
    // who did not begin a flag is after a name, where there are names
    if !is_flag(&words[index]) && found.iter().any(|candidate| !is_flag(candidate.get_value())) {
        found.retain(|candidate| !is_flag(candidate.get_value()));
    }
    let mut text = String::new();
    for candidate in found {
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
        assert!(!verbs.iter().any(|verb| verb.starts_with('-')), "{verbs:?}");
        assert_eq!(complete("devbox ent"), ["enter"]);
        assert_eq!(complete("devbox enter --netw"), ["--network"]);
        assert_eq!(complete("devbox enter --network "), ["host", "none", "private"]);
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

    /// The real script in a real bash, with a `devbox` that answers with what it was asked.
    #[test]
    fn bash_puts_words_together_again() {
        const TEST: &str = r#"
            source "$1"
            compopt() { :; }
            devbox() { printf '<%s>\n' "$DEVBOX_COMPLETE" "${@: -1}"; }
            try() {
                COMP_LINE=$1 COMP_POINT=${#1} COMPREPLY=()
                local current=$2
                shift 2
                COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
                _devbox devbox "$current"
                echo "${COMPREPLY[@]//\\/}"
            }
            try 'devbox en' en devbox en
            try 'devbox rm ' '' devbox rm ''
            try 'devbox rmi a.b/rust:1' 1 devbox rmi a.b/rust : 1
            try 'devbox rmi localhost:50' 50 devbox rmi localhost : 50
            try 'devbox  plan --color=al' al devbox plan --color = al
            try 'devbox -e A=b:c run x' x devbox -e A = b : c run x
        "#;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/completions/devbox.bash");
        let run = std::process::Command::new("bash").args(["--norc", "-c", TEST, "bash", script]).output();
        let run = run.expect("bash is there");
        assert_eq!(String::from_utf8_lossy(&run.stderr), "");
        assert_eq!(
            String::from_utf8_lossy(&run.stdout),
            "<1> <en>\n<2> <>\n<2> <a.b/rust:1>\n<2> <localhost:50>\n<2> <--color=al>\n<4> <x>\n"
        );
    }
}

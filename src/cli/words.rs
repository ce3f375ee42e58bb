//! Which of `run`'s words is a box, and which are the command.
//!
//! clap hands over the words from the first one on and drops a `--` before them. They are the tail of the
//! command line, so the word before the tail tells whether such a `--` stood there.

use std::ffi::{OsStr, OsString};

use clap_complete::engine::{CompletionCandidate, ValueCompleter};

use super::candidates;

/// What the words come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// All is known.
    Done {
        /// Box or profile.
        name: Option<OsString>,
        /// The command, which may be empty.
        command: Vec<OsString>,
    },
    /// Flags of ours stand between the name and the command: `run NAME --root -- CMD`.
    FlagsAfterName {
        /// Box or profile.
        name: OsString,
        /// The command line without the name.
        argv: Vec<OsString>,
    },
}

/// Reads `words`, the last ones of `argv`. With `has_image` there is no name among them.
pub(super) fn read(argv: &[OsString], words: Vec<OsString>, has_image: bool) -> Reading {
    let before = argv.len() - words.len();
    let opened = before > 0 && argv[before - 1] == "--";
    if opened || has_image {
        return Reading::Done { name: None, command: words };
    }
    let mut rest = words.into_iter();
    let name = rest.next();
    let mut rest = rest.peekable();
    let escaped = rest.next_if(|word| word == "--").is_some();
    match (name, rest.peek()) {
        (Some(name), Some(word)) if !escaped && word.as_encoded_bytes().starts_with(b"-") => {
            let argv = argv[..before].iter().cloned().chain(rest).collect();
            Reading::FlagsAfterName { name, argv }
        }
        (name, _) => Reading::Done { name, command: rest.collect() },
    }
}

/// Completion of the words: the first may be a box or profile, the rest are the command's business.
#[derive(Debug)]
pub(super) struct Candidates;

impl ValueCompleter for Candidates {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        candidates::boxes_and_profiles(current)
    }

    fn complete_at(&self, index: usize, current: &OsStr) -> Vec<CompletionCandidate> {
        if index == 0 { self.complete(current) } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::{Cli, Verb};
    use std::ffi::OsString;

    fn read(line: &str) -> Result<(Option<String>, String, bool), clap::Error> {
        let argv: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let Verb::Run(run) = Cli::read(&argv)?.verb else { panic!("{line}") };
        let command: Vec<_> = run.command.iter().map(|word| word.to_str().unwrap()).collect();
        Ok((run.target, command.join(" "), run.plan.root))
    }

    #[test]
    fn name_and_command() {
        for (line, name, command, root) in [
            ("devbox run", None, "", false),
            ("devbox run --", None, "", false),
            ("devbox run web", Some("web"), "", false),
            ("devbox run web --", Some("web"), "", false),
            ("devbox run web ls -l", Some("web"), "ls -l", false),
            ("devbox run web -- ls -l", Some("web"), "ls -l", false),
            ("devbox run -- ls -l", None, "ls -l", false),
            ("devbox run --root -- ls --root", None, "ls --root", true),
            ("devbox run --root web ls", Some("web"), "ls", true),
            ("devbox run web --root ls -l", Some("web"), "ls -l", true),
            ("devbox run web --root -- ls -l", Some("web"), "ls -l", true),
            ("devbox run web --root", Some("web"), "", true),
            ("devbox run --image x:1 ls -l", None, "ls -l", false),
            ("devbox run --image x:1 -- ls -l", None, "ls -l", false),
            ("devbox run --rm --image x:1", None, "", false),
            ("devbox run web git checkout -- file", Some("web"), "git checkout -- file", false),
            ("devbox run -- web -- ls", None, "web -- ls", false),
            ("devbox run -- --", None, "--", false),
            ("devbox run web -e A=1 env", Some("web"), "env", false),
            ("devbox run web web", Some("web"), "web", false),
        ] {
            let (read_name, read_command, read_root) = read(line).unwrap();
            assert_eq!(
                (read_name.as_deref(), read_command.as_str(), read_root),
                (name, command, root),
                "{line}"
            );
        }
    }

    #[test]
    fn unknown_flags_are_ours_to_refuse() {
        for line in ["devbox run --nonsense web", "devbox run web --nonsense ls", "devbox run web -Z"] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}

//! The daily verbs, read without building the definitions of all others, which would take longer than joining a box.
//!
//! Only a line that is right as it stands is read here. Help and complaints come from the whole definition.

use std::ffi::{OsStr, OsString};

use clap::Parser;

use super::{Cli, EnterArgs, Everywhere, RunArgs, Verb};

#[derive(Parser)]
#[command(disable_help_flag = true)]
struct Enter {
    #[command(flatten)]
    args: EnterArgs,
    #[command(flatten)]
    everywhere: Everywhere,
}

#[derive(Parser)]
#[command(disable_help_flag = true)]
struct Run {
    #[command(flatten)]
    args: RunArgs,
    #[command(flatten)]
    everywhere: Everywhere,
}

/// `argv`, program name first, when it is a sound line of `enter` or `run` with the verb at its head.
pub(super) fn read(argv: &[OsString]) -> Option<Cli> {
    let (verb, line) = (argv.get(1)?, &argv[1..]);
    if let Some(verb) = without_flags(verb, &argv[2..]) {
        return Some(Cli { verb, everywhere: Everywhere::default(), v: false });
    }
    if verb == "enter" {
        let Enter { args, everywhere } = Enter::try_parse_from(line).ok()?;
        return Some(Cli { verb: Verb::Enter(args), everywhere, v: false });
    }
    if verb == "run" {
        let Run { args, everywhere } = Run::try_parse_from(line).ok()?;
        return Some(Cli { verb: Verb::Run(args), everywhere, v: false });
    }
    None
}

/// The verb, when no flag of ours stands among its words: most lines are so, and need no definition at all.
fn without_flags(verb: &OsStr, words: &[OsString]) -> Option<Verb> {
    let is_flag = |word: &OsString| word.as_encoded_bytes().starts_with(b"-");
    if verb == "enter" && words.len() < 2 && !words.iter().any(is_flag) {
        let target = match words.first() {
            Some(name) => Some(name.to_str()?.to_owned()),
            None => None,
        };
        return Some(Verb::Enter(EnterArgs { target, ..EnterArgs::default() }));
    }
    if verb == "run" {
        let words = match words.split_first() {
            Some((first, rest)) if first == "--" => rest,
            Some((first, _)) if is_flag(first) => return None,
            _ => words,
        };
        return Some(Verb::Run(RunArgs { words: words.to_vec(), ..RunArgs::default() }));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_read_the_same() {
        for (line, is_daily) in [
            ("devbox enter", true),
            ("devbox enter web", true),
            ("devbox run", true),
            ("devbox run web", true),
            ("devbox run --", true),
            ("devbox run -- --", true),
            ("devbox run -- ls -q --rm", true),
            ("devbox run web ls -q -- x", true),
            ("devbox run web -- ls -q", true),
            ("devbox run web --rm -- ls", true),
            ("devbox enter web -q -e A=b -e C --root", true),
            ("devbox enter --color always --yes web", true),
            ("devbox run web -- ls -l --help", true),
            ("devbox run --rm --image x:1 -- ls -q", true),
            ("devbox run --pull=never --image x:1 ls", true),
            ("devbox run web -q ls", true),
            ("devbox run -- enter", true),
            ("devbox enter --help", false),
            ("devbox enter a b", false),
            ("devbox run --nonsense", false),
            ("devbox -q enter", false),
            ("devbox ls", false),
            ("devbox", false),
        ] {
            let argv: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let daily = read(&argv);
            assert_eq!(daily.is_some(), is_daily, "{line}");
            if let Some(daily) = daily {
                let whole = Cli::try_parse_from(&argv).unwrap();
                assert_eq!(format!("{daily:?}"), format!("{whole:?}"), "{line}");
            }
        }
    }
}

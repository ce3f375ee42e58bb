//! Why a profile can't be used; mistakes inside a file are shown with their line.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use super::grammar::BadValue;

/// Why a profile can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something in the text, shown with its line.
    #[error("{0}")]
    Mistake(Box<Mistake>),
    /// The name asked for can't be one.
    #[error(transparent)]
    Name(BadValue),
    /// No place holds a profile of that name.
    #[error("no profile `{name}`")]
    NoProfile {
        /// The name, checked by grammar.
        name: String,
        /// A name that is there and looks like it.
        near: Option<String>,
    },
    /// The file given does not exist.
    #[error("no profile at `{}`", .path.display().to_string().escape_debug())]
    NoFile {
        /// The file.
        path: PathBuf,
    },
    /// The file can't be read.
    #[error("cannot read `{}`", .path.display().to_string().escape_debug())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no file to read a profile from.
    #[error("`{}` {why}", .path.display().to_string().escape_debug())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The organisation's policy could be anybody's.
    #[error("`{}` {why}", .path.display().to_string().escape_debug())]
    NotTheSystems {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A project file another user put there.
    #[error("`{}` belongs to another user (uid {owner})", .path.display().to_string().escape_debug())]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Mistake(mistake) => mistake.hint.clone(),
            Self::Name(wrong) => wrong.hint(),
            Self::NoProfile { near: Some(near), .. } => Some(format!("did you mean `{near}`?")),
            Self::NoProfile { near: None, .. } => Some("`devbox profiles` lists those there are".into()),
            Self::NoFile { .. } | Self::Read { .. } => None,
            Self::Unfit { .. } => Some("it has to be a TOML file of at most 1 MiB".into()),
            Self::NotTheSystems { path, .. } => {
                let path = path.display().to_string();
                Some(format!(
                    "no box is opened until that is mended: as root, `chown root: {0}` and `chmod 644 {0}`",
                    path.escape_debug()
                ))
            }
            Self::NotOurs { path, .. } => Some(format!(
                "read it, then name it to use it: --profile {}",
                path.with_file_name(super::PROJECT_FILE).display().to_string().escape_debug()
            )),
        }
    }
}

/// A mistake in a profile's text, with all that is needed to show it.
///
/// ```text
/// devbox.toml:3:1: unknown key `imge`
///   |
/// 3 | imge = "rust:1"
///   | ^^^^
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    file: String,
    /// Counted from 1.
    line: usize,
    /// In characters, counted from 1.
    column: usize,
    what: String,
    hint: Option<String>,
    /// The part of the line that is worth showing, free of control characters.
    shown: String,
    /// Where in `shown` the carets begin, and how many there are, in characters.
    carets: (usize, usize),
}

/// Characters of a line shown before and after the beginning of a mistake.
const AROUND: (usize, usize) = (60, 60);

impl Mistake {
    /// Places `wrong` at the bytes `span` of `text`, which was read from `file`.
    pub(super) fn new(file: &str, text: &str, span: Range<usize>, wrong: &BadValue) -> Self {
        let boundary = |at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
        let start = boundary(span.start).unwrap_or_default();
        let end = boundary(span.end).unwrap_or_default().max(start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line = text[line_start..].split('\n').next().unwrap_or_default();
        let before = text[line_start..start].chars().count();
        let width = text[start..end].split('\n').next().unwrap_or_default().trim_end().chars().count();
        let skipped = before.saturating_sub(AROUND.0);
        let wanted = before - skipped + AROUND.1;
        let visible = |letter: char| match letter {
            '\t' => ' ',
            _ if letter.is_control() => char::REPLACEMENT_CHARACTER,
            _ => letter,
        };
        let shown: String = line.trim_end().chars().skip(skipped).take(wanted).map(visible).collect();
        let length = shown.chars().count();
        let at = before - skipped;
        Self {
            file: file.escape_debug().to_string(),
            line: text[..start].matches('\n').count() + 1,
            column: before + 1,
            what: wrong.to_string(),
            hint: wrong.hint(),
            carets: (at, width.min(length.saturating_sub(at)).max(1)),
            shown,
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, what, shown, carets: (at, width), .. } = self;
        let number = line.to_string();
        let gap = number.len();
        writeln!(f, "{file}:{line}:{column}: {what}")?;
        writeln!(f, "{:gap$} |", "")?;
        writeln!(f, "{number} | {shown}")?;
        write!(f, "{:gap$} | {:at$}{}", "", "", "^".repeat(*width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &str, span: Range<usize>) -> String {
        Mistake::new("f.toml", text, span, &BadValue::new("wrong")).to_string()
    }

    #[test]
    fn places() {
        for (text, span, expected) in [
            ("abc", 1..2, "f.toml:1:2: wrong\n  |\n1 | abc\n  |  ^"),
            ("a\n\tbä = c\r\n", 3..6, "f.toml:2:2: wrong\n  |\n2 |  bä = c\n  |  ^^"),
            ("a = [\n1\n]", 4..9, "f.toml:1:5: wrong\n  |\n1 | a = [\n  |     ^"),
            ("", 0..0, "f.toml:1:1: wrong\n  |\n1 | \n  | ^"),
            ("a\n", 2..2, "f.toml:2:1: wrong\n  |\n2 | \n  | ^"),
            ("a\u{1b}b", 2..3, "f.toml:1:3: wrong\n  |\n1 | a\u{fffd}b\n  |   ^"),
            ("a", 5..9, "f.toml:1:2: wrong\n  |\n1 | a\n  |  ^"),
            ("ä", 1..2, "f.toml:1:1: wrong\n  |\n1 | ä\n  | ^"),
        ] {
            assert_eq!(show(text, span), expected, "{text:?}");
        }
        let tenth = show(&format!("{}x", "\n".repeat(9)), 9..10);
        assert_eq!(tenth, "f.toml:10:1: wrong\n   |\n10 | x\n   | ^");
    }

    #[test]
    fn a_long_line_is_cut_around_the_mistake() {
        let text = format!("{}HERE{}", "a".repeat(100_000), "b".repeat(100_000));
        let shown = show(&text, 100_000..100_004);
        assert!(
            shown.len() < 400 && shown.contains("aHEREb") && shown.starts_with("f.toml:1:100001: "),
            "{shown}"
        );
    }
}

//! Text from outside (images, registries, archives, other people's files) made harmless for a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` on one line: every control, bidirectional and invisible character is written as `\x1b` or `\u{202e}`.
pub(super) fn one_line(text: &str) -> Cow<'_, str> {
    escape(text, is_unsafe)
}

/// As [`one_line`], but line ends and tabs stay: for messages whose lines are ours.
pub(super) fn lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| is_unsafe(c) && c != '\n' && c != '\t')
}

/// Serialized JSON, kept valid: such characters stand only within strings, where `\uXXXX` means the same.
pub(super) fn json(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| c != '\n' && is_unsafe(c)) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if c != '\n' && is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

fn escape(text: &str, unsafe_here: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&unsafe_here) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match u32::from(c) {
            _ if !unsafe_here(c) => safe.push(c),
            code @ ..=0xff => _ = write!(safe, "\\x{code:02x}"),
            code => _ = write!(safe, "\\u{{{code:x}}}"),
        }
    }
    Cow::Owned(safe)
}

/// Controls (C0, DEL, C1) act on the terminal; the rest reorders or hides what the reader sees.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal() {
        for (raw, safe) in [
            ("plain ü 漢", "plain ü 漢"),
            ("\u{1b}[31mred\u{7}", "\\x1b[31mred\\x07"),
            ("two\nlines\r", "two\\x0alines\\x0d"),
            ("\u{9b}31m", "\\x9b31m"),
            ("a\u{202e}b", "a\\u{202e}b"),
            ("tag\u{e0041}", "tag\\u{e0041}"),
        ] {
            assert_eq!(one_line(raw), safe);
        }
        assert_eq!(lines("a\n\tb\u{1b}"), "a\n\tb\\x1b");
    }

    #[test]
    fn json_means_the_same() {
        let raw = "\u{1b}[0m\u{9b}\u{202e}\u{e0041}\n";
        let text = serde_json::to_string_pretty(&[raw]).unwrap();
        let safe = json(&text);
        assert!(safe.chars().all(|c| c == '\n' || !is_unsafe(c)), "{safe:?}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&safe).unwrap(), [raw]);
    }
}

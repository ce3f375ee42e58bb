//! What a value must look like: one function a kind, used for profiles and for flags alike.

use super::nearest::nearest;
use crate::network::{Allow, Publish, Wrong};

/// Why a text is not the value it should be. It does not know where the text stood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct BadValue {
    what: String,
    hint: Option<String>,
}

impl BadValue {
    /// What is wrong, in lower case, values in backticks.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None }
    }

    /// With what would be right.
    #[must_use]
    pub fn or(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// `text` is not one of `known`: suggests the nearest, or all of them.
    pub(crate) fn unknown<'a>(what: &str, text: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        let wrong = Self::new(format!("unknown {what} {}", quoted(text)));
        match nearest(text, known.iter().copied()) {
            Some(word) => wrong.or(format!("did you mean `{word}`?")),
            None => wrong.or(format!("known here: `{}`", known.join("`, `"))),
        }
    }

    /// What to write instead.
    pub fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

impl From<Wrong> for BadValue {
    fn from(wrong: Wrong) -> Self {
        Self::new(wrong.to_string()).or(wrong.instead)
    }
}

/// What a box may connect to: `HOST[:PORT]`, `*.DOMAIN[:PORT]`.
pub fn allow(text: &str) -> Result<Allow, BadValue> {
    Ok(text.parse::<Allow>()?)
}

/// What of a box may be connected to: `[ADDRESS:]HOST_PORT:BOX_PORT`.
pub fn publish(text: &str) -> Result<Publish, BadValue> {
    Ok(text.parse::<Publish>()?)
}

/// A secret's name: that of a file, `[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}`.
pub fn secret_name(text: &str) -> Result<String, BadValue> {
    box_name(text).map_err(|_| {
        BadValue::new(format!("{} can't be the name of a secret", quoted(text)))
            .or("letters, digits, `_`, `.` and `-`, the first a letter or a digit")
    })
}

/// A key of an ssh-agent: its fingerprint as ssh-add(1) lists it, or its comment.
pub fn agent_key(text: &str) -> Result<String, BadValue> {
    let printable = !text.is_empty() && !text.contains(char::is_control);
    let fingerprint = |rest: &str| {
        rest.len() == 43
            && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/')
    };
    match text.strip_prefix("SHA256:") {
        Some(rest) if fingerprint(rest) => Ok(text.to_owned()),
        None if printable => Ok(text.to_owned()),
        _ => Err(BadValue::new(format!("{} names no key", quoted(text)))
            .or("a fingerprint or a comment, as `ssh-add -l` lists them")),
    }
}

/// A value from outside, escaped, cut to a length worth printing and put in backticks.
pub(crate) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    if text.chars().nth(80).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// A profile's name: `[a-z0-9][a-z0-9_.-]{0,63}`.
pub fn profile_name(text: &str) -> Result<String, BadValue> {
    let first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if text.len() <= 64
        && text.bytes().next().is_some_and(first)
        && text.bytes().all(|byte| first(byte) || b"_.-".contains(&byte))
    {
        return Ok(text.to_owned());
    }
    let wrong = BadValue::new(format!("{} is not a profile name", quoted(text)));
    Err(if text.contains('/') || text.ends_with(".toml") {
        wrong.or(
            "profiles are named, not pathed: put the file into the profiles folder, or use `--profile FILE`",
        )
    } else {
        wrong.or("lower-case letters, digits, `_`, `.` and `-`, a letter or digit first, at most 64")
    })
}

/// A box's name: `[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}`.
pub fn box_name(text: &str) -> Result<String, BadValue> {
    if text.len() <= 64
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
    {
        return Ok(text.to_owned());
    }
    Err(BadValue::new(format!("{} is not a box name", quoted(text)))
        .or("letters, digits, `_`, `.` and `-`, a letter or digit first, at most 64"))
}

/// A host name of dot-separated labels (RFC 1123), at most the kernel's 64 bytes.
pub fn host_name(text: &str) -> Result<String, BadValue> {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if text.len() <= 64 && text.split('.').all(label) {
        return Ok(text.to_owned());
    }
    Err(BadValue::new(format!("{} is not a host name", quoted(text)))
        .or("letters, digits and inner `-`, joined by dots, at most 64"))
}

/// A variable's name: `[A-Za-z_][A-Za-z0-9_]*`.
pub fn variable_name(text: &str) -> Result<String, BadValue> {
    if text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        return Ok(text.to_owned());
    }
    Err(BadValue::new(format!("{} is not a variable name", quoted(text)))
        .or("letters, digits and `_`, no digit first"))
}

/// A platform: `linux/ARCHITECTURE[/VARIANT]`.
pub fn platform(text: &str) -> Result<String, BadValue> {
    let word =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let parts: Vec<&str> = text.split('/').collect();
    if matches!(parts.len(), 2 | 3) && parts[0] == "linux" && parts[1..].iter().all(|part| word(part)) {
        return Ok(text.to_owned());
    }
    Err(BadValue::new(format!("{} is not a platform", quoted(text)))
        .or("`linux/ARCHITECTURE[/VARIANT]`, for example `linux/amd64` or `linux/arm/v7`"))
}

/// A shell: a name looked up on the box's `PATH`, or an absolute path in the box.
pub fn shell(text: &str) -> Result<String, BadValue> {
    if !text.is_empty()
        && (text.starts_with('/') || !text.contains('/'))
        && !text.contains(char::is_whitespace)
    {
        return Ok(text.to_owned());
    }
    Err(BadValue::new(format!("{} is not a shell", quoted(text)))
        .or("a name such as `bash`, or an absolute path in the box; no arguments"))
}

/// A cache's name: `[a-z0-9-]{1,64}`, no `-` first.
pub fn cache_name(text: &str) -> Result<String, BadValue> {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=64).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(word) {
        return Ok(text.to_owned());
    }
    Err(BadValue::new(format!("{} is not a cache name", quoted(text)))
        .or("a cache's source is a name of lower-case letters, digits and `-`, for example `cargo`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rule = fn(&str) -> Result<String, BadValue>;

    #[test]
    fn grammars() {
        let long = "a".repeat(65);
        let rules: [(&str, Rule, &[&str], &[&str]); 7] = [
            (
                "profile",
                profile_name,
                &["a", "0", "rust-env", "a.b_c"],
                &["", "-a", ".a", "A", "a/b", "..", "../a", "a b", "a\n", "ä", &long],
            ),
            ("box", box_name, &["a", "A0", "my.Box_1"], &["", ".", "..", "-a", "a/b", "a\0", "a ", &long]),
            ("host", host_name, &["a", "a-b.c"], &["", "-a", "a-", "a..b", "a_b", "a/b", "a\n", &long]),
            ("variable", variable_name, &["A", "_", "a1_"], &["", "1", "A=B", "A-B", "A B", "A\0"]),
            (
                "platform",
                platform,
                &["linux/amd64", "linux/arm/v7"],
                &["", "linux", "linux/", "/amd64", "windows/amd64", "linux/arm/v7/x", "linux/../x"],
            ),
            ("shell", shell, &["bash", "/bin/sh"], &["", "bin/sh", "./sh", "bash -l"]),
            ("cache", cache_name, &["a", "go-build"], &["", "-a", "A", "a/b", ".", "..", "a_b", &long]),
        ];
        for (name, rule, good, bad) in rules {
            for text in good {
                assert_eq!(rule(text).as_deref(), Ok(*text), "{name}");
            }
            for text in bad {
                assert!(rule(text).is_err_and(|wrong| wrong.hint().is_some()), "{name}: {text:?}");
            }
        }
    }

    #[test]
    fn what_is_quoted_is_harmless_and_short() {
        assert_eq!(quoted("a\u{1b}[31m\n"), "`a\\u{1b}[31m\\n`");
        assert_eq!(quoted(&"x".repeat(100)).chars().count(), 83);
    }
}

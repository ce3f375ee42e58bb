//! What is said on standard error, for programs: with `--log-format json` one object a line. The form is the process's,
//! for a bug of ours is told without a [`Ui`](super::Ui) at hand.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::{escape, write_err};
use crate::oci::commit::rfc3339;

/// How it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// A JSON object a line: time, level, message, and for errors causes, hint and exit-code
    Json,
}

static JSON: AtomicBool = AtomicBool::new(false);

/// Settles the form for the rest of the process.
pub fn set_format(format: LogFormat) {
    JSON.store(format == LogFormat::Json, Ordering::Relaxed);
}

pub(super) fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// One thing said. The names are a promise to programs; what has no meaning for a level is left out.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Entry<'a> {
    /// RFC 3339, universal time, with milliseconds.
    time: String,
    /// `error`, `warning`, `note`, `progress`, `detail` or `step`.
    level: &'static str,
    message: &'a str,
    /// Of a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    milliseconds: Option<f64>,
    #[serde(flatten)]
    failure: Option<Failure<'a>>,
}

/// What an error has beside its message.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Failure<'a> {
    /// What lies below it, outermost first.
    pub(super) causes: Vec<String>,
    /// The state things were left in.
    pub(super) state: Option<&'a str>,
    pub(super) hint: Option<&'a str>,
    pub(super) exit_code: u8,
}

impl<'a> Entry<'a> {
    pub(super) fn new(level: &'static str, message: &'a str) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = rfc3339(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        let time = format!("{}.{:03}Z", seconds.trim_end_matches('Z'), now.subsec_millis());
        Self { time, level, message, ..Self::default() }
    }

    pub(super) fn failed(self, failure: Failure<'a>) -> Self {
        Self { failure: Some(failure), ..self }
    }

    /// To the microsecond.
    pub(super) fn took(self, milliseconds: f64) -> Self {
        Self { milliseconds: Some((milliseconds * 1000.0).round() / 1000.0), ..self }
    }

    pub(super) fn write(&self) {
        if let Ok(text) = serde_json::to_string(self) {
            write_err(&format!("{}\n", escape::json(&text)));
        }
    }
}

/// Lines that were made for people, each an entry of its own.
pub(super) fn lines(text: &str) {
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.strip_prefix("note: ") {
            Some(note) => Entry::new("note", note).write(),
            None => Entry::new("progress", line).write(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_stable() {
        let mut entry = Entry::new("error", "cannot \u{1b}[31m\nread");
        assert!(entry.time.len() == 24 && entry.time.ends_with('Z'), "{}", entry.time);
        entry.time.clear();
        let causes = vec!["why".to_owned()];
        entry.failure = Some(Failure { causes, state: None, hint: Some("look"), exit_code: 125 });
        let text = serde_json::to_string(&entry).unwrap();
        assert_eq!(
            text,
            r#"{"time":"","level":"error","message":"cannot \u001b[31m\nread","causes":["why"],"state":null,"hint":"look","exit-code":125}"#
        );
        let note = serde_json::to_string(&Entry { time: String::new(), ..Entry::new("note", "a") }).unwrap();
        assert_eq!(note, r#"{"time":"","level":"note","message":"a"}"#);
    }
}

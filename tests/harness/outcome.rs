//! What a finished command left, and what tests say about it.

use std::fmt;

/// Exit code (128+n when a signal ended it) and everything printed.
pub struct Outcome {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Outcome {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// It succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.fails(0)
    }

    /// It ended with `code`.
    #[track_caller]
    pub fn fails(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }

    /// It printed exactly this, but for white space at the end.
    #[track_caller]
    pub fn prints(self, text: &str) -> Self {
        assert_eq!(self.text().trim_end(), text.trim_end(), "{self}");
        self
    }

    /// Standard output contains each of these.
    #[track_caller]
    pub fn lists(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.text().contains(part), "{part:?} is missing on stdout: {self}");
        }
        self
    }

    /// Standard error contains each of these.
    #[track_caller]
    pub fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is missing on stderr: {self}");
        }
        self
    }

    /// devbox itself refused: 125, nothing on stdout, one `error:`, no panic.
    #[track_caller]
    pub fn refused(self, parts: &[&str]) -> Self {
        let this = self.fails(125).says(parts);
        assert!(this.stdout.is_empty(), "{this}");
        assert_eq!(this.stderr.matches("error: ").count(), 1, "{this}");
        assert!(!this.stderr.contains("panicked"), "{this}");
        this
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}): {self}"))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (out, more) = self.stdout.split_at(self.stdout.len().min(4000));
        let dots = if more.is_empty() { "" } else { "…" };
        write!(
            f,
            "exit {}\n-- stdout\n{}{dots}\n-- stderr\n{}",
            self.code,
            String::from_utf8_lossy(out),
            self.stderr
        )
    }
}

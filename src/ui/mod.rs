//! The only place that prints. Data goes to standard output, everything said about it to standard error.
//!
//! ```text
//! error: cannot pull `registry.example/app:1`
//!   caused by: layer `sha256:1a2b…` is cut short
//!   nothing was changed
//! hint: try again
//! ```

mod clock;
mod escape;
mod log;
mod progress;
mod prompt;
mod table;
mod tree;
mod working;

use std::error::Error as StdError;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indicatif::{HumanBytes, HumanDuration};
use serde::Serialize;

use crate::dirs;
use crate::error::{ExitCode, OURS};
use crate::sys::tty;

pub use log::{LogFormat, set_format};
pub use progress::Pulling;
pub use table::Table;
pub use tree::{Cell, Tree};
pub use working::Working;

use clock::Clock;
use log::{Entry, Failure};
use tree::Brush;

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Even into a file or pipe.
    Always,
    /// Not at all.
    Never,
}

/// Why output failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Standard output takes no more.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    /// A value has no JSON form.
    #[error("cannot write the answer as JSON")]
    Json(#[source] serde_json::Error),
}

impl Error {
    /// True when the reader went away (`devbox ls | head -1`), which is no failure of ours.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// Something said about a box, a file or a host, with the colour it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// In order.
    Good,
    /// Worth a look.
    Caution,
    /// Wrong.
    Bad,
    /// A heading.
    Strong,
}

/// How to speak in this run.
#[derive(Debug, Clone)]
pub struct Ui {
    quiet: bool,
    verbose: bool,
    yes: bool,
    out_color: bool,
    err_color: bool,
    err_terminal: bool,
    in_terminal: bool,
    /// Runs with `--verbose`.
    clock: Option<Arc<Clock>>,
}

impl Ui {
    /// Looks at the three standard streams and at `NO_COLOR` and `TERM`.
    pub fn new(color: Color, quiet: bool, verbose: bool, yes: bool) -> Self {
        let (out_terminal, err_terminal) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let set = |name| dirs::variable(name).is_some_and(|value| !value.is_empty());
        let wanted = !set("NO_COLOR") && dirs::variable("TERM").is_some_and(|term| term != "dumb");
        let color = |terminal| match color {
            Color::Auto => terminal && wanted,
            Color::Always => true,
            Color::Never => false,
        };
        Self {
            quiet,
            verbose,
            yes,
            out_color: color(out_terminal),
            err_color: color(err_terminal),
            // what programs read has no bars and no questions
            err_terminal: err_terminal && !log::is_json(),
            in_terminal: io::stdin().is_terminal() && !log::is_json(),
            clock: None,
        }
    }

    /// The same, saying how long each step takes, the first one since `began`, when it is verbose.
    pub fn timed(self, began: Instant) -> Self {
        Self { clock: self.verbose.then(|| Arc::new(Clock::since(began))), ..self }
    }

    /// True when the curious listen.
    pub fn is_verbose(&self) -> bool {
        self.verbose && !self.quiet
    }

    /// The same, but nothing is asked and nobody says yes to everything.
    pub fn without_questions(self) -> Self {
        Self { yes: false, in_terminal: false, ..self }
    }

    /// True when only data is wanted.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// True when standard input is a terminal.
    pub fn reads_terminal(&self) -> bool {
        self.in_terminal
    }

    /// True when standard output is a terminal.
    pub fn writes_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Standard output, for bytes that are many.
    pub fn bytes(&self) -> impl io::Write {
        io::stdout().lock()
    }

    /// Writes one line of data; `line` is escaped.
    pub fn line(&self, line: &str) -> Result<(), Error> {
        self.raw(format!("{}\n", escape::one_line(line)).as_bytes())
    }

    /// Writes lines of data that are our own; other control characters are escaped.
    pub fn text(&self, text: &str) -> Result<(), Error> {
        self.raw(escape::lines(text).as_bytes())
    }

    /// Writes bytes untouched: scripts and man pages.
    pub fn raw(&self, bytes: &[u8]) -> Result<(), Error> {
        let mut out = io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(Error::Output)
    }

    /// Writes `value` as indented JSON.
    pub fn json(&self, value: &impl Serialize) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(value).map_err(Error::Json)?;
        self.raw(format!("{}\n", escape::json(&text)).as_bytes())
    }

    /// Writes a table.
    pub fn table(&self, table: &Table) -> Result<(), Error> {
        self.table_in_tones(table, |_, _| None)
    }

    /// Writes a table whose cells may have a tone, by row and column.
    pub fn table_in_tones(
        &self,
        table: &Table,
        tone: impl Fn(usize, usize) -> Option<Tone>,
    ) -> Result<(), Error> {
        let style = |row: Option<usize>, column, cell: &str| {
            let tone = row.map_or(Some(Tone::Strong), |row| tone(row, column));
            tone.map_or_else(|| cell.to_owned(), |tone| paint(self.out_color, tone, cell))
        };
        self.raw(table.render(style).as_bytes())
    }

    /// True when what is read by eye alone may be drawn: on a terminal that can be written all over.
    pub fn draws(&self) -> bool {
        self.writes_terminal() && dirs::variable("TERM").is_some_and(|term| term != "dumb")
    }

    /// Draws a tree as wide as the terminal is, in ASCII where the locale has no more.
    pub fn tree(&self, tree: &Tree) -> Result<(), Error> {
        let strong = |text: &str| paint(self.out_color, Tone::Strong, text);
        self.raw(tree.render(Brush { width: width(), unicode: speaks_unicode() }, strong).as_bytes())
    }

    /// Says something good to know. Silent with `--quiet`.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.say(Tone::Strong, "note", text);
        }
    }

    /// Shows a table beside the data, indented. Silent with `--quiet`.
    pub fn aside(&self, table: &Table) {
        if !self.quiet {
            let text = table.render(|_, _, cell| cell.to_owned());
            if log::is_json() {
                return text.lines().for_each(|line| Entry::new("note", line).write());
            }
            tell(&text.lines().map(|line| format!("  {line}\n")).collect::<String>());
        }
    }

    /// Passes on what a command printed, to standard output or, with `err`, to standard error.
    pub fn relay(&self, err: bool, bytes: &[u8]) -> Result<(), Error> {
        if !err {
            return self.raw(bytes);
        }
        // nobody can be told when standard error is gone
        let _ = io::stderr().lock().write_all(bytes);
        Ok(())
    }

    /// Passes on a line that a command printed, beside the data and escaped. Silent with `--quiet`.
    pub fn output(&self, line: &str) {
        if !self.quiet {
            tell(&format!("{}\n", escape::lines(line)));
        }
    }

    /// Writes a patch of files from outside: as it is, but on a terminal escaped, and colored.
    pub fn patch(&self, mut text: impl io::BufRead) -> Result<(), Error> {
        let on_terminal = self.writes_terminal();
        let mut out = io::stdout().lock();
        let mut line = Vec::new();
        // who makes the patch tells why it ends early
        while text.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let written = if on_terminal {
                let shown = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line));
                let shown = escape::lines(&shown);
                let tone = match line.first() {
                    Some(b'+') => Some(Tone::Good),
                    Some(b'-') => Some(Tone::Bad),
                    Some(b'd') => Some(Tone::Strong),
                    _ => None,
                };
                let shown =
                    tone.map_or_else(|| shown.to_string(), |tone| paint(self.out_color, tone, &shown));
                out.write_all(format!("{shown}\n").as_bytes())
            } else {
                out.write_all(&line)
            };
            written.map_err(Error::Output)?;
            line.clear();
        }
        out.flush().map_err(Error::Output)
    }

    /// Says something only the curious want: with `--verbose`.
    pub fn detail(&self, text: &str) {
        if self.is_verbose() {
            if log::is_json() {
                return Entry::new("detail", text).write();
            }
            tell(&format!("{}\n", escape::one_line(text)));
        }
    }

    /// Says that something is not as asked, though the command goes on. Not silenced by `--quiet`.
    pub fn warning(&self, text: &str) {
        self.say(Tone::Caution, "warning", text);
    }

    /// Prints a failure: what, the causes below, what state was left, what to do. With `multiline` the first
    /// line's text keeps its own line ends (a profile's source line and caret).
    /// `exit_code` is what this process is about to end with.
    pub fn failure(
        &self,
        error: &dyn StdError,
        multiline: bool,
        state: Option<&str>,
        hint: Option<&str>,
        exit_code: u8,
    ) {
        if log::is_json() {
            let (mut causes, mut cause) = (Vec::new(), error.source());
            while let Some(error) = cause {
                causes.push(error.to_string());
                cause = error.source();
            }
            let failure = Failure { causes, state, hint, exit_code };
            return Entry::new("error", error.to_string().trim_end()).failed(failure).write();
        }
        tell(&self.failure_text(error, multiline, state, hint));
    }

    fn failure_text(
        &self,
        error: &dyn StdError,
        multiline: bool,
        state: Option<&str>,
        hint: Option<&str>,
    ) -> String {
        let what = error.to_string();
        let what = if multiline { escape::lines(&what) } else { escape::one_line(&what) };
        let mut text = format!("{} {}\n", paint(self.err_color, Tone::Bad, "error:"), what.trim_end());
        let mut cause = error.source();
        while let Some(error) = cause {
            text += &format!("  caused by: {}\n", escape::one_line(&error.to_string()));
            cause = error.source();
        }
        if let Some(state) = state {
            text += &format!("  {}\n", escape::one_line(state));
        }
        if let Some(hint) = hint {
            text += &format!("{} {}\n", paint(self.err_color, Tone::Strong, "hint:"), escape::one_line(hint));
        }
        text
    }

    /// Asks `question` with yes or no; none when there is no terminal to ask on. With `--yes` it is not asked.
    pub fn confirm(&self, question: &str) -> Option<bool> {
        if self.yes {
            return Some(true);
        }
        if !self.in_terminal || !self.err_terminal {
            return None;
        }
        tell(&format!("{} [y/N] ", escape::lines(question)));
        let mut answer = String::new();
        let read = io::stdin().lock().read_line(&mut answer);
        Some(read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes"))
    }

    /// How the coming download is shown: bars on a terminal, sparse lines otherwise, nothing with `--quiet`.
    pub fn pulling(&self, reference: &str) -> Pulling {
        self.transfer("pulling", reference)
    }

    /// The same for another transfer, told by the verb for it.
    pub fn transfer(&self, verb: &'static str, reference: &str) -> Pulling {
        let reference = escape::one_line(reference);
        match (self.quiet, self.err_terminal) {
            (true, _) => Pulling::silent(),
            (false, true) => Pulling::bars(verb, &reference),
            (false, false) => Pulling::lines(verb, &reference),
        }
    }

    /// How work on `total` bytes that are here is shown: a bar on a terminal, sparse lines otherwise, nothing with
    /// `--quiet`.
    pub fn working(&self, what: &str, total: u64) -> Working {
        match (self.quiet, self.err_terminal) {
            (true, _) => Working::silent(),
            (false, true) => Working::bar(what, total),
            (false, false) => Working::lines(what, total),
        }
    }

    fn say(&self, tone: Tone, word: &'static str, text: &str) {
        if log::is_json() {
            return Entry::new(word, text).write();
        }
        tell(&format!("{} {}\n", paint(self.err_color, tone, &format!("{word}:")), escape::one_line(text)));
    }
}

/// Prints what clap has to say about a command line: help that was asked for, or a complaint.
pub fn usage(answer: &clap::Error, color: Color) -> ExitCode {
    let ui = Ui::new(color, false, false, false);
    if !answer.use_stderr() {
        let help = answer.render();
        let help = if ui.out_color { help.ansi().to_string() } else { help.to_string() };
        return match ui.raw(help.as_bytes()) {
            Err(error) if !error.is_broken_pipe() => {
                ui.failure(&error, false, None, None, OURS);
                ExitCode::from(OURS)
            }
            _ => ExitCode::SUCCESS,
        };
    }
    // it quotes the command line, so it is not to be trusted with colors
    let text = answer.render().to_string();
    if log::is_json() {
        let told = |line: &&str| !line.trim().is_empty();
        let mut lines = text.lines().filter(told).map(str::trim);
        let message = lines.next().unwrap_or_default();
        let hint = lines.find_map(|line| line.strip_prefix("tip: "));
        let failure = Failure { hint, exit_code: OURS, ..Failure::default() };
        let message = message.strip_prefix("error: ").unwrap_or(message);
        Entry::new("error", message).failed(failure).write();
        return ExitCode::from(OURS);
    }
    let text = escape::lines(&text);
    match text.strip_prefix("error:") {
        Some(rest) => tell(&format!("{}{rest}", paint(ui.err_color, Tone::Bad, "error:"))),
        None => tell(&text),
    }
    ExitCode::from(OURS)
}

/// A number of things: `1 layer`, `2 layers`.
pub fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// Bytes as people read them: `1.50 MiB`.
pub fn size(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

/// How long ago a moment was, given in seconds since 1970: `3 days ago`.
pub fn age(moment: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let passed = Duration::from_secs(now.saturating_sub(moment));
    format!("{} ago", HumanDuration(passed))
}

/// What the panic hook prints: a bug of ours in one line. `at` is a source position, `what` the message.
pub fn internal_error(what: &str, at: &str) {
    if log::is_json() {
        let message =
            format!("internal error at {at}: {what}; please report this line, it is a bug of devbox");
        let failure = Failure { exit_code: OURS, ..Failure::default() };
        return Entry::new("error", &message).failed(failure).write();
    }
    let (what, at) = (escape::one_line(what), escape::one_line(at));
    tell(&format!("error: internal error at {at}: {what}; please report this line, it is a bug of devbox\n"));
}

/// Says lines of progress and the like.
fn tell(text: &str) {
    if log::is_json() {
        return log::lines(text);
    }
    write_err(text);
}

/// Nobody can be told when standard error is gone, and that is no reason to fail.
fn write_err(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Columns of the terminal, which is standard error's, or standard output's.
fn width() -> usize {
    let columns = |size: nix::pty::Winsize| Some(usize::from(size.ws_col)).filter(|columns| *columns > 0);
    let sizes = [tty::window_size(io::stdout()), tty::window_size(io::stderr())];
    sizes.into_iter().flatten().find_map(columns).unwrap_or(80)
}

/// Whether the locale's characters are Unicode's: the first of the variables that is set says so (locale(7)).
fn speaks_unicode() -> bool {
    let mut names = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(dirs::variable);
    let locale = names.find(|value| !value.is_empty()).unwrap_or_default();
    let locale = locale.to_string_lossy().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

fn paint(color: bool, tone: Tone, text: &str) -> String {
    let code = match tone {
        _ if !color => return text.to_owned(),
        Tone::Good => "32",
        Tone::Caution => "1;33",
        Tone::Bad => "1;31",
        Tone::Strong => "1",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Ui = Ui {
        quiet: false,
        verbose: false,
        yes: false,
        out_color: false,
        err_color: false,
        err_terminal: false,
        in_terminal: false,
        clock: None,
    };

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read\nthe `\u{1b}[31m` thing")]
    struct Outer(#[source] io::Error);

    #[test]
    fn failures_have_one_form() {
        let error = Outer(io::Error::other("evil\nhint: run this"));
        assert_eq!(
            PLAIN.failure_text(&error, false, Some("nothing was changed"), Some("look")),
            "error: cannot read\\x0athe `\\x1b[31m` thing\n  caused by: evil\\x0ahint: run this\n  \
             nothing was changed\nhint: look\n"
        );
        let kept = PLAIN.failure_text(&error, true, None, None);
        assert!(kept.starts_with("error: cannot read\nthe `\\x1b[31m` thing\n"), "{kept}");
    }

    #[test]
    fn color_follows_the_wish() {
        let colored = Ui { err_color: true, ..PLAIN };
        let error = io::Error::other("x");
        assert_eq!(colored.failure_text(&error, false, None, None), "\u{1b}[1;31merror:\u{1b}[0m x\n");
        assert!(Ui::new(Color::Always, false, false, false).out_color);
        assert!(!Ui::new(Color::Never, false, false, false).err_color);
    }

    #[test]
    fn no_question_without_a_terminal() {
        assert_eq!(PLAIN.confirm("really?"), None);
    }
}

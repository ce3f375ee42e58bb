//! Questions on a terminal: a line, a secret without echo, one of several.

use std::io::{self, BufRead as _, Read as _};
use std::os::fd::AsFd as _;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::{Ui, escape, tell};
use crate::sys::tty::Settings;

/// Longest secret.
const MAX: usize = 64 << 10;

impl Ui {
    /// Asks for a line; none when there is no terminal to ask on, or no answer.
    pub fn ask(&self, question: &str) -> Option<String> {
        if !self.can_ask() {
            return None;
        }
        tell(&format!("{}: ", escape::one_line(question)));
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).ok()?;
        let answer = answer.trim();
        (!answer.is_empty()).then(|| answer.to_owned())
    }

    /// Asks for a secret, which is not shown; none when there is no terminal to ask on, or no answer. The terminal is
    /// as before on every way out, signals included.
    pub fn ask_secret(&self, question: &str) -> Option<String> {
        if !self.can_ask() {
            return None;
        }
        tell(&format!("{}: ", escape::one_line(question)));
        let answer = without_echo();
        tell("\n");
        match answer {
            Ok(Answer::Line(line)) => String::from_utf8(line).ok().filter(|line| !line.is_empty()),
            // now that the terminal is in order
            Ok(Answer::Interrupted) => raise(Signal::SIGINT).ok().and(None),
            Err(_) => None,
        }
    }

    /// Lets one of `choices` be chosen by its number; none when there is no terminal to ask on, or no such number.
    pub fn choose(&self, question: &str, choices: &[String]) -> Option<usize> {
        if !self.can_ask() {
            return None;
        }
        let lines = choices.iter().zip(1..).map(|(choice, number)| format!("  {number}  {choice}\n"));
        tell(&escape::lines(&format!("{question}\n{}", lines.collect::<String>())));
        let number: usize = self.ask("number")?.parse().ok()?;
        (1..=choices.len()).contains(&number).then(|| number - 1)
    }

    fn can_ask(&self) -> bool {
        self.in_terminal && self.err_terminal
    }
}

enum Answer {
    Line(Vec<u8>),
    Interrupted,
}

/// A line typed on standard input, which is a terminal.
fn without_echo() -> io::Result<Answer> {
    // they wait until the terminal is in order again
    let mut ends = SigSet::empty();
    [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT]
        .into_iter()
        .for_each(|signal| ends.add(signal));
    let before = ends.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)?;
    let answer = (|| {
        let signals = SignalFd::with_flags(&ends, SfdFlags::SFD_CLOEXEC)?;
        let kept = Settings::of(io::stdin())?;
        kept.raw().apply(io::stdin())?;
        let answer = read_line(&signals);
        kept.apply(io::stdin())?;
        answer
    })();
    before.thread_set_mask()?;
    answer
}

/// Keys up to the end of the line, with those that mend it.
fn read_line(signals: &SignalFd) -> io::Result<Answer> {
    let mut stdin = io::stdin().lock();
    let mut line = Vec::new();
    loop {
        let mut ready =
            [PollFd::new(stdin.as_fd(), PollFlags::POLLIN), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            result => result?,
        };
        if ready[1].any() == Some(true) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let mut keys = [0; 256];
        let count = stdin.read(&mut keys)?;
        if count == 0 {
            return Ok(Answer::Line(line));
        }
        for key in &keys[..count] {
            match key {
                b'\r' | b'\n' => return Ok(Answer::Line(line)),
                // Ctrl-C, Ctrl-D, Ctrl-U, and the keys that take one away
                0x03 => return Ok(Answer::Interrupted),
                0x04 => return Ok(Answer::Line(line)),
                0x15 => line.clear(),
                0x08 | 0x7f => while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
                key if line.len() < MAX => line.push(*key),
                _ => {}
            }
        }
    }
}

//! Where the time goes, with `--verbose`: a line for each step when it is done.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::log::{self, Entry};
use super::{Ui, escape, write_err};

/// Since when the process and its present step are at work.
#[derive(Debug)]
pub(super) struct Clock {
    began: Instant,
    last: Mutex<Instant>,
}

impl Clock {
    pub(super) fn since(began: Instant) -> Self {
        Self { began, last: Mutex::new(began) }
    }
}

impl Ui {
    /// Says how long what was done since the last step took. Costs nothing without `--verbose`.
    pub fn step(&self, what: &str) {
        let Some(clock) = &self.clock else { return };
        let mut last = clock.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        told(what, now.duration_since(*last));
        *last = Instant::now();
    }

    /// Says how long all took until now.
    pub fn steps_end(&self, what: &str) {
        if let Some(clock) = &self.clock {
            told(what, clock.began.elapsed());
        }
    }
}

fn told(what: &str, time: Duration) {
    let milliseconds = time.as_secs_f64() * 1000.0;
    if log::is_json() {
        return Entry::new("step", what).took(milliseconds).write();
    }
    write_err(&format!("{milliseconds:>11.2} ms  {}\n", escape::one_line(what)));
}

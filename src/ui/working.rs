//! How long work on bytes already here is shown while it runs.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use unicode_width::UnicodeWidthStr as _;

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget};

use super::progress::style;
use super::tell;

const BAR: &str = "{prefix} [{bar:WIDTH}] {bytes} of {total_bytes}, {bytes_per_sec}{left}";
/// What the line takes beside its bar and what is done.
const BESIDE: usize = 54;
/// Least time between two lines where there is no bar.
const PAUSE: Duration = Duration::from_secs(5);

/// One piece of work on the screen; its bar vanishes when it is dropped.
#[derive(Debug)]
pub struct Working {
    what: String,
    total: u64,
    done: AtomicU64,
    show: Show,
}

#[derive(Debug)]
enum Show {
    Nothing,
    Lines(Mutex<Instant>),
    Bar(ProgressBar),
}

impl Working {
    pub(super) fn silent() -> Self {
        Self { what: String::new(), total: 0, done: AtomicU64::new(0), show: Show::Nothing }
    }

    /// A line now and then.
    pub(super) fn lines(what: &str, total: u64) -> Self {
        let show = Show::Lines(Mutex::new(Instant::now()));
        Self { what: what.to_owned(), total, done: AtomicU64::new(0), show }
    }

    pub(super) fn bar(what: &str, total: u64) -> Self {
        let style = style(BAR, BESIDE + what.width());
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr())
            .with_style(style)
            .with_prefix(what.to_owned());
        Self { what: what.to_owned(), total, done: AtomicU64::new(0), show: Show::Bar(bar) }
    }

    /// `bytes` more are done with.
    pub fn advance(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        match &self.show {
            Show::Nothing => {}
            Show::Lines(last) => {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if last.elapsed() >= PAUSE {
                    *last = Instant::now();
                    tell(&format!("  {}: {} of {}\n", self.what, HumanBytes(done), HumanBytes(self.total)));
                }
            }
            Show::Bar(bar) => bar.inc(bytes),
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        if let Show::Bar(bar) = &self.show {
            bar.finish_and_clear();
        }
    }
}

//! How a download is shown while it runs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{
    HumanBytes, HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle,
};

use super::{count, escape, speaks_unicode, tell, width};
use crate::pull::{LayerInfo, Progress};

const LAYER: &str = "  {prefix:12} [{bar:WIDTH}] {bytes:>11} of {total_bytes}";
const TOTAL: &str = "  {prefix:12} [{bar:WIDTH}] {bytes:>11} of {total_bytes}, {bytes_per_sec}{left}";
/// What a line takes beside its bar.
const BESIDE: usize = 68;
/// Least time between two lines where there are no bars.
const PAUSE: Duration = Duration::from_secs(1);

/// One download on the screen; bars vanish when it is dropped.
#[derive(Debug)]
pub struct Pulling {
    /// `pulling`, `saving`, …
    verb: &'static str,
    reference: String,
    show: Show,
    state: Mutex<State>,
}

#[derive(Debug)]
enum Show {
    Nothing,
    Lines,
    Bars(MultiProgress),
}

#[derive(Debug, Default)]
struct State {
    /// Compressed size and short name of each layer to fetch.
    layers: Vec<(u64, String)>,
    received: u64,
    finished: usize,
    last_line: Option<Instant>,
    /// The bars of the layers now on their way, and the one for all.
    running: BTreeMap<usize, ProgressBar>,
    total: Option<ProgressBar>,
}

impl Pulling {
    /// Shows nothing.
    pub(super) fn silent() -> Self {
        Self::new("", "", Show::Nothing)
    }

    /// A line at the start and as layers finish, at most one a second.
    pub(super) fn lines(verb: &'static str, reference: &str) -> Self {
        Self::new(verb, reference, Show::Lines)
    }

    /// A bar for each layer on its way and one for all.
    pub(super) fn bars(verb: &'static str, reference: &str) -> Self {
        Self::new(verb, reference, Show::Bars(MultiProgress::with_draw_target(ProgressDrawTarget::stderr())))
    }

    fn new(verb: &'static str, reference: &str, show: Show) -> Self {
        Self { verb, reference: reference.to_owned(), show, state: Mutex::default() }
    }

    /// What is counted stays true whatever became of the thread that held it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn size(&self) -> u64 {
        self.layers.iter().map(|(size, _)| size).sum()
    }

    /// The line for non-terminals, unless one was written less than a second before `now`.
    fn line(&mut self, now: Instant) -> Option<String> {
        if self.last_line.is_some_and(|last| now.duration_since(last) < PAUSE) {
            return None;
        }
        self.last_line = Some(now);
        Some(format!(
            "  {} of {}, {} of {}\n",
            self.finished,
            count(self.layers.len(), "layer"),
            HumanBytes(self.received),
            HumanBytes(self.size())
        ))
    }
}

impl Progress for Pulling {
    fn layers(&self, total: &[LayerInfo]) {
        let mut state = self.state();
        state.layers = total.iter().map(|layer| (layer.size, layer.digest.short())).collect();
        if total.is_empty() {
            return;
        }
        let (layers, size) = (count(total.len(), "layer"), state.size());
        let head = format!("{} {}: {layers}, {}\n", self.verb, self.reference, HumanBytes(size));
        match &self.show {
            Show::Nothing => {}
            Show::Lines => {
                state.last_line = Some(Instant::now());
                tell(&head);
            }
            Show::Bars(bars) => {
                bars.suspend(|| tell(&head));
                let bar = ProgressBar::new(size).with_style(style(TOTAL, BESIDE));
                state.total = Some(bars.add(bar.with_prefix("all")));
            }
        }
    }

    fn advance(&self, layer: usize, bytes: u64) {
        let mut state = self.state();
        state.received += bytes;
        let Show::Bars(bars) = &self.show else { return };
        if let Some(total) = &state.total {
            total.inc(bytes);
        }
        if !state.running.contains_key(&layer) {
            let Some((size, name)) = state.layers.get(layer).cloned() else { return };
            let bar = ProgressBar::new(size).with_style(style(LAYER, BESIDE)).with_prefix(name);
            let bar = match &state.total {
                Some(total) => bars.insert_before(total, bar),
                None => bars.add(bar),
            };
            state.running.insert(layer, bar);
        }
        if let Some(bar) = state.running.get(&layer) {
            bar.inc(bytes);
        }
    }

    fn layer_done(&self, layer: usize) {
        let mut state = self.state();
        state.finished += 1;
        match self.show {
            Show::Nothing => {}
            Show::Lines => {
                if let Some(line) = state.line(Instant::now()) {
                    tell(&line);
                }
            }
            Show::Bars(_) => {
                if let Some(bar) = state.running.remove(&layer) {
                    bar.finish_and_clear();
                }
            }
        }
    }

    fn note(&self, text: &str) {
        let line = format!("note: {}\n", escape::one_line(text));
        match &self.show {
            Show::Nothing => {}
            Show::Lines => tell(&line),
            Show::Bars(bars) => bars.suspend(|| tell(&line)),
        }
    }
}

impl Drop for Pulling {
    fn drop(&mut self) {
        if let Show::Bars(bars) = &self.show {
            // a terminal that is gone can't be cleared
            let _ = bars.clear();
        }
    }
}

/// How a bar looks: `WIDTH` of the template is what the terminal has beside `beside` columns, and `{left}` the time to the
/// end, once there is something to reckon it by.
pub(super) fn style(template: &str, beside: usize) -> ProgressStyle {
    let width = width().saturating_sub(beside).clamp(8, 40).to_string();
    ProgressStyle::with_template(&template.replace("WIDTH", &width))
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("left", |state: &ProgressState, text: &mut dyn fmt::Write| {
            if state.elapsed() >= PAUSE && !state.is_finished() {
                let _ = write!(text, ", {:#} left", HumanDuration(state.eta()));
            }
        })
        .progress_chars(if speaks_unicode() { "█▉▊▋▌▍▎▏ " } else { "=> " })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_templates() {
        for template in [LAYER, TOTAL] {
            assert!(ProgressStyle::with_template(&template.replace("WIDTH", "9")).is_ok(), "{template}");
        }
    }

    #[test]
    fn at_most_one_line_a_second() {
        let mut state = State { layers: vec![(1024, "a".into()), (1024, "b".into())], ..State::default() };
        let start = Instant::now();
        (state.finished, state.received) = (1, 1024);
        assert_eq!(state.line(start).unwrap(), "  1 of 2 layers, 1.00 KiB of 2.00 KiB\n");
        assert_eq!(state.line(start + Duration::from_millis(999)), None);
        assert!(state.line(start + PAUSE).is_some());
    }
}

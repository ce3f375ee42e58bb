//! Another try after a failure that may pass.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use super::Error;
use super::error::Fault;
use crate::cancel::Cancel;

/// Tries after the first.
const RETRIES: u32 = 3;
/// Tests have less patience.
const FIRST_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 250 });
/// Longest wait a registry may ask of us.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Does `attempt`, again up to three times while it fails in a way that may pass (no connection, a cut body, a
/// busy or broken registry), each time after a longer pause or the one the registry asks for. `note` is told of
/// each pause; one that is cancelled ends with the last failure.
pub fn retry<T, E>(
    cancel: &Cancel,
    note: &dyn Fn(&str),
    fault: impl Fn(&E) -> Option<&Error>,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    for number in 0..RETRIES {
        let error = match attempt() {
            Err(error) => error,
            done => return done,
        };
        let Some((text, pause)) =
            fault(&error).and_then(|it| Some((it.to_string(), pause(it.retry_after()?, number)?)))
        else {
            return Err(error);
        };
        note(&announced(&text, pause));
        if !cancel.pause(pause) {
            return Err(error);
        }
    }
    attempt()
}

/// Counts failures in a row, for a transfer that goes on where it stopped.
#[derive(Debug, Default)]
pub(super) struct Tries {
    failed: u32,
    /// Bytes that had come when counting began.
    since: u64,
}

impl Tries {
    /// So much in one go is progress.
    const PROGRESS: u64 = 1 << 20;

    /// Whether no other try can do better.
    pub(super) fn is_hopeless(&self, fault: &Fault) -> bool {
        fault.retry_after().is_none()
    }

    /// How long to wait before going on, `got` bytes having come until `fault`; the fault when there is no use.
    pub(super) fn after(&mut self, fault: Fault, got: u64) -> Result<(String, Duration), Fault> {
        // what a registry says it has can become less
        if got.saturating_sub(self.since) >= Self::PROGRESS {
            *self = Self { failed: 0, since: got };
        }
        let pause = fault.retry_after().and_then(|wanted| pause(wanted, self.failed));
        self.failed += 1;
        match pause {
            Some(pause) if self.failed <= RETRIES => Ok((announced(&fault.to_string(), pause), pause)),
            _ if self.failed > 1 => Err(Fault::GaveUp { tries: self.failed, last: Box::new(fault) }),
            _ => Err(fault),
        }
    }
}

/// The pause after failure `number`, from 0: what is asked for or our own, whichever is longer; none when more is
/// asked for than we wait.
fn pause(wanted: Duration, number: u32) -> Option<Duration> {
    (wanted <= LONGEST_PAUSE).then(|| wanted.max(jittered(FIRST_PAUSE * 2_u32.pow(number.min(RETRIES)))))
}

fn announced(text: &str, pause: Duration) -> String {
    format!("{text}; trying again in {:.1} s", pause.as_secs_f64())
}

/// Up to a quarter more, so that many who failed together do not come back together.
fn jittered(pause: Duration) -> Duration {
    let random = u32::try_from(RandomState::new().hash_one(0) % 1000).unwrap_or_default();
    pause + pause * random / 4000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_differ_and_end() {
        let pauses: Vec<_> = (0..3).map(|number| pause(Duration::ZERO, number).unwrap()).collect();
        for (number, pause) in pauses.iter().enumerate() {
            let least = FIRST_PAUSE * (1 << number);
            assert!((least..=least + least / 4).contains(pause), "{pauses:?}");
        }
        let many: std::collections::HashSet<_> = (0..50).map(|_| pause(Duration::ZERO, 2)).collect();
        assert!(many.len() > 10, "no two wait alike");
        assert_eq!(pause(LONGEST_PAUSE, 0), Some(LONGEST_PAUSE));
        assert_eq!(pause(LONGEST_PAUSE + Duration::from_secs(1), 0), None);
    }

    #[test]
    fn progress_counts_anew() {
        let cut = |got| Fault::Cut { got, wanted: None, source: None };
        let mut tries = Tries::default();
        for got in 0..3 {
            assert!(tries.after(cut(got), got).is_ok());
        }
        assert!(matches!(tries.after(cut(3), 3), Err(Fault::GaveUp { tries: 4, .. })));
        let mut tries = Tries::default();
        for step in 1..20 {
            assert!(tries.after(cut(0), step * Tries::PROGRESS).is_ok());
        }
        let mut tries = Tries::default();
        let went = [8, 5, 3, 1].map(|got| tries.after(cut(0), got * Tries::PROGRESS).is_ok());
        assert_eq!(went, [true, true, true, false], "backwards is no progress");
        assert!(matches!(Tries::default().after(Fault::WrongPart, 0), Err(Fault::WrongPart)));
    }
}

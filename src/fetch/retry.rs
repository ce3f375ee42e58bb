//! Another try after a failure that may pass.

use std::hash::{BuildHasher, RandomState};
use std::thread;
use std::time::Duration;

use super::Error;

/// Tries after the first.
const RETRIES: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest wait a registry may ask of us.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Does `attempt`, again up to three times while it fails in a way that may pass (no connection, a cut body, a
/// busy or broken registry), each time after a longer pause or the one the registry asks for. `note` is told of
/// each pause.
pub fn retry<T, E>(
    note: &dyn Fn(&str),
    fault: impl Fn(&E) -> Option<&Error>,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    for number in 0..RETRIES {
        let error = match attempt() {
            Err(error) => error,
            done => return done,
        };
        let (text, wanted) = match fault(&error).and_then(|it| Some((it.to_string(), it.retry_after()?))) {
            Some((text, wanted)) if wanted <= LONGEST_PAUSE => (text, wanted),
            _ => return Err(error),
        };
        let pause = wanted.max(jittered(FIRST_PAUSE * 2_u32.pow(number)));
        note(&format!("{text}; trying again in {:.1} s", pause.as_secs_f64()));
        thread::sleep(pause);
    }
    attempt()
}

/// Up to a quarter more, so that many who failed together do not come back together.
fn jittered(pause: Duration) -> Duration {
    let random = u32::try_from(RandomState::new().hash_one(0) % 1000).unwrap_or_default();
    pause + pause * random / 4000
}

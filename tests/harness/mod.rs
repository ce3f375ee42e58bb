//! What the end-to-end tests stand on: a private home and a driven `devbox`, images made from a few lines of
//! text, a real registry, a terminal, and honest skipping.

pub mod bad_registry;
#[macro_use]
pub mod host;
pub mod hide;
pub mod http;
pub mod image;
pub mod outcome;
pub mod probes;
pub mod pty;
pub mod registry;
pub mod stream;
pub mod test;
pub mod tls;

pub use image::{Image, Packing};
pub use outcome::Outcome;
pub use pty::Pty;
pub use stream::Stream;
pub use test::{Running, Test, binary};

use std::thread;
use std::time::{Duration, Instant};

/// Asks `done` until it says yes, for at most `seconds`; gives its last word.
pub fn within(seconds: u64, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        if done() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

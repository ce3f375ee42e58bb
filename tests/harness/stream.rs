//! Bytes that arrive by and by: a thread reads them, tests wait for what they expect.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for something that should come at once.
pub const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Seen {
    bytes: Vec<u8>,
    consumed: usize,
    ended: bool,
}

/// Everything a reader has given so far.
#[derive(Clone, Default)]
pub struct Stream(Arc<(Mutex<Seen>, Condvar)>);

impl Stream {
    /// Reads `source` to its end on a thread of its own. An error ends it too: a terminal whose other side is
    /// closed reads as EIO.
    pub fn new(mut source: impl Read + Send + 'static) -> Self {
        let stream = Self::default();
        let ours = stream.clone();
        thread::spawn(move || {
            let mut chunk = [0; 65536];
            loop {
                let got = source.read(&mut chunk).unwrap_or(0);
                let (seen, changed) = &*ours.0;
                let mut seen = seen.lock().unwrap();
                seen.bytes.extend_from_slice(&chunk[..got]);
                seen.ended = got == 0;
                changed.notify_all();
                if got == 0 {
                    return;
                }
            }
        });
        stream
    }

    /// Waits until `pattern` is among what has not been waited for yet, and takes everything up to its end.
    #[track_caller]
    pub fn expect(&self, pattern: &str) -> String {
        let end = Instant::now() + PATIENCE;
        let (seen, changed) = &*self.0;
        let mut seen = seen.lock().unwrap();
        let mut searched = seen.consumed;
        loop {
            let from = searched.saturating_sub(pattern.len()).max(seen.consumed);
            if let Some(at) = find(&seen.bytes[from..], pattern.as_bytes()) {
                let upto = from + at + pattern.len();
                let text = String::from_utf8_lossy(&seen.bytes[seen.consumed..upto]).into_owned();
                seen.consumed = upto;
                return text;
            }
            searched = seen.bytes.len();
            let left = end.saturating_duration_since(Instant::now());
            if seen.ended || left.is_zero() {
                let why = if seen.ended { "the stream ended" } else { "time is over" };
                let fresh = String::from_utf8_lossy(&seen.bytes[seen.consumed..]).into_owned();
                drop(seen); // or a second waiter would see a poisoned lock instead of its own trouble
                panic!("expected {pattern:?}, but {why}; got {fresh:?}");
            }
            seen = changed.wait_timeout(seen, left).unwrap().0;
        }
    }

    /// Waits for the end and gives all bytes since the beginning.
    #[track_caller]
    pub fn all(&self) -> Vec<u8> {
        let (seen, changed) = &*self.0;
        let (seen, timeout) =
            changed.wait_timeout_while(seen.lock().unwrap(), PATIENCE, |seen| !seen.ended).unwrap();
        let bytes = seen.bytes.clone();
        drop(seen);
        assert!(!timeout.timed_out(), "no end of the stream after {:?}", String::from_utf8_lossy(&bytes));
        bytes
    }

    /// What has come so far.
    pub fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.0.0.lock().unwrap().bytes).into_owned()
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

//! Work of several threads that ends together: who fails cancels, and every wait of the others ends at once.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// Whether work is wanted no more. Clones are one and the same; the default is never cancelled by itself.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    cancelled: Mutex<bool>,
    changed: Condvar,
    notify: Notify,
}

impl Cancel {
    /// Ends all waits, those that begin later too.
    pub fn cancel(&self) {
        *self.0.cancelled.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.changed.notify_all();
        self.0.notify.notify_waiters();
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        *self.0.cancelled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for `pause`, or until it is cancelled: then false.
    pub fn pause(&self, pause: Duration) -> bool {
        let cancelled = self.0.cancelled.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.changed.wait_timeout_while(cancelled, pause, |cancelled| !*cancelled);
        !*waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits until it is cancelled.
    pub async fn cancelled(&self) {
        // made before the look: it hears of what happens from here on
        let notified = self.0.notify.notified();
        if !self.is_cancelled() {
            notified.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn all_waits_end() {
        let cancel = Cancel::default();
        assert!(cancel.pause(Duration::ZERO) && !cancel.is_cancelled());
        let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
        thread::scope(|scope| {
            let waits = [
                scope.spawn(|| cancel.pause(LONG)),
                scope.spawn(|| {
                    runtime().block_on(cancel.cancelled());
                    false
                }),
            ];
            thread::sleep(Duration::from_millis(20));
            cancel.clone().cancel();
            assert_eq!(waits.map(|wait| wait.join().unwrap()), [false, false]);
        });
        assert!(cancel.is_cancelled() && !cancel.pause(LONG));
        runtime().block_on(cancel.cancelled());
    }
}

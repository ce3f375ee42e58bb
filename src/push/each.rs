//! The same work for several things at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::error::Why;

/// Does `work` for 0 to `count`, `at_once` at a time, and gives the results in order. When one fails nothing more is
/// begun, and that failure is given.
pub(super) fn each<T: Send>(
    count: usize,
    at_once: usize,
    work: impl Fn(usize) -> Result<T, Why> + Sync,
) -> Result<Vec<T>, Why> {
    let next = AtomicUsize::new(0);
    let run = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(done);
            }
            match work(number) {
                Ok(result) => done.push((number, result)),
                Err(why) => {
                    next.store(count, Ordering::Relaxed);
                    return Err(why);
                }
            }
        }
    };
    let mut done = thread::scope(|scope| {
        let start = |_| thread::Builder::new().name("layer".into()).spawn_scoped(scope, run);
        let workers: Vec<_> = (0..at_once.min(count)).map(start).collect();
        let mut done = Vec::new();
        for worker in workers {
            done.extend(worker.map_err(Why::Thread)?.join().unwrap_or(Err(Why::Stopped))?);
        }
        Ok::<_, Why>(done)
    })?;
    done.sort_by_key(|(number, _)| *number);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_order_and_stopped_by_a_failure() {
        assert_eq!(
            each(100, 3, |number| Ok(number * 2)).unwrap(),
            (0..100).map(|it| it * 2).collect::<Vec<_>>()
        );
        assert!(each(0, 4, |_| Ok(())).unwrap().is_empty());
        let begun = AtomicUsize::new(0);
        let failed = each(1000, 2, |number| {
            begun.fetch_add(1, Ordering::Relaxed);
            if number == 5 { Err(Why::Stopped) } else { Ok(()) }
        });
        assert!(failed.is_err());
        // the other worker may have taken many by then, but it ends
        assert!(begun.load(Ordering::Relaxed) <= 1000);
    }
}

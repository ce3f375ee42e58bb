//! Reads from a source on a thread of its own, some buffers ahead of who reads here.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, Scope};

/// Large enough that changing threads costs nothing beside what is done with the bytes.
const SIZE: usize = 512 << 10;
const BUFFERS: usize = 3;

struct Buffer {
    bytes: Box<[u8]>,
    filled: usize,
}

/// The reading side. Errors of the source come out once, after all bytes before them.
pub(super) struct Ahead {
    filled: Receiver<io::Result<Buffer>>,
    spent: SyncSender<Buffer>,
    current: Option<Buffer>,
    position: usize,
}

/// Starts to read from `source`; ends soon after the [`Ahead`] is dropped.
pub(super) fn read_ahead<'scope>(
    scope: &'scope Scope<'scope, '_>,
    source: impl Read + Send + 'scope,
) -> io::Result<Ahead> {
    let (full, filled) = sync_channel(BUFFERS);
    let (spent, empty) = sync_channel(BUFFERS);
    for _ in 0..BUFFERS {
        // the channel has room for all of them
        let _ = spent.send(Buffer { bytes: vec![0; SIZE].into(), filled: 0 });
    }
    Builder::new().name("inflate".into()).spawn_scoped(scope, move || pass_on(source, &empty, &full))?;
    Ok(Ahead { filled, spent, current: None, position: 0 })
}

/// Until the end, an error, or nobody reads any more.
fn pass_on(mut source: impl Read, empty: &Receiver<Buffer>, full: &SyncSender<io::Result<Buffer>>) {
    while let Ok(mut buffer) = empty.recv() {
        let (filled, error) = fill(&mut source, &mut buffer.bytes);
        buffer.filled = filled;
        let ended = filled < buffer.bytes.len();
        if full.send(Ok(buffer)).is_err() {
            return;
        }
        if let Some(error) = error {
            let _ = full.send(Err(error));
        }
        if ended {
            return;
        }
    }
}

/// Reads until the buffer is full; less only at the end or before the error.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> (usize, Option<io::Error>) {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (filled, Some(error)),
        }
    }
    (filled, None)
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(current) = &self.current {
                let rest = &current.bytes[self.position..current.filled];
                if !rest.is_empty() {
                    let count = rest.len().min(buffer.len());
                    buffer[..count].copy_from_slice(&rest[..count]);
                    self.position += count;
                    return Ok(count);
                }
            }
            if let Some(spent) = self.current.take() {
                // the thread may have ended already
                let _ = self.spent.send(spent);
            }
            match self.filled.recv() {
                Ok(next) => (self.current, self.position) = (Some(next?), 0),
                Err(_) => return Ok(0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its numbers' worth of bytes, one read each, then fails if it is to.
    struct Pieces(Vec<usize>, bool);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.pop() {
                Some(count) => {
                    let count = count.min(buffer.len());
                    buffer[..count].fill(count as u8);
                    Ok(count)
                }
                None if self.1 => Err(io::Error::other("broken")),
                None => Ok(0),
            }
        }
    }

    #[test]
    fn all_bytes_then_the_error() {
        for (pieces, fails) in [
            (vec![], false),
            (vec![], true),
            (vec![1, 200, 3], true),
            (vec![SIZE; 9], true),
            (vec![SIZE; 9], false),
            (vec![70_000; 100], true),
        ] {
            let mut expected = Vec::new();
            for (read, piece) in pieces.iter().rev().map(|piece| (*piece, *piece as u8)) {
                expected.extend(std::iter::repeat_n(piece, read));
            }
            let mut got = Vec::new();
            let result = std::thread::scope(|scope| {
                read_ahead(scope, Pieces(pieces.clone(), fails)).unwrap().read_to_end(&mut got)
            });
            assert_eq!(result.is_err(), fails);
            if pieces.iter().all(|piece| SIZE.is_multiple_of(*piece)) || expected.len() < SIZE {
                assert!(got == expected, "{pieces:?}");
            }
        }
    }

    #[test]
    fn nobody_reads_on() {
        std::thread::scope(|scope| {
            let mut ahead = read_ahead(scope, io::repeat(7)).unwrap();
            ahead.read_exact(&mut [0; 100]).unwrap();
        });
    }
}

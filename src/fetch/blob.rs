//! A blob as a reader: the network's thread sends its bytes ahead, up to a bound, and verifies them.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::sync::{Semaphore, mpsc};

use super::error::{Error, Fault};

/// Most bytes of one blob that wait for their reader.
const AHEAD: usize = 2 << 20;

/// What passes from the network to the reader.
enum Message {
    Chunk(Bytes),
    /// What the wait is for.
    Note(String),
    /// All bytes came, and they are the right ones.
    Verified,
    Failed(Error),
}

/// Reads a blob. The end comes only when all bytes did and their digest is right; every error holds an [`Error`].
pub struct Blob {
    messages: mpsc::Receiver<Message>,
    room: Arc<Semaphore>,
    chunk: Bytes,
    /// Length of `chunk` when it came.
    taken: usize,
    ended: bool,
}

/// The other side of a [`Blob`].
pub(super) struct Sender {
    messages: mpsc::Sender<Message>,
    room: Arc<Semaphore>,
    object: String,
}

/// A reader of a blob, called `object` in messages, and what fills it.
pub(super) fn channel(object: String) -> (Sender, Blob) {
    // chunks are bounded by their bytes; their number only has to be finite
    let (sender, messages) = mpsc::channel(1024);
    let room = Arc::new(Semaphore::new(AHEAD));
    (
        Sender { messages: sender, room: room.clone(), object },
        Blob { messages, room, chunk: Bytes::new(), taken: 0, ended: false },
    )
}

impl Sender {
    /// Sends bytes when there is room for them; false when nobody reads on.
    pub(super) async fn chunk(&self, chunk: Bytes) -> bool {
        let needed = u32::try_from(chunk.len().min(AHEAD)).unwrap_or(u32::MAX);
        // both fail when nobody reads on
        let Ok(room) = self.room.acquire_many(needed).await else { return false };
        room.forget();
        self.messages.send(Message::Chunk(chunk)).await.is_ok()
    }

    /// Says something to the reader's user.
    pub(super) async fn note(&self, text: &str) {
        let _ = self.messages.send(Message::Note(format!("{}: {text}", self.object))).await;
    }

    /// Says why there is a pause, and makes it; false when nobody waits for its end.
    pub(super) async fn pause(&self, text: &str, pause: Duration) -> bool {
        self.note(text).await;
        tokio::time::timeout(pause, self.messages.closed()).await.is_err()
    }

    /// Lets the reader end.
    pub(super) async fn verified(self) {
        let _ = self.messages.send(Message::Verified).await;
    }

    /// Lets the reader fail.
    pub(super) async fn fail(self, fault: Fault) {
        let _ = self.messages.send(Message::Failed(Error { object: self.object, fault })).await;
    }
}

impl Blob {
    /// Waits until there are bytes to read, or their end. `note` is told what the wait is for, when the registry has
    /// to be asked again.
    pub fn ready(&mut self, note: &dyn Fn(&str)) -> io::Result<()> {
        while self.chunk.is_empty() && !self.ended {
            self.room.add_permits(self.taken.min(AHEAD));
            self.taken = 0;
            match self.messages.blocking_recv() {
                Some(Message::Chunk(chunk)) => (self.taken, self.chunk) = (chunk.len(), chunk),
                Some(Message::Note(text)) => note(&text),
                Some(Message::Verified) => self.ended = true,
                Some(Message::Failed(error)) => return Err(io::Error::other(error)),
                None => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
        Ok(())
    }
}

impl Drop for Blob {
    fn drop(&mut self) {
        self.room.close();
    }
}

impl BufRead for Blob {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.ready(&|_| {})?;
        Ok(&self.chunk)
    }

    fn consume(&mut self, count: usize) {
        self.chunk.advance(count);
    }
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

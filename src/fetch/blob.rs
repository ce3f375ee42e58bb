//! A blob as a reader: the network's thread sends its bytes ahead, up to a bound, and verifies them.

use std::io::{self, BufRead, Read};
use std::pin::pin;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use tokio::sync::{Semaphore, mpsc};

use super::error::{Error, Fault};
use crate::oci::digest::Digest;

/// Most bytes of one blob that wait for their reader.
const AHEAD: usize = 2 << 20;

/// What passes from the network to the reader.
enum Message {
    Chunk(Bytes),
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
    pub(super) object: String,
    digest: Digest,
    size: u64,
}

/// A reader of the blob `digest` of `size` bytes, called `object` in messages, and what fills it.
pub(super) fn channel(object: String, digest: Digest, size: u64) -> (Sender, Blob) {
    // chunks are bounded by their bytes; their number only has to be finite
    let (sender, messages) = mpsc::channel(1024);
    let room = Arc::new(Semaphore::new(AHEAD));
    (
        Sender { messages: sender, room: room.clone(), object, digest, size },
        Blob { messages, room, chunk: Bytes::new(), taken: 0, ended: false },
    )
}

impl Sender {
    /// Sends what `stream` gives. It verifies the digest itself, as its last item.
    pub(super) async fn send_all(&self, stream: impl Stream<Item = io::Result<Bytes>>) -> Result<(), Fault> {
        let mut stream = pin!(stream);
        let mut got = 0;
        while let Some(chunk) = stream.next().await {
            // a body that ends early, but properly, has the wrong digest as well
            let chunk = chunk.map_err(|error| match Fault::of_stream(error, self.digest, got) {
                Fault::WrongDigest { .. } if got < self.size => Fault::Cut { got, source: None },
                fault => fault,
            })?;
            got += chunk.len() as u64;
            if got > self.size {
                return Err(Fault::TooLarge(self.size));
            }
            let needed = u32::try_from(chunk.len().min(AHEAD)).unwrap_or(u32::MAX);
            // both fail when nobody reads on
            let Ok(room) = self.room.acquire_many(needed).await else { return Ok(()) };
            room.forget();
            if self.messages.send(Message::Chunk(chunk)).await.is_err() {
                return Ok(());
            }
        }
        if got < self.size {
            return Err(Fault::Cut { got, source: None });
        }
        let _ = self.messages.send(Message::Verified).await;
        Ok(())
    }

    /// Lets the reader fail.
    pub(super) async fn fail(self, fault: Fault) {
        let _ = self.messages.send(Message::Failed(Error { object: self.object, fault })).await;
    }
}

impl Drop for Blob {
    fn drop(&mut self) {
        self.room.close();
    }
}

impl BufRead for Blob {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.chunk.is_empty() && !self.ended {
            self.room.add_permits(self.taken.min(AHEAD));
            self.taken = 0;
            match self.messages.blocking_recv() {
                Some(Message::Chunk(chunk)) => (self.taken, self.chunk) = (chunk.len(), chunk),
                Some(Message::Verified) => self.ended = true,
                Some(Message::Failed(error)) => return Err(io::Error::other(error)),
                None => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
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

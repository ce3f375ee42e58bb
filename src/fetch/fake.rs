//! A registry for tests: answers what the test says, remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A request, as far as tests look at it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    /// First byte of the range asked for.
    pub(crate) start: Option<usize>,
    pub(crate) body: String,
}

/// What comes back.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Says so much in `Content-Length`, and sends what is there.
    claimed: Option<usize>,
    /// The last byte comes later.
    pause: Duration,
    /// Each byte comes alone, so long after the one before it.
    drip: Option<Duration>,
    /// The body is sent again and again.
    endless: bool,
}

impl Answer {
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::status(200, body)
    }

    pub(crate) fn status(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, body: body.into(), ..Self::default() }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The connection ends after `bytes` of the body.
    pub(crate) fn cut(mut self, bytes: usize) -> Self {
        self.claimed = Some(self.body.len());
        self.body.truncate(bytes);
        self
    }

    pub(crate) fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    pub(crate) fn drip(mut self, pause: Duration) -> Self {
        self.drip = Some(pause);
        self
    }

    /// What a registry that knows ranges sends to who asked for one.
    pub(crate) fn from(body: &[u8], start: Option<usize>) -> Self {
        let Some(start) = start else { return Self::ok(body) };
        let range = format!("bytes {start}-{}/{}", body.len() - 1, body.len());
        Self::status(206, &body[start..]).header("Content-Range", range)
    }

    pub(crate) fn endless(mut self) -> Self {
        self.endless = true;
        self
    }

    fn send(&self, stream: &mut TcpStream, head_only: bool) -> std::io::Result<()> {
        write!(stream, "HTTP/1.1 {} Fake\r\nConnection: close\r\n", self.status)?;
        for (name, value) in &self.headers {
            write!(stream, "{name}: {value}\r\n")?;
        }
        if !self.endless {
            write!(stream, "Content-Length: {}\r\n", self.claimed.unwrap_or(self.body.len()))?;
        }
        stream.write_all(b"\r\n")?;
        if head_only {
            return Ok(());
        }
        if let Some(pause) = self.drip {
            for byte in &self.body {
                thread::sleep(pause);
                stream.write_all(&[*byte])?;
            }
            return Ok(());
        }
        let (start, last) = self.body.split_at(self.body.len().saturating_sub(1));
        stream.write_all(start)?;
        thread::sleep(self.pause);
        stream.write_all(last)?;
        if self.endless {
            loop {
                stream.write_all(&self.body)?;
            }
        }
        Ok(())
    }
}

/// Runs until the test program ends.
pub(crate) struct Fake {
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    /// Answers by `answer`, which is told how often the same was asked before.
    pub(crate) fn start(answer: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (asked.clone(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, answer) = (log.clone(), answer.clone());
                thread::spawn(move || serve(stream, &log, &*answer));
            }
        });
        Self { address, asked }
    }

    /// All requests so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// One request; an error only means that the client has gone.
fn serve(
    mut stream: TcpStream,
    log: &Mutex<Vec<Asked>>,
    answer: &dyn Fn(&Asked, usize) -> Answer,
) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut lines = reader.by_ref().lines();
    let Ok(first) = lines.next()? else {
        // no HTTP at all: TLS, most likely; said as servers do
        return Answer::status(400, "").send(&mut stream, false).ok();
    };
    let mut words = first.split(' ');
    let mut asked =
        Asked { method: words.next()?.to_owned(), path: words.next()?.to_owned(), ..Asked::default() };
    let mut length = 0;
    for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
        let Some((name, value)) = line.split_once(": ") else { continue };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => asked.authorization = Some(value.to_owned()),
            "range" => asked.start = value.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok(),
            "content-length" => length = value.parse().ok()?,
            _ => {}
        }
    }
    reader.take(length).read_to_string(&mut asked.body).ok()?;
    let before = {
        let mut log = log.lock().unwrap();
        log.push(asked.clone());
        log.iter().filter(|it| it.method == asked.method && it.path == asked.path).count() - 1
    };
    answer(&asked, before).send(&mut stream, asked.method == "HEAD").ok()
}

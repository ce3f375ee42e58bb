//! An ssh-agent limited to some keys, for a box: a process outside that passes on what is about these keys, and nothing else.
//!
//! ```text
//!  box: SSH_AUTH_SOCK ──► list: only the keys that were named        ──► the caller's own agent
//!                         sign: for these keys; each use is noted
//!                         add, remove, lock, extensions: refused
//! ```
//!
//! What comes from the box is parsed strictly and made anew; the caller's agent never sees a byte of another message.

mod message;

use std::collections::HashSet;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::audit::{Event, Kind, Log};
use message::{FAILURE, KEYS, Key, LIST, SIGN, frame};

/// Connections at one time; more are closed.
const MOST_CONNECTIONS: usize = 16;
/// Different refusals that are noted.
const MOST_NOTED: usize = 100;

/// Which keys a box may use, and whose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Fingerprints (`SHA256:…`) or comments.
    pub keys: Vec<String>,
    /// Socket of the caller's agent.
    pub agent: PathBuf,
}

struct Limited {
    rules: Rules,
    log: Log,
    connections: AtomicUsize,
    /// What was refused and noted already: kinds of requests, keys.
    refused: Mutex<HashSet<String>>,
}

/// Which of `names` none of the agent's keys has. Reads the agent's list; signs nothing.
pub fn missing<'a>(agent: &Path, names: &'a [String]) -> io::Result<Vec<&'a str>> {
    let keys = list(&UnixStream::connect(agent)?)?;
    let is_missing = |name: &&'a str| !keys.iter().any(|key| key.is_called(name));
    Ok(names.iter().map(String::as_str).filter(is_missing).collect())
}

/// Serves connections to `listener` until `ended` can be read, which it can when the box's pid 1 has ended.
pub fn serve(rules: Rules, listener: UnixListener, log: Log, ended: &OwnedFd) -> io::Result<()> {
    let limited =
        Arc::new(Limited { rules, log, connections: AtomicUsize::new(0), refused: Mutex::default() });
    std::thread::Builder::new().spawn(move || {
        loop {
            match listener.accept() {
                Ok((client, _)) => limited.clone().take(client),
                // as many descriptors as it may have: one of them is closed some time
                Err(_) => std::thread::sleep(std::time::Duration::from_millis(100)),
            }
        }
    })?;
    loop {
        match poll(&mut [PollFd::new(ended.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            waited => return waited.map(drop).map_err(Into::into),
        }
    }
}

impl Limited {
    fn take(self: Arc<Self>, client: UnixStream) {
        if self.connections.fetch_add(1, Ordering::Relaxed) >= MOST_CONNECTIONS {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let limited = self.clone();
        let thread = std::thread::Builder::new().spawn(move || {
            // what is malformed ends its connection and nothing else
            let _ = limited.talk(&client);
            limited.connections.fetch_sub(1, Ordering::Relaxed);
        });
        if thread.is_err() {
            self.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn talk(&self, mut client: &UnixStream) -> io::Result<()> {
        while let Some((kind, body)) = message::read(&mut client)? {
            // one that is gone fails the request, not the connection
            let answer = self.answer(kind, &body).unwrap_or_else(|_| frame(FAILURE, &[]));
            client.write_all(&answer)?;
        }
        Ok(())
    }

    fn answer(&self, kind: u8, body: &[u8]) -> io::Result<Vec<u8>> {
        match kind {
            LIST => Ok(frame(KEYS, &message::listing(&self.allowed(&self.connect()?)?))),
            SIGN => {
                let wanted = message::signing_key(body)?;
                let agent = self.connect()?;
                match self.allowed(&agent)?.into_iter().find(|key| key.blob == wanted) {
                    Some(key) => {
                        // none is given that is not noted
                        let event = Event::allowed(Kind::Agent, format!("a signature with {}", shown(&key)));
                        if !self.log.note(&event) {
                            return Ok(frame(FAILURE, &[]));
                        }
                        let (kind, body) = ask(&agent, SIGN, body)?;
                        Ok(frame(kind, &body))
                    }
                    None => {
                        let key = Key { blob: wanted.to_owned(), comment: Vec::new() };
                        let remedy = format!("`ssh-agent = [{:?}]` in the profile", key.fingerprint());
                        let what = format!("a signature with {}", shown(&key));
                        let event =
                            Event::refused(Kind::Agent, what, "the key is not one that the box may use");
                        Ok(self.refuse(&event.remedy(remedy)))
                    }
                }
            }
            // ssh asks for extensions each time it connects
            other => {
                let what = format!("request {other} to the ssh-agent");
                Ok(self.refuse(&Event::refused(Kind::Agent, what, "a box may list keys and sign, no more")))
            }
        }
    }

    /// The answer to what is not allowed, which is noted once, and only so often: a box that asks for keys it made up is not
    /// to fill the log.
    fn refuse(&self, event: &Event) -> Vec<u8> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.len() < MOST_NOTED && refused.insert(event.what.clone()) {
            self.log.note(event);
        }
        frame(FAILURE, &[])
    }

    fn connect(&self) -> io::Result<UnixStream> {
        UnixStream::connect(&self.rules.agent)
    }

    /// The agent's keys that the box may use, as they are now.
    fn allowed(&self, agent: &UnixStream) -> io::Result<Vec<Key>> {
        let mut keys = list(agent)?;
        keys.retain(|key| self.rules.keys.iter().any(|name| key.is_called(name)));
        Ok(keys)
    }
}

fn list(agent: &UnixStream) -> io::Result<Vec<Key>> {
    match ask(agent, LIST, &[])? {
        (KEYS, body) => message::keys(&body),
        // a locked agent
        _ => Ok(Vec::new()),
    }
}

fn ask(mut agent: &UnixStream, kind: u8, body: &[u8]) -> io::Result<(u8, Vec<u8>)> {
    agent.write_all(&frame(kind, body))?;
    message::read(&mut agent)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn shown(key: &Key) -> String {
    let comment = String::from_utf8_lossy(&key.comment);
    if comment.is_empty() { key.fingerprint() } else { format!("{} ({comment})", key.fingerprint()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(blob: &[u8], comment: &str) -> Key {
        Key { blob: blob.to_owned(), comment: comment.into() }
    }

    fn request(blob: &[u8]) -> Vec<u8> {
        [&(blob.len() as u32).to_be_bytes()[..], blob, &[0, 0, 0, 1, b'x'], &[0; 4]].concat()
    }

    /// An agent with two keys that signs with whatever it is asked to, and tells what it was asked.
    fn agent(path: &Path) -> std::sync::mpsc::Receiver<u8> {
        let listener = UnixListener::bind(path).unwrap();
        let (told, tell) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let told = told.clone();
                std::thread::spawn(move || {
                    let mut stream = &client;
                    while let Ok(Some((kind, _))) = message::read(&mut stream) {
                        let _ = told.send(kind);
                        let keys = [key(b"mine", "me@laptop"), key(b"work", "me@work")];
                        let answer = match kind {
                            LIST => frame(KEYS, &message::listing(&keys)),
                            _ => frame(14, b"signed"),
                        };
                        stream.write_all(&answer).unwrap();
                    }
                });
            }
        });
        tell
    }

    #[test]
    fn only_named_keys_are_listed_and_used() {
        let folder = tempfile::tempdir().unwrap();
        let (own, ours) = (folder.path().join("own"), folder.path().join("ours"));
        let asked = agent(&own);
        let rules = Rules { keys: vec!["me@work".into()], agent: own.clone() };
        let listener = UnixListener::bind(&ours).unwrap();
        let log = Log::open(folder.path()).unwrap();
        let (ended, end) = nix::unistd::pipe().unwrap();
        let serving = std::thread::spawn(move || serve(rules, listener, log, &ended).unwrap());

        let client = UnixStream::connect(&ours).unwrap();
        assert_eq!(list(&client).unwrap(), [key(b"work", "me@work")]);
        assert_eq!(ask(&client, SIGN, &request(b"work")).unwrap(), (14, b"signed".to_vec()));
        assert_eq!(ask(&client, SIGN, &request(b"mine")).unwrap(), (FAILURE, Vec::new()));
        assert_eq!(ask(&client, SIGN, b"nonsense").unwrap().0, FAILURE);
        // add, remove all, lock, extension
        for kind in [17, 19, 22, 27, 0, 255] {
            assert_eq!(ask(&client, kind, b"").unwrap(), (FAILURE, Vec::new()), "{kind}");
        }
        // of all this the agent was asked for lists and one signature
        let asked: Vec<u8> = asked.try_iter().collect();
        assert_eq!(asked.iter().filter(|kind| **kind == SIGN).count(), 1);
        assert!(asked.iter().all(|kind| [LIST, SIGN].contains(kind)), "{asked:?}");

        let noted = crate::audit::read(folder.path()).unwrap();
        let shown: Vec<_> = noted.iter().map(|event| (event.allowed, event.what.as_str())).collect();
        assert!(
            matches!(shown[..], [(true, _), (false, _), (false, "request 17 to the ssh-agent"), ..]),
            "{shown:?}"
        );
        assert!(shown[0].1.contains("me@work") && shown[1].1.contains("SHA256:"), "{shown:?}");

        assert_eq!(missing(&own, &["me@home".into(), "me@work".into()]).unwrap(), ["me@home"]);
        // a box that makes up keys does not fill the log, and what can't be noted is not signed
        for number in 0..500_u32 {
            assert_eq!(ask(&client, SIGN, &request(&number.to_be_bytes())).unwrap().0, FAILURE);
        }
        assert!(crate::audit::read(folder.path()).unwrap().len() < 110);
        let log = Log::open(folder.path()).unwrap();
        let long = Event::refused(Kind::Call, "x".repeat(512), "y");
        while log.note(&long) {}
        assert_eq!(ask(&client, SIGN, &request(b"work")).unwrap(), (FAILURE, Vec::new()));

        drop(end);
        serving.join().unwrap();
    }
}

//! A box's audit log: what was decided about it from outside, so that a refusal can be explained later.
//!
//! A line of JSON an event, each written at once, so that several processes can share the file. Nothing depends on it: who
//! can't write it goes on.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// Name of the file in the box's folder, and of the one it becomes when it has grown.
const NAME: &str = "audit.log";
const OLD: &str = "audit.log.1";
/// A box that is refused things without end does not fill the disk.
const LARGEST: u64 = 1 << 20;
/// Longest text of an event's fields: they come from inside the box.
const LONGEST: usize = 512;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A name asked for, or a connection.
    Network,
    /// A system call.
    Call,
    /// A limit of `[limits]`.
    Limit,
    /// A use of the ssh-agent.
    Agent,
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Seconds since 1970.
    pub at: u64,
    /// What it is about.
    pub kind: Kind,
    /// Whether it was allowed.
    pub allowed: bool,
    /// The host, call, limit or key.
    pub what: String,
    /// Why it was decided so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The line of a profile, or the flag, that would allow it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Event {
    /// Something refused now.
    pub fn refused(kind: Kind, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { at: now(), kind, allowed: false, what: what.into(), why: Some(why.into()), remedy: None }
    }

    /// Something allowed now.
    pub fn allowed(kind: Kind, what: impl Into<String>) -> Self {
        Self { at: now(), kind, allowed: true, what: what.into(), why: None, remedy: None }
    }

    /// With what would allow it.
    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The log, open for adding to it.
#[derive(Debug)]
pub struct Log(File);

impl Log {
    /// Opens the log of the box whose folder is `folder`; a large one is put aside. Only who holds the box's lock calls this.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join(NAME);
        let open = || {
            OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
                .open(&path)
        };
        let file = open()?;
        if file.metadata()?.len() < LARGEST / 2 {
            return Ok(Self(file));
        }
        std::fs::rename(&path, folder.join(OLD))?;
        open().map(Self)
    }

    /// Adds `event`; false when that can't be, or the log is full.
    pub fn note(&self, event: &Event) -> bool {
        let cut = |text: &str| text.chars().take(LONGEST).collect::<String>();
        let event = Event {
            what: cut(&event.what),
            why: event.why.as_deref().map(cut),
            remedy: event.remedy.as_deref().map(cut),
            ..*event
        };
        let full = self.0.metadata().map_or(true, |metadata| metadata.len() >= LARGEST);
        let Ok(mut line) = serde_json::to_vec(&event) else { return false };
        line.push(b'\n');
        !full && (&self.0).write_all(&line).is_ok()
    }
}

impl AsFd for Log {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The events of the box whose folder is `folder`, oldest first. A line cut by a crash is passed over.
pub fn read(folder: &Path) -> io::Result<Vec<Event>> {
    let mut text = Vec::new();
    for name in [OLD, NAME] {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(folder.join(name));
        match file {
            Ok(file) => drop(file.take(2 * LARGEST).read_to_end(&mut text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let lines = text.split(|byte| *byte == b'\n');
    Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_read() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).unwrap().is_empty());
        let refused =
            Event::refused(Kind::Network, "evil.example:443", "not in `allow`").remedy("allow = [...]");
        let allowed = Event::allowed(Kind::Agent, "me@laptop\n{\"at\":1}");
        let log = Log::open(folder.path()).unwrap();
        log.note(&refused);
        Log::open(folder.path()).unwrap().note(&allowed);
        assert_eq!(read(folder.path()).unwrap(), [refused, allowed]);
    }

    #[test]
    fn it_grows_to_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let size = |name| std::fs::metadata(folder.path().join(name)).map_or(0, |metadata| metadata.len());
        let log = Log::open(folder.path()).unwrap();
        let long = Event::refused(Kind::Call, "x".repeat(1 << 16), "y");
        assert!((0..4000).filter(|_| log.note(&long)).count() < 4000);
        assert!(size(NAME) >= LARGEST && size(NAME) < LARGEST + 2 * LONGEST as u64);
        Log::open(folder.path()).unwrap().note(&long);
        assert!(size(OLD) >= LARGEST && size(NAME) < 2 * LONGEST as u64);
        assert_eq!(read(folder.path()).unwrap().len() as u64, size(OLD) / (size(NAME)) + 1);
    }

    #[test]
    fn no_link_is_followed_and_no_line_believed_half() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("elsewhere", folder.path().join(NAME)).unwrap();
        assert!(Log::open(folder.path()).is_err() && !folder.path().join("elsewhere").exists());
        std::fs::remove_file(folder.path().join(NAME)).unwrap();
        std::fs::write(folder.path().join(NAME), b"{\"at\":1,\"kind\":\"call\"\n\xff\n").unwrap();
        assert!(read(folder.path()).unwrap().is_empty());
    }
}

//! Programs that keep credentials: `docker-credential-NAME get|store|erase`, spoken to by the protocol of
//! docker-credential-helpers: a word on the command line, the rest by pipes, so that no secret is among arguments.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use super::credentials::Credentials;

/// Time to unlock a key ring by hand.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest answer.
const MAX: usize = 1 << 20;
/// The name that comes with an identity token.
const TOKEN: &str = "<token>";
/// Said by all helpers when they have nothing.
const NOT_FOUND: &str = "credentials not found";

/// Why a helper was of no use; holds nothing of its answer but its complaint.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// No program of that name in `PATH`.
    #[error("there is no program `docker-credential-{0}`")]
    Missing(String),
    /// A name that is no name of a program.
    #[error("`{}` is not the name of a credential helper", .0.escape_debug())]
    BadName(String),
    /// It can't be started or spoken to.
    #[error("docker-credential-{name} can't be used")]
    Broken {
        /// The helper.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// It says no.
    #[error("docker-credential-{name} says `{}`", .said.escape_debug())]
    Refused {
        /// The helper.
        name: String,
        /// Its complaint.
        said: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(rename = "ServerURL", default)]
    server: String,
    username: String,
    secret: String,
}

/// What the helper `name` keeps for `server`; `None` when that is nothing.
pub(super) fn get(name: &str, server: &str) -> Result<Option<Credentials>, HelperError> {
    let answer = match call(name, "get", server.as_bytes(), PATIENCE) {
        Err(HelperError::Refused { said, .. }) if said.starts_with(NOT_FOUND) => return Ok(None),
        answer => answer?,
    };
    // the parser's words could quote the secret
    let malformed = |_| broken(name, io::Error::new(io::ErrorKind::InvalidData, "its answer is malformed"));
    let entry: Entry = serde_json::from_slice(&answer).map_err(malformed)?;
    Ok(match (entry.username.as_str(), entry.secret) {
        (_, secret) if secret.is_empty() => None,
        (TOKEN, token) => Some(Credentials::Identity(token)),
        (_, secret) => Some(Credentials::Basic(entry.username, secret)),
    })
}

/// Gives the helper `name` something to keep.
pub(super) fn store(name: &str, server: &str, user: &str, secret: &str) -> Result<(), HelperError> {
    let entry = Entry { server: server.to_owned(), username: user.to_owned(), secret: secret.to_owned() };
    let text = serde_json::to_vec(&entry).map_err(|error| broken(name, error.into()))?;
    call(name, "store", &text, PATIENCE).map(drop)
}

/// Lets the helper `name` forget what it keeps for `server`; true when there was something.
pub(super) fn erase(name: &str, server: &str) -> Result<bool, HelperError> {
    match call(name, "erase", server.as_bytes(), PATIENCE) {
        Ok(_) => Ok(true),
        Err(HelperError::Refused { said, .. }) if said.starts_with(NOT_FOUND) => Ok(false),
        Err(error) => Err(error),
    }
}

fn call(name: &str, verb: &str, input: &[u8], patience: Duration) -> Result<Vec<u8>, HelperError> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || !name.bytes().all(word) {
        return Err(HelperError::BadName(name.to_owned()));
    }
    // a folder in PATH that depends on where the caller stands could be anybody's
    let program = which::which_global(format!("docker-credential-{name}")).ok();
    let program = program
        .filter(|program| program.is_absolute())
        .ok_or_else(|| HelperError::Missing(name.to_owned()))?;
    let mut child = Command::new(program)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| broken(name, error))?;
    let answer = talk(&mut child, input, Instant::now() + patience);
    if answer.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| broken(name, error))?;
    let answer = answer.map_err(|error| broken(name, error))?;
    if status.success() {
        return Ok(answer);
    }
    let said = String::from_utf8_lossy(&answer);
    Err(HelperError::Refused { name: name.to_owned(), said: said.trim().chars().take(200).collect() })
}

/// Sends the input and reads the answer to its end, until `end` at the latest.
fn talk(child: &mut Child, input: &[u8], end: Instant) -> io::Result<Vec<u8>> {
    let (Some(mut stdin), Some(mut stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    // a pipe takes this much at once; who does not read it has no use for it
    match stdin.write_all(input) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
        _ => drop(stdin),
    }
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut readable = [PollFd::new(stdout.as_fd(), PollFlags::POLLIN)];
        match poll(&mut readable, left) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::TimedOut, "it does not answer in time")),
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        match stdout.read(&mut buffer)? {
            0 => return Ok(answer),
            count if answer.len() + count > MAX => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "its answer is too long"));
            }
            count => answer.extend_from_slice(&buffer[..count]),
        }
    }
}

fn broken(name: &str, source: io::Error) -> HelperError {
    HelperError::Broken { name: name.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk_to(script: &str, milliseconds: u64) -> io::Result<Vec<u8>> {
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answer = talk(&mut child, b"https://h", Instant::now() + Duration::from_millis(milliseconds));
        let _ = child.kill();
        child.wait().unwrap();
        answer
    }

    #[test]
    fn bounded_in_time_and_size() {
        assert_eq!(talk_to("cat", 5000).unwrap(), b"https://h");
        assert_eq!(talk_to("echo done", 5000).unwrap(), b"done\n");
        assert_eq!(talk_to("sleep 9", 200).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(talk_to("echo part; sleep 9", 200).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(talk_to("yes", 20_000).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn names_are_names() {
        for name in ["", "a/b", "../x", "a b", "a\n", "$(x)"] {
            assert!(matches!(get(name, "h"), Err(HelperError::BadName(_))), "{name}");
        }
        assert!(matches!(get("no-such-helper", "h"), Err(HelperError::Missing(_))));
    }
}

//! Programs that keep credentials: `docker-credential-NAME get|store|erase`, spoken to by the protocol of
//! docker-credential-helpers: a word on the command line, the rest by pipes, so that no secret is among arguments.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use super::credentials::Credentials;

/// Time to unlock a key ring by hand.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest answer.
const MAX: usize = 1 << 20;
/// Longest input: what a pipe takes at once, read or not (pipe(7)).
const MAX_INPUT: usize = 64 << 10;
/// How often it is looked whether a helper that said all has ended.
const LOOK: Duration = Duration::from_millis(5);
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
    let end = Instant::now() + patience;
    let ended = talk(&mut child, input, end).and_then(|answer| Ok((answer, leave(&mut child, end)?)));
    if ended.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let (answer, status) = ended.map_err(|error| broken(name, error))?;
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
    if input.len() > MAX_INPUT {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "what it is to keep is longer than 64 KiB"));
    }
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
            Ok(0) => return Err(late()),
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

/// Waits for the end of a program that has said all, until `end` at the latest.
fn leave(child: &mut Child, end: Instant) -> io::Result<ExitStatus> {
    loop {
        match child.try_wait()? {
            Some(status) => return Ok(status),
            None if Instant::now() >= end => return Err(late()),
            None => thread::sleep(LOOK),
        }
    }
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it does not answer in time")
}

fn broken(name: &str, source: io::Error) -> HelperError {
    HelperError::Broken { name: name.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk_to(script: &str, milliseconds: u64) -> io::Result<Vec<u8>> {
        say_to(script, b"https://h", milliseconds)
    }

    fn say_to(script: &str, input: &[u8], milliseconds: u64) -> io::Result<Vec<u8>> {
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let end = Instant::now() + Duration::from_millis(milliseconds);
        let answer = talk(&mut child, input, end).and_then(|answer| leave(&mut child, end).map(|_| answer));
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
        let silent = talk_to("exec >&-; exec sleep 9", 200);
        assert_eq!(silent.unwrap_err().kind(), io::ErrorKind::TimedOut, "said all, and stays");
        let deaf = say_to("exec sleep 9", &[b'x'; MAX_INPUT], 200);
        assert_eq!(deaf.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let long = say_to("exec sleep 9", &[b'x'; MAX_INPUT + 1], 200);
        assert_eq!(long.unwrap_err().kind(), io::ErrorKind::InvalidInput);
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

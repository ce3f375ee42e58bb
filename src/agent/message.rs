//! The messages of the ssh-agent protocol that pass a limited agent (draft-ietf-sshm-ssh-agent): listing keys and signing.
//!
//! A message is a length of four bytes, a type and a body; a string in it is a length of four bytes and its bytes.

use std::io::{self, Read};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sha2::{Digest, Sha256};

/// SSH_AGENT_FAILURE: the answer to all that is not allowed.
pub(super) const FAILURE: u8 = 5;
/// SSH_AGENTC_REQUEST_IDENTITIES.
pub(super) const LIST: u8 = 11;
/// SSH_AGENT_IDENTITIES_ANSWER.
pub(super) const KEYS: u8 = 12;
/// SSH_AGENTC_SIGN_REQUEST.
pub(super) const SIGN: u8 = 13;

/// Longest message, as OpenSSH has it.
const LONGEST: u32 = 256 * 1024;
/// Most keys in a list.
const MOST_KEYS: u32 = 2048;

/// A key of an agent, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    /// The public key, as ssh encodes it.
    pub(super) blob: Vec<u8>,
    /// What its owner calls it.
    pub(super) comment: Vec<u8>,
}

impl Key {
    /// `SHA256:…`, as ssh-keygen(1) prints it.
    pub(super) fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&self.blob)))
    }

    /// Whether `name` is its fingerprint or its comment.
    pub(super) fn is_called(&self, name: &str) -> bool {
        self.fingerprint() == name || self.comment == name.as_bytes()
    }
}

/// The next message: its type and body. None when the other side has closed.
pub(super) fn read(from: &mut impl Read) -> io::Result<Option<(u8, Vec<u8>)>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = u32::from_be_bytes(length);
    if length == 0 || length > LONGEST {
        return Err(malformed());
    }
    // grows with what comes, not with what is claimed
    let mut message = Vec::new();
    from.take(length.into()).read_to_end(&mut message)?;
    if message.len() != length as usize {
        return Err(malformed());
    }
    Ok(Some((message[0], message.split_off(1))))
}

/// A message as it is sent.
pub(super) fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len() as u32 + 1;
    [&length.to_be_bytes(), &[kind][..], body].concat()
}

/// The keys of an answer of type [`KEYS`].
pub(super) fn keys(body: &[u8]) -> io::Result<Vec<Key>> {
    let mut rest = body;
    let count = number(&mut rest)?;
    if count > MOST_KEYS {
        return Err(malformed());
    }
    (0..count)
        .map(|_| Ok(Key { blob: string(&mut rest)?.to_owned(), comment: string(&mut rest)?.to_owned() }))
        .collect()
}

/// The body of an answer of type [`KEYS`].
pub(super) fn listing(keys: &[Key]) -> Vec<u8> {
    let mut body = (keys.len() as u32).to_be_bytes().to_vec();
    for text in keys.iter().flat_map(|key| [&key.blob, &key.comment]) {
        body.extend_from_slice(&(text.len() as u32).to_be_bytes());
        body.extend_from_slice(text);
    }
    body
}

/// The key that a request of type [`SIGN`] is for.
pub(super) fn signing_key(body: &[u8]) -> io::Result<&[u8]> {
    let mut rest = body;
    let key = string(&mut rest)?;
    // what is signed, and flags
    string(&mut rest)?;
    number(&mut rest)?;
    if rest.is_empty() { Ok(key) } else { Err(malformed()) }
}

fn number(rest: &mut &[u8]) -> io::Result<u32> {
    let (bytes, after) = rest.split_first_chunk::<4>().ok_or_else(malformed)?;
    *rest = after;
    Ok(u32::from_be_bytes(*bytes))
}

fn string<'a>(rest: &mut &'a [u8]) -> io::Result<&'a [u8]> {
    let length = number(rest)? as usize;
    let (bytes, after) = rest.split_at_checked(length).ok_or_else(malformed)?;
    *rest = after;
    Ok(bytes)
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a message of the ssh-agent protocol")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(blob: &[u8], comment: &str) -> Key {
        Key { blob: blob.to_owned(), comment: comment.into() }
    }

    #[test]
    fn lists_come_out_as_they_went_in() {
        let all = [key(b"\0\0\0\x0bssh-ed25519", "me@laptop"), key(b"", "")];
        assert_eq!(keys(&listing(&all)).unwrap(), all);
        assert!(keys(&listing(&[])).unwrap().is_empty());
        assert!(all[0].is_called("me@laptop") && !all[0].is_called("you@laptop"));
        // printf '\0\0\0\013ssh-ed25519' | sha256sum | xxd -r -p | base64
        assert!(all[0].is_called(&all[0].fingerprint()) && all[0].fingerprint().len() == 7 + 43);
    }

    #[test]
    fn what_is_cut_or_lies_is_refused() {
        let whole = listing(&[key(b"blob", "comment")]);
        for length in 0..whole.len() {
            assert!(keys(&whole[..length]).is_err(), "{length}");
        }
        assert!(keys(&[0xff; 4]).is_err());
        assert!(keys(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0]).is_err());
        let request = [&[0, 0, 0, 1, b'k', 0, 0, 0, 2, b'x', b'y'][..], &[0; 4]].concat();
        assert_eq!(signing_key(&request).unwrap(), b"k");
        assert!(signing_key(&request[..request.len() - 1]).is_err());
        assert!(signing_key(&[&request[..], b"z"].concat()).is_err());
    }

    #[test]
    fn frames_have_an_end() {
        let bytes = [frame(LIST, b""), frame(SIGN, b"abc")].concat();
        let mut rest = bytes.as_slice();
        assert_eq!(read(&mut rest).unwrap(), Some((LIST, Vec::new())));
        assert_eq!(read(&mut rest).unwrap(), Some((SIGN, b"abc".to_vec())));
        assert_eq!(read(&mut rest).unwrap(), None);
        for wrong in [&[0, 0, 0, 0][..], &[0xff, 0xff, 0xff, 0xff, 1], &[0, 0, 0, 9, 1, 2]] {
            assert!(read(&mut &wrong[..]).is_err(), "{wrong:?}");
        }
    }
}

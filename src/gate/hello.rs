//! The first message of TLS (RFC 8446 §4.1.2) and the name in it (RFC 6066 §3). Read strictly: what a server could
//! understand in another way than we do is refused.

/// Longest hello that is waited for; honest ones have 0.2 to 2 KiB.
pub(super) const LONGEST: usize = 16 << 10;
/// The first byte of a record of the handshake.
pub(super) const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// What the beginning of a stream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hello {
    /// Not enough of it yet.
    More,
    /// A hello that names this host, in lower case.
    Names(String),
    /// A hello that names none.
    Nameless,
    /// No hello, or one that is read in more than one way.
    No,
}

/// Looks at the first bytes of a stream.
pub(super) fn read(stream: &[u8]) -> Hello {
    let message = match message(stream) {
        Ok(message) => message,
        Err(hello) => return hello,
    };
    match server_name(&message) {
        Some(Some(name)) => Hello::Names(name),
        Some(None) => Hello::Nameless,
        None => Hello::No,
    }
}

/// The body of the first handshake message, put together from its records.
fn message(stream: &[u8]) -> Result<Vec<u8>, Hello> {
    let (mut rest, mut message) = (stream, Vec::new());
    loop {
        // what is wrong already need not be waited for
        for (at, right) in [HANDSHAKE, 3].into_iter().enumerate() {
            if rest.get(at).is_some_and(|byte| *byte != right) {
                return Err(Hello::No);
            }
        }
        let Some((head, after)) = rest.split_at_checked(5) else { return Err(Hello::More) };
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        if length == 0 || length > LONGEST {
            return Err(Hello::No);
        }
        let part = &after[..length.min(after.len())];
        message.extend_from_slice(part);
        if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(Hello::No);
        }
        if let Some((head, body)) = message.split_at_checked(4) {
            let wanted = usize::from(head[1]) << 16 | usize::from(head[2]) << 8 | usize::from(head[3]);
            if wanted > LONGEST {
                return Err(Hello::No);
            }
            if body.len() > wanted {
                // nothing may follow a hello in its record (RFC 8446 §5.1)
                return Err(Hello::No);
            }
            if body.len() == wanted && part.len() == length {
                return Ok(body.to_vec());
            }
        }
        if part.len() < length {
            return Err(Hello::More);
        }
        rest = &after[length..];
    }
}

/// The name in a hello's body; the outer none when that is malformed.
fn server_name(body: &[u8]) -> Option<Option<String>> {
    let mut body = Bytes(body);
    body.take(2 + 32)?;
    body.block8()?;
    body.block16()?;
    body.block8()?;
    if body.0.is_empty() {
        // without extensions, as in the nineties
        return Some(None);
    }
    let mut extensions = body.block16()?;
    if !body.0.is_empty() {
        return None;
    }
    let mut found = None;
    while !extensions.0.is_empty() {
        let kind = extensions.number()?;
        let mut content = extensions.block16()?;
        if kind != SERVER_NAME {
            continue;
        }
        let mut list = content.block16()?;
        let (kind, name) = (list.take(1)?[0], list.block16()?.0);
        if !content.0.is_empty() || !list.0.is_empty() || kind != HOST_NAME || found.is_some() {
            return None;
        }
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.is_empty() || !name.iter().all(plain) {
            return None;
        }
        found = Some(String::from_utf8_lossy(name).to_ascii_lowercase());
    }
    Some(found)
}

/// Bytes that are read from the front.
struct Bytes<'b>(&'b [u8]);

impl<'b> Bytes<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        self.take(2).map(|two| u16::from_be_bytes([two[0], two[1]]))
    }

    fn block8(&mut self) -> Option<Self> {
        let length = self.take(1)?[0];
        self.take(length.into()).map(Self)
    }

    fn block16(&mut self) -> Option<Self> {
        let length = self.number()?;
        self.take(length.into()).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
    }

    fn name(name: &[u8]) -> Vec<u8> {
        let entry = [&[HOST_NAME][..], &block(name)].concat();
        [&SERVER_NAME.to_be_bytes()[..], &block(&block(&entry))].concat()
    }

    fn body(extensions: &[Vec<u8>]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 1, 1, 0]);
        body.extend(block(&extensions.concat()));
        body
    }

    fn handshake(body: &[u8]) -> Vec<u8> {
        [&[CLIENT_HELLO, 0][..], &block(body)].concat()
    }

    fn records(message: &[u8], size: usize) -> Vec<u8> {
        let record = |part: &[u8]| [&[HANDSHAKE, 3, 1][..], &block(part)].concat();
        message.chunks(size).flat_map(record).collect()
    }

    fn hello(extensions: &[Vec<u8>]) -> Vec<u8> {
        records(&handshake(&body(extensions)), usize::MAX)
    }

    fn other() -> Vec<u8> {
        [&[0, 43][..], &block(&[2, 3, 4])].concat()
    }

    #[test]
    fn names_are_found() {
        let named = Hello::Names("registry.example".into());
        assert_eq!(read(&hello(&[other(), name(b"Registry.example"), other()])), named);
        assert_eq!(read(&hello(&[other()])), Hello::Nameless);
        let mut old = body(&[]);
        old.truncate(old.len() - 2);
        assert_eq!(read(&records(&handshake(&old), usize::MAX)), Hello::Nameless);
        // what follows in a record of its own is not the hello's
        assert_eq!(read(&[hello(&[name(b"registry.example")]), vec![20, 3, 3, 0, 1, 1]].concat()), named);
    }

    #[test]
    fn parts_are_waited_for() {
        let message = handshake(&body(&[name(b"registry.example")]));
        for size in [1, 5, 50, usize::MAX] {
            let stream = records(&message, size);
            for length in 0..stream.len() {
                assert_eq!(read(&stream[..length]), Hello::More, "{size} {length}");
            }
            assert_eq!(read(&stream), Hello::Names("registry.example".into()));
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_none() {
        let good = || name(b"registry.example");
        let with = |list: &[u8]| [&SERVER_NAME.to_be_bytes()[..], &block(list)].concat();
        let entry = |kind: u8, name: &[u8]| [&[kind][..], &block(name)].concat();
        let two = [entry(HOST_NAME, b"a.example"), entry(HOST_NAME, b"registry.example")].concat();
        for extensions in [
            vec![good(), good()],
            vec![good(), name(b"evil.example")],
            vec![with(&block(&two))],
            vec![with(&block(&entry(1, b"registry.example")))],
            vec![with(&[block(&entry(HOST_NAME, b"registry.example")), vec![0]].concat())],
            vec![with(&[])],
            vec![with(&block(&[]))],
            vec![name(b"")],
            vec![name(b"registry.example\0.evil.example")],
            vec![name("b\u{fc}cher.example".as_bytes())],
            vec![vec![0, 43, 0, 9, 1]],
        ] {
            assert_eq!(read(&hello(&extensions)), Hello::No, "{extensions:?}");
        }
        let message = handshake(&body(&[good()]));
        assert_eq!(read(&records(&[&message[..], &[0]].concat(), usize::MAX)), Hello::No);
        let mut other_message = message;
        other_message[0] = 2;
        assert_eq!(read(&records(&other_message, usize::MAX)), Hello::No);
    }

    #[test]
    fn other_protocols_are_none_at_once() {
        for stream in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"SSH-2.0-",
            b"CONNECT evil:443",
            &[0x80, 0x2e, 1, 3, 1],
            &[HANDSHAKE, 2],
            &[HANDSHAKE, 3, 1, 0, 0],
            &[HANDSHAKE, 3, 1, 0xff, 0xff],
            &[HANDSHAKE, 3, 1, 0, 4, CLIENT_HELLO, 1, 0, 0],
            &[23, 3, 3],
        ] {
            assert_eq!(read(stream), Hello::No, "{stream:?}");
        }
        assert_eq!(read(&[]), Hello::More);
    }
}

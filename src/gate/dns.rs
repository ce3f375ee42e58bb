//! Queries and answers of the domain name system (RFC 1035), as much as a stub resolver uses: one question, no
//! compression, no more than one address for an answer.

use std::net::Ipv4Addr;

/// Longest query by UDP that is looked at; what is longer is cut and then refused.
pub(super) const LARGEST_DATAGRAM: usize = 1500;
/// The type of an address of version 4.
pub(super) const A: u16 = 1;
const INTERNET: u16 = 1;
const HEADER: usize = 12;
/// How long an answer holds, in seconds. It holds for as long as the box runs; but a program may outlive that by a copy.
const TIME_TO_LIVE: u32 = 60;
const LONGEST_NAME: usize = 255;

/// A question.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query<'m> {
    message: &'m [u8],
    /// Where the question ends.
    end: usize,
    /// In lower case, without a dot at the end; none for what can't be a host's.
    pub(super) name: Option<String>,
    /// Of record.
    pub(super) kind: u16,
}

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// One address.
    Address(Ipv4Addr),
    /// The name is there, records of this type are not.
    Nothing,
    /// There is no such name.
    NoSuchName,
    /// It can't be told.
    Failure,
}

const FORMAT_ERROR: u8 = 1;
const FAILURE: u8 = 2;
const NO_SUCH_NAME: u8 = 3;
const NOT_IMPLEMENTED: u8 = 4;

/// Reads a query. What is none gets the reply of the error, if that much can be told.
pub(super) fn read(message: &[u8]) -> Result<Query<'_>, Option<Vec<u8>>> {
    let number = |at: usize| Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
    let (Some(flags), Some(questions), Some(answers)) = (number(2), number(4), number(6)) else {
        return Err(None);
    };
    if message.len() < HEADER || flags & 0x8000 != 0 {
        return Err(None);
    }
    let fail = |code| Err(Some(reply(message, HEADER, 0, code)));
    if flags & 0x7800 != 0 {
        return fail(NOT_IMPLEMENTED);
    }
    if questions != 1 || answers != 0 {
        return fail(FORMAT_ERROR);
    }
    let mut labels: Vec<&[u8]> = Vec::new();
    let mut at = HEADER;
    loop {
        match message.get(at) {
            Some(0) => break,
            Some(length @ 1..=63) => {
                let Some(label) = message.get(at + 1..at + 1 + usize::from(*length)) else {
                    return fail(FORMAT_ERROR);
                };
                labels.push(label);
                at += 1 + label.len();
            }
            // a pointer has nothing before it to point at
            _ => return fail(FORMAT_ERROR),
        }
    }
    let end = at + 5;
    let (Some(kind), Some(class)) = (number(at + 1), number(at + 3)) else { return fail(FORMAT_ERROR) };
    if at + 1 - HEADER > LONGEST_NAME || class != INTERNET {
        return fail(FORMAT_ERROR);
    }
    Ok(Query { message, end, name: name(&labels), kind })
}

/// The labels as a host's name.
fn name(labels: &[&[u8]]) -> Option<String> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if labels.is_empty() || !labels.iter().all(|label| label.iter().all(plain)) {
        return None;
    }
    let labels: Vec<_> =
        labels.iter().map(|label| String::from_utf8_lossy(label).to_ascii_lowercase()).collect();
    Some(labels.join("."))
}

/// A name without the labels of a service before it (RFC 2782: `_https._tcp.`).
pub(super) fn without_service(name: &str) -> &str {
    let mut rest = name;
    while let Some((_, after)) = rest.split_once('.').filter(|(label, _)| label.starts_with('_')) {
        rest = after;
    }
    rest
}

impl Query<'_> {
    /// The answer, as a message.
    pub(super) fn answer(&self, answer: Answer) -> Vec<u8> {
        let (records, code) = match answer {
            Answer::Address(_) => (1, 0),
            Answer::Nothing => (0, 0),
            Answer::NoSuchName => (0, NO_SUCH_NAME),
            Answer::Failure => (0, FAILURE),
        };
        let mut message = reply(self.message, self.end, records, code);
        if let Answer::Address(address) = answer {
            // the name is that of the question
            message.extend([0xc0, HEADER as u8]);
            message.extend(A.to_be_bytes());
            message.extend(INTERNET.to_be_bytes());
            message.extend(TIME_TO_LIVE.to_be_bytes());
            message.extend(4_u16.to_be_bytes());
            message.extend(address.octets());
        }
        message
    }

    /// The question's bytes as text that does nothing to a terminal.
    pub(super) fn shown(&self) -> String {
        self.message[HEADER..self.end.saturating_sub(5)].escape_ascii().to_string()
    }
}

/// Header of the reply to `message`, and its question up to `end`.
fn reply(message: &[u8], end: usize, records: u16, code: u8) -> Vec<u8> {
    let questions = u16::from(end > HEADER);
    let wants_recursion = message[2] & 1;
    let mut reply = vec![message[0], message[1], 0x80 | (message[2] & 0x78) | wants_recursion, 0x80 | code];
    reply.extend(questions.to_be_bytes());
    reply.extend(records.to_be_bytes());
    reply.extend([0; 4]);
    reply.extend(&message[HEADER..end]);
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(labels: &[&[u8]], kind: u16) -> Vec<u8> {
        let mut message = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in labels {
            message.push(label.len() as u8);
            message.extend(*label);
        }
        message.push(0);
        message.extend(kind.to_be_bytes());
        message.extend(INTERNET.to_be_bytes());
        message
    }

    #[test]
    fn questions_are_read_and_answered() {
        let message = query(&[b"Registry", b"eXample"], A);
        let read = read(&message).unwrap();
        assert_eq!((read.name.as_deref(), read.kind), (Some("registry.example"), A));
        let answer = read.answer(Answer::Address(Ipv4Addr::new(198, 18, 0, 1)));
        let question = &message[HEADER..];
        let head = [0xab, 0xcd, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
        let record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 198, 18, 0, 1];
        assert_eq!(answer, [&head[..], question, &record].concat());
        let none = [0xab, 0xcd, 0x81, 0x83, 0, 1, 0, 0, 0, 0, 0, 0];
        assert_eq!(read.answer(Answer::NoSuchName), [&none[..], question].concat());
    }

    /// What follows the question (EDNS) is let be.
    #[test]
    fn more_than_a_question() {
        let mut message = query(&[b"a"], 28);
        message[11] = 1;
        message.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        let read = read(&message).unwrap();
        assert_eq!((read.name.as_deref(), read.kind), (Some("a"), 28));
        assert_eq!(read.answer(Answer::Nothing)[HEADER..], query(&[b"a"], 28)[HEADER..]);
    }

    #[test]
    fn names_that_are_no_hosts() {
        for labels in [
            &[&b"a\0b"[..], b"example"][..],
            &[b"a.b", b"example"],
            &[b"b\xc3\xbccher"],
            &[b"a b"],
            &[b"\x1b[31m"],
            &[],
        ] {
            let message = query(labels, A);
            let read = read(&message).unwrap();
            assert_eq!(read.name, None, "{labels:?}");
            assert!(!read.shown().contains(char::is_control));
        }
    }

    #[test]
    fn what_is_no_query_gets_no_further() {
        let good = query(&[b"a", b"b"], A);
        let changed = |at: usize, byte: u8| {
            let mut message = good.clone();
            message[at] = byte;
            message
        };
        for (message, code) in [
            (changed(2, 0x28), NOT_IMPLEMENTED),
            (changed(5, 2), FORMAT_ERROR),
            (changed(5, 0), FORMAT_ERROR),
            (changed(7, 1), FORMAT_ERROR),
            // a pointer, a label too long, another class
            (changed(12, 0xc0), FORMAT_ERROR),
            (changed(12, 63), FORMAT_ERROR),
            (changed(12, 64), FORMAT_ERROR),
            (changed(good.len() - 1, 3), FORMAT_ERROR),
            (query(&[&[b'a'; 63][..]; 4], A), FORMAT_ERROR),
        ] {
            let reply = read(&message).unwrap_err().unwrap();
            assert_eq!(
                (reply.len(), reply[3] & 0xf, &reply[..2]),
                (HEADER, code, &[0xab, 0xcd][..]),
                "{message:?}"
            );
        }
        assert_eq!(read(&changed(2, 0x81)), Err(None), "an answer");
        for length in 0..good.len() {
            assert!(read(&good[..length]).is_err());
        }
    }

    #[test]
    fn services_lead_to_their_hosts() {
        for (name, host) in [
            ("a.example", "a.example"),
            ("_https._tcp.a.example", "a.example"),
            ("_dmarc.a", "a"),
            ("_alone", "_alone"),
            ("a._tcp.b", "a._tcp.b"),
        ] {
            assert_eq!(without_service(name), host);
        }
    }
}

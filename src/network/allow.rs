//! One entry of `allow`: a host, by name, by the end of its name, or by address, and a port.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::{Wrong, port, split_address};

/// Ports of an entry that names none: HTTP and HTTPS.
const USUAL: [u16; 2] = [80, 443];
/// Taken in the box (RFC 1035).
const RESOLVER: u16 = 53;
const GRAMMAR: &str = "`HOST[:PORT]` or `*.DOMAIN[:PORT]`; without a port, 80 and 443. Names of other alphabets are written as \
                       `xn--…`, addresses of version 6 in brackets";

/// Hosts and ports a box may connect to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Allow {
    /// Which hosts.
    pub pattern: Pattern,
    /// Which port; none for 80 and 443.
    pub port: Option<u16>,
}

/// Which hosts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// The one of this name, in lower case.
    Name(String),
    /// All whose names end in a dot and this; not the one of this very name.
    Below(String),
    /// This address.
    Address(IpAddr),
}

/// Where a box wants to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// A host name, in lower case, without a dot at its end.
    Name(String),
    /// An address it did not get from us.
    Address(IpAddr),
}

impl Allow {
    /// Whether it lets a box connect to `port` of `target`.
    pub fn admits(&self, target: &Target, port: u16) -> bool {
        let matches = match target {
            Target::Name(name) => self.names(name),
            Target::Address(address) => self.pattern == Pattern::Address(*address),
        };
        matches && self.ports().contains(&port)
    }

    /// Whether it speaks of the host `name` (lower case, no dot at its end), whatever the port.
    pub fn names(&self, name: &str) -> bool {
        match &self.pattern {
            Pattern::Name(own) => own == name,
            Pattern::Below(domain) => name
                .strip_suffix(domain.as_str())
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|rest| !rest.is_empty()),
            Pattern::Address(_) => false,
        }
    }

    /// The ports it lets through.
    pub fn ports(&self) -> &[u16] {
        self.port.as_ref().map_or(&USUAL, std::slice::from_ref)
    }

    /// Whether it speaks of the caller's own machine, which the user named so.
    pub fn is_this_machine(&self) -> bool {
        match &self.pattern {
            Pattern::Name(name) => name == "localhost",
            Pattern::Below(_) => false,
            Pattern::Address(address) => address.is_loopback(),
        }
    }
}

impl FromStr for Allow {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let wrong = |why: &'static str| Wrong::new(format!("`{}` {why}", text.escape_debug()), GRAMMAR);
        if text.contains("://") || text.contains('/') {
            return Err(wrong("is more than a host and a port"));
        }
        if text.parse::<std::net::Ipv6Addr>().is_ok() {
            return Err(wrong("needs brackets, or its port can't be told from it"));
        }
        let (host, number) = split_address(text).ok_or_else(|| wrong("is not a host and a port"))?;
        let port = match number {
            Some(number) => {
                Some(port(number).ok_or_else(|| wrong("has no port from 1 to 65535 behind its colon"))?)
            }
            None => None,
        };
        let pattern = match host.strip_prefix("*.") {
            _ if text.starts_with('[') => {
                Pattern::Address(host.parse().map_err(|_| wrong("has no address in its brackets"))?)
            }
            Some(domain) => Pattern::Below(name(domain).map_err(wrong)?),
            None => match host.parse::<IpAddr>() {
                Ok(address) => Pattern::Address(address),
                Err(_) => Pattern::Name(name(host).map_err(wrong)?),
            },
        };
        if port == Some(RESOLVER) {
            return Err(wrong("asks for the port of name servers, and names are answered by devbox itself"));
        }
        match pattern {
            Pattern::Address(address) if address.is_unspecified() || address.is_multicast() => {
                Err(wrong("is no host's address"))
            }
            pattern => Ok(Self { pattern, port }),
        }
    }
}

/// A host name as it is compared: of ASCII letters in lower case. Names that C libraries take for an address
/// (inet_aton(3): `127.1`, `0x7f000001`) are none.
fn name(text: &str) -> Result<String, &'static str> {
    if text == "*" || text.contains('*') {
        return Err("has a `*` elsewhere than alone before the first dot");
    }
    if !text.is_ascii() {
        return Err("is not ASCII");
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if text.len() > 253 || !text.split('.').all(label) {
        return Err("is not a host's name");
    }
    let last = text.rsplit('.').next().unwrap_or_default();
    let number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("0x"));
    if number { Err("ends in a number, as an address that is none") } else { Ok(text.to_ascii_lowercase()) }
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pattern {
            Pattern::Name(name) => f.write_str(name)?,
            Pattern::Below(domain) => write!(f, "*.{domain}")?,
            Pattern::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
            Pattern::Address(address) => write!(f, "{address}")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

/// As users write it.
impl Serialize for Allow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(entry: &str, host: &str, port: u16) -> bool {
        let target = match host.parse() {
            Ok(address) => Target::Address(address),
            Err(_) => Target::Name(host.to_owned()),
        };
        entry.parse::<Allow>().unwrap().admits(&target, port)
    }

    #[test]
    fn entries_read_and_print() {
        for (text, shown) in [
            ("registry.example:443", "registry.example:443"),
            ("Registry.Example", "registry.example"),
            ("*.example.org", "*.example.org"),
            ("*.Example.org:22", "*.example.org:22"),
            ("localhost:5000", "localhost:5000"),
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            ("[::1]:5000", "[::1]:5000"),
            ("[2001:DB8::1]", "[2001:db8::1]"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("a_b.example", "a_b.example"),
        ] {
            assert_eq!(text.parse::<Allow>().map(|allow| allow.to_string()).as_deref(), Ok(shown));
        }
        let long = format!("{}.example", "a".repeat(64));
        for wrong in [
            "",
            ":443",
            "a:",
            "a:0",
            "a:65536",
            "a:+1",
            "a:443x",
            "a:1:2",
            "*",
            "*:443",
            "a.*.b",
            "*a.b",
            "**.b",
            "*.",
            "a..b",
            ".a",
            "a.",
            "a b",
            "a\0b",
            "bücher.example",
            "https://a",
            "a/b",
            "::1",
            "[::1",
            "[::1]x",
            "[a]",
            "[127.0.0.1x]",
            "a:53",
            "127.1",
            "0x7f000001",
            "2130706433",
            "a.0x1",
            "1.2.3.4.5",
            "0.0.0.0",
            "[::]:1",
            "224.0.0.1",
            &long,
        ] {
            assert!(wrong.parse::<Allow>().is_err_and(|wrong| !wrong.instead.is_empty()), "{wrong:?}");
        }
    }

    #[test]
    fn entries_admit_what_they_say_and_nothing_else() {
        for (entry, host, port, admitted) in [
            ("registry.example:443", "registry.example", 443, true),
            ("registry.example:443", "registry.example", 80, false),
            ("registry.example", "registry.example", 80, true),
            ("registry.example", "registry.example", 443, true),
            ("registry.example", "registry.example", 22, false),
            ("registry.example", "evil.registry.example", 443, false),
            ("registry.example", "registry.example.evil", 443, false),
            ("*.example.org", "a.example.org", 443, true),
            ("*.example.org", "a.b.example.org", 443, true),
            ("*.example.org", "example.org", 443, false),
            ("*.example.org", ".example.org", 443, false),
            ("*.example.org", "evilexample.org", 443, false),
            ("*.example.org", "a.example.org.evil", 443, false),
            ("127.0.0.1:5000", "127.0.0.1", 5000, true),
            ("127.0.0.1:5000", "127.0.0.2", 5000, false),
            ("127.0.0.1:5000", "127.0.0.1", 5001, false),
            ("[::1]:5000", "::1", 5000, true),
            ("registry.example", "192.0.2.1", 443, false),
        ] {
            assert_eq!(admits(entry, host, port), admitted, "{entry} {host}:{port}");
        }
    }
}

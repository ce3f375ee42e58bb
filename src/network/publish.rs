//! One entry of `ports`: an address and a port of the host, and the port of the box it leads to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::{Wrong, port};

const GRAMMAR: &str = "`HOST_PORT:BOX_PORT` or `ADDRESS:HOST_PORT:BOX_PORT`, for example `8080:80`; it is this machine's \
                       loopback without an address, and TCP always";

/// A port of the box that is to be reached from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Publish {
    /// Where the host listens for it.
    pub host: SocketAddr,
    /// The port in the box.
    pub inside: u16,
}

impl FromStr for Publish {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let wrong = |why: &str| Wrong::new(format!("`{}` {why}", text.escape_debug()), GRAMMAR);
        let shape = || wrong("does not say which port leads where");
        let plain = match text.rsplit_once('/') {
            Some((plain, "tcp")) => plain,
            Some((_, "udp")) => return Err(wrong("asks for UDP, which is not built yet")),
            Some(_) => return Err(shape()),
            None => text,
        };
        let (before, inside) = match plain.rsplit_once(':') {
            Some(parts) => parts,
            None => (plain, plain),
        };
        let (address, outside) = match before.rsplit_once(':') {
            Some((address, outside)) => {
                let address =
                    address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(address);
                (address.parse::<IpAddr>().map_err(|_| wrong("has no address before its ports"))?, outside)
            }
            None => (Ipv4Addr::LOCALHOST.into(), before),
        };
        match (port(outside), port(inside)) {
            (Some(outside), Some(inside)) => Ok(Self { host: SocketAddr::new(address, outside), inside }),
            _ => Err(shape()),
        }
    }
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.inside)
    }
}

/// As users write it.
impl Serialize for Publish {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_read_and_print() {
        for (text, shown) in [
            ("8080:80", "127.0.0.1:8080:80"),
            ("8080:80/tcp", "127.0.0.1:8080:80"),
            ("3000", "127.0.0.1:3000:3000"),
            ("0.0.0.0:8080:80", "0.0.0.0:8080:80"),
            ("[::1]:8080:80", "[::1]:8080:80"),
            ("192.0.2.1:8080:80", "192.0.2.1:8080:80"),
        ] {
            assert_eq!(text.parse::<Publish>().map(|port| port.to_string()).as_deref(), Ok(shown));
            assert_eq!(shown.parse::<Publish>().map(|port| port.to_string()).as_deref(), Ok(shown));
        }
        for wrong in [
            "",
            ":",
            "80:",
            ":80",
            "0:80",
            "80:0",
            "80:65536",
            "a:80",
            "host:80:80",
            "80:80:80:80",
            "80:80/udp",
            "80:80/x",
            "1-2:1-2",
        ] {
            assert!(wrong.parse::<Publish>().is_err_and(|wrong| !wrong.instead.is_empty()), "{wrong:?}");
        }
    }
}

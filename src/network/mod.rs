//! What a box may reach by network and what of it may be reached: plain data, with the grammar users write it in.

mod allow;
pub mod proxy;
mod publish;
mod stack;

pub use allow::{Allow, Pattern, Target};
pub use publish::Publish;
pub use stack::{STACK_NETWORK, STACK_RESOLVER, Stack};

use std::net::{IpAddr, Ipv4Addr};

/// Where the resolver of a box with a network of its own listens: its own loopback with `allow`.
pub const GATE_RESOLVER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Why a text says neither what may be reached nor what is published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Wrong {
    what: String,
    /// What to write instead.
    pub instead: &'static str,
}

impl Wrong {
    fn new(what: impl Into<String>, instead: &'static str) -> Self {
        Self { what: what.into(), instead }
    }
}

/// A port that there is: 1 to 65535, in decimal digits alone.
fn port(text: &str) -> Option<u16> {
    let digits = (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

/// Splits `[v6]:rest` and `host:rest`; what is left of the first colon that is no part of an address.
fn split_address(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(inner) = text.strip_prefix('[') {
        let (address, rest) = inner.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(rest) => Some((address, Some(rest))),
            None if rest.is_empty() => Some((address, None)),
            None => None,
        };
    }
    Some(match text.split_once(':') {
        Some((host, rest)) => (host, Some(rest)),
        None => (text, None),
    })
}

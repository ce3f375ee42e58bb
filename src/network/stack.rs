//! Programs that lead a network namespace out through sockets of their own.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

/// Where they answer names, by asking the host's resolver. Of the range for benchmarks (RFC 2544), which is nobody's.
pub const STACK_RESOLVER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 2, 3));
/// The network that slirp4netns makes up, whose third address is its resolver's.
pub const STACK_NETWORK: &str = "198.18.2.0/24";

/// One of them, by its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stack {
    /// pasta(1), of the package passt.
    Pasta(PathBuf),
    /// slirp4netns(1).
    Slirp4netns(PathBuf),
}

impl Stack {
    /// Its program.
    pub fn program(&self) -> &Path {
        match self {
            Self::Pasta(path) | Self::Slirp4netns(path) => path,
        }
    }
}

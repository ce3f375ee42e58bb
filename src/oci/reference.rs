//! Image references by the grammar of the distribution project (`reference` package):
//! `[host[:port]/]path[:tag][@digest]`, with the defaults every tool shares.

use std::fmt;
use std::str::FromStr;

use super::digest::Digest;

const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_TAG: &str = "latest";
/// Longest `host/path` the distribution grammar allows.
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;

/// A parsed reference: a registry, a repository in it, and a tag, a digest or both.
///
/// ```
/// use devbox::oci::reference::Reference;
/// let reference: Reference = "rust:1".parse().unwrap();
/// assert_eq!(reference.to_string(), "docker.io/library/rust:1");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Host and optional port, for example `127.0.0.1:5000`.
    pub registry: String,
    /// Path below the registry, for example `library/rust`.
    pub repository: String,
    /// Present unless only a digest was given.
    pub tag: Option<String>,
    /// Present when the reference is pinned.
    pub digest: Option<Digest>,
}

/// Why a string is not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not an image reference: {why}", .text.escape_debug())]
pub struct NotAReference {
    text: String,
    why: &'static str,
}

impl Reference {
    /// True for a name without a registry, which may mean different things on different machines.
    pub fn is_short(text: &str) -> bool {
        split_registry(text).is_none()
    }

    /// Parses a name whose first part is the registry, whatever it looks like: no default is added for it.
    pub fn located(text: &str) -> Result<Self, NotAReference> {
        if split_registry(text).is_none() {
            let text = text.chars().take(300).collect();
            return Err(NotAReference { text, why: "it names no registry" });
        }
        text.parse()
    }

    /// The registry's host without its port, brackets of an IPv6 address removed.
    pub fn host(&self) -> &str {
        if let Some(rest) = self.registry.strip_prefix('[') {
            return rest.split(']').next().unwrap_or(rest);
        }
        self.registry.split(':').next().unwrap_or(&self.registry)
    }

    /// True when the registry is on this machine, where plain HTTP is allowed.
    pub fn is_loopback(&self) -> bool {
        let host = self.host();
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// `registry/repository`, the part credentials are looked up by.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

impl FromStr for Reference {
    type Err = NotAReference;

    fn from_str(text: &str) -> Result<Self, NotAReference> {
        let fail = |why| NotAReference { text: text.chars().take(300).collect(), why };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                (rest, Some(digest.parse().map_err(|_| fail("what follows `@` is not a sha256 digest"))?))
            }
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(fail("the tag may have letters, digits, `_`, `.`, `-`, at most 128 of them"));
        }
        if name.is_empty() {
            return Err(fail("it names no repository"));
        }
        let (registry, path) = split_registry(name).unwrap_or((DEFAULT_REGISTRY, name));
        if !is_host(registry) {
            return Err(fail("the registry is not a host name"));
        }
        let repository = if registry == DEFAULT_REGISTRY && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        if !repository.split('/').all(is_path_component) {
            return Err(fail(
                "a repository has lower-case letters and digits, joined by `.`, `_`, `__` or `-`",
            ));
        }
        if registry.len() + 1 + repository.len() > MAX_NAME {
            return Err(fail("the name is longer than 255 characters"));
        }
        let tag = match (tag, digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, None) => Some(DEFAULT_TAG.to_owned()),
            (None, Some(_)) => None,
        };
        Ok(Self { registry: registry.to_owned(), repository, tag, digest })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// The registry and the rest, when the first part is one: it has a dot, a port or brackets, or is `localhost`.
fn split_registry(name: &str) -> Option<(&str, &str)> {
    let (first, rest) = name.split_once('/')?;
    (first.contains(['.', ':', '[']) || first == "localhost").then_some((first, rest))
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

fn is_host(host: &str) -> bool {
    let (name, port) = if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return false;
        }
        ("v6", port.strip_prefix(':').or(port.is_empty().then_some("0")))
    } else {
        match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, Some("0")),
        }
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name.split('.').all(label)
        && port
            .is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok())
}

/// `alpha-numeric [separator alpha-numeric]*`, separators `.`, `_`, `__` and any run of `-`.
fn is_path_component(component: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut separator = String::new();
    let (Some(first), Some(last)) = (component.bytes().next(), component.bytes().last()) else {
        return false;
    };
    if !word(first) || !word(last) {
        return false;
    }
    for byte in component.bytes() {
        if word(byte) {
            if !(matches!(separator.as_str(), "" | "." | "_" | "__")
                || separator.bytes().all(|byte| byte == b'-'))
            {
                return false;
            }
            separator.clear();
        } else {
            separator.push(char::from(byte));
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_parts() {
        let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for (text, full) in [
            ("rust", "docker.io/library/rust:latest".to_owned()),
            ("rust:1", "docker.io/library/rust:1".to_owned()),
            ("me/tool", "docker.io/me/tool:latest".to_owned()),
            ("127.0.0.1:5000/rust:1", "127.0.0.1:5000/rust:1".to_owned()),
            ("[::1]:5000/rust", "[::1]:5000/rust:latest".to_owned()),
            ("localhost/a/b__c.d-e--f", "localhost/a/b__c.d-e--f:latest".to_owned()),
            (&format!("quay.io/a/b@{digest}"), format!("quay.io/a/b@{digest}")),
            (&format!("quay.io/a/b:c@{digest}"), format!("quay.io/a/b:c@{digest}")),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), full);
        }
    }

    #[test]
    fn refusals() {
        for bad in [
            "",
            ":",
            "@",
            ":tag",
            "Rust",
            "a b",
            "a:b c",
            "a/../b",
            "a//b",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a:",
            "a@sha256:12",
            "host.example:99999/a",
            "host.example:x/a",
            "[::1/a",
            "-h.example/a",
            "a:-tag",
            "\u{1b}[31m",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?}");
        }
        assert!(format!("a:{}", "t".repeat(129)).parse::<Reference>().is_err());
        assert!("a".repeat(300).parse::<Reference>().is_err());
    }

    #[test]
    fn loopback() {
        for (text, expected) in [
            ("127.0.0.1:5000/a", true),
            ("127.1.2.3/a", true),
            ("localhost:1/a", true),
            ("[::1]:1/a", true),
            ("rust", false),
            ("10.0.0.1/a", false),
            ("localhost.evil.example/a", false),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().is_loopback(), expected, "{text}");
        }
    }
}

//! Image references by the grammar of the distribution project (`reference` package):
//! `[host[:port]/]path[:tag][@digest]`, with the defaults every tool shares.

use std::fmt;
use std::str::FromStr;

use super::digest::Digest;

const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_TAG: &str = "latest";
/// What older clients call it.
const DEFAULT_REGISTRY_TOO: &str = "index.docker.io";
/// Longest path the distribution grammar allows.
const MAX_PATH: usize = 255;
/// Longest host name (RFC 1035), with room for a port.
const MAX_HOST: usize = 253 + 6;
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

    /// Its name alone, for where nothing proves the digest; `None` when no tag is left.
    pub fn without_digest(self) -> Option<Self> {
        self.tag.is_some().then_some(Self { digest: None, ..self })
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
        let registry = if registry == DEFAULT_REGISTRY_TOO { DEFAULT_REGISTRY } else { registry };
        if registry == DEFAULT_REGISTRY && is_identifier(path) && !name.contains('/') {
            return Err(fail(
                "64 hex digits are an image's digest; `@sha256:` and a name belong before them",
            ));
        }
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
        if repository.len() > MAX_PATH || registry.len() > MAX_HOST {
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

/// The registry and the rest, when the first part is one: it has a dot, a port, brackets or capitals, which no path
/// has, or is `localhost`.
fn split_registry(name: &str) -> Option<(&str, &str)> {
    let (first, rest) = name.split_once('/')?;
    let is_host = |byte: u8| b".:[".contains(&byte) || byte.is_ascii_uppercase();
    (first.bytes().any(is_host) || first == "localhost").then_some((first, rest))
}

/// Looks like a digest without its algorithm.
fn is_identifier(path: &str) -> bool {
    path.len() == 64 && path.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
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
        // the grammar has no dotted end in it
        if address.contains('.') || address.parse::<std::net::Ipv6Addr>().is_err() {
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

    /// The cases of the distribution project's own tests, by kind.
    #[test]
    fn the_grammars_cases() {
        let digest = format!("sha256:{}", "f".repeat(64));
        let long = |count| format!("{}a", "a/".repeat(count));
        for (text, registry, repository, tag) in [
            ("a_b", "docker.io", "library/a_b", "latest"),
            ("h.com:tag", "docker.io", "library/h.com", "tag"),
            ("h.com:5000", "docker.io", "library/h.com", "5000"),
            ("192.168.1.1:80", "docker.io", "library/192.168.1.1", "80"),
            ("localhost:8080", "docker.io", "library/localhost", "8080"),
            ("lower:Upper", "docker.io", "library/lower", "Upper"),
            ("word:5000/repo", "word:5000", "repo", "latest"),
            ("h.com:8080/repo:5050", "h.com:8080", "repo", "5050"),
            ("sub-1.h.com/b/c/d:some-tag", "sub-1.h.com", "b/c/d", "some-tag"),
            ("h.io/a.b.com/c:a.b.com", "h.io", "a.b.com/c", "a.b.com"),
            ("xn--n3h.com/i:xn--n3h.com", "xn--n3h.com", "i", "xn--n3h.com"),
            ("a/a_b.com:8080", "docker.io", "a/a_b.com", "8080"),
            ("do__cker/docker", "docker.io", "do__cker/docker", "latest"),
            ("do---cker/a--b.c---d", "docker.io", "do---cker/a--b.c---d", "latest"),
            ("[2001:db8::1]/r", "[2001:db8::1]", "r", "latest"),
            ("[2001:db8:1:2:3:4:5:6]:50/r:t", "[2001:db8:1:2:3:4:5:6]:50", "r", "t"),
            ("index.docker.io/a", "docker.io", "library/a", "latest"),
            ("index.docker.io/a/b", "docker.io", "a/b", "latest"),
            ("docker.io/library/a/b", "docker.io", "library/a/b", "latest"),
            ("Host/a", "Host", "a", "latest"),
            ("Host.com/a/b", "Host.com", "a/b", "latest"),
            (&long(127), "docker.io", &long(127), "latest"),
            (
                &format!("docker.io/{}", "1a".repeat(32)),
                "docker.io",
                &format!("library/{}", "1a".repeat(32)),
                "latest",
            ),
            (&"1a".repeat(31), "docker.io", &format!("library/{}", "1a".repeat(31)), "latest"),
        ] {
            let parsed: Reference = text.parse().unwrap_or_else(|bad| panic!("{bad}"));
            let parts = (&*parsed.registry, &*parsed.repository, parsed.tag.as_deref());
            assert_eq!(parts, (registry, repository, Some(tag)), "{text}");
            let pinned: Reference = format!("{text}@{digest}").parse().unwrap();
            assert_eq!((&pinned.registry, &pinned.repository), (&parsed.registry, &parsed.repository));
            assert_eq!(parsed.to_string().parse::<Reference>().unwrap(), parsed, "its own form is the same");
        }
        for text in [
            ":tag".to_owned(),
            format!("@{digest}"),
            format!("a@sha256:{}", "f".repeat(34)),
            format!("a@other:{}", "f".repeat(64)),
            "Upper:tag".into(),
            "h:5000/Upper/lower:tag".into(),
            "a/Upper".into(),
            "Host/FarB".into(),
            format!("{}:tag", long(128)),
            "aa/asdf$$^/aa".into(),
            "a^a".into(),
            "[2001:db8::1]".into(),
            "[2001:db8::1]:5000".into(),
            "[2001:db8::1]:tag".into(),
            "[fe80::1%eth0]:5000/r".into(),
            "[fe80::1%@zone]:5000/r".into(),
            "[2001:db8:3:4::192.0.2.33]:5000/r".into(),
            "[fd00:1:2::3]75050/r".into(),
            "[fd00:1:2::3]::5000/r".into(),
            "fd00::1:5000/r".into(),
            "https://h.com/a".into(),
            "h.com:http/a".into(),
            "a_b.com:8080/a".into(),
            "do__cker:8080/a".into(),
            "-h.com/a".into(),
            "ab-.com/a".into(),
            "ab.-com/a".into(),
            "docker./a".into(),
            ".docker/a".into(),
            "a///b".into(),
            "a/b/".into(),
            "h.com/".into(),
            "-a/b".into(),
            "a-/b".into(),
            "a/-b".into(),
            "a/b-".into(),
            "_a/_b".into(),
            "a_/b_".into(),
            "____/____".into(),
            "a..b/c".into(),
            "a_.b/c".into(),
            "a-.b/c".into(),
            "h.com/..a/b".into(),
            "h.com/.a/b".into(),
            "h.com/__a/b".into(),
            "a:invalid~tag".into(),
            "a@bad".into(),
            "1a".repeat(32),
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
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

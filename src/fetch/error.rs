//! What can go wrong between us and a registry.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use oci_distribution::errors::OciEnvelope;
use reqwest::StatusCode;

use crate::oci::digest::Digest;

/// A fetch that failed.
#[derive(Debug)]
pub struct Error {
    /// What was asked for, with the registry it was asked of.
    pub object: String,
    /// What happened.
    pub fault: Fault,
}

/// What happened.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The name means no machine.
    #[error("the registry's host is not known")]
    NoHost(#[source] Cause),
    /// Nothing listens there, or it can't be reached.
    #[error("cannot connect to the registry")]
    Connect(#[source] Cause),
    /// No safe connection.
    #[error("no TLS connection to the registry")]
    Tls(#[source] Cause),
    /// Not a byte for too long.
    #[error("the registry was silent for {} s", .0.as_secs_f32())]
    Silent(Duration),
    /// It wants to know who asks, or does not like who asks.
    #[error("the registry refuses: authentication {}{}", if *.anonymous { "is required" } else { "failed" }, quoted(.said))]
    Denied {
        /// No credentials were given.
        anonymous: bool,
        /// Its own words.
        said: Option<String>,
    },
    /// It has no such thing.
    #[error("the registry has none{}", quoted(.0))]
    NotFound(Option<String>),
    /// Some page, perhaps of a network that wants a login first.
    #[error("not a registry's answer, but `{}`, which begins `{}`", .kind.escape_debug(), .start.escape_debug())]
    NotARegistry {
        /// Its media type.
        kind: String,
        /// Its first words.
        start: String,
    },
    /// Any other refusal.
    #[error("the registry answers with status {code}{}{}", quoted(.said), asks_to_wait(.wait))]
    Status {
        /// Of HTTP.
        code: u16,
        /// Its own words.
        said: Option<String>,
        /// How long it asks us to wait.
        wait: Option<Duration>,
    },
    /// The connection ended within an answer.
    #[error("the answer was cut after {got}{} bytes", .wanted.map(|wanted| format!(" of {wanted}")).unwrap_or_default())]
    Cut {
        /// Bytes that came.
        got: u64,
        /// Bytes there should be, where that is known.
        wanted: Option<u64>,
        /// What the connection says, if it does.
        source: Option<Cause>,
    },
    /// More bytes than there may be.
    #[error("the answer has more than {0} bytes")]
    TooLarge(u64),
    /// Another part of a blob than asked for, and again when the whole was.
    #[error("the registry sends another part of it than asked for")]
    WrongPart,
    /// Other bytes than asked for.
    #[error("the registry sent other bytes: their digest is {got}, not {wanted}")]
    WrongDigest {
        /// What was asked for.
        wanted: Digest,
        /// Of what came.
        got: Digest,
    },
    /// The registry's login service can't or may not be used.
    #[error("the registry's token service {0}")]
    Token(String),
    /// It sends us elsewhere, where we do not go.
    #[error("the registry redirects where it may not: {0}")]
    Redirect(String),
    /// Anything else the HTTP client says.
    #[error("the request failed")]
    Request(#[source] Cause),
    /// `registries.conf` forbids it.
    #[error("`{}` is blocked by registries.conf", .0.escape_debug())]
    Blocked(String),
    /// A file or variable that says how to reach registries makes no sense.
    #[error("{} can't be used: {why}", .place.display())]
    Settings {
        /// The file, or the variable's name.
        place: PathBuf,
        /// What is wrong with it; holds nothing secret.
        why: String,
    },
    /// It went on failing.
    #[error("{last} (tried {tries} times)")]
    GaveUp {
        /// How often it was tried.
        tries: u32,
        /// The last failure.
        last: Box<Self>,
    },
    /// The registry and its mirrors failed.
    #[error("{last}; before that its mirrors failed: {}", .mirrors.join("; "))]
    Everywhere {
        /// Each mirror with what was wrong.
        mirrors: Vec<String>,
        /// The registry's own failure.
        last: Box<Self>,
    },
    /// A mirror gave wrong bytes, and is not asked again.
    #[error("mirror {mirror}: {last}")]
    BadMirror {
        /// Where it is.
        mirror: String,
        /// What was wrong.
        last: Box<Self>,
    },
}

/// An error of a library below.
pub type Cause = Box<dyn StdError + Send + Sync>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot fetch {}: {}", self.object, self.fault)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.fault.innermost().source()
    }
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        self.fault.hint()
    }

    /// Whether another try may do better, and how long the registry asks us to wait before it.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.fault.retry_after()
    }
}

impl Fault {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self.innermost() {
            Self::NoHost(_) => "see that the name is right and that this machine has a network",
            // said by the connector alone
            Self::Connect(cause) if chain(&**cause).any(|it| it.to_string().starts_with("tunnel error")) => {
                "the proxy refuses; see HTTPS_PROXY, ALL_PROXY and NO_PROXY"
            }
            Self::Connect(_) => "see that the registry runs and that its port is right",
            Self::Tls(_) if self.is_bad_certificate() => {
                "its certificate is not trusted here; put its CA into ~/.config/containers/certs.d/HOST:PORT/ca.crt, \
                 or let SSL_CERT_FILE name a file of those that are trusted"
            }
            Self::Tls(_) => {
                "plain HTTP is used only with registries on this machine (localhost, 127.0.0.0/8, ::1) and with those \
                 that registries.conf calls `insecure`"
            }
            Self::Denied { anonymous: true, .. } => {
                "log in with `devbox login`; logins of podman and docker count too"
            }
            Self::Denied { .. } => "`devbox login` replaces the credentials that were sent",
            Self::NotFound(_) => "see that name and tag are right; private images may look like missing ones",
            Self::NotARegistry { .. } => "a network login page may be in the way, or the host is no registry",
            Self::Status { code: 429, .. } => {
                "the registry limits how often you may ask; logging in may raise that"
            }
            Self::Silent(_) | Self::Cut { .. } | Self::Status { code: 500.., .. } => "try again later",
            Self::WrongDigest { .. } | Self::TooLarge(_) | Self::WrongPart => {
                "nothing was kept; the registry or what is between is broken"
            }
            Self::Blocked(_) => {
                "take `blocked` out of registries.conf(5), or use an image from elsewhere; the files are \
                 /etc/containers/registries.conf and ~/.config/containers/registries.conf"
            }
            Self::Settings { .. } => "mend it, or take it away",
            _ => return None,
        };
        Some(hint.into())
    }

    /// Whether another try may do better, and how long the registry asks us to wait before it.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { code: 408 | 429 | 500.., wait, .. } => Some(wait.unwrap_or_default()),
            Self::Connect(_) | Self::Silent(_) | Self::Cut { .. } => Some(Duration::ZERO),
            Self::BadMirror { .. } => Some(Duration::ZERO),
            Self::Everywhere { last, .. } => last.retry_after(),
            _ => None,
        }
    }

    /// The same with the mirrors that failed before.
    pub(super) fn after(self, mirrors: Vec<String>) -> Self {
        if mirrors.is_empty() { self } else { Self::Everywhere { mirrors, last: Box::new(self) } }
    }

    /// The failure itself, without what was done about it.
    fn innermost(&self) -> &Self {
        match self {
            Self::GaveUp { last, .. } | Self::Everywhere { last, .. } | Self::BadMirror { last, .. } => {
                last.innermost()
            }
            fault => fault,
        }
    }

    /// The other side speaks TLS, but is not whom we trust.
    pub(super) fn is_bad_certificate(&self) -> bool {
        let Self::Tls(cause) = self.innermost() else { return false };
        matches!(cause.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)))
    }

    /// From an answer that is not a success; `body` is its beginning.
    pub(super) fn of_status(
        status: StatusCode,
        kind: Option<String>,
        body: &[u8],
        anonymous: bool,
        wait: Option<Duration>,
    ) -> Self {
        let said = serde_json::from_slice::<OciEnvelope>(body)
            .ok()
            .and_then(|envelope| envelope.errors.into_iter().next())
            .map(|error| error.message)
            .filter(|message| !message.is_empty());
        match status {
            // RFC 6585: a network that wants a login answers for everyone
            StatusCode::NETWORK_AUTHENTICATION_REQUIRED => Self::not_a_registry(kind, body),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::Denied { anonymous, said },
            StatusCode::NOT_FOUND => Self::NotFound(said),
            _ => Self::Status { code: status.as_u16(), said, wait },
        }
    }

    /// From an answer of type `kind` that begins with `body`.
    pub(super) fn not_a_registry(kind: Option<String>, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let words = text.split_whitespace().take(12).collect::<Vec<_>>().join(" ");
        let start = words.chars().take(80).collect();
        Self::NotARegistry { kind: kind.unwrap_or_else(|| "no type".into()), start }
    }

    /// From the HTTP client, before or within a body of which `got` bytes had come.
    pub(super) fn of_http(error: reqwest::Error, got: u64, wanted: Option<u64>, idle: Duration) -> Self {
        // addresses of storage behind a registry can hold signatures
        let error = error.without_url();
        let io = find::<io::Error>(&error);
        if let Some(tls) = find::<rustls::Error>(&error) {
            return Self::Tls(tls.clone().into());
        }
        if error.is_connect() {
            // these two the connector tells by its words alone
            let says = |words| chain(&error).any(|cause| cause.to_string() == words);
            let (looked_up, shaking_hands) = (says("dns error"), says("tls handshake eof"));
            let cause: Cause = match io {
                Some(io) => io::Error::new(io.kind(), io.to_string()).into(),
                None if error.is_timeout() => io::Error::from(io::ErrorKind::TimedOut).into(),
                None => error.into(),
            };
            return match (looked_up, shaking_hands) {
                (true, _) => Self::NoHost(cause),
                (_, true) => Self::Tls(cause),
                _ => Self::Connect(cause),
            };
        }
        if error.is_timeout() {
            return Self::Silent(idle);
        }
        if error.is_builder() {
            return Self::Request(error.into());
        }
        Self::Cut { got, wanted, source: Some(error.into()) }
    }
}

/// The registry's words as the end of a message: one line, escaped, not too long.
fn quoted(words: &Option<String>) -> String {
    match words {
        Some(words) => format!(" (it says `{}`)", words.chars().take(200).collect::<String>().escape_debug()),
        None => String::new(),
    }
}

fn asks_to_wait(wait: &Option<Duration>) -> String {
    wait.map(|wait| format!(" and asks to wait {} s", wait.as_secs())).unwrap_or_default()
}

fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    chain(error).find_map(|cause| cause.downcast_ref())
}

/// The error and its causes, those within an `io::Error` too, which `source` passes over.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| {
        let within = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        within.map(|within| within as &(dyn StdError + 'static)).or_else(|| error.source())
    })
}

//! What can go wrong between us and a registry.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use oci_distribution::errors::{DigestError, OciDistributionError, OciEnvelope, OciErrorCode};
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
    #[error("the registry was silent for too long")]
    Silent,
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
    #[error("not a registry's answer, but `{}`", .0.escape_debug())]
    NotARegistry(String),
    /// Any other refusal.
    #[error("the registry answers with status {code}{}", quoted(.said))]
    Status {
        /// Of HTTP.
        code: u16,
        /// Its own words.
        said: Option<String>,
        /// How long it asks us to wait.
        wait: Option<Duration>,
    },
    /// The connection ended within an answer.
    #[error("the answer was cut after {got} bytes")]
    Cut {
        /// Bytes that came.
        got: u64,
        /// What the connection says, if it does.
        source: Option<Cause>,
    },
    /// More bytes than there may be.
    #[error("the answer has more than {0} bytes")]
    TooLarge(u64),
    /// Other bytes than asked for.
    #[error("the registry sent other bytes: their digest is {got}, not {wanted}")]
    WrongDigest {
        /// What was asked for.
        wanted: Digest,
        /// Of what came; text, because the client library tells it so.
        got: String,
    },
    /// The registry's login service can't or may not be used.
    #[error("the registry's token service {0}")]
    Token(String),
    /// It sends us elsewhere, where we do not go.
    #[error("the registry redirects where it may not")]
    Redirect(#[source] Cause),
    /// Anything else the HTTP client says.
    #[error("the request failed")]
    Request(#[source] Cause),
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
        self.fault.source()
    }
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match &self.fault {
            Fault::NoHost(_) => "see that the name is right and that this machine has a network",
            Fault::Connect(_) => "see that the registry runs and that its port is right",
            Fault::Tls(cause)
                if matches!(cause.downcast_ref(), Some(rustls::Error::InvalidCertificate(_))) =>
            {
                "its certificate is not trusted here; `SSL_CERT_FILE` can name a file of those that are"
            }
            Fault::Tls(_) => {
                "plain HTTP is used only with registries on this machine (localhost, 127.0.0.0/8, ::1)"
            }
            Fault::Denied { anonymous: true, .. } => {
                "log in with `podman login` or `docker login`; their files are read"
            }
            Fault::Denied { .. } => "see the credentials in containers/auth.json or docker's config.json",
            Fault::NotFound(_) => {
                "see that name and tag are right; private images may look like missing ones"
            }
            Fault::NotARegistry(_) => "a network login page may be in the way, or the host is no registry",
            Fault::Status { code: 429, .. } => {
                "the registry limits how often you may ask; logging in may raise that"
            }
            Fault::Silent | Fault::Cut { .. } | Fault::Status { code: 500.., .. } => "try again later",
            Fault::WrongDigest { .. } | Fault::TooLarge(_) => {
                "nothing was kept; the registry or what is between is broken"
            }
            _ => return None,
        };
        Some(hint.into())
    }

    /// Whether another try may do better, and how long the registry asks us to wait before it.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match &self.fault {
            Fault::Status { code: 408 | 429 | 500.., wait, .. } => Some(wait.unwrap_or_default()),
            Fault::Connect(_) | Fault::Silent | Fault::Cut { .. } => Some(Duration::ZERO),
            _ => None,
        }
    }
}

impl Fault {
    /// From an answer that is not a success; `body` is its beginning.
    pub(super) fn of_status(
        status: StatusCode,
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
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::Denied { anonymous, said },
            StatusCode::NOT_FOUND => Self::NotFound(said),
            _ => Self::Status { code: status.as_u16(), said, wait },
        }
    }

    /// From the HTTP client, before or within a body of which `got` bytes had come.
    pub(super) fn of_http(error: reqwest::Error, got: u64) -> Self {
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
            return Self::Silent;
        }
        if error.is_redirect() {
            return Self::Redirect(error.into());
        }
        if error.is_builder() {
            return Self::Request(error.into());
        }
        Self::Cut { got, source: Some(error.into()) }
    }

    /// From the registry client, when it asked for a blob.
    pub(super) fn of_client(error: OciDistributionError, anonymous: bool) -> Self {
        match error {
            OciDistributionError::RequestError(error) => Self::of_http(error, 0),
            OciDistributionError::UnauthorizedError { .. } => Self::Denied { anonymous, said: None },
            OciDistributionError::ServerError { code, message, .. } => {
                let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                Self::of_status(status, message.as_bytes(), anonymous, None)
            }
            OciDistributionError::RegistryError { envelope, .. } => {
                let first = envelope.errors.into_iter().next();
                let (code, said) = first.map(|error| (error.code, error.message)).unzip();
                match code {
                    Some(OciErrorCode::Unauthorized | OciErrorCode::Denied) => {
                        Self::Denied { anonymous, said }
                    }
                    Some(OciErrorCode::Toomanyrequests) => Self::Status { code: 429, said, wait: None },
                    _ => Self::NotFound(said),
                }
            }
            other => Self::Request(other.into()),
        }
    }

    /// From a blob's stream, after `got` bytes.
    pub(super) fn of_stream(error: io::Error, wanted: Digest, got: u64) -> Self {
        let error = match error.downcast::<reqwest::Error>() {
            Ok(error) => return Self::of_http(error, got),
            Err(error) => error,
        };
        match error.downcast::<DigestError>() {
            Ok(DigestError::VerificationError { actual, .. }) => Self::WrongDigest { wanted, got: actual },
            Ok(other) => Self::Request(other.into()),
            Err(error) => Self::Cut { got, source: Some(error.into()) },
        }
    }
}

/// The registry's words as the end of a message: one line, escaped, not too long.
fn quoted(words: &Option<String>) -> String {
    match words {
        Some(words) => format!(" (it says `{}`)", words.chars().take(200).collect::<String>().escape_debug()),
        None => String::new(),
    }
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

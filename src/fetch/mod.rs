//! Registries, by the OCI distribution protocol: network only, no path is known here. Gives manifests as bytes
//! and blobs as readers, each checked against its digest.
//!
//! One thread, a `Network`, moves all bytes; whoever reads a blob works on a thread of their own.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use oci_distribution::client::{Client, ClientConfig, ClientProtocol};
use oci_distribution::secrets::RegistryAuth;
use oci_distribution::token_cache::{RegistryToken, RegistryTokenType};
use oci_distribution::{Reference as Name, RegistryOperation};
use reqwest::Method;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::oci::digest::Digest;
use crate::oci::manifest::{Descriptor, MAX_SIZE};
use crate::oci::media_type::MANIFESTS;
use crate::oci::reference::Reference;

mod auth;
mod blob;
mod error;
#[cfg(test)]
pub(crate) mod fake;
mod http;
mod retry;
#[cfg(test)]
mod tests;

pub use auth::credentials;
pub use blob::Blob;
pub use error::{Cause, Error, Fault};
pub use oci_distribution::secrets::RegistryAuth as Credentials;
pub use retry::retry;

use http::Http;

const USER_AGENT: &str = concat!("devbox/", env!("CARGO_PKG_VERSION"));

/// How long a registry may take.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// Until the connection stands.
    pub connect: Duration,
    /// Without a byte.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), idle: Duration::from_secs(60) }
    }
}

/// One repository of a registry.
pub struct Registry {
    name: Name,
    /// As the user wrote it, for messages.
    shown: String,
    plain: bool,
    timeouts: Timeouts,
    http: Arc<Http>,
    /// The client for blobs and the authorization it was made with.
    client: Arc<Mutex<Option<(RegistryAuth, Client)>>>,
    network: Network,
}

/// A manifest or index as it came.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Their digest.
    pub digest: Digest,
    /// What the registry declares them to be.
    pub media_type: Option<String>,
}

impl Registry {
    /// Gets ready to talk with the registry of `reference`; sends nothing yet. Plain HTTP is used with
    /// registries on this machine, TLS with all others.
    pub fn new(reference: &Reference, credentials: Credentials, timeouts: Timeouts) -> Result<Self, Error> {
        // the TLS library must know its provider before any client is made; only the first one counts
        let _ = rustls::crypto::ring::default_provider().install_default();
        let shown = reference.name();
        let failed = |fault| Error { object: shown.clone(), fault };
        let plain = reference.is_loopback();
        // the tag is not used: what is asked for is said with each request
        let name = Name::with_tag(reference.registry.clone(), reference.repository.clone(), String::new());
        let http = Http::new(&name, plain, credentials, &timeouts).map_err(failed)?;
        let network = Network::start().map_err(|error| failed(Fault::Request(error.into())))?;
        Ok(Self { name, plain, timeouts, http: Arc::new(http), client: Arc::default(), network, shown })
    }

    /// The digest a tag stands for now, by the registry's word: good to see whether anything changed, no more.
    /// `None` when the registry does not say.
    pub fn digest_of(&self, tag: &str) -> Result<Option<Digest>, Error> {
        let response = self.ask(Method::HEAD, tag, async |response| Ok(response))?;
        let header = response.headers().get("docker-content-digest");
        Ok(header.and_then(|value| value.to_str().ok()?.parse().ok()))
    }

    /// The manifest or index with this tag or digest; the bytes of a digest are verified.
    pub fn manifest(&self, tag_or_digest: &str) -> Result<Fetched, Error> {
        self.ask(Method::GET, tag_or_digest, async |response| {
            let media_type = http::content_type(&response);
            if media_type.as_deref().is_some_and(|it| it.contains("html")) {
                return Err(Fault::NotARegistry(media_type.unwrap_or_default()));
            }
            let bytes = http::body(response, MAX_SIZE).await?;
            let digest = Digest::of(&bytes);
            match tag_or_digest.parse::<Digest>() {
                Ok(wanted) if wanted != digest => Err(Fault::WrongDigest { wanted, got: digest.to_string() }),
                _ => Ok(Fetched { bytes, digest, media_type }),
            }
        })
    }

    fn ask<T>(
        &self,
        method: Method,
        tag_or_digest: &str,
        then: impl AsyncFnOnce(reqwest::Response) -> Result<T, Fault>,
    ) -> Result<T, Error> {
        let exchange = async {
            let path = format!("manifests/{tag_or_digest}");
            then(self.http.ask(method, &path, &MANIFESTS.join(", ")).await?).await
        };
        let object = || format!("manifest `{tag_or_digest}` of {}", self.shown);
        self.network.handle.block_on(exchange).map_err(|fault| Error { object: object(), fault })
    }

    /// A reader of the blob `descriptor` points to, which ends only when size and digest are right. The request
    /// is sent now, and its failure is the reader's.
    pub fn blob(&self, descriptor: &Descriptor) -> Blob {
        let digest = descriptor.digest;
        let (sender, blob) = blob::channel(format!("{digest} of {}", self.shown), digest, descriptor.size);
        let transfer = Transfer {
            http: self.http.clone(),
            client: self.client.clone(),
            name: self.name.clone(),
            plain: self.plain,
            timeouts: self.timeouts.clone(),
        };
        self.network.handle.spawn(async move {
            if let Err(fault) = transfer.run(&sender, &digest.to_string()).await {
                sender.fail(fault).await;
            }
        });
        blob
    }
}

/// What it takes to fetch one blob, apart from the registry it belongs to.
struct Transfer {
    http: Arc<Http>,
    client: Arc<Mutex<Option<(RegistryAuth, Client)>>>,
    name: Name,
    plain: bool,
    timeouts: Timeouts,
}

impl Transfer {
    async fn run(&self, sender: &blob::Sender, digest: &str) -> Result<(), Fault> {
        let mut stream = self.client().await?.pull_blob_stream(&self.name, digest).await;
        if let Err(oci_distribution::errors::OciDistributionError::UnauthorizedError { .. }) = stream {
            // not asked who we are until now, or a token that has expired
            self.http.ask(Method::HEAD, &format!("blobs/{digest}"), "*/*").await?;
            stream = self.client().await?.pull_blob_stream(&self.name, digest).await;
        }
        let stream = stream.map_err(|error| Fault::of_client(error, self.http.anonymous()))?;
        sender.send_all(stream).await
    }

    /// The registry client with the authorization that counts now. Making one reads the system's certificates,
    /// so it is kept.
    async fn client(&self) -> Result<Client, Fault> {
        let authorization = self.http.authorization().clone();
        if let Some((made_with, client)) = &*self.client.lock().unwrap_or_else(PoisonError::into_inner)
            && *made_with == authorization
        {
            return Ok(client.clone());
        }
        let config = ClientConfig {
            protocol: if self.plain { ClientProtocol::Http } else { ClientProtocol::Https },
            platform_resolver: None,
            read_timeout: Some(self.timeouts.idle),
            connect_timeout: Some(self.timeouts.connect),
            user_agent: USER_AGENT,
            // no proxy of the environment leads to this very machine; said by another that is for others only
            http_proxy: self.plain.then(|| "http://localhost".into()),
            no_proxy: self.plain.then(|| "localhost,127.0.0.0/8,::1".into()),
            ..ClientConfig::default()
        };
        // `Client::new` would go on with another configuration when this one fails
        let client =
            Client::try_from(config).map_err(|error| Fault::of_client(error, self.http.anonymous()))?;
        let token = match authorization.clone() {
            RegistryAuth::Anonymous => None,
            RegistryAuth::Basic(user, password) => Some(RegistryTokenType::Basic(user, password)),
            RegistryAuth::Bearer(token) => Some(RegistryTokenType::Bearer(RegistryToken::Token { token })),
        };
        // given as if it had asked for it itself, or it would
        if let Some(token) = token {
            client.store_auth_if_needed(self.name.resolve_registry(), &authorization).await;
            client.tokens.insert(&self.name, RegistryOperation::Pull, token).await;
        }
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Some((authorization, client.clone()));
        Ok(client)
    }
}

/// The thread that moves bytes; ends when dropped.
struct Network {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Network {
    fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("network".into()).spawn(move || {
            let _ = runtime.block_on(stopped);
            // a name look-up can't be interrupted; nobody waits for it any more
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

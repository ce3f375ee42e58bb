//! Registries, by the OCI distribution protocol: network only, no path is known here but those of settings. Gives
//! manifests as bytes and blobs as readers, each checked against its digest.
//!
//! One thread, a `Network`, moves all bytes; whoever reads a blob works on a thread of their own.
//!
//! ```text
//! name ─ registries.conf ─> places: mirrors, then the registry itself
//! place ─ certs.d, auth.json and helpers, proxies ─> Http: one repository, one login, one token
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use reqwest::Method;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::cancel::Cancel;
use crate::dirs::Dirs;
use crate::oci::digest::Digest;
use crate::oci::manifest::{Descriptor, MAX_SIZE};
use crate::oci::media_type::MANIFESTS;
use crate::oci::reference::Reference;

mod auth_file;
mod blob;
mod certificates;
pub mod challenge;
mod credentials;
mod error;
#[cfg(test)]
pub(crate) mod fake;
mod file;
mod helper;
mod http;
pub mod login;
mod proxies;
mod redirect;
mod registries;
mod retry;
#[cfg(test)]
mod tests;
mod token;
mod transfer;
mod upload;

pub use blob::Blob;
pub use credentials::{Credentials, credentials};
pub use error::{Cause, Error, Fault};
pub use helper::HelperError;
pub use login::LoginError;
pub use proxies::Proxies;
pub use registries::{Mode, Registries, Short};
pub use retry::retry;
pub use upload::{BlobError, Push, UploadError};

use certificates::Certificates;
use http::{Http, Location, Road};
use registries::Place;
use transfer::Transfer;

const USER_AGENT: &str = concat!("devbox/", env!("CARGO_PKG_VERSION"));

/// How long a registry may take.
#[derive(Debug, Clone, Copy)]
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

/// One repository of a registry, and its mirrors.
pub struct Registry {
    /// Where things are fetched from: mirrors in their order, the registry itself last.
    sources: Arc<[Source]>,
    /// The registry itself.
    http: Arc<Http>,
    /// As the user wrote it, for messages.
    shown: String,
    network: Network,
}

/// One place of a repository.
struct Source {
    http: Arc<Http>,
    /// Registry and repository, for messages.
    shown: String,
    /// A mirror that is not asked again.
    failed: AtomicBool,
}

impl Source {
    fn give_up(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }
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
    /// Gets ready to fetch `reference` as this machine is set up: by registries.conf, with the certificates, the
    /// credentials and the proxies there are. Sends nothing yet. `note` is told of settings that could not be used.
    pub fn open(dirs: &Dirs, reference: &Reference, note: &dyn Fn(&str)) -> Result<Self, Error> {
        let shown = reference.name();
        let failed = |fault| Error { object: shown.clone(), fault };
        let registries = Registries::read(dirs).map_err(failed)?;
        let places = registries.places(reference).map_err(failed)?;
        let proxies = Proxies::from_environment().map_err(failed)?;
        let mut sources = Vec::new();
        for Place { reference, insecure } in places {
            let certificates = Certificates::of(dirs, &reference.registry).map_err(failed)?;
            let login = credentials(dirs, &registries, &reference, note);
            let location = Location {
                host: host(&reference),
                repository: reference.repository.clone(),
                roads: roads(&reference, insecure, certificates.is_some()),
                login,
                certificates: certificates.unwrap_or_default(),
            };
            let http = Http::new(location, &proxies, &Timeouts::default()).map_err(failed)?;
            sources.push((reference, http));
        }
        Self::of(reference, sources)
    }

    /// Gets ready to talk with the registry of `reference` itself; sends nothing yet. Plain HTTP is used with
    /// registries on this machine, TLS with all others.
    pub fn new(reference: &Reference, credentials: Credentials, timeouts: Timeouts) -> Result<Self, Error> {
        let location = Location {
            host: host(reference),
            repository: reference.repository.clone(),
            roads: roads(reference, None, false),
            login: credentials,
            certificates: Certificates::default(),
        };
        let failed = |fault| Error { object: reference.name(), fault };
        let proxies = Proxies::from_environment().map_err(failed)?;
        let http = Http::new(location, &proxies, &timeouts).map_err(failed)?;
        Self::of(reference, vec![(reference.clone(), http)])
    }

    /// From places to fetch from, of which the last one is the registry itself.
    fn of(reference: &Reference, places: Vec<(Reference, Http)>) -> Result<Self, Error> {
        let shown = reference.name();
        let sources: Arc<[Source]> = places
            .into_iter()
            .map(|(place, http)| Source {
                http: Arc::new(http),
                shown: place.name(),
                failed: AtomicBool::new(false),
            })
            .collect();
        let failed =
            |error: std::io::Error| Error { object: shown.clone(), fault: Fault::Request(error.into()) };
        let network = Network::start().map_err(failed)?;
        let Some(last) = sources.last() else { return Err(failed(std::io::ErrorKind::NotFound.into())) };
        Ok(Self { http: last.http.clone(), sources, shown, network })
    }

    /// The digest a tag stands for now, by the registry's word: good to see whether anything changed, no more.
    /// `None` when the registry does not say.
    pub fn digest_of(&self, tag: &str) -> Result<Option<Digest>, Error> {
        self.ask(&Method::HEAD, tag, async |response, _| {
            let header = response.headers().get("docker-content-digest");
            Ok(header.and_then(|value| value.to_str().ok()?.parse().ok()))
        })
    }

    /// The manifest or index with this tag or digest; the bytes of a digest are verified.
    pub fn manifest(&self, tag_or_digest: &str) -> Result<Fetched, Error> {
        self.ask(&Method::GET, tag_or_digest, async |response, idle| {
            let media_type = http::content_type(&response);
            let bytes = http::body(response, MAX_SIZE, idle).await?;
            let digest = Digest::of(&bytes);
            match tag_or_digest.parse::<Digest>() {
                Ok(wanted) if wanted != digest => Err(Fault::WrongDigest { wanted, got: digest }),
                _ => Ok(Fetched { bytes, digest, media_type }),
            }
        })
    }

    /// Asks one source after the other, until one has it.
    fn ask<T>(
        &self,
        method: &Method,
        tag_or_digest: &str,
        then: impl AsyncFn(reqwest::Response, Duration) -> Result<T, Fault>,
    ) -> Result<T, Error> {
        let path = format!("manifests/{tag_or_digest}");
        let accept = MANIFESTS.join(", ");
        let mut failed = Vec::new();
        let usable = self.sources.iter().filter(|source| !source.failed.load(Ordering::Relaxed));
        for source in usable {
            let exchange = async {
                let response = source.http.ask(method.clone(), &path, &accept).await?;
                then(response, source.http.idle()).await
            };
            let fault = match self.network.handle.block_on(exchange) {
                Err(fault) => fault,
                Ok(found) => return Ok(found),
            };
            if Arc::ptr_eq(&source.http, &self.http) {
                let object = format!("manifest `{tag_or_digest}` of {}", self.shown);
                return Err(Error { object, fault: fault.after(failed) });
            }
            if !matches!(fault, Fault::NotFound(_)) {
                source.give_up();
            }
            failed.push(format!("{}: {fault}", source.shown));
        }
        Err(Error { object: self.shown.clone(), fault: Fault::NotFound(None).after(failed) })
    }

    /// A reader of the blob `descriptor` points to, which ends only when size and digest are right. The request
    /// is sent now, and its failure is the reader's.
    pub fn blob(&self, descriptor: &Descriptor) -> Blob {
        self.blob_until(descriptor, &Cancel::default())
    }

    /// The same; it fails when it is cancelled before its end.
    pub fn blob_until(&self, descriptor: &Descriptor, cancel: &Cancel) -> Blob {
        let digest = descriptor.digest;
        let (sender, blob) = blob::channel(format!("{digest} of {}", self.shown));
        let transfer = Transfer { sources: self.sources.clone(), digest, size: descriptor.size };
        let cancel = cancel.clone();
        self.network.handle.spawn(async move {
            tokio::select! {
                () = transfer.run(sender) => {}
                () = cancel.cancelled() => {}
            }
        });
        blob
    }
}

/// The host a registry's name stands for.
fn host(reference: &Reference) -> String {
    // docker.io is a name only
    let name = oci_distribution::Reference::with_tag(
        reference.registry.clone(),
        reference.repository.clone(),
        String::new(),
    );
    name.resolve_registry().to_owned()
}

/// How to speak to the registry of `reference`. On this machine that is plain HTTP, unless the settings say
/// otherwise.
fn roads(reference: &Reference, insecure: Option<bool>, has_certificates: bool) -> &'static [Road] {
    match insecure {
        Some(true) => Road::INSECURE,
        None if reference.is_loopback() && !has_certificates => Road::LOOPBACK,
        _ => Road::SAFE,
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

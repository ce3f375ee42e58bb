//! Sending to a registry (distribution-spec, "Push"): blobs in pieces, each of which is sent again from where it was
//! cut; manifests whole.
//!
//! ```text
//! HEAD blob ─ there: nothing to do
//! POST uploads/?mount=&from= ─ 201: mounted      202 ─┐
//! POST uploads/ ──────────────────────────────── 202 ─┴> PATCH piece … PUT ?digest=
//!                                                          └ cut: GET the upload, go on at its Range
//! ```

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode, Url};

use super::error::Fault;
use super::http::{content_type, is_page};
use super::retry::Tries;
use super::{Error, Registry};
use crate::oci::digest::Digest;

mod error;
mod pieces;
mod submit;
#[cfg(test)]
mod tests;

pub use error::{BlobError, UploadError};

use pieces::Ended;

/// How often a blob is begun anew when the registry has forgotten its upload.
const BEGINNINGS: u32 = 3;

/// What a blob is read from: the reader is asked for anew when it has to be sent from its beginning again.
type Source<'a> = dyn Fn() -> io::Result<Box<dyn Read + Send>> + 'a;

/// A repository to send to.
pub struct Push<'a> {
    registry: &'a Registry,
}

impl Registry {
    /// Whether the registry or one of its mirrors has this blob.
    pub fn has_blob(&self, digest: &Digest) -> Result<bool, Error> {
        let path = format!("blobs/{digest}");
        let mut failed = Vec::new();
        for source in self.sources.iter().filter(|source| !source.failed.load(Ordering::Relaxed)) {
            match self.network.handle.block_on(source.http.ask(Method::HEAD, &path, "*/*")) {
                Ok(_) => return Ok(true),
                Err(Fault::NotFound(_)) => {}
                Err(fault) if Arc::ptr_eq(&source.http, &self.http) => {
                    let object = format!("{digest} of {}", self.shown);
                    return Err(Error { object, fault: fault.after(failed) });
                }
                Err(fault) => {
                    source.give_up();
                    failed.push(format!("{}: {fault}", source.shown));
                }
            }
        }
        Ok(false)
    }

    /// Gets ready to send to the repository: finds out how the registry is spoken to.
    pub fn push(&self) -> Result<Push<'_>, UploadError> {
        match self.network.handle.block_on(self.http.knock()) {
            // whoever may not look around may still be let in where it counts
            Ok(()) | Err(Fault::Denied { .. } | Fault::NotFound(_)) => Ok(Push { registry: self }),
            Err(fault) => Err(UploadError { object: format!("to {}", self.shown), fault }),
        }
    }
}

impl Push<'_> {
    /// Whether the repository has this blob. `note` is told of pauses.
    pub fn has(&self, digest: &Digest, note: &dyn Fn(&str)) -> Result<bool, UploadError> {
        let there = patiently(note, || self.look(digest));
        there.map_err(|fault| self.failed(&digest.to_string(), fault))
    }

    fn look(&self, digest: &Digest) -> Result<bool, Fault> {
        let http = &self.registry.http;
        let path = format!("{}/blobs/{digest}", http.location().repository);
        // the blob may lie in storage elsewhere, where we are led
        let asked = async { http.travel(Method::HEAD, &path, &HeaderMap::new(), Some(&http.scope())).await };
        match self.registry.network.handle.block_on(asked) {
            // what a portal says to everything
            Ok(answer) if is_page(content_type(&answer).as_deref()) => {
                Err(Fault::not_a_registry(content_type(&answer), b""))
            }
            Ok(_) => Ok(true),
            Err(Fault::NotFound(_)) => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Lets the repository have a blob of another one of the same registry; false when the registry does not do that.
    pub fn mount(&self, digest: &Digest, from: &str) -> bool {
        let path = format!("blobs/uploads/?mount={digest}&from={from}");
        let sent = self.send(Method::POST, self.url(&path), HeaderMap::new(), Bytes::new(), Some(from));
        match sent {
            Ok(answer) if answer.status() == StatusCode::CREATED => true,
            // it has begun an upload instead, which nobody needs
            Ok(answer) if answer.status() == StatusCode::ACCEPTED => {
                if let Ok(upload) = self.begun(&answer) {
                    let _ = self.send(Method::DELETE, Ok(upload.url), HeaderMap::new(), Bytes::new(), None);
                }
                false
            }
            _ => false,
        }
    }

    /// Sends a blob of `size` bytes. `told` hears of bytes that are there for good, `note` of pauses. What the reader
    /// gives must have the digest; the registry checks it as well.
    pub fn blob(
        &self,
        digest: &Digest,
        size: u64,
        source: &Source<'_>,
        told: &dyn Fn(u64),
        note: &dyn Fn(&str),
    ) -> Result<(), BlobError> {
        let failed = |fault| BlobError::Upload(self.failed(&digest.to_string(), fault));
        let (mut counted, mut beginnings) = (0, 0);
        loop {
            let mut sent = 0;
            let mut told = |count: u64| {
                sent += count;
                // a second beginning tells only what is new
                if sent > counted {
                    told(sent - counted);
                    counted = sent;
                }
            };
            let mut reader = source().map_err(BlobError::Blob)?;
            match self.whole(digest, size, &mut reader, &mut told, note) {
                Ok(()) => return Ok(()),
                Err(Ended::Blob(error)) => return Err(BlobError::Blob(error)),
                Err(Ended::Forgotten(fault)) if beginnings < BEGINNINGS => {
                    beginnings += 1;
                    note(&format!(
                        "{}; it is sent from its beginning",
                        self.failed(&digest.to_string(), fault)
                    ));
                }
                Err(Ended::Forgotten(fault) | Ended::Failed(fault)) => return Err(failed(fault)),
            }
        }
    }

    /// Puts a manifest in place, by `name`: a tag or its digest.
    pub fn manifest(
        &self,
        name: &str,
        media_type: &str,
        bytes: &[u8],
        note: &dyn Fn(&str),
    ) -> Result<(), UploadError> {
        let mut headers = HeaderMap::new();
        let failed = |fault| self.failed(&format!("manifest `{name}`"), fault);
        headers
            .insert(CONTENT_TYPE, HeaderValue::from_str(media_type).map_err(|error| failed(cause(error)))?);
        let url = || self.url(&format!("manifests/{name}"));
        let bytes = Bytes::copy_from_slice(bytes);
        // some registries have it 202
        let done = [StatusCode::CREATED, StatusCode::ACCEPTED];
        let put = || {
            let answer = self.send(Method::PUT, url(), headers.clone(), bytes.clone(), None)?;
            expected(answer, &done)
        };
        patiently(note, put).map(drop).map_err(failed)
    }

    fn url(&self, path: &str) -> Result<Url, Fault> {
        self.registry.http.url(path)
    }

    /// One request to the repository; with the right to read `from` of the same registry as well. Gives successful
    /// answers only.
    fn send(
        &self,
        method: Method,
        url: Result<Url, Fault>,
        headers: HeaderMap,
        body: Bytes,
        from: Option<&str>,
    ) -> Result<Response, Fault> {
        let http = &self.registry.http;
        self.registry.network.handle.block_on(http.submit(method, url?, headers, body, from))
    }

    fn failed(&self, what: &str, fault: Fault) -> UploadError {
        UploadError { object: format!("{what} to {}", self.registry.shown), fault }
    }
}

/// The answer, if it is one the distribution specification has for what was asked: others succeed at something else.
fn expected(answer: Response, codes: &[StatusCode]) -> Result<Response, Fault> {
    let (status, kind) = (answer.status(), content_type(&answer));
    match codes.contains(&status) {
        true => Ok(answer),
        false if is_page(kind.as_deref()) => Err(Fault::not_a_registry(kind, b"")),
        false => Err(Fault::Status { code: status.as_u16(), said: None, wait: None }),
    }
}

/// Does `attempt`, again after a pause while it fails in a way that may pass.
fn patiently<T>(note: &dyn Fn(&str), mut attempt: impl FnMut() -> Result<T, Fault>) -> Result<T, Fault> {
    let mut tries = Tries::default();
    loop {
        let fault = match attempt() {
            Err(fault) => fault,
            done => return done,
        };
        let (text, pause) = tries.after(fault, 0)?;
        note(&text);
        thread::sleep(pause);
    }
}

fn cause(error: impl Into<super::Cause>) -> Fault {
    Fault::Request(error.into())
}

//! Sending to a registry (distribution-spec, "Push"): blobs in pieces, each of which is sent again from where it was
//! cut; manifests whole.
//!
//! ```text
//! HEAD blob ─ there: nothing to do
//! POST uploads/?mount=&from= ─ 201: mounted      202 ─┐
//! POST uploads/ ──────────────────────────────── 202 ─┴> PATCH piece … PUT ?digest=
//!                                                          └ cut: GET the upload, go on at its Range
//! ```

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RANGE};
use reqwest::{Method, Response, StatusCode, Url};

use super::error::Fault;
use super::http::{Http, authorized, content_type, is_page};
use super::redirect::{next, same_origin};
use super::retry::Tries;
use super::{Error, Registry};
use crate::oci::digest::Digest;

/// Pieces begin with this size and grow while they go fast; no registry we know refuses the largest.
const PIECE: usize = 1 << 20;
const LEAST_PIECE: usize = 256 << 10;
const MOST_PIECE: usize = 4 << 20;
/// The largest piece a registry may ask for.
const MOST_ASKED: usize = 64 << 20;
/// A piece that takes longer is followed by a smaller one.
const SLOW: Duration = Duration::from_secs(5);
/// How often a blob is begun anew when the registry has forgotten its upload.
const BEGINNINGS: u32 = 3;

/// Something that could not be sent.
#[derive(Debug)]
pub struct UploadError {
    /// What was sent, with the registry.
    pub object: String,
    /// What happened.
    pub fault: Fault,
}

impl fmt::Display for UploadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot send {}: {}", self.object, self.fault)
    }
}

impl std::error::Error for UploadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.fault.source()
    }
}

impl UploadError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match &self.fault {
            Fault::Denied { anonymous: false, .. } => {
                Some("the login may have no right to write there; `devbox login` takes another".into())
            }
            Fault::NotFound(_) => {
                Some("see that the repository's name is right, and that it may be written to".into())
            }
            fault => fault.hint(),
        }
    }
}

/// Why a blob could not be sent.
#[derive(Debug)]
pub enum BlobError {
    /// The registry, or the way to it.
    Upload(UploadError),
    /// The blob's own reader failed; its error, untouched.
    Blob(io::Error),
}

/// What a blob is read from: the reader is asked for anew when it has to be sent from its beginning again.
type Source<'a> = dyn Fn() -> io::Result<Box<dyn Read + Send>> + 'a;

/// A repository to send to.
pub struct Push<'a> {
    registry: &'a Registry,
}

/// An upload the registry has begun.
struct Upload {
    /// Where the next request goes.
    url: Url,
    /// Least size of pieces but the last.
    least: usize,
}

/// Why an upload ended early.
enum Ended {
    /// The registry knows nothing of it any more.
    Forgotten(Fault),
    Failed(Fault),
    Blob(io::Error),
}

impl From<Fault> for Ended {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
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

    /// From the beginning of an upload to its end.
    fn whole(
        &self,
        digest: &Digest,
        size: u64,
        reader: &mut dyn Read,
        told: &mut dyn FnMut(u64),
        note: &dyn Fn(&str),
    ) -> Result<(), Ended> {
        let answer = patiently(note, || {
            let answer =
                self.send(Method::POST, self.url("blobs/uploads/"), HeaderMap::new(), Bytes::new(), None)?;
            expected(answer, &[StatusCode::ACCEPTED])
        })?;
        let mut upload = self.begun(&answer)?;
        let (mut offset, mut length) = (0, PIECE.max(upload.least));
        let mut tries = Tries::default();
        loop {
            let piece = read_piece(reader, length).map_err(Ended::Blob)?;
            let end = offset + piece.len() as u64;
            if end > size || (piece.is_empty() && end < size) {
                let why = format!("it has {end} bytes or more, not {size}");
                return Err(Ended::Blob(io::Error::new(io::ErrorKind::InvalidData, why)));
            }
            if piece.is_empty() {
                break;
            }
            let start = Instant::now();
            let count = piece.len() as u64;
            self.piece(&mut upload, offset, &piece, &mut tries, note)?;
            told(count);
            offset = end;
            length = match start.elapsed() {
                fast if fast < SLOW / 5 => (length * 2).min(MOST_PIECE),
                slow if slow > SLOW => (length / 2).max(LEAST_PIECE),
                _ => length,
            }
            .max(upload.least);
        }
        upload.url.query_pairs_mut().append_pair("digest", &digest.to_string());
        loop {
            let headers = octets(None)?;
            let put = self.send(Method::PUT, Ok(upload.url.clone()), headers, Bytes::new(), None);
            let Err(fault) = put.and_then(|answer| expected(answer, &[StatusCode::CREATED])) else {
                return Ok(());
            };
            if tries.is_hopeless(&fault) {
                return Err(forgotten(fault));
            }
            let (text, pause) = tries.after(fault, offset)?;
            note(&text);
            thread::sleep(pause);
            // the answer may be what was lost
            if self.look(digest).is_ok_and(|there| there) {
                return Ok(());
            }
        }
    }

    /// Sends one piece, which begins at `offset` of the blob; what of it has arrived when it is cut is not sent again.
    fn piece(
        &self,
        upload: &mut Upload,
        offset: u64,
        piece: &Bytes,
        tries: &mut Tries,
        note: &dyn Fn(&str),
    ) -> Result<(), Ended> {
        let end = offset + piece.len() as u64;
        let mut at = offset;
        while at < end {
            let rest = piece.slice((at - offset) as usize..);
            let headers = octets(Some((at, end)))?;
            let sent = self.send(Method::PATCH, Ok(upload.url.clone()), headers, rest, None);
            let fault = match sent.and_then(|answer| expected(answer, &[StatusCode::ACCEPTED])) {
                Ok(answer) => {
                    upload.url = location(&upload.url, &answer)?;
                    return Ok(());
                }
                Err(fault) => fault,
            };
            if tries.is_hopeless(&fault) {
                return Err(forgotten(fault));
            }
            let (text, pause) = tries.after(fault, at)?;
            note(&text);
            thread::sleep(pause);
            let answer =
                match self.send(Method::GET, Ok(upload.url.clone()), HeaderMap::new(), Bytes::new(), None) {
                    Ok(answer) => answer,
                    Err(fault) if tries.is_hopeless(&fault) => return Err(forgotten(fault)),
                    // asked again after the next failure
                    Err(_) => continue,
                };
            if answer.headers().contains_key(LOCATION) {
                upload.url = location(&upload.url, &answer)?;
            }
            let arrived = arrived(answer.headers());
            if !(offset..=end).contains(&arrived) {
                return Err(Ended::Forgotten(Fault::WrongPart));
            }
            at = arrived;
        }
        Ok(())
    }

    fn begun(&self, answer: &Response) -> Result<Upload, Fault> {
        let least = answer.headers().get("oci-chunk-min-length");
        let least = least.and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0);
        Ok(Upload { url: location(answer.url(), answer)?, least: usize::min(least, MOST_ASKED) })
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

impl Http {
    /// The address of `path` in the repository, on the road that is known to be right.
    fn url(&self, path: &str) -> Result<Url, Fault> {
        let (scheme, location) = (self.road().scheme(), self.location());
        let url = format!("{scheme}://{}/v2/{}/{path}", location.host, location.repository);
        Url::parse(&url).map_err(cause)
    }

    /// What it takes to send.
    fn scope(&self) -> String {
        format!("repository:{}:pull,push", self.location().repository)
    }

    /// Sends one request with a body. When the registry asks back who we are, tells it and sends it again; what lies
    /// elsewhere learns nothing of that.
    async fn submit(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Bytes,
        from: Option<&str>,
    ) -> Result<Response, Fault> {
        let own = same_origin(&url, &self.url("")?);
        let send = async |shown: &super::Credentials| {
            let request = self.client(&url).request(method.clone(), url.clone());
            let request = request.headers(headers.clone()).body(body.clone());
            self.finish(if own { authorized(request, shown) } else { request }).await
        };
        let shown = self.authorization().clone();
        let mut response = send(&shown).await?;
        if response.status() == StatusCode::UNAUTHORIZED && own {
            let mut scope = self.scope();
            if let Some(from) = from {
                scope += &format!(" repository:{from}:pull");
            }
            if let Some(authorization) = self.answer(self.road(), response.headers(), Some(&scope)).await? {
                *self.authorization() = authorization.clone();
                response = send(&authorization).await?;
            }
        }
        self.succeeded(response).await
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

/// What a piece is sent as; `range` is where it begins and ends.
fn octets(range: Option<(u64, u64)>) -> Result<HeaderMap, Fault> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if let Some((start, end)) = range {
        // the distribution specification's own form, without unit and size
        let range = HeaderValue::try_from(format!("{start}-{}", end - 1)).map_err(cause)?;
        headers.insert(CONTENT_RANGE, range);
    }
    Ok(headers)
}

/// Where the upload goes on, by the rules of redirects.
fn location(from: &Url, answer: &Response) -> Result<Url, Fault> {
    let place = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    next(from, place.ok_or_else(|| cause("the registry does not say where the upload goes on"))?)
}

/// How many bytes the registry has, by its `Range: 0-LAST`. It says `0-0` for none as well.
fn arrived(headers: &HeaderMap) -> u64 {
    let range = headers.get(RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let last = range.trim_start_matches("bytes=").strip_prefix("0-").and_then(|last| last.parse().ok());
    last.filter(|last| *last > 0).map_or(0, |last: u64| last.saturating_add(1))
}

/// An upload the registry does not know, or that is not where we are, can be begun anew; other refusals stay.
fn forgotten(fault: Fault) -> Ended {
    match fault {
        Fault::NotFound(_) | Fault::Status { code: 416, .. } => Ended::Forgotten(fault),
        fault => Ended::Failed(fault),
    }
}

/// As many bytes as there are, up to `most`.
fn read_piece(reader: &mut dyn Read, most: usize) -> io::Result<Bytes> {
    let mut piece = Vec::with_capacity(most);
    reader.take(most as u64).read_to_end(&mut piece)?;
    Ok(piece.into())
}

fn cause(error: impl Into<super::Cause>) -> Fault {
    Fault::Request(error.into())
}

#[cfg(test)]
mod tests;

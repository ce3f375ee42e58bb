//! Fetches one blob, from wherever it can be had, and goes on where an answer was cut.
//!
//! ```text
//! source fails ─┬─ a mirror: once more when bytes came, else the next source
//!               └─ the registry: a pause, up to three failures without progress
//! go on at byte N: Range; 206 with the right Content-Range → its bytes; anything else → whole, N bytes passed over
//! ```
//!
//! Bytes are handed on as they come, so what was handed on must fit what comes later: the digest over all of them
//! decides, never a header.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Buf;
use reqwest::header::CONTENT_RANGE;
use reqwest::{Method, Response, StatusCode};

use super::Source;
use super::blob::Sender;
use super::error::Fault;
use super::http::{Http, content_type, is_page};
use super::retry::Tries;
use crate::oci::digest::{Digest, Hasher};

/// What it takes to fetch one blob.
pub(super) struct Transfer {
    /// Mirrors first, the registry itself last.
    pub(super) sources: Arc<[Source]>,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// How far it is.
#[derive(Default)]
struct State {
    got: u64,
    hasher: Hasher,
    /// Mirrors that bytes came from.
    mirrors: Vec<usize>,
    /// The last answer was a page for people.
    page: Option<String>,
}

/// How an attempt came out, when it did not fail.
enum Came {
    /// All there is.
    Whole,
    /// Nobody reads on.
    Unwanted,
}

impl Transfer {
    pub(super) async fn run(self, sender: Sender) {
        match self.bring(&sender).await {
            Ok(Came::Whole) => sender.verified().await,
            Ok(Came::Unwanted) => {}
            Err(fault) => sender.fail(fault).await,
        }
    }

    async fn bring(&self, sender: &Sender) -> Result<Came, Fault> {
        let (mut state, mut tries) = (State::default(), Tries::default());
        let mut failed = Vec::new();
        let mut number = self.usable(0);
        loop {
            let source = &self.sources[number];
            let before = state.got;
            let fault = match self.attempt(number, &mut state, sender).await {
                Ok(Came::Unwanted) => return Ok(Came::Unwanted),
                Ok(Came::Whole) => match self.verify(&state) {
                    Ok(()) => return Ok(Came::Whole),
                    Err(fault) => fault,
                },
                Err(fault) => fault,
            };
            let fault = match (&state.page, fault) {
                // that it is not the blob is clear by now; why is better to know
                (Some(page), Fault::WrongDigest { .. } | Fault::TooLarge(_) | Fault::Cut { .. }) => {
                    Fault::not_a_registry(Some(page.clone()), b"")
                }
                (_, fault) => fault,
            };
            // wrong bytes were handed on: only another start can help, without those they may be from
            if matches!(fault, Fault::WrongDigest { .. } | Fault::TooLarge(_)) && !state.mirrors.is_empty() {
                state.mirrors.iter().for_each(|number| self.sources[*number].give_up());
                let names: Vec<_> =
                    state.mirrors.iter().map(|number| self.sources[*number].shown.as_str()).collect();
                return Err(Fault::BadMirror { mirror: names.join(" or "), last: Box::new(fault) });
            }
            let (text, advanced) = (fault.to_string(), state.got > before);
            let (missing, last) = (matches!(fault, Fault::NotFound(_)), number + 1 == self.sources.len());
            let again = tries.after(fault, state.got);
            if last || (advanced && again.is_ok()) {
                let (note, pause) = again.map_err(|fault| fault.after(std::mem::take(&mut failed)))?;
                if !sender.pause(&format!("{}: {note}", source.shown), pause).await {
                    return Ok(Came::Unwanted);
                }
                continue;
            }
            if !missing {
                source.give_up();
            }
            number = self.usable(number + 1);
            let next = &self.sources[number].shown;
            sender.note(&format!("mirror {}: {text}; going on with {next}", source.shown)).await;
            failed.push(format!("{}: {text}", source.shown));
            tries = Tries::default();
        }
    }

    /// The first source from `number` on that has not failed; the last one when all have.
    fn usable(&self, number: usize) -> usize {
        let good = self.sources.iter().skip(number).position(|source| !source.failed.load(Ordering::Relaxed));
        good.map_or(self.sources.len() - 1, |place| number + place)
    }

    async fn attempt(&self, number: usize, state: &mut State, sender: &Sender) -> Result<Came, Fault> {
        if state.got == self.size && self.size > 0 {
            // cut behind the last byte
            return Ok(Came::Whole);
        }
        let http = &self.sources[number].http;
        let (mut response, mut skip) = self.open(http, state.got).await?;
        let kind = content_type(&response);
        state.page = kind.filter(|kind| is_page(Some(kind)));
        if number + 1 < self.sources.len() && !state.mirrors.contains(&number) {
            state.mirrors.push(number);
        }
        loop {
            let chunk = response.chunk().await;
            let chunk =
                chunk.map_err(|error| Fault::of_http(error, state.got, Some(self.size), http.idle()))?;
            let Some(mut chunk) = chunk else { break };
            let known = skip.min(chunk.len() as u64);
            chunk.advance(usize::try_from(known).unwrap_or(usize::MAX));
            skip -= known;
            if chunk.is_empty() {
                continue;
            }
            if chunk.len() as u64 > self.size - state.got {
                return Err(Fault::TooLarge(self.size));
            }
            state.hasher.update(&chunk);
            state.got += chunk.len() as u64;
            if !sender.chunk(chunk).await {
                return Ok(Came::Unwanted);
            }
        }
        if state.got < self.size {
            return Err(Fault::Cut { got: state.got, wanted: Some(self.size), source: None });
        }
        Ok(Came::Whole)
    }

    /// An answer, and how many of its first bytes are to be passed over to be at byte `got`.
    async fn open(&self, http: &Http, got: u64) -> Result<(Response, u64), Fault> {
        let path = format!("blobs/{}", self.digest);
        if got > 0 {
            match http.ask_from(Method::GET, &path, "*/*", got).await {
                Ok(response) if response.status() != StatusCode::PARTIAL_CONTENT => {
                    return Ok((response, got));
                }
                Ok(response) if continues(&response, got, self.size) => return Ok((response, 0)),
                // the wrong part, or none (416): from the beginning
                Ok(_) | Err(Fault::Status { code: 416, .. }) => {}
                Err(fault) => return Err(fault),
            }
        }
        let response = http.ask(Method::GET, &path, "*/*").await?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT => Err(Fault::WrongPart),
            _ => Ok((response, got)),
        }
    }

    fn verify(&self, state: &State) -> Result<(), Fault> {
        let got = state.hasher.clone().finish();
        if got == self.digest { Ok(()) } else { Err(Fault::WrongDigest { wanted: self.digest, got }) }
    }
}

/// Whether a partial answer is the rest from byte `got` on (RFC 9110, section 14.4).
fn continues(response: &Response, got: u64, size: u64) -> bool {
    let value = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| is_rest(value, got, size))
}

fn is_rest(content_range: &str, got: u64, size: u64) -> bool {
    let parts = content_range.strip_prefix("bytes ").and_then(|rest| {
        let (range, total) = rest.trim().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?, total))
    });
    parts.is_some_and(|(first, last, total)| {
        first == got && last.checked_add(1) == Some(size) && (total == "*" || total.parse() == Ok(size))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        for (value, right) in [
            ("bytes 5-9/10", true),
            ("bytes 5-9/*", true),
            ("bytes 4-9/10", false),
            ("bytes 6-9/10", false),
            ("bytes 5-8/10", false),
            ("bytes 5-9/11", false),
            ("bytes 5-10/10", false),
            ("bytes */10", false),
            ("bytes=5-9/10", false),
            ("5-9/10", false),
            ("", false),
            ("bytes 5-99999999999999999999/10", false),
            ("bytes 5-18446744073709551615/10", false),
        ] {
            assert_eq!(is_rest(value, 5, 10), right, "{value}");
        }
    }
}

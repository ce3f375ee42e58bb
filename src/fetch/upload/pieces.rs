//! A blob in pieces: an upload is begun, fed and closed; what was cut goes on where the registry says it is.

use std::io::{self, Read};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RANGE};
use reqwest::{Method, Response, StatusCode, Url};

use super::{Push, cause, expected, patiently};
use crate::fetch::error::Fault;
use crate::fetch::redirect::next;
use crate::fetch::retry::Tries;
use crate::oci::digest::Digest;

/// Pieces begin with this size and grow while they go fast; no registry we know refuses the largest.
const PIECE: usize = 1 << 20;
const LEAST_PIECE: usize = 256 << 10;
const MOST_PIECE: usize = 4 << 20;
/// The largest piece a registry may ask for.
const MOST_ASKED: usize = 64 << 20;
/// A piece that takes longer is followed by a smaller one.
const SLOW: Duration = Duration::from_secs(5);

/// An upload the registry has begun.
pub(super) struct Upload {
    /// Where the next request goes.
    pub(super) url: Url,
    /// Least size of pieces but the last.
    least: usize,
}

/// Why an upload ended early.
pub(super) enum Ended {
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

impl Push<'_> {
    /// From the beginning of an upload to its end.
    pub(super) fn whole(
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

    pub(super) fn begun(&self, answer: &Response) -> Result<Upload, Fault> {
        let least = answer.headers().get("oci-chunk-min-length");
        let least = least.and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0);
        Ok(Upload { url: location(answer.url(), answer)?, least: usize::min(least, MOST_ASKED) })
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

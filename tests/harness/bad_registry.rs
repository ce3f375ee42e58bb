//! A registry that does harm: it serves one image, with one fault.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::image::{Built, digest};

/// What is wrong with it. Faults concern the first layer, or the manifest where the name says so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Every body of the layer ends half way; ranges are not known.
    DiesInTheMiddle,
    /// One byte of the layer differs.
    WrongBytes,
    /// More bytes than the manifest says.
    TooLong,
    /// A manifest of other bytes than the digest asked for.
    WrongManifest,
    /// A page in HTML instead of a manifest.
    Portal,
    /// Says no, with letters that would rule the terminal.
    Escapes,
    /// Half of the layer, then nothing, with the connection open.
    Stalls,
    /// Busy, and asks to wait for a second, once.
    Busy,
}

/// Serves `built` as `NAME:1` (and by digest) until the process ends; gives `127.0.0.1:PORT`.
pub fn serve(built: &Built, fault: Fault) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let shared = Arc::new((built.clone(), AtomicBool::new(false)));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let shared = shared.clone();
            thread::spawn(move || answer(stream, &shared.0, fault, &shared.1));
        }
    });
    address
}

/// Answers one request and closes; any error only means that the client has gone.
fn answer(stream: TcpStream, built: &Built, fault: Fault, asked: &AtomicBool) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut line = String::from(" ");
    while !line.trim().is_empty() {
        line.clear();
        reader.read_line(&mut line).ok()?;
    }
    let mut words = first.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    let mut stream = stream;
    if fault == Fault::Busy && path.contains("/manifests/") && !asked.swap(true, Ordering::Relaxed) {
        let head = "HTTP/1.1 429 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return stream.write_all(head.as_bytes()).ok();
    }
    let (status, kind, body, length) = respond(path, built, fault);
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    if method != "HEAD" {
        stream.write_all(&body).ok()?;
    }
    if fault == Fault::Stalls && body.len() < length {
        thread::sleep(Duration::from_secs(60));
    }
    Some(())
}

/// Status line, content type, body, and the length that is claimed for it.
fn respond(path: &str, built: &Built, fault: Fault) -> (&'static str, String, Vec<u8>, usize) {
    let whole = |kind: &str, body: Vec<u8>| {
        let length = body.len();
        ("200 OK", kind.to_owned(), body, length)
    };
    if path.contains("/manifests/") {
        return match fault {
            Fault::Portal => whole("text/html", b"<html>please log in</html>".to_vec()),
            Fault::Escapes => {
                let body = br#"{"errors":[{"code":"DENIED","message":"\u001b]0;mine\u0007 no \u001b[31m"}]}"#
                    .to_vec();
                let length = body.len();
                ("403 Forbidden", "application/json".into(), body, length)
            }
            Fault::WrongManifest => {
                let mut manifest = built.manifest.clone();
                manifest.push(b'\n');
                whole(built.media_type, manifest)
            }
            _ => whole(built.media_type, built.manifest.clone()),
        };
    }
    let Some((number, blob)) = built.blobs.iter().enumerate().find(|(_, blob)| path.ends_with(&digest(blob)))
    else {
        return if path == "/v2/" {
            whole("application/json", b"{}".to_vec())
        } else {
            ("404 Not Found", "application/json".into(), br#"{"errors":[]}"#.to_vec(), 13)
        };
    };
    let (mut body, length) = (blob.clone(), blob.len());
    let kind = "application/octet-stream".to_owned();
    match fault {
        Fault::DiesInTheMiddle if number == 0 => {
            body.truncate(length / 2);
            ("200 OK", kind, body, length)
        }
        Fault::Stalls if number == 0 => {
            body.truncate(length / 2);
            ("200 OK", kind, body, length)
        }
        Fault::WrongBytes if number == 0 => {
            *body.last_mut().unwrap() ^= 1;
            ("200 OK", kind, body, length)
        }
        Fault::TooLong if number == 0 => {
            body.extend([0; 4096]);
            whole(&kind, body)
        }
        _ => ("200 OK", kind, body, length),
    }
}

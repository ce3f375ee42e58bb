//! Uploads to a registry that keeps what it gets, and forgets, cuts and refuses as each test wants.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::*;
use crate::fetch::fake::{Answer, Asked, Fake};
use crate::fetch::{Credentials, Timeouts};
use crate::oci::reference::Reference;

/// What the registry has.
#[derive(Default)]
struct Kept {
    upload: String,
    /// Uploads begun.
    begun: usize,
    blobs: BTreeMap<String, String>,
    manifests: BTreeMap<String, String>,
}

/// What happens to a piece.
enum Piece {
    Taken,
    /// So many bytes of it are, then the answer is this one.
    Cut(usize, u16),
    /// The whole upload is gone.
    Forgotten,
}

struct Place {
    fake: Fake,
    kept: Arc<Mutex<Kept>>,
}

impl Place {
    /// A registry that treats piece number N (from 0) as `piece` says.
    fn new(piece: impl Fn(usize) -> Piece + Send + Sync + 'static) -> Self {
        let kept = Arc::new(Mutex::new(Kept::default()));
        let state = kept.clone();
        let pieces = Mutex::new(0);
        let fake = Fake::start(move |asked, _| {
            answer(&mut state.lock().unwrap(), asked, &mut pieces.lock().unwrap(), &piece)
        });
        Self { fake, kept }
    }

    fn registry(&self) -> Registry {
        let reference: Reference = format!("{}/a/b:1", self.fake.address).parse().unwrap();
        Registry::new(&reference, Credentials::Anonymous, Timeouts::default()).unwrap()
    }

    fn send(&self, text: &str) -> Result<(u64, Vec<String>), String> {
        let registry = self.registry();
        let (told, notes) = (Mutex::new(0), Mutex::new(Vec::new()));
        let bytes = text.as_bytes().to_vec();
        let source = || Ok(Box::new(io::Cursor::new(bytes.clone())) as Box<dyn Read + Send>);
        let digest = Digest::of(text.as_bytes());
        let sent = registry.push().unwrap().blob(
            &digest,
            text.len() as u64,
            &source,
            &|count| *told.lock().unwrap() += count,
            &|note| notes.lock().unwrap().push(note.to_owned()),
        );
        match sent {
            Ok(()) => {
                let kept = self.kept.lock().unwrap();
                assert!(kept.blobs.get(&digest.to_string()).map(String::as_str) == Some(text), "other bytes");
                Ok((told.into_inner().unwrap(), notes.into_inner().unwrap()))
            }
            Err(BlobError::Upload(error)) => Err(error.to_string()),
            Err(BlobError::Blob(error)) => Err(error.to_string()),
        }
    }

    fn count(&self, method: &str) -> usize {
        self.fake.asked().iter().filter(|asked| asked.method == method).count()
    }
}

fn answer(kept: &mut Kept, asked: &Asked, pieces: &mut usize, piece: &dyn Fn(usize) -> Piece) -> Answer {
    let place = || {
        Answer::status(202, "").header("Location", format!("/v2/a/b/blobs/uploads/{}?state=x", kept.begun))
    };
    let query = |name: &str| {
        asked.path.split(['?', '&']).find_map(|pair| Some(pair.strip_prefix(name)?.replace("%3A", ":")))
    };
    match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/v2/") => Answer::ok("{}"),
        ("HEAD", path) => match kept.blobs.contains_key(path.rsplit('/').next().unwrap()) {
            true => Answer::ok(""),
            false => Answer::status(404, ""),
        },
        ("POST", path) if path.contains("mount=") && query("from=").as_deref() == Some("other/one") => {
            kept.blobs.insert(query("mount=").unwrap(), String::new());
            Answer::status(201, "")
        }
        ("POST", _) => {
            kept.begun += 1;
            kept.upload.clear();
            Answer::status(202, "")
                .header("Location", format!("/v2/a/b/blobs/uploads/{}?state=x", kept.begun))
        }
        ("PATCH", _) => {
            *pieces += 1;
            match piece(*pieces - 1) {
                Piece::Taken => {
                    kept.upload += &asked.body;
                    place()
                }
                Piece::Cut(count, status) => {
                    kept.upload += &asked.body[..count];
                    Answer::status(status, "")
                }
                Piece::Forgotten => Answer::status(404, ""),
            }
        }
        ("GET", _) => place().header("Range", format!("0-{}", kept.upload.len().saturating_sub(1))),
        ("PUT", path) if path.contains("/manifests/") => {
            let name = path.rsplit('/').next().unwrap().to_owned();
            kept.manifests.insert(name, asked.body.clone());
            Answer::status(201, "")
        }
        ("PUT", _) => {
            let digest = query("digest=").unwrap();
            if Digest::of(kept.upload.as_bytes()).to_string() != digest {
                return Answer::status(400, r#"{"errors":[{"code":"DIGEST_INVALID","message":"wrong"}]}"#);
            }
            kept.blobs.insert(digest, std::mem::take(&mut kept.upload));
            Answer::status(201, "")
        }
        _ => Answer::status(405, ""),
    }
}

fn text(count: usize) -> String {
    (0..count).map(|number| char::from(b'a' + (number / 7 % 26) as u8)).collect()
}

#[test]
fn in_pieces_and_once() {
    let place = Place::new(|_| Piece::Taken);
    let text = text(5 << 20);
    assert_eq!(place.send(&text).unwrap(), (5 << 20, vec![]));
    assert_eq!((place.count("POST"), place.count("PUT")), (1, 1));
    assert!((2..=6).contains(&place.count("PATCH")), "pieces grow");
    assert!(place.registry().push().unwrap().has(&Digest::of(text.as_bytes()), &|_| {}).unwrap());
    assert!(!place.registry().push().unwrap().has(&Digest::of(b""), &|_| {}).unwrap());
    assert_eq!(Place::new(|_| Piece::Taken).send("").unwrap().0, 0, "an empty blob needs no piece");
}

#[test]
fn a_cut_piece_goes_on_where_it_stopped() {
    for (count, status) in [(0, 503), (1000, 502), (1 << 20, 500)] {
        let place =
            Place::new(move |number| if number == 0 { Piece::Cut(count, status) } else { Piece::Taken });
        let text = text(3 << 20);
        let (told, notes) = place.send(&text).unwrap();
        assert_eq!((told, notes.len()), (3 << 20, 1), "{notes:?}");
        assert_eq!(place.count("POST"), 1, "the upload is the same");
        let sent: usize = place
            .fake
            .asked()
            .iter()
            .filter(|asked| asked.method == "PATCH")
            .map(|asked| asked.body.len())
            .sum();
        assert_eq!(sent, (3 << 20) + (1 << 20) - count, "what has arrived is not sent again");
    }
}

#[test]
fn a_forgotten_upload_is_begun_anew() {
    let place = Place::new(|number| if number == 1 { Piece::Forgotten } else { Piece::Taken });
    let (told, notes) = place.send(&text(3 << 20)).unwrap();
    assert_eq!((told, notes.len()), (3 << 20, 1), "no byte is told twice");
    assert_eq!(place.count("POST"), 2);
}

#[test]
fn what_goes_on_failing_ends() {
    let place = Place::new(|_| Piece::Cut(0, 503));
    assert!(place.send(&text(10)).unwrap_err().contains("tried"));
    let place = Place::new(|_| Piece::Forgotten);
    assert!(place.send(&text(10)).unwrap_err().contains("the registry has none"));
    assert_eq!(place.count("POST"), 1 + BEGINNINGS as usize);
    let place = Place::new(|_| Piece::Cut(0, 403));
    assert!(place.send(&text(10)).unwrap_err().contains("authentication is required"));
    assert_eq!(place.count("PATCH"), 1);
}

#[test]
fn a_reader_of_another_size_is_refused() {
    let place = Place::new(|_| Piece::Taken);
    let registry = place.registry();
    let source = || Ok(Box::new(&b"abc"[..]) as Box<dyn Read + Send>);
    for size in [2, 4] {
        let sent = registry.push().unwrap().blob(&Digest::of(b"abc"), size, &source, &|_| {}, &|_| {});
        assert!(matches!(sent, Err(BlobError::Blob(_))), "{size}");
    }
    assert_eq!(place.count("PUT"), 0);
}

#[test]
fn mounts_and_manifests() {
    let place = Place::new(|_| Piece::Taken);
    let registry = place.registry();
    let push = registry.push().unwrap();
    assert!(push.mount(&Digest::of(b"x"), "other/one"));
    assert!(!push.mount(&Digest::of(b"y"), "unknown/one"));
    assert_eq!(place.count("DELETE"), 1, "an upload nobody needs is ended");
    push.manifest("1", "application/json", b"{}", &|_| {}).unwrap();
    assert_eq!(place.kept.lock().unwrap().manifests["1"], "{}");
}

#[test]
fn credentials_stay_with_the_registry() {
    let elsewhere = Fake::start(|asked, _| match asked.method.as_str() {
        "PATCH" => Answer::status(202, "").header("Location", "/there"),
        _ => Answer::status(201, ""),
    });
    let there = format!("http://{}/there", elsewhere.address);
    let fake = Fake::start(move |asked, _| match (asked.method.as_str(), &asked.authorization) {
        (_, None) => Answer::status(401, "").header("WWW-Authenticate", "Basic realm=\"x\""),
        ("POST", _) => Answer::status(202, "").header("Location", there.clone()),
        _ => Answer::ok("{}"),
    });
    let reference: Reference = format!("{}/a:1", fake.address).parse().unwrap();
    let login = Credentials::Basic("me".into(), "secret".into());
    let registry = Registry::new(&reference, login, Timeouts::default()).unwrap();
    let source = || Ok(Box::new(&b"abc"[..]) as Box<dyn Read + Send>);
    registry
        .push()
        .unwrap()
        .blob(&Digest::of(b"abc"), 3, &source, &|_| {}, &|_| {})
        .map_err(|_| "failed")
        .unwrap();
    let asked = elsewhere.asked();
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|asked| asked.authorization.is_none()), "{asked:?}");
}

#[test]
fn tokens_are_asked_for_what_is_needed() {
    let address = Arc::new(Mutex::new(String::new()));
    let known = address.clone();
    let fake = Fake::start(move |asked, _| {
        let realm = format!("Bearer realm=\"http://{}/token\",service=\"s\"", known.lock().unwrap());
        match (asked.path.as_str(), &asked.authorization) {
            (path, _) if path.starts_with("/token") => Answer::ok(r#"{"token":"t"}"#),
            (_, None) => Answer::status(401, "").header("WWW-Authenticate", realm),
            _ => Answer::status(201, ""),
        }
    });
    address.lock().unwrap().clone_from(&fake.address);
    let reference: Reference = format!("{}/a/b:1", fake.address).parse().unwrap();
    let registry = Registry::new(&reference, Credentials::Anonymous, Timeouts::default()).unwrap();
    *registry.http.authorization() = Credentials::Anonymous;
    assert!(Push { registry: &registry }.mount(&Digest::of(b"x"), "c/d"));
    let asked = fake.asked();
    let token = asked.iter().find(|asked| asked.path.starts_with("/token")).unwrap();
    assert_eq!(
        token.path,
        "/token?service=s&scope=repository%3Aa%2Fb%3Apull%2Cpush&scope=repository%3Ac%2Fd%3Apull"
    );
}

#[test]
fn a_blob_may_be_kept_elsewhere() {
    let there = Digest::of(b"there").to_string();
    let storage = Fake::start(move |asked, _| match asked.path.ends_with(&there) {
        true => Answer::ok(""),
        false => Answer::status(404, ""),
    });
    let address = storage.address.clone();
    let fake = Fake::start(move |asked, _| match &asked.authorization {
        None => Answer::status(401, "").header("WWW-Authenticate", "Basic realm=\"x\""),
        _ if asked.path == "/v2/" => Answer::ok("{}"),
        _ => Answer::status(307, "").header("Location", format!("http://{address}{}", asked.path)),
    });
    let reference: Reference = format!("{}/a:1", fake.address).parse().unwrap();
    let login = Credentials::Basic("me".into(), "secret".into());
    let registry = Registry::new(&reference, login, Timeouts::default()).unwrap();
    let push = registry.push().unwrap();
    assert!(push.has(&Digest::of(b"there"), &|_| {}).unwrap());
    assert!(!push.has(&Digest::of(b"gone"), &|_| {}).unwrap());
    assert!(storage.asked().iter().all(|asked| asked.method == "HEAD" && asked.authorization.is_none()));
}

#[test]
fn a_registry_that_is_busy_once_is_asked_again() {
    let fake = Fake::start(move |asked, before| match (asked.method.as_str(), before) {
        ("GET", _) => Answer::ok("{}"),
        ("HEAD" | "POST", 0) => Answer::status(503, ""),
        ("HEAD", _) => Answer::ok(""),
        ("POST" | "PATCH", _) => Answer::status(202, "").header("Location", "/v2/a/blobs/uploads/1"),
        _ => Answer::status(201, ""),
    });
    let reference: Reference = format!("{}/a:1", fake.address).parse().unwrap();
    let registry = Registry::new(&reference, Credentials::Anonymous, Timeouts::default()).unwrap();
    let (push, notes) = (registry.push().unwrap(), Mutex::new(0));
    let note = |_: &str| *notes.lock().unwrap() += 1;
    assert!(push.has(&Digest::of(b"x"), &note).unwrap());
    let source = || Ok(Box::new(&b"abc"[..]) as Box<dyn Read + Send>);
    assert!(push.blob(&Digest::of(b"abc"), 3, &source, &|_| {}, &note).is_ok());
    assert_eq!(*notes.lock().unwrap(), 2);
}

#[test]
fn not_every_success_is_one() {
    for (method, status, kind, words) in [
        ("HEAD", 200, "text/html", "text/html"),
        ("POST", 200, "text/html", "text/html"),
        ("POST", 204, "", "204"),
        ("PATCH", 200, "text/html", "text/html"),
        ("PUT", 200, "text/html; charset=utf-8", "text/html"),
        ("PUT", 202, "", "202"),
        ("PUT", 204, "", "204"),
    ] {
        let fake = Fake::start(move |asked, _| {
            let right = match asked.method.as_str() {
                "GET" => Answer::ok("{}"),
                "HEAD" => Answer::status(404, ""),
                "PUT" => Answer::status(201, ""),
                _ => Answer::status(202, ""),
            };
            let answer = if asked.method == method { Answer::status(status, "") } else { right };
            answer.header("Location", "/v2/a/blobs/uploads/1").header("Content-Type", kind)
        });
        let reference: Reference = format!("{}/a:1", fake.address).parse().unwrap();
        let registry = Registry::new(&reference, Credentials::Anonymous, Timeouts::default()).unwrap();
        let push = registry.push().unwrap();
        let source = || Ok(Box::new(&b"abc"[..]) as Box<dyn Read + Send>);
        let digest = Digest::of(b"abc");
        let blob = || match push.blob(&digest, 3, &source, &|_| {}, &|_| {}) {
            Err(BlobError::Upload(error)) => Err(error),
            sent => {
                assert!(sent.is_ok());
                Ok(())
            }
        };
        let error = push.has(&digest, &|_| {}).and_then(|there| if there { Ok(()) } else { blob() });
        assert!(error.unwrap_err().to_string().contains(words), "{method} {status} {kind}");
        let manifest = push.manifest("1", "application/json", b"{}", &|_| {});
        assert_eq!(manifest.is_ok(), method != "PUT" || status == 202, "{method} {status}");
    }
}

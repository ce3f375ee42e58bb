//! Registries that misbehave, and the ways to log in.
//!
//! What a hostile registry or network may try, and the tests that hold against it; each fails when its protection is
//! taken out. Names without a file are here, `http` and so on are the neighbours' own tests.
//!
//! | what | tests |
//! |---|---|
//! | cut bodies | `a_cut_body_is_gone_on_with`, `a_mirror_that_dies_half_way`, `transfer: content_ranges` |
//! | 5xx, 429, `Retry-After` | `a_wait_is_said_and_kept`, `another_try_when_that_may_help`, `retry: pauses_grow_differ_and_end`, `http: both_forms_of_retry_after` |
//! | slow, silent | `slow_is_not_silent`, `Silent` in two tables; `tests/registry.rs: the_interrupt_key_works_at_once` |
//! | endless bodies | `manifests_that_cannot_be_had`, `token_services_that_will_not_do`, `blobs_are_what_was_asked_for` |
//! | redirects | `redirects_end`, `redirect: only_where_it_is_no_less_safe`, `host_port_and_scheme_make_an_origin` |
//! | credentials elsewhere | `credentials_do_not_follow_redirects`, `who_asks_elsewhere_is_not_answered` |
//! | token realm | `a_realm_in_the_clear_gets_nothing`, `token_services_that_will_not_do`, `token_login`, `an_identity_token_is_exchanged` |
//! | plain HTTP | `tls_is_for_all_but_this_machine`, `insecure_is_said_not_assumed` |
//! | other bytes than the digest's | `blobs_are_what_was_asked_for`, `a_mirror_with_other_bytes_is_left` |
//! | captive portals | `NotARegistry` in two tables |
//! | secrets | `credentials: secrets_are_not_printed`, `what_cannot_be_used_is_said`, `login: other_entries_stay`, `helper: bounded_in_time_and_size`; `tests/registry.rs: credential_helpers_are_asked` |

use std::cell::Cell;
use std::io::Read;
use std::time::{Duration, Instant};

use super::fake::{Answer, Asked, Fake};
use super::*;
use crate::cancel::Cancel;
use crate::oci::media_type::{OCI_LAYER, OCI_MANIFEST};

const QUICK: Timeouts = Timeouts { connect: Duration::from_secs(5), idle: Duration::from_secs(1) };

fn registry(address: &str, credentials: Credentials) -> Registry {
    let reference = format!("{address}/a/b:1").parse().unwrap();
    Registry::new(&reference, credentials, QUICK).unwrap()
}

fn anonymous(fake: &Fake) -> Registry {
    registry(&fake.address, Credentials::Anonymous)
}

fn bob() -> Credentials {
    Credentials::Basic("bob".into(), "secret".into())
}

/// `bob:secret`.
const BOB: &str = "Basic Ym9iOnNlY3JldA==";

fn layer(bytes: &[u8]) -> Descriptor {
    let media_type = OCI_LAYER.to_owned();
    Descriptor {
        media_type,
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        platform: None,
        annotations: Default::default(),
    }
}

fn read(mut blob: Blob) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    match blob.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(error.downcast().unwrap()),
    }
}

fn name(fault: &Fault) -> String {
    let fault = match fault {
        Fault::GaveUp { last, .. } => last,
        fault => fault,
    };
    let text = format!("{fault:?}");
    text.split(['(', ' ', '{']).next().unwrap().to_owned()
}

#[test]
fn manifests_that_cannot_be_had() {
    let denied = br#"{"errors":[{"code":"DENIED","message":"no \u001b[31m"}]}"#;
    for (answer, expected, words) in [
        (Answer::status(404, "{}"), "NotFound", "none"),
        (Answer::status(403, *denied), "Denied", "`no \\u{1b}[31m`"),
        (Answer::status(401, ""), "Denied", "authentication is required"),
        (Answer::status(500, "x"), "Status", "500"),
        (Answer::status(429, "").header("Retry-After", "7"), "Status", "429"),
        (Answer::status(500, [b'x'; 65536]).endless(), "Status", "500"),
        (
            Answer::ok("<html> \u{1b}log in").header("Content-Type", "Text/HTML; charset=x"),
            "NotARegistry",
            "`text/html`, which begins `<html> \\u{1b}log in`",
        ),
        (Answer::status(511, "<p>pay").header("Content-Type", "text/html"), "NotARegistry", "`<p>pay`"),
        (Answer::ok([b' '; 65536]).endless(), "TooLarge", "4194304"),
        (Answer::ok("{\"schema").cut(3), "Cut", "after 3 of 8 bytes"),
        (Answer::ok("ab").pause(Duration::from_secs(4)), "Silent", "silent"),
        (Answer::status(302, "").header("Location", "/v2/a/b/manifests/1"), "Redirect", "redirects"),
    ] {
        let fake = Fake::start(move |_, _| answer.clone());
        let error = anonymous(&fake).manifest("1").unwrap_err();
        assert_eq!(name(&error.fault), expected, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.to_string().contains(&format!("manifest `1` of {}/a/b", fake.address)), "{error}");
        assert!(error.hint().is_some() || expected == "Redirect", "{error}");
    }
    let fake = Fake::start(|_, _| Answer::ok("{}"));
    let other = Digest::of(b"other").to_string();
    assert_eq!(name(&anonymous(&fake).manifest(&other).unwrap_err().fault), "WrongDigest");
}

#[test]
fn registries_that_cannot_be_reached() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = registry(&closed.to_string(), Credentials::Anonymous).manifest("1").unwrap_err();
    assert_eq!(name(&error.fault), "Connect", "{error:?}");
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("refused"), "{error:?}");

    let error = registry("no-such-host.invalid", Credentials::Anonymous).manifest("1").unwrap_err();
    assert_eq!(name(&error.fault), "NoHost", "{error:?}");
}

#[test]
fn tls_is_for_all_but_this_machine() {
    // with a dot at its end it is no loopback address by our grammar, so TLS meets a server of plain HTTP
    let fake = Fake::start(|_, _| Answer::ok("{}"));
    let port = fake.address.rsplit(':').next().unwrap();
    let mut reference: Reference = format!("{}/a/b:1", fake.address).parse().unwrap();
    reference.registry = format!("127.0.0.1.:{port}");
    assert!(!reference.is_loopback());
    let error = Registry::new(&reference, bob(), QUICK).unwrap().manifest("1").unwrap_err();
    assert_eq!(name(&error.fault), "Tls", "{error:?}");
    assert!(error.hint().unwrap().contains("plain HTTP"));
    assert_eq!(fake.asked(), [], "nothing was asked in the clear");
}

#[test]
fn manifest_with_its_type() {
    let fake = Fake::start(|_, _| {
        Answer::ok("{}")
            .header("Content-Type", OCI_MANIFEST)
            .header("Docker-Content-Digest", Digest::of(b"x").to_string())
    });
    let registry = anonymous(&fake);
    assert_eq!(registry.digest_of("1").unwrap(), Some(Digest::of(b"x")));
    let fetched = registry.manifest("1").unwrap();
    assert_eq!((&fetched.bytes[..], fetched.digest), (&b"{}"[..], Digest::of(b"{}")));
    assert_eq!(fetched.media_type.as_deref(), Some(OCI_MANIFEST));
    let paths: Vec<_> = fake.asked().into_iter().map(|asked| (asked.method, asked.path)).collect();
    let path = "/v2/a/b/manifests/1".to_owned();
    assert_eq!(
        paths,
        [("HEAD".into(), path.clone()), ("GET".into(), path)],
        "no request beside the one needed"
    );
}

/// Lets in who shows `wanted`; others are told how to ask.
fn guarded(asked: &Asked, wanted: &str, challenge: &str, open: Answer) -> Answer {
    if asked.authorization.as_deref() == Some(wanted) {
        open
    } else {
        Answer::status(401, "").header("WWW-Authenticate", challenge)
    }
}

#[test]
fn basic_login() {
    let fake = Fake::start(|asked, _| guarded(asked, BOB, "Basic realm=\"x\"", Answer::ok("{}")));
    let registry = registry(&fake.address, bob());
    registry.manifest("1").unwrap();
    assert_eq!(read(registry.blob(&layer(b"{}"))).unwrap(), b"{}");
    assert_eq!(fake.asked().len(), 3, "asked who we are once: {:?}", fake.asked());

    let error = anonymous(&fake).manifest("1").unwrap_err();
    assert!(matches!(error.fault, Fault::Denied { anonymous: true, .. }), "{error}");
    let fake = Fake::start(|asked, _| guarded(asked, "", "Basic realm=\"x\"", Answer::ok("{}")));
    let error = self::registry(&fake.address, bob()).manifest("1").unwrap_err();
    assert!(matches!(error.fault, Fault::Denied { anonymous: false, .. }), "{error}");
    assert!(!format!("{error:?}").contains("secret"));
}

#[test]
fn token_login() {
    for (credentials, shown) in [(Credentials::Anonymous, None), (bob(), Some(BOB.to_owned()))] {
        let service = Fake::start(|_, before| Answer::ok(format!(r#"{{"access_token":"t{before}"}}"#)));
        let realm = format!("Bearer realm=\"http://{}/token?x=1\",service=\"me\"", service.address);
        // the first token is good for two answers only
        let fake = Fake::start(move |asked, before| {
            let token = if asked.path.ends_with("/1") && before < 2 { "Bearer t0" } else { "Bearer t1" };
            guarded(asked, token, &realm, Answer::ok("{}"))
        });
        let registry = registry(&fake.address, credentials);
        registry.manifest("1").unwrap();
        assert_eq!(
            read(registry.blob(&layer(b"{}"))).unwrap(),
            b"{}",
            "a new token is got when the old has expired"
        );
        let asked = service.asked();
        assert_eq!(asked.len(), 2, "{asked:?}");
        assert_eq!(asked[0].path, "/token?x=1&service=me&scope=repository%3Aa%2Fb%3Apull");
        assert_eq!(asked[0].authorization, shown);
    }
}

#[test]
fn token_services_that_will_not_do() {
    for (challenge, answer, words) in [
        ("Bearer service=\"x\"", Answer::ok("{}"), "no address"),
        ("Bearer realm=\"ftp://h/\"", Answer::ok("{}"), "unencrypted"),
        ("Bearer realm=\":\"", Answer::ok("{}"), "no valid address"),
        ("Bearer realm=\"http://HERE/token\"", Answer::ok("{}"), "gave no token"),
        ("Bearer realm=\"http://HERE/token\"", Answer::ok(r#"{"token":"a\nb"}"#), "gave no token"),
        ("Bearer realm=\"http://HERE/token\"", Answer::status(403, "{}"), "authentication"),
        (
            "Bearer realm=\"http://HERE/token\"",
            Answer::ok([b' '; 65536]).endless(),
            "more than 1048576 bytes",
        ),
    ] {
        let service = Fake::start(move |_, _| answer.clone());
        let challenge = challenge.replace("HERE", &service.address);
        let fake = Fake::start(move |asked, _| guarded(asked, "", &challenge, Answer::ok("{}")));
        let error = anonymous(&fake).manifest("1").unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn credentials_do_not_follow_redirects() {
    let store = Fake::start(|_, _| Answer::ok("{}"));
    let location = format!("http://{}/stored", store.address);
    let fake = Fake::start(move |asked, _| {
        guarded(asked, BOB, "Basic realm=\"x\"", Answer::status(307, "").header("Location", location.clone()))
    });
    let registry = registry(&fake.address, bob());
    registry.manifest("1").unwrap();
    assert_eq!(read(registry.blob(&layer(b"{}"))).unwrap(), b"{}");
    assert_eq!(store.asked().len(), 2);
    assert!(store.asked().iter().all(|asked| asked.authorization.is_none()), "{:?}", store.asked());
}

#[test]
fn blobs_are_what_was_asked_for() {
    let big: Vec<u8> = (0..5_000_000_u32).map(|number| (number >> 3) as u8).collect();
    let body = big.clone();
    let fake = Fake::start(move |_, _| Answer::ok(body.clone()));
    assert_eq!(read(anonymous(&fake).blob(&layer(&big))).unwrap(), big);

    let descriptor = layer(b"0123456789");
    // a header is nothing to go by, for better or worse
    let header = Digest::of(b"x").to_string();
    let fake =
        Fake::start(move |_, _| Answer::ok("0123456789").header("Docker-Content-Digest", header.clone()));
    assert_eq!(read(anonymous(&fake).blob(&descriptor)).unwrap(), b"0123456789");
    for (answer, expected) in [
        (Answer::ok("0123456788"), "WrongDigest"),
        (Answer::ok("0123456789x"), "TooLarge"),
        (Answer::ok([b'0'; 65536]).endless(), "TooLarge"),
        (Answer::ok("<html>").header("Content-Type", "text/html"), "NotARegistry"),
        (Answer::ok("01234"), "Cut"),
        (Answer::ok("0123456789").cut(5), "Cut"),
        (Answer::ok("0123456789").pause(Duration::from_secs(4)), "Silent"),
        (Answer::status(404, r#"{"errors":[{"code":"BLOB_UNKNOWN"}]}"#), "NotFound"),
        (Answer::status(404, "gone"), "NotFound"),
        (Answer::status(403, r#"{"errors":[{"code":"DENIED","message":"no"}]}"#), "Denied"),
        (Answer::status(429, r#"{"errors":[{"code":"TOOMANYREQUESTS"}]}"#), "Status"),
        (Answer::status(503, "later"), "Status"),
    ] {
        let fake = Fake::start(move |_, _| answer.clone());
        let error = read(anonymous(&fake).blob(&descriptor)).unwrap_err();
        assert_eq!(name(&error.fault), expected, "{error}");
        assert!(error.to_string().contains(&descriptor.digest.to_string()), "{error}");
    }
}

#[test]
fn an_unread_blob_holds_nothing_up() {
    let fake = Fake::start(|_, _| Answer::ok(vec![0; 1 << 20]).endless());
    let registry = anonymous(&fake);
    let descriptor = Descriptor { size: 1 << 40, ..layer(b"") };
    let (unread, mut begun) = (registry.blob(&descriptor), registry.blob(&descriptor));
    begun.read_exact(&mut [0; 4096]).unwrap();
    let start = Instant::now();
    drop((unread, begun, registry));
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_cut_body_is_gone_on_with() {
    let whole: Vec<u8> = (0..100_000_u32).map(|number| (number >> 2) as u8).collect();
    type Answers = fn(&[u8], &Asked, usize) -> Answer;
    let cases: [(&str, Answers, &[Option<usize>]); 7] = [
        (
            "resumed",
            |body, asked, _| match asked.start {
                Some(40_000) => Answer::from(body, asked.start),
                _ => Answer::ok(body).cut(40_000),
            },
            &[None, Some(40_000)],
        ),
        (
            "resumed again and again",
            |body, asked, _| {
                let left = body.len() - asked.start.unwrap_or(0);
                Answer::from(body, asked.start).cut(left.min(30_000))
            },
            &[None, Some(30_000), Some(60_000), Some(90_000)],
        ),
        (
            "no ranges known",
            |body, _, before| match before {
                0 => Answer::ok(body).cut(40_000),
                _ => Answer::ok(body),
            },
            &[None, Some(40_000)],
        ),
        (
            "a wrong range is not taken",
            |body, asked, _| match asked.start {
                Some(start) => Answer::from(body, Some(start - 7)),
                None => Answer::ok(body).cut(40_000),
            },
            &[None, Some(40_000), None, Some(40_000), None, Some(40_000), None],
        ),
        (
            "a range of another size is not taken",
            |body, asked, before| match asked.start {
                Some(start) => {
                    Answer::status(206, &body[start..]).header("Content-Range", "bytes 40000-99999/200000")
                }
                None if before == 0 => Answer::ok(body).cut(40_000),
                None => Answer::ok(body),
            },
            &[None, Some(40_000), None],
        ),
        (
            "no range at all",
            |body, asked, before| match asked.start {
                Some(_) => Answer::status(416, ""),
                None if before == 0 => Answer::ok(body).cut(40_000),
                None => Answer::ok(body),
            },
            &[None, Some(40_000), None],
        ),
        (
            "cut behind the last byte",
            |body, _, _| {
                // the connection ends before the answer does
                Answer::ok([body, b"x"].concat()).cut(body.len())
            },
            &[None],
        ),
    ];
    for (what, answer, starts) in cases {
        let body = whole.clone();
        let fake = Fake::start(move |asked, before| answer(&body, asked, before));
        let result = read(anonymous(&fake).blob(&layer(&whole)));
        let asked: Vec<_> = fake.asked().into_iter().map(|asked| asked.start).collect();
        assert_eq!(asked, starts, "{what}");
        match (what, result) {
            ("a wrong range is not taken", Err(error)) => {
                assert!(matches!(error.fault, Fault::GaveUp { tries: 4, .. }), "{error}");
                assert!(
                    error.to_string().contains("cut after 40000 of 100000 bytes (tried 4 times)"),
                    "{error}"
                );
            }
            (_, result) => assert!(result.unwrap() == whole, "{what}"),
        }
    }
    // the digest decides over all parts together
    let (body, mut other) = (whole.clone(), whole.clone());
    other[70_000] ^= 1;
    let fake = Fake::start(move |asked, _| match asked.start {
        None => Answer::ok(body.clone()).cut(40_000),
        start => Answer::from(&other, start),
    });
    assert_eq!(name(&read(anonymous(&fake).blob(&layer(&whole))).unwrap_err().fault), "WrongDigest");
}

#[test]
fn slow_is_not_silent() {
    let fake = Fake::start(|_, _| Answer::ok("0123456789").drip(Duration::from_millis(150)));
    let start = Instant::now();
    assert_eq!(read(anonymous(&fake).blob(&layer(b"0123456789"))).unwrap(), b"0123456789");
    assert!(start.elapsed() > QUICK.idle, "longer than it may be silent");
}

#[test]
fn a_wait_is_said_and_kept() {
    let fake = Fake::start(|_, before| match before {
        0 => Answer::status(429, "").header("Retry-After", "1"),
        _ => Answer::ok("0123456789"),
    });
    let (start, notes) = (Instant::now(), Cell::new(Vec::new()));
    let note = |text: &str| notes.set([notes.take(), vec![text.to_owned()]].concat());
    let registry = anonymous(&fake);
    let mut blob = registry.blob(&layer(b"0123456789"));
    blob.ready(&note).unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    let notes = notes.take();
    assert!(
        notes.len() == 1 && notes[0].contains("429") && notes[0].contains("trying again in 1.0 s"),
        "{notes:?}"
    );
    assert!(notes[0].contains(&fake.address), "{notes:?}");

    let date = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(900));
    let fake = Fake::start(move |_, _| Answer::status(503, "").header("Retry-After", date.clone()));
    let error = read(anonymous(&fake).blob(&layer(b"x"))).unwrap_err();
    assert_eq!(fake.asked().len(), 1, "a quarter of an hour is too long");
    assert!(error.to_string().contains("503 and asks to wait 8"), "{error}");
}

#[test]
fn nobody_waits_for_a_pause_in_vain() {
    let fake = Fake::start(|_, _| Answer::status(503, "").header("Retry-After", "30"));
    let registry = anonymous(&fake);
    let blob = registry.blob(&layer(b"x"));
    while fake.asked().is_empty() {
        thread::sleep(Duration::from_millis(5));
    }
    let start = Instant::now();
    drop((blob, registry));
    assert!(start.elapsed() < Duration::from_secs(2));
}

/// A registry with mirrors, all by plain HTTP on this machine; the last address is the registry's own.
fn mirrored(addresses: &[&str]) -> Registry {
    let places = addresses.iter().map(|address| {
        let reference: Reference = format!("{address}/a/b:1").parse().unwrap();
        let location = Location {
            host: host(&reference),
            repository: reference.repository.clone(),
            roads: Road::LOOPBACK,
            login: Credentials::Anonymous,
            certificates: Certificates::default(),
        };
        let http = Http::new(location, &Proxies::default(), &QUICK).unwrap();
        (reference, http)
    });
    Registry::of(&"h.example/a/b:1".parse().unwrap(), places.collect()).unwrap()
}

#[test]
fn the_first_place_that_has_it() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let empty = Fake::start(|_, _| Answer::status(404, ""));
    let portal = Fake::start(|_, _| Answer::ok("<html>").header("Content-Type", "text/html"));
    let good = Fake::start(|_, _| Answer::ok("{}"));
    let last = Fake::start(|_, _| Answer::ok("{}"));
    let all = [&closed, &portal.address, &empty.address, &good.address, &last.address].map(String::as_str);
    let registry = mirrored(&all);
    assert_eq!(registry.manifest("1").unwrap().bytes, b"{}");
    assert_eq!(read(registry.blob(&layer(b"{}"))).unwrap(), b"{}");
    assert_eq!((good.asked().len(), last.asked().len()), (2, 0));
    assert_eq!(portal.asked().len(), 1, "what failed is not asked again");
    assert_eq!(empty.asked().len(), 2, "what only lacked something is");

    let gone = Fake::start(|_, _| Answer::status(404, ""));
    let error = mirrored(&[&closed, &gone.address]).manifest("1").unwrap_err();
    assert_eq!(error.hint(), Error { object: String::new(), fault: Fault::NotFound(None) }.hint());
    let text = error.to_string();
    assert!(text.contains("has none; before that its mirrors failed") && text.contains(&closed), "{text}");
}

#[test]
fn a_mirror_that_dies_half_way() {
    let whole: Vec<u8> = (0..100_000_u32).map(|number| (number >> 2) as u8).collect();
    let (body, rest) = (whole.clone(), whole.clone());
    let dying = Fake::start(move |_, before| match before {
        0 => Answer::ok(body.clone()).cut(40_000),
        _ => Answer::status(500, ""),
    });
    let last = Fake::start(move |asked, _| Answer::from(&rest, asked.start));
    let registry = mirrored(&[&dying.address, &last.address]);
    assert!(read(registry.blob(&layer(&whole))).unwrap() == whole);
    assert_eq!(dying.asked().len(), 2, "it gets another chance");
    assert_eq!(last.asked().iter().map(|asked| asked.start).collect::<Vec<_>>(), [Some(40_000)]);
}

#[test]
fn a_blob_of_a_mirror_is_there() {
    let has = |answers: [u16; 2]| {
        let fakes = answers.map(|status| Fake::start(move |_, _| Answer::status(status, "")));
        let registry = mirrored(&[&fakes[0].address, &fakes[1].address]);
        registry.has_blob(&Digest::of(b"x")).map_err(|error| error.to_string())
    };
    assert_eq!(has([200, 404]), Ok(true));
    assert_eq!(has([404, 200]), Ok(true));
    assert_eq!(has([503, 200]), Ok(true));
    assert_eq!(has([404, 404]), Ok(false));
    assert!(has([200, 503]).unwrap(), "the registry is not asked for what a mirror has");
    assert!(has([404, 503]).unwrap_err().contains("503"));
}

#[test]
fn a_mirror_with_other_bytes_is_left() {
    for other in ["0123456788", "0123456789x"] {
        let bad = Fake::start(move |_, _| Answer::ok(other));
        let last = Fake::start(|_, _| Answer::ok("0123456789"));
        let registry = mirrored(&[&bad.address, &last.address]);
        let descriptor = layer(b"0123456789");
        let error = read(registry.blob(&descriptor)).unwrap_err();
        assert!(matches!(error.fault, Fault::BadMirror { .. }), "{error}");
        let notes = Cell::new(0);
        let note = |_: &str| notes.set(notes.get() + 1);
        let again = || read(registry.blob(&descriptor));
        assert_eq!(retry(&Cancel::default(), &note, |error| Some(error), again).unwrap(), b"0123456789");
        assert_eq!((bad.asked().len(), last.asked().len()), (1, 1), "from the start, elsewhere");
    }
}

#[test]
fn insecure_is_said_not_assumed() {
    let fake = Fake::start(|_, _| Answer::ok("{}"));
    let ask = |roads| {
        let reference: Reference = format!("{}/a/b:1", fake.address).parse().unwrap();
        let location = Location {
            host: host(&reference),
            repository: "a/b".into(),
            roads,
            login: bob(),
            certificates: Certificates::default(),
        };
        let http = Http::new(location, &Proxies::default(), &QUICK).unwrap();
        Registry::of(&reference, vec![(reference.clone(), http)]).unwrap().manifest("1")
    };
    assert_eq!(name(&ask(Road::SAFE).unwrap_err().fault), "Tls");
    assert_eq!(fake.asked(), [], "nothing in the clear");
    assert!(ask(Road::INSECURE).is_ok());

    let remote: Reference = "h.example/a".parse().unwrap();
    let local: Reference = "127.0.0.1:5000/a".parse().unwrap();
    for (reference, insecure, certificates, expected) in [
        (&remote, None, false, Road::SAFE),
        (&remote, Some(false), false, Road::SAFE),
        (&remote, Some(true), false, Road::INSECURE),
        (&remote, Some(true), true, Road::INSECURE),
        (&local, None, false, Road::LOOPBACK),
        (&local, None, true, Road::SAFE),
        (&local, Some(false), false, Road::SAFE),
        (&local, Some(true), false, Road::INSECURE),
    ] {
        assert_eq!(roads(reference, insecure, certificates), expected, "{reference} {insecure:?}");
    }
}

#[test]
fn who_asks_elsewhere_is_not_answered() {
    // a challenge of storage the registry redirects to: the name and the password are not for it
    let thief = Fake::start(|_, _| Answer::ok(r#"{"token":"t"}"#));
    let challenge = format!("Bearer realm=\"http://{}/token\"", thief.address);
    let store =
        Fake::start(move |_, _| Answer::status(401, "").header("WWW-Authenticate", challenge.clone()));
    let location = format!("http://{}/stored", store.address);
    let fake = Fake::start(move |_, _| Answer::status(307, "").header("Location", location.clone()));
    let error = registry(&fake.address, bob()).manifest("1").unwrap_err();
    assert_eq!(name(&error.fault), "Denied", "{error}");
    assert_eq!(thief.asked(), []);
}

#[test]
fn a_realm_in_the_clear_gets_nothing() {
    let service = Fake::start(|_, _| Answer::ok(r#"{"token":"t"}"#));
    let realm = format!("http://{}/token", service.address);
    let token = |login, road| {
        let registry = registry("127.0.0.1:1", login);
        let asked = async { registry.http.token(road, Some(&realm), None, None).await };
        registry.network.handle.block_on(asked)
    };
    for login in [Credentials::Anonymous, bob(), Credentials::Identity("secret".into())] {
        for road in [Road::Tls, Road::AnyTls] {
            let fault = token(login.clone(), road).unwrap_err();
            assert!(fault.to_string().contains("unencrypted"), "{fault}");
        }
        assert_eq!(service.asked(), []);
    }
    assert!(token(bob(), Road::Plain).is_ok(), "a registry that is in the clear itself");
}

#[test]
fn redirects_end() {
    let fake = Fake::start(|_, before| {
        Answer::status(302, "").header("Location", format!("/v2/a/b/manifests/1?{before}"))
    });
    let error = anonymous(&fake).manifest("1").unwrap_err();
    assert!(error.to_string().contains("more than 10 times"), "{error}");
    assert_eq!(fake.asked().len(), 11);
}

#[test]
fn an_identity_token_is_exchanged() {
    let service = Fake::start(|_, _| Answer::ok(r#"{"access_token":"t"}"#));
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"me\"", service.address);
    let fake = Fake::start(move |asked, _| guarded(asked, "Bearer t", &realm, Answer::ok("{}")));
    registry(&fake.address, Credentials::Identity("a b&c".into())).manifest("1").unwrap();
    let asked = service.asked();
    assert_eq!((asked.len(), asked[0].method.as_str(), asked[0].path.as_str()), (1, "POST", "/token"));
    assert_eq!(
        asked[0].body,
        "service=me&scope=repository%3Aa%2Fb%3Apull&grant_type=refresh_token&client_id=devbox&refresh_token=a+b%26c"
    );
    assert_eq!(asked[0].authorization, None);
}

#[test]
fn another_try_when_that_may_help() {
    let notes = Cell::new(0);
    let note = |_: &str| notes.set(notes.get() + 1);
    let fake = Fake::start(|_, before| match before {
        0 => Answer::status(503, ""),
        1 => Answer::ok("{}").cut(1),
        _ => Answer::ok("{}"),
    });
    let registry = anonymous(&fake);
    assert!(retry(&Cancel::default(), &note, |error| Some(error), || registry.manifest("1")).is_ok());
    assert_eq!((fake.asked().len(), notes.take()), (3, 2));

    for (answer, asked) in [(Answer::status(404, ""), 1), (Answer::status(503, ""), 4)] {
        let fake = Fake::start(move |_, _| answer.clone());
        let registry = anonymous(&fake);
        assert!(retry(&Cancel::default(), &note, |error| Some(error), || registry.manifest("1")).is_err());
        assert_eq!(fake.asked().len(), asked);
    }
    let fake = Fake::start(|_, _| Answer::status(429, "").header("Retry-After", "3600"));
    let registry = anonymous(&fake);
    assert!(retry(&Cancel::default(), &note, |error| Some(error), || registry.manifest("1")).is_err());
    assert_eq!(fake.asked().len(), 1, "an hour is too long to wait");
}

//! Registries that misbehave, and the ways to log in.

use std::cell::Cell;
use std::io::Read;
use std::time::{Duration, Instant};

use super::fake::{Answer, Asked, Fake};
use super::*;
use crate::oci::media_type::{OCI_LAYER, OCI_MANIFEST};

const QUICK: Timeouts = Timeouts { connect: Duration::from_secs(5), idle: Duration::from_millis(300) };

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
    Descriptor { media_type, digest: Digest::of(bytes), size: bytes.len() as u64, platform: None }
}

fn read(mut blob: Blob) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    match blob.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(error.downcast().unwrap()),
    }
}

fn name(fault: &Fault) -> String {
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
        (Answer::ok("<html>").header("Content-Type", "Text/HTML; charset=x"), "NotARegistry", "`text/html`"),
        (Answer::ok([b' '; 65536]).endless(), "TooLarge", "4194304"),
        (Answer::ok("{\"schema").cut(3), "Cut", "after 3 bytes"),
        (Answer::ok("ab").pause(Duration::from_secs(2)), "Silent", "silent"),
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
    for (answer, expected) in [
        (Answer::ok("0123456788"), "WrongDigest"),
        (
            Answer::ok("0123456789").header("Docker-Content-Digest", Digest::of(b"x").to_string()),
            "WrongDigest",
        ),
        (Answer::ok("0123456789x"), "TooLarge"),
        (Answer::ok([b'0'; 65536]).endless(), "TooLarge"),
        (Answer::ok("01234"), "Cut"),
        (Answer::ok("0123456789").cut(5), "Cut"),
        (Answer::ok("0123456789").pause(Duration::from_secs(2)), "Silent"),
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
fn another_try_when_that_may_help() {
    let notes = Cell::new(0);
    let note = |_: &str| notes.set(notes.get() + 1);
    let fake = Fake::start(|_, before| match before {
        0 => Answer::status(503, ""),
        1 => Answer::ok("{}").cut(1),
        _ => Answer::ok("{}"),
    });
    let registry = anonymous(&fake);
    assert!(retry(&note, |error| Some(error), || registry.manifest("1")).is_ok());
    assert_eq!((fake.asked().len(), notes.take()), (3, 2));

    for (answer, asked) in [(Answer::status(404, ""), 1), (Answer::status(503, ""), 4)] {
        let fake = Fake::start(move |_, _| answer.clone());
        let registry = anonymous(&fake);
        assert!(retry(&note, |error| Some(error), || registry.manifest("1")).is_err());
        assert_eq!(fake.asked().len(), asked);
    }
    let fake = Fake::start(|_, _| Answer::status(429, "").header("Retry-After", "3600"));
    let registry = anonymous(&fake);
    assert!(retry(&note, |error| Some(error), || registry.manifest("1")).is_err());
    assert_eq!(fake.asked().len(), 1, "an hour is too long to wait");
}

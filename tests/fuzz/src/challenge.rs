//! `WWW-Authenticate` headers of any text.

#![no_main]

#[allow(dead_code, unreachable_pub)]
#[path = "../../../src/fetch/challenge.rs"]
mod challenge;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|headers: Vec<&str>| {
    let found = challenge::parse(headers.iter().copied());
    assert!(found.len() <= headers.iter().map(|header| header.len()).sum());
});

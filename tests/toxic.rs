//! Images and registries that mean harm: refused, with nothing changed and nothing left.

use std::fs;

use crate::harness::bad_registry::{Fault, serve};
use crate::harness::registry::Registry;
use crate::harness::{Image, Packing, Test};

/// Nothing of the image is in the store, and nothing is outside of it.
#[track_caller]
fn untouched(test: &Test) {
    test.devbox(["images", "--format", "json"]).output().ok().prints("[]");
    for folder in ["layers/sha256", "images/sha256", "staging"] {
        let path = test.path("data/devbox/store").join(folder);
        let left: Vec<_> =
            fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
    let outside: Vec<_> =
        fs::read_dir(test.path(".")).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(!outside.iter().any(|name| name == "escaped"), "{outside:?}");
}

#[test]
fn layers_that_leave_the_root_are_refused() {
    needs!(images);
    for (number, (listing, part)) in [
        ("f 644 ../../../../../../escaped x", "../../../../../../escaped"),
        ("f 644 a/../../../escaped x", "a/../../../escaped"),
        ("h out ../../../../home/work/devbox.toml", "out"),
        ("f 644 srv/.wh... x", ".wh"),
        ("f 644 srv/.wh. x", ".wh"),
        ("h nothing not/there", "not/there"),
    ]
    .into_iter()
    .enumerate()
    {
        let test = Test::new();
        let image = Image::empty().layer(listing, Packing::Gzip);
        let reference = Registry::open().push(&format!("toxic:leave{number}"), &image);
        test.devbox(["pull", &reference]).output().refused(&[part, "toxic"]);
        untouched(&test);
    }
}

#[test]
fn links_are_never_followed_out() {
    needs!(boxes, images);
    let test = Test::new();
    let target = test.write("home/victim", "mine\n");
    let up = test.path("");
    let outer = up.display();
    let image = Image::busybox()
        .layer(
            &format!("l srv/abs {outer}\nf 644 srv/abs/escaped x\nl srv/file {}", target.display()),
            Packing::Gzip,
        )
        .layer(&format!("f 666 srv/file over\nl etc2 {outer}"), Packing::Gzip)
        .layer("f 644 etc2/escaped x\nd 700 srv/abs\nc 666 dev/sda\np 644 fifo", Packing::Gzip);
    let reference = Registry::open().push("toxic:links", &image);
    // Taken inside the root or refused: both are right; what counts is the outside.
    let _ = test.devbox(["pull", &reference]).output();
    assert_eq!(fs::read_to_string(&target).unwrap(), "mine\n");
    assert!(!test.path("escaped").exists());
}

#[test]
fn names_from_outside_are_escaped() {
    needs!(images);
    let test = Test::new();
    let reference =
        Registry::open().push("toxic:esc", &Image::empty().layer("f 644 ../\u{1b}[31m x", Packing::Gzip));
    let said = test.devbox(["pull", &reference]).output().refused(&["\\u{1b}[31m"]);
    assert!(!said.stderr.contains('\u{1b}'), "{said}");
}

#[test]
fn each_fault_of_a_registry_is_named_and_leaves_nothing() {
    let image =
        Image::empty().layer(&format!("f 644 srv/data {}", "x".repeat(100_000)), Packing::Gzip).build();
    let wanted = crate::harness::image::digest(&image.manifest);
    for (fault, parts) in [
        (Fault::DiesInTheMiddle, &["sha256:"][..]),
        (Fault::WrongBytes, &["sha256:"]),
        (Fault::TooLong, &["sha256:"]),
        (Fault::WrongManifest, &[wanted.as_str()]),
        (Fault::Portal, &["text/html"]),
        (Fault::Escapes, &["\\u{1b}"]),
    ] {
        let test = Test::new();
        let address = serve(&image, fault);
        let reference = match fault {
            Fault::WrongManifest => format!("{address}/bad@{wanted}"),
            _ => format!("{address}/bad:1"),
        };
        let said = test.devbox(["pull", &reference]).output();
        assert_eq!(said.code, 125, "{fault:?}: {said}");
        let said = said.refused(parts).says(&[&address]);
        assert!(!said.stderr.contains('\u{1b}'), "{fault:?}: {said}");
        untouched(&test);
    }
}

#[test]
fn no_such_image_tag_or_host() {
    needs!(images);
    let test = Test::new();
    let registry = Registry::open();
    registry.push("there:1", &Image::busybox());
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for reference in [
        registry.reference("there:2"),
        registry.reference("nowhere:1"),
        format!("{closed}/x:1"),
        "no-such-host.invalid/x:1".to_owned(),
    ] {
        test.devbox(["pull", &reference]).output().refused(&[&reference]);
        test.devbox(["run", "--rm", "--image", &reference, "--", "true"]).output().refused(&[&reference]);
    }
    for reference in ["UPPER", "a b", "x@sha256:12", "../x", ""] {
        test.devbox(["pull", reference]).output().fails(125).says(&["error: "]);
    }
    untouched(&test);
}

#[test]
fn an_image_for_other_machines_is_refused() {
    needs!(images);
    let test = Test::new();
    let alien = Image::empty().layer("f 644 x x", Packing::Plain).architecture("sparc64").build();
    let reference = Registry::open().push_index("alien:1", &[("sparc64", &alien)]);
    test.devbox(["pull", &reference]).output().refused(&["alien:1", "linux/sparc64"]);
    untouched(&test);
}

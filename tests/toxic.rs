//! Images and registries that mean harm: refused, with nothing changed and nothing left.
//!
//! What an image may do wrong, and the test that fails when the protection against it is taken out. Tests without a
//! path stand here; `unpack` is `store::unpack::tests`.
//!
//! | names, links, whiteouts | |
//! |---|---|
//! | absolute names, `..` | `unpack::names::names_stay_inside`, `layers_that_leave_the_root_are_refused` |
//! | a link, then a file through it | `unpack::names::links_on_the_way_stay_inside`, `links_are_never_followed_out` |
//! | a link replaced under our feet | no name with a `/` is ever given to the kernel: `more_folders_than_are_kept_open` |
//! | folder or file over a link; mode through a hard link | `links_on_the_way_stay_inside`, `hard_links_stay_inside` |
//! | hard link out, to a link, a folder, nothing, a lower layer | `unpack::names::hard_links_stay_inside` |
//! | `.wh.`, `.wh..`, `.wh...`; whiteouts through links, of nothing, in any order | `unpack::whiteouts`, `store::unpack::name::markers` |
//! | file, folder and link by turns between layers | `kinds_change_between_layers` |
//! | overlayfs' own attributes, devices 0:0 | `unpack::inodes::attributes_of_the_user_alone_are_set`, `devices_are_not_made` |
//! | devices | `unpack::inodes::devices_are_not_made` |
//! | FIFO in place of a file | `unpack::names::an_ordinary_layer`, `tests/hostile.rs: an_images_traps_are_not_stepped_into` |
//! | set-id bits, umask, closed folders | `unpack::inodes::modes_are_exact`, `store::tree::closed_folders_links_and_odd_names` |
//! | owners, capabilities, labels | `owners_are_the_callers_and_written_down`, `attributes_of_the_user_alone_are_set` |
//! | odd bytes in names | `names_stay_inside`, `names_from_outside_are_escaped` |
//! | long names, deep trees | `unpack::names::deeper_than_any_path`, `store::tree::ten_thousand_levels` |
//! | sparse files of terabytes | `unpack::sparse::sparse_files_keep_their_holes` |
//!
//! | bytes | |
//! |---|---|
//! | PAX size against the header's; malformed, global, huge records | `unpack::bytes`, `store::archive::pax` |
//! | negative and huge sizes, bad checksums, cut archives | `unpack::bytes::malformed_archives_are_refused` |
//! | gzip and zstd: cut, bad sums, trailing bytes, members, windows | `pull::decode::broken_forms`, `all_forms` |
//! | bombs | `a_bomb_ends_with_the_disk`, `unpack::stream::zeros_without_end_take_no_room`, `tests/hostile.rs: disk_full_while_pulling` |
//! | blob ≠ digest or size; diff id ≠ layer; numbers of them | `pull::tests::what_is_wrong_leaves_nothing`, `unpack::stream::only_what_the_digest_confirms_is_published` |
//! | digests as paths, other algorithms | `oci::digest::grammar`, `oci::manifest::hostile_documents` |
//! | manifests of two meanings, nested and huge ones, types | `oci::manifest::hostile_documents`, `oci::json::one_meaning_or_none`, `oci::config::hostile_documents`, `an_index_of_indexes_is_refused` |
//! | no image for this machine | `an_image_for_other_machines_is_refused` |
//! | embedded `data` (`urls` are not even read) | `only_the_digest_says_what_is_fetched` |
//! | terminal escapes | `names_from_outside_are_escaped`, `ui::escape::nothing_reaches_the_terminal` |

use std::fs;

use crate::harness::bad_registry::{Fault, serve};
use crate::harness::image::{Built, architecture};
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

#[test]
fn kinds_change_between_layers() {
    needs!(boxes, images);
    let image = Image::busybox()
        .layer(
            "f 644 srv/a file\nd 755 srv/b\nf 644 srv/b/below x\nl srv/c a\nd 755 srv/d\nf 644 srv/d/below x",
            Packing::Gzip,
        )
        .layer("d 700 srv/a\nf 644 srv/a/new x\nf 600 srv/b file\nd 755 srv/c\nl srv/d /etc", Packing::Gzip);
    let test = Test::of_image(&Registry::open().push("kinds:1", &image));
    test.table(&[
        ("folder over file", "ls /srv/a; stat -c %a /srv/a", "new\n700"),
        ("file over folder", "cat /srv/b", "file"),
        ("folder over link", "ls -A /srv/c; stat -c %F /srv/c", "directory"),
        ("link over folder", "readlink /srv/d; ls /srv/d/below 2>&1 | grep -c 'No such'", "/etc\n1"),
    ]);
}

#[test]
fn a_bomb_ends_with_the_disk() {
    needs!(boxes, images);
    // some hundred kilobytes to fetch, 96 MiB unpacked
    let mut archive = tar::Builder::new(Vec::new());
    for number in 0..3 {
        let mut header = tar::Header::new_gnu();
        header.set_size(32 << 20);
        header.set_mode(0o644);
        archive
            .append_data(
                &mut header,
                format!("bomb{number}"),
                std::io::Read::take(std::io::repeat(0), 32 << 20),
            )
            .unwrap();
    }
    let image = Image::empty().tar(archive.into_inner().unwrap(), Packing::Gzip);
    let reference = Registry::open().push("bomb:1", &image);
    let test = Test::new();
    let script = "mount -t tmpfs -o size=8m none \"$XDG_DATA_HOME\" || exit 99; \"$0\" \"$@\"; code=$?
        \"$0\" images --format json; ls -A \"$XDG_DATA_HOME/devbox/store/staging\"; exit $code";
    let said = test.under(["unshare", "-Urm", "sh", "-c", script], ["pull", &reference]).output();
    said.fails(125).prints("[]").says(&["bomb:1", "no space"]);
}

#[test]
fn an_index_of_indexes_is_refused() {
    needs!(images);
    let test = Test::new();
    let registry = Registry::open();
    let image = Image::busybox().build();
    registry.push_index("nested:inner", &[(architecture(), &image)]);
    let inner = crate::harness::image::index(&[(architecture(), &image)]);
    let outer = Built { blobs: Vec::new(), manifest: inner, media_type: crate::harness::image::OCI_INDEX };
    let reference = registry.push_index("nested:outer", &[(architecture(), &outer)]);
    test.devbox(["pull", &reference]).output().refused(&["nested:outer"]);
    untouched(&test);
}

#[test]
fn only_the_digest_says_what_is_fetched() {
    needs!(images);
    let mut built = Image::busybox().build();
    let mut manifest: serde_json::Value = serde_json::from_slice(&built.manifest).unwrap();
    manifest["layers"][0]["data"] = "ZXZpbA==".into();
    manifest["config"]["data"] = "ZXZpbA==".into();
    built.manifest = serde_json::to_vec(&manifest).unwrap();
    let test = Test::new();
    let reference = Registry::open().push_built("elsewhere:1", &built);
    test.devbox(["pull", &reference]).output().ok();
    test.devbox(["verify"]).output().ok();
}

//! Pulling from a real registry, by every road an image may come.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::image::{architecture, digest};
use crate::harness::registry::{BASIC, Registry};
use crate::harness::{Image, Packing, Test, within};

/// What the layered image must look like from inside.
const LOOK: &str =
    "cat /srv/a; ls -A /srv/opaque; ls /srv; readlink /srv/link; stat -c %h /srv/hard; stat -c %a /srv/mode";
const LOOKS: &str = "two\nnew\na\nhard\nlink\nmode\nopaque\nsame\na\n2\n6755";

fn layered(packing: Packing) -> Image {
    Image::busybox()
        .layer("f 644 srv/a one\\n\nf 644 srv/gone x\nd 755 srv/opaque\nf 644 srv/opaque/old x\nf 644 srv/hard h", packing)
        .layer("f 644 srv/a two\\n\nf 644 srv/.wh.gone \nd 755 srv/opaque\nf 644 srv/opaque/.wh..wh..opq \nf 644 srv/opaque/new x", packing)
        .layer("l srv/link a\nf 644 srv/hard h\nh srv/same srv/hard\nf 6755 srv/mode x", packing)
}

#[test]
fn every_form_gives_the_same_files() {
    needs!(boxes, images);
    let registry = Registry::open();
    let alien = Image::empty().layer("f 644 srv/a alien", Packing::Plain).architecture("sparc64").build();
    let native = layered(Packing::Gzip).build();
    for reference in [
        registry.push("form:gzip", &layered(Packing::Gzip)),
        registry.push("form:zstd", &layered(Packing::Zstd)),
        registry.push("form:plain", &layered(Packing::Plain)),
        registry.push("form:docker", &layered(Packing::Gzip).docker()),
        registry.push_index("form:index", &[("sparc64", &alien), (architecture(), &native)]),
    ] {
        let test = Test::new();
        let out = test.devbox(["run", "--rm", "--image", &reference, "--", "sh", "-c", LOOK]).output();
        assert_eq!(out.text().trim_end(), LOOKS, "{reference}: {out}");
    }
}

#[test]
fn a_second_pull_changes_nothing() {
    needs!(images);
    let test = Test::new();
    let reference = Registry::open().push("twice:1", &Image::busybox());
    test.devbox(["pull", &reference]).output().ok();
    let before = tree(&test);
    let again = test.devbox(["pull", &reference]).output().ok();
    assert!(again.stderr.contains("up to date") || again.stderr.contains("unchanged"), "{again}");
    assert_eq!(tree(&test), before);
}

#[test]
fn lines_are_sparse_without_a_terminal_and_quiet_is_quiet() {
    needs!(images);
    let test = Test::new();
    let reference = Registry::open().push("lines:1", &layered(Packing::Gzip));
    let quiet = test.devbox(["pull", "--quiet", &reference]).output().ok();
    assert!(quiet.stderr.is_empty(), "{quiet}");

    let test = Test::new();
    let plain = test.devbox(["pull", &reference]).output().ok();
    assert!(!plain.stderr.is_empty() && plain.stderr.lines().count() < 20, "{plain}");
    assert!(!plain.stderr.contains(['\r', '\u{1b}']), "{plain}");
}

#[test]
fn images_are_listed_and_removed() {
    needs!(images);
    let test = Test::new();
    let registry = Registry::open();
    let one = registry.push("kept:1", &Image::busybox());
    let two = registry.push("kept:2", &Image::busybox().layer("f 644 srv/two 2", Packing::Gzip));
    for reference in [&one, &two] {
        test.devbox(["pull", reference]).output().ok();
    }
    test.devbox(["images"]).output().ok().lists(&[&one, &two]);
    let listed = test.devbox(["images", "--format", "json"]).output().ok().json();
    assert_eq!(listed.as_array().map(Vec::len), Some(2), "{listed}");

    let layers = || fs::read_dir(test.path("data/devbox/store/layers/sha256")).unwrap().count();
    assert_eq!(layers(), 2, "the shared layer is stored once");
    test.devbox(["rmi", &two]).output().ok();
    assert_eq!(layers(), 1, "and stays while the other image needs it");
    test.devbox(["rmi", &one]).output().ok();
    assert_eq!(layers(), 0);
    test.devbox(["images", "--format", "json"]).output().ok().prints("[]");
    test.devbox(["rmi", &one]).output().refused(&["kept:1"]);
}

#[test]
fn more_layers_than_the_kernel_takes() {
    needs!(boxes, images);
    let test = Test::new();
    let mut image = Image::busybox().layer(
        "d 755 srv/opaque\nf 644 srv/opaque/old x\nf 644 srv/gone x\nf 644 srv/late x\nf 644 srv/last 0\nd 1777 srv/open",
        Packing::Gzip,
    );
    for number in 0..600 {
        let more = match number {
            // within what is merged, and above it
            50 => {
                "\nf 644 srv/.wh.gone \nd 755 srv/opaque\nf 644 srv/opaque/.wh..wh..opq \nf 644 srv/opaque/new x"
            }
            550 => "\nf 644 srv/.wh.late ",
            _ => "",
        };
        image = image
            .layer(&format!("f 644 srv/{number} {number}\nf 644 srv/last {number}{more}"), Packing::Gzip);
    }
    let built = image.build();
    let reference = Registry::open().push_built("many:1", &built);
    let run = |script: &str| {
        test.devbox(["run", "--image", &reference, "--name", "many", "--", "sh", "-c", script])
    };
    let look = "cat srv/last; ls srv | grep -c [0-9]; ls -A srv/opaque; ls srv | grep [a-z]; stat -c %a srv/open; cat srv/77";
    let first = run(&format!("cd /; {look}; echo own >srv/77")).output().ok();
    first.prints("599600\nnew\nlast\nopaque\nopen\n1777\n77").says(&["the lowest 104 are merged"]);
    let again = run("cat /srv/77").output().ok().prints("own");
    assert!(!again.stderr.contains("merged"), "{again}");

    // the image stays what it was, and so does what is said of it
    let path = test.path("out.tar").display().to_string();
    test.devbox(["save", &reference, "-o", &path]).output().ok().prints(&digest(&built.manifest));
    test.devbox(["verify"]).output().ok();
    run("cat /srv/77").output().ok().prints("own");
    let sizes = test.devbox(["df", "--format", "json"]).output().ok().json();
    let image = &sizes["images"][0];
    assert_eq!((&image["shared"], &sizes["unused-layers"]["count"]), (&json!(0), &json!(0)), "{sizes}");
    let stacks = || fs::read_dir(test.path("data/devbox/store/stacks/sha256")).unwrap().count();
    assert_eq!(stacks(), 1);
    test.devbox(["prune", "--all"]).output().ok();
    assert_eq!(stacks(), 1, "a box stands on it");
    test.devbox(["rm", "many"]).output().ok();
    let pruned = test.devbox(["prune", "--all", "--format", "json"]).output().ok().json();
    assert_eq!((stacks(), pruned["stacks"].as_array().map(Vec::len)), (0, Some(1)), "{pruned}");
}

#[test]
fn a_digest_behind_a_name_means_the_image() {
    needs!(images);
    let test = Test::new();
    let registry = Registry::open();
    let built = Image::busybox().layer("f 644 srv/digest 1", Packing::Gzip).build();
    let reference = registry.push_built("digests:1", &built);
    let wanted = digest(&built.manifest);
    let pinned = format!("{reference}@{wanted}");
    test.devbox(["pull", &reference]).output().ok();
    // under the name with the digest there is nothing; what it means is here all the same
    test.devbox(["tag", &pinned, "local:1"]).output().ok();
    let path = test.path("out.tar").display().to_string();
    test.devbox(["save", &pinned, "-o", &path]).output().ok().prints(&wanted);
    test.devbox(["push", &pinned, &registry.reference("digests:2")]).output().ok().prints(&wanted);
    test.devbox(["verify", &pinned]).output().ok();
    let other = pinned.replace(&wanted, &digest(b"other"));
    test.devbox(["save", &other, "-o", &path]).output().refused(&["no image", &digest(b"other")]);
    test.devbox(["rmi", &pinned]).output().ok();
    test.devbox(["images", "--format", "json"]).output().ok().prints("[]");
}

#[test]
fn credentials_come_from_the_file_podman_uses() {
    needs!(images);
    let test = Test::new();
    let registry = Registry::locked();
    let reference = registry.push("secret:1", &Image::busybox());
    test.devbox(["pull", &reference]).output().refused(&["secret:1", "authen"]);

    let file = |auth: &str| {
        let auths = json!({ "auths": { &registry.address: { "auth": auth } } });
        test.write("auth.json", &auths.to_string()).display().to_string()
    };
    let wrong = file("bm9ib2R5Om5vdGhpbmc=");
    let said =
        test.devbox(["pull", &reference]).env("REGISTRY_AUTH_FILE", &wrong).output().refused(&["secret:1"]);
    assert!(!said.stderr.contains("bm9ib2R5") && !said.stderr.contains("nothing"), "{said}");
    let right = file(BASIC);
    test.devbox(["pull", &reference]).env("REGISTRY_AUTH_FILE", &right).output().ok();
    test.write("config/containers/auth.json", &fs::read_to_string(right).unwrap());
    test.devbox(["rmi", &reference]).output().ok();
    test.devbox(["pull", &reference]).output().ok();
}

#[test]
fn two_pulls_at_once_share_the_work() {
    needs!(images);
    let test = Test::new();
    let reference = Registry::open().push("crowd:1", &layered(Packing::Gzip));
    let crowd: Vec<_> = (0..4).map(|_| test.devbox(["pull", &reference]).spawn()).collect();
    for one in crowd {
        one.wait().ok();
    }
}

#[test]
fn a_killed_pull_leaves_a_valid_store() {
    needs!(boxes, images);
    let big = "0123456789abcdef".repeat(1 << 16);
    let listing: String = (0..24).map(|number| format!("f 644 srv/big{number} {number}{big}\n")).collect();
    let reference = Registry::open().push("killed:1", &Image::busybox().layer(&listing, Packing::Gzip));
    for (signal, milliseconds) in [
        (Signal::SIGKILL, 5),
        (Signal::SIGKILL, 20),
        (Signal::SIGKILL, 60),
        (Signal::SIGINT, 40),
        (Signal::SIGTERM, 120),
    ] {
        let test = Test::new();
        let mut pull = test.devbox(["pull", &reference]).spawn();
        // A point in time is the very thing tried here; whether it falls before or after the end is all one.
        std::thread::sleep(Duration::from_millis(milliseconds));
        if pull.ended(Duration::ZERO).is_none() {
            pull.signal(signal);
        }
        assert!(pull.ended(Duration::from_secs(10)).is_some(), "{signal} is obeyed at once");
        test.devbox(["images", "--format", "json"]).output().ok();
        let script = "cat /srv/big* | wc -c";
        let out = test.devbox(["run", "--rm", "--image", &reference, "--", "sh", "-c", script]).output();
        out.ok().prints(&(24 * big.len() + 10 + 2 * 14).to_string());
        let staging = test.path("data/devbox/store/staging");
        test.devbox(["pull", &reference]).output().ok();
        let empty = || fs::read_dir(&staging).map_or(true, |mut left| left.next().is_none());
        assert!(within(10, empty), "what was half made is swept");
    }
}

/// Every path below the store with its time of change.
fn tree(test: &Test) -> Vec<String> {
    let list = "find . -path ./staging -prune -o -name lock -o -name durable -o -type f -printf '%p %T@ %s\\n' | sort";
    let found = std::process::Command::new("sh")
        .args(["-c", list])
        .current_dir(test.path("data/devbox/store"))
        .output();
    String::from_utf8(found.unwrap().stdout).unwrap().lines().map(str::to_owned).collect()
}

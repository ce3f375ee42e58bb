//! Boxes as data: what differs from the image, and images made of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use nix::unistd::Uid;

use crate::harness::registry::Registry;
use crate::harness::{Image, Packing, Test, host};

/// Changes of every kind; run as root of the box.
const CHANGES: &str = "echo new >/etc/new && ln /etc/new /etc/new2 && ln -s new /etc/link && mkfifo /srv/pipe \
    && rm /etc/gone && rm -r /var/lib/gone && rm -r /opt/renewed && mkdir /opt/renewed && echo x >/opt/renewed/b \
    && chmod 2755 /usr/bin/tool && echo more >>/etc/text && mkdir -m 700 -p /srv/deep/er && touch /srv/deep/er/file \
    && chmod 0 /srv/deep/er/file && dd if=/dev/zero of=/srv/holes bs=1 count=1 seek=8M 2>/dev/null";

const DIFF: &str = "D /etc/gone\nA /etc/link\nA /etc/new\nA /etc/new2\nC /etc/text\nD /opt/renewed/a\nA /opt/renewed/b\n\
    A /srv/deep\nA /srv/deep/er\nA /srv/deep/er/file\nA /srv/holes\nA /srv/pipe\nC /usr/bin/tool\nD /var/lib/gone";

/// What the box and an image of it must have in common.
const LOOK: &str = "cd / && ls -ld etc etc/new etc/link etc/text srv srv/pipe srv/deep srv/deep/er srv/deep/er/file usr/bin/tool \
    opt/renewed | awk '{print $1, $9, $10, $11}'; stat -c '%h %s' etc/new srv/holes; test etc/new -ef etc/new2 && echo linked; \
    cat etc/text opt/renewed/b; ls etc/gone var/lib/gone opt/renewed/a 2>/dev/null; stat -c %b srv/holes | awk '{print $1 < 100}'";

fn image() -> Image {
    Image::busybox().layer(
        "f 644 etc/text text\\n\nf 644 etc/gone x\nd 755 var/lib/gone\nf 644 var/lib/gone/x x\nd 755 opt/renewed\n\
         f 644 opt/renewed/a x\nf 755:0:5 usr/bin/tool x\nf 640:0:42 etc/shadow x\nd 775:0:8 var/mail",
        Packing::Gzip,
    )
}

fn changed() -> (Test, String) {
    let reference = Registry::open().push("data:1", &image());
    let test = Test::of_image(&reference);
    test.devbox(["run", "--root", "--", "sh", "-c", CHANGES]).output().ok();
    (test, reference)
}

fn look(test: &Test, image: &str) -> String {
    test.devbox(["run", "--rm", "--root", "--no-project", "--image", image, "--", "sh", "-c", LOOK])
        .output()
        .ok()
        .text()
}

/// `A /path` a line, of the JSON.
fn diff(test: &Test, name: &str) -> String {
    let listed = test.devbox(["diff", name, "--format", "json"]).output().ok().json();
    let line = |one: &serde_json::Value| {
        let letter = &one["what"].as_str().unwrap()[..1].to_uppercase();
        format!("{letter} {}", one["path"].as_str().unwrap())
    };
    listed.as_array().unwrap().iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn diff_shows_what_the_user_did_and_nothing_else() {
    needs!(boxes, images);
    let (test, reference) = changed();
    assert_eq!(diff(&test, "demo"), DIFF);
    test.devbox(["diff", "demo"])
        .output()
        .ok()
        .lists(&["A  4 B       /etc/new\n", "D            /etc/gone\n"]);
    test.devbox(["diff", "-q", "demo"]).output().ok().lists(&["/etc/gone\n/etc/link\n"]);
    // a start leaves mount points, accounts and more in a box, and none of it is the user's
    let mount = "-v=/etc:/mnt/in/the/box:ro";
    test.devbox(["run", "--image", &reference, "--name", "fresh", mount, "--", "true"]).output().ok();
    let own = if host::driver().as_deref() == Some("copy") { "tree" } else { "upper" };
    assert!(test.path(&format!("data/devbox/boxes/fresh/{own}/mnt/in/the/box")).is_dir());
    assert_eq!(diff(&test, "fresh"), "");
    // it may run meanwhile
    let session = test.devbox(["run", "--", "sh", "-c", "echo ready; cat"]).spawn();
    session.stdout.expect("ready\n");
    assert_eq!(diff(&test, "demo"), DIFF);
    session.wait().ok();
    test.devbox(["rm", "fresh"]).output().ok();
    test.devbox(["diff", "fresh"]).output().refused(&["there is no box `fresh`", "devbox ls"]);
}

#[test]
fn every_driver_tells_the_same() {
    needs!(boxes, images);
    let reference = Registry::open().push("data:1", &image());
    for driver in ["fuse", "copy"] {
        let fuse = || fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").is_ok();
        if driver == "fuse" && !(fuse() && which::which("fuse-overlayfs").is_ok()) {
            host::skip("no /dev/fuse, or no fuse-overlayfs");
            continue;
        }
        let test = Test::of_image(&reference);
        test.devbox(["run", "--driver", driver, "--root", "--", "sh", "-c", CHANGES]).output().ok();
        assert_eq!(diff(&test, "demo"), DIFF, "{driver}");
        test.devbox(["commit", "demo", "localhost/by:1"]).output().ok();
        let here = test.devbox(["run", "--driver", driver, "--root", "--no-project", "--", "sh", "-c", LOOK]);
        let here = here.output().ok().text();
        assert_eq!(look(&test, "localhost/by:1"), here, "{driver}");
    }
}

#[test]
fn only_fuse_overlayfs_means_a_deletion_by_a_name() {
    needs!(boxes, images);
    let reference = Registry::open().push("data:1", &image());
    for driver in ["overlay", "copy"] {
        let test = Test::of_image(&reference);
        let make = ["run", "--driver", driver, "--root", "--", "sh", "-c", ": >/etc/.wh.text"];
        test.devbox(make).output().ok();
        assert_eq!(diff(&test, "demo"), "A /etc/.wh.text", "{driver}");
        test.devbox(["commit", "demo", "localhost/x:1"])
            .output()
            .refused(&["`etc/.wh.text` can't be in an image", "stand for deletions"]);
    }
}

#[test]
fn many_ids_are_told_from_the_images() {
    needs!(boxes, images);
    if host::left_to_the_user() {
        return;
    }
    needs!(subids);
    let reference = Registry::open().push("data:1", &image());
    let test = Test::of_image(&reference);
    let full =
        |script: &str| test.devbox(["run", "--ids=full", "--root", "--", "sh", "-c", script]).output().ok();
    full("true");
    assert_eq!(diff(&test, "demo"), "", "owners that a first start sets are the image's");
    full("touch /srv/a && chown 7:8 /srv/a && chmod 600 /srv/a && chown 0:0 /etc/shadow");
    assert_eq!(diff(&test, "demo"), "C /etc/shadow\nA /srv/a");
    test.devbox(["commit", "demo", "localhost/full:1"]).output().ok();
    let again = [
        "run",
        "--rm",
        "--ids=full",
        "--root",
        "--image",
        "localhost/full:1",
        "--",
        "stat",
        "-c",
        "%u:%g %a",
    ];
    test.devbox([&again[..], &["/srv/a", "/etc/shadow", "/usr/bin/tool", "/var/mail"]].concat())
        .output()
        .ok()
        .prints("7:8 600\n0:0 640\n0:5 755\n0:8 775");
}

#[test]
fn a_committed_image_is_the_box() {
    needs!(boxes, images);
    let (test, reference) = changed();
    let said = test.devbox([
        "commit",
        "demo",
        "localhost/made:1",
        "-e",
        "MADE=1",
        "--cmd",
        "[\"sh\", \"-c\", \"echo $MADE\"]",
    ]);
    let digest = said.output().ok().text().trim_end().to_owned();
    let here = test.devbox(["run", "--root", "--no-project", "--", "sh", "-c", LOOK]).output().ok().text();
    assert_eq!(look(&test, "localhost/made:1"), here);
    test.devbox(["run", "--rm", "--image", "localhost/made:1"]).output().ok().prints("1");
    // the caller's own account stays at home
    let passwd = "grep -c . /etc/passwd";
    test.devbox([
        "run",
        "--rm",
        "--root",
        "--image",
        "localhost/made:1",
        "--ids=single",
        "--",
        "sh",
        "-c",
        passwd,
    ])
    .output()
    .ok();
    let sent = Registry::open().reference("data:made");
    test.devbox(["push", "localhost/made:1", &sent]).output().ok().prints(&digest);
    let other = Test::new();
    other.devbox(["pull", &sent]).output().ok();
    assert_eq!(look(&other, &sent), here);
    test.devbox(["verify"]).output().ok();
    // a layer on a layer, and the former image stays what it is
    test.devbox(["run", "--root", "--", "sh", "-c", "rm -r /etc/new2 /srv/deep"]).output().ok();
    test.devbox(["commit", "demo", "localhost/made:2"]).output().ok();
    assert_eq!(look(&test, "localhost/made:1"), here);
    let gone = "ls /srv/deep /etc/new2; cat /etc/new";
    test.devbox(["run", "--rm", "--image", "localhost/made:2", "sh", "-c", gone]).output().ok().prints("new");
    test.devbox(["rmi", &reference]).output().ok();
    test.devbox(["prune"]).output().ok();
    test.devbox(["commit", "demo", "localhost/made:3"]).output().ok();
}

#[test]
fn the_same_box_gives_the_same_digest() {
    needs!(boxes, images);
    let commit = |test: &Test| {
        let commit =
            test.devbox(["commit", "demo", "localhost/r:1", "-m", "why", "-l", "a=b", "--format", "json"]);
        commit.env("SOURCE_DATE_EPOCH", "1700000001").output().ok().json()["digest"].clone()
    };
    let (one, _) = changed();
    let first = commit(&one);
    assert_eq!(commit(&one), first);
    let (other, _) = changed();
    assert_eq!(commit(&other), first);
    let archive = one.path("r.tar");
    let saved = one.devbox(["save", "localhost/r:1", "-o", archive.to_str().unwrap()]).output().ok();
    assert_eq!(saved.text().trim_end(), first.as_str().unwrap(), "packed again, it has the same digest");
    assert!(!saved.stderr.contains("packed anew"), "{saved}");
    one.devbox(["commit", "demo", "localhost/r:1"])
        .env("SOURCE_DATE_EPOCH", "soon")
        .output()
        .refused(&["SOURCE_DATE_EPOCH is `soon`"]);
}

#[test]
fn what_can_not_be_committed_is_said_to_be_so() {
    needs!(boxes, images);
    let (test, _) = changed();
    let session = test.devbox(["run", "--", "sh", "-c", "echo ready; cat"]).spawn();
    session.stdout.expect("ready\n");
    test.devbox(["commit", "demo", "localhost/x:1"])
        .output()
        .refused(&["box `demo` is running", "devbox stop demo"]);
    session.wait().ok();
    test.devbox(["commit", "none", "localhost/x:1"]).output().refused(&["there is no box `none`"]);
    test.devbox(["commit", "demo", "localhost/UPPER:1"]).output().refused(&["localhost/UPPER:1"]);
    test.devbox(["commit", "demo", "localhost/x:1", "-e", "=x"]).output().refused(&["`=x`", "--env"]);
    test.devbox(["run", "--image", "host", "--name", "h", "--", "true"]).output().ok();
    test.devbox(["commit", "h", "localhost/x:1"])
        .output()
        .refused(&["box `h` stands on `host`", "--image REF"]);
    assert_eq!(diff(&test, "h"), "");
    // fuse-overlayfs takes such a name for a deletion
    if host::driver().as_deref() == Some("fuse") {
        return;
    }
    test.devbox(["run", "--root", "--", "sh", "-c", "echo x >/srv/.wh.file"]).output().ok();
    let images = test.devbox(["images"]).output().ok().text();
    test.devbox(["commit", "demo", "localhost/x:1"])
        .output()
        .refused(&["`srv/.wh.file` can't be in an image"]);
    assert_eq!(test.devbox(["images"]).output().ok().text(), images, "nothing half-made is left");
    let staging = fs::read_dir(test.path("data/devbox/store/staging")).unwrap().flatten();
    assert_eq!(staging.filter(|entry| entry.path().is_dir()).count(), 0);
    test.devbox(["rm", "h"]).output().ok();
}

#[test]
fn others_read_what_was_committed() {
    needs!(boxes, images, skopeo, umoci);
    let (test, _) = changed();
    test.devbox(["commit", "demo", "localhost/out:1", "-w", "/srv", "-u", "app"]).output().ok();
    let (archive, layout) = (test.path("out.tar"), test.path("layout"));
    let (archive, layout) = (archive.to_str().unwrap(), layout.to_str().unwrap());
    test.devbox(["save", "localhost/out:1", "-o", archive]).output().ok();
    let copy = [
        "skopeo",
        "--insecure-policy",
        "copy",
        "-q",
        &format!("oci-archive:{archive}"),
        &format!("oci:{layout}:1"),
    ];
    test.plain(copy).output().ok();
    let inspected =
        test.plain(["skopeo", "inspect", "--config", &format!("oci:{layout}:1")]).output().ok().json();
    assert_eq!(
        (&inspected["config"]["WorkingDir"], &inspected["config"]["User"]),
        (&"/srv".into(), &"app".into())
    );
    assert_eq!(inspected["history"].as_array().unwrap().last().unwrap()["created_by"], "devbox commit");
    let bundle = test.path("bundle");
    let mut unpack = vec!["umoci", "unpack", "--image"];
    let (image, target) = (format!("{layout}:1"), bundle.display().to_string());
    unpack.extend([image.as_str(), target.as_str()]);
    if !Uid::current().is_root() {
        unpack.push("--rootless");
    }
    test.plain(unpack).output().ok();
    let at = |path: &str| bundle.join("rootfs").join(path);
    assert_eq!(fs::read_to_string(at("etc/text")).unwrap(), "text\nmore\n");
    assert!(!at("etc/gone").exists() && !at("var/lib/gone").exists() && !at("opt/renewed/a").exists());
    assert_eq!(fs::metadata(at("srv/holes")).unwrap().len(), (8 << 20) + 1);
    // and back again, through umoci's own packing
    let add = ["umoci", "config", "--image", &image, "--config.env", "BY=umoci"];
    test.plain(add).output().ok();
    let back = Test::new();
    back.devbox(["load", layout, "--tag", "localhost/back:1"]).output().ok();
    let here = look(&test, "localhost/out:1");
    assert_eq!(look(&back, "localhost/back:1"), here);
}

#[test]
fn podman_sees_the_same_files() {
    needs!(boxes, images, podman);
    if !Uid::current().is_root() {
        // rootless podman leaves a process behind, and it is the same program
        if std::env::var_os("DEVBOX_TESTS_BOTH").is_none() {
            host::skip("podman is tried as root alone");
        }
        return;
    }
    let (test, _) = changed();
    let archive = test.path("out.tar").display().to_string();
    test.devbox(["commit", "demo", "localhost/out:1"]).output().ok();
    test.devbox(["save", "localhost/out:1", "-o", &archive]).output().ok();
    // podman takes no more than 50 characters for it
    let short = tempfile::tempdir_in("/tmp").unwrap();
    let (root, run) = (test.path("podman").display().to_string(), short.path().display().to_string());
    let base = ["podman", "--root", &root, "--runroot", &run, "--storage-driver", "vfs"];
    let podman = |args: &[&str]| test.plain([&base[..], args].concat()).output().ok();
    podman(&["load", "-q", "-i", &archive]).lists(&["localhost/out:1"]);
    let id = podman(&["create", "--network", "none", "localhost/out:1", "true"]).text().trim().to_owned();
    let exported = test.path("root.tar");
    podman(&["export", "-o", exported.to_str().unwrap(), &id]);
    let seen = entries(&exported);
    let entry = |path: &str| seen.get(path).cloned();
    assert_eq!(entry("usr/bin/tool"), Some((0o2755, 0, 5)), "{seen:?}");
    assert_eq!(entry("etc/shadow"), Some((0o640, 0, 42)));
    assert_eq!(entry("srv/deep/er/file"), Some((0, 0, 0)));
    assert_eq!(entry("srv/deep/er"), Some((0o700, 0, 0)));
    assert_eq!(entry("opt/renewed/b"), Some((0o644, 0, 0)));
    for gone in ["etc/gone", "var/lib/gone", "opt/renewed/a"] {
        assert_eq!(entry(gone), None);
    }
    podman(&["rm", "-f", &id]);
}

/// Mode, user and group by path.
fn entries(archive: &Path) -> BTreeMap<String, (u32, u64, u64)> {
    let mut archive = tar::Archive::new(fs::File::open(archive).unwrap());
    let entries = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let header = entry.header();
        let path = entry.path().unwrap().display().to_string().trim_end_matches('/').to_owned();
        (path, (header.mode().unwrap() & 0o7777, header.uid().unwrap(), header.gid().unwrap()))
    });
    entries.collect()
}

/// What the box says when its root runs a script.
fn root(test: &Test, name: &str, script: &str) -> String {
    test.devbox(["run", name, "--root", "--no-project", "--", "sh", "-c", script]).output().ok().text()
}

#[test]
fn a_box_goes_back_to_what_it_was() {
    needs!(boxes, images);
    let (test, _) = changed();
    test.sh("echo home >~/f").ok();
    let before = (
        diff(&test, "demo"),
        test.sh("cat ~/f; cat /etc/text; stat -c %i /etc/new2 /etc/new | uniq | wc -l").ok().text(),
    );
    test.devbox(["snapshot", "demo", "one"]).output().ok().prints("one");
    test.devbox(["snapshot", "demo", "one"]).output().refused(&["has a snapshot `one` already"]);
    test.devbox([
        "run",
        "--root",
        "--",
        "sh",
        "-c",
        "rm -r /srv/deep /etc/new; echo later >/etc/text; echo x >/opt/x",
    ])
    .output()
    .ok();
    test.sh("echo other >~/f").ok();
    let stamp = test.devbox(["snapshot", "demo"]).output().ok().text();
    assert!(stamp.starts_with("20") && stamp.trim_end().len() == 19, "{stamp}");
    let names = |test: &Test| {
        let listed = test.devbox(["snapshots", "demo", "--format", "json"]).output().ok().json();
        listed
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    // of the same second, perhaps, and in order of name then
    let mut both = names(&test);
    both.sort();
    assert_eq!(both, [stamp.trim_end(), "one"]);
    test.devbox(["snapshots", "demo"]).output().ok().lists(&["SNAPSHOT", "one", " ago"]);
    for _ in 0..2 {
        test.devbox(["rollback", "demo", "one"]).output().ok().prints("demo");
        let after = (
            diff(&test, "demo"),
            test.sh("cat ~/f; cat /etc/text; stat -c %i /etc/new2 /etc/new | uniq | wc -l").ok().text(),
        );
        assert_eq!(after, before);
        test.sh("echo scratch >~/f").ok();
    }
    test.devbox(["rollback", "demo", stamp.trim_end()]).output().ok();
    test.sh("cat ~/f /etc/text /opt/x").ok().prints("other\nlater\nx");
    // nothing of it is left behind, and what a box no longer needs is
    let parts = fs::read_dir(test.path("data/devbox/boxes/demo")).unwrap().flatten();
    let left: Vec<_> = parts.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert!(left.iter().all(|name| !name.ends_with(".old") && !name.ends_with(".next")), "{left:?}");
    test.devbox(["snapshots", "demo", "--remove", "one"]).output().ok().prints("one");
    test.devbox(["rollback", "demo", "one"])
        .output()
        .refused(&["no snapshot `one`", "devbox snapshots demo"]);
    assert_eq!(names(&test), [stamp.trim_end()]);
    for bad in ["..", "a/b", ".new", ""] {
        test.devbox(["snapshot", "demo", bad]).output().fails(125).says(&["error: "]);
        test.devbox(["rollback", "demo", bad]).output().fails(125).says(&["error: "]);
    }
    let session = test.devbox(["run", "--", "sh", "-c", "echo ready; cat"]).spawn();
    session.stdout.expect("ready\n");
    for call in [&["snapshot", "demo"][..], &["rollback", "demo", stamp.trim_end()], &["reset", "demo"]] {
        test.devbox(call).output().refused(&["box `demo` is running", "devbox stop demo"]);
    }
    session.wait().ok();
    test.devbox(["rm", "demo"]).output().ok();
    assert_eq!(fs::read_dir(test.path("data/devbox/boxes")).unwrap().count(), 0);
}

#[test]
fn clones_go_their_own_way() {
    needs!(boxes, images);
    let (test, _) = changed();
    test.sh("echo home >~/f").ok();
    let before = diff(&test, "demo");
    test.devbox(["clone", "demo", "twin"]).output().ok().prints("twin");
    assert_eq!(diff(&test, "twin"), before);
    assert_eq!(root(&test, "twin", "cat /etc/text"), "text\nmore\n");
    test.devbox(["run", "twin", "--", "sh", "-c", "cat ~/f; echo twin >~/f; echo twin >/etc/new"])
        .output()
        .ok()
        .prints("home");
    test.sh("cat ~/f /etc/new /etc/new2").ok().prints("home\nnew\nnew");
    test.devbox(["clone", "demo", "twin"]).output().refused(&["there is a box `twin` already"]);
    test.devbox(["clone", "none", "x"]).output().refused(&["there is no box `none`"]);
    test.devbox(["clone", "demo", "../x"]).output().fails(125).says(&["can't be the name"]);
    let listed = test.devbox(["ls", "-q"]).output().ok().text();
    assert_eq!(listed, "demo\ntwin\n");
    // a new name is a new name, and no more
    test.devbox(["snapshot", "twin", "s"]).output().ok();
    test.devbox(["rename", "twin", "demo"]).output().refused(&["there is a box `demo` already"]);
    test.devbox(["rename", "twin", "other"]).output().ok().prints("other");
    test.devbox(["run", "other", "--", "cat", "/etc/new"]).output().ok().prints("twin");
    test.devbox(["run", "other", "--", "sh", "-c", "echo lost >/etc/new"]).output().ok();
    test.devbox(["rollback", "other", "s"]).output().ok();
    test.devbox(["run", "other", "--", "cat", "/etc/new"]).output().ok().prints("twin");
    let told = test.devbox(["inspect", "other", "--format", "json"]).output().ok().json();
    assert_eq!((&told["name"], &told["snapshots"][0]["name"]), (&"other".into(), &"s".into()), "{told}");
    test.devbox(["inspect", "twin"]).output().refused(&["there is no box `twin`"]);
    test.devbox(["rm", "other"]).output().ok();
}

#[test]
fn what_was_changed_is_taken_back() {
    needs!(boxes, images);
    let (test, _) = changed();
    test.sh("echo home >~/f").ok();
    test.devbox(["reset", "demo", "/etc/gone", "/srv/deep", "/opt/renewed", "/etc/text"])
        .output()
        .ok()
        .prints("/etc/gone\n/srv/deep\n/opt/renewed\n/etc/text");
    let left =
        "A /etc/link\nA /etc/new\nA /etc/new2\nA /srv/holes\nA /srv/pipe\nC /usr/bin/tool\nD /var/lib/gone";
    assert_eq!(diff(&test, "demo"), left);
    assert_eq!(
        root(&test, "demo", "cat /etc/gone /etc/text; ls /srv/deep 2>/dev/null; ls /opt/renewed"),
        "xtext\na\n"
    );
    // a copy is copied again without a look at it
    let again = test.devbox(["reset", "demo", "/etc/text"]).output().ok();
    if host::driver().as_deref() != Some("copy") {
        again.says(&["/etc/text is as the image has it"]);
    }
    test.devbox(["reset", "demo", "/var/lib/gone/x"])
        .output()
        .refused(&["`/var/lib/gone` as a whole", "reset `/var/lib/gone`"]);
    for bad in ["relative", "/", "/../x", "/a/../b", ""] {
        test.devbox(["reset", "demo", bad]).output().fails(125).says(&["error: "]);
    }
    // an account file that is reset has the caller in it again
    test.devbox(["reset", "demo", "/etc"]).output().ok();
    test.sh("grep -c \"^$(id -un):\" /etc/passwd").ok().prints("1");
    test.devbox(["reset", "demo"]).output().ok();
    assert_eq!(diff(&test, "demo"), "");
    test.sh("cat ~/f").ok().prints("home");
    assert_eq!(diff(&test, "demo"), "");
    test.devbox(["reset", "--home", "demo"]).output().ok();
    test.sh("cat ~/f 2>/dev/null || echo gone").ok().prints("gone");
}

#[test]
fn folders_deeper_than_files_may_be_open() {
    needs!(boxes, images);
    let (test, _) = changed();
    let deep = "i=0; while [ $i -lt 400 ]; do mkdir d && cd d; i=$((i+1)); done; echo x >file";
    root(&test, "demo", &format!("cd /srv; {deep}"));
    let file = format!("/srv/{}file", "d/".repeat(400));
    let few = |words: &str| {
        let script = format!("ulimit -Sn 200; exec \"$0\" {words}");
        test.under(["sh", "-c", &script], []).output().ok()
    };
    few("snapshot demo before");
    few("diff demo");
    few("clone demo other");
    few("commit demo localhost/deep:1");
    assert_eq!(few(&format!("run other --no-project -- cat {file}")).text(), "x\n");
    few("reset demo /srv/d");
    few("rollback demo before");
    assert_eq!(root(&test, "demo", &format!("cat {file}")), "x\n");
    // and all of the image copied
    let copy = "run --image localhost/deep:1 --name whole --driver copy --no-project --";
    assert_eq!(few(&format!("{copy} cat {file}")).text(), "x\n");
    assert_eq!(few("diff whole").text(), "");
    few("rm demo other whole");
}

#[test]
fn copies_keep_many_owners() {
    needs!(boxes, images);
    if host::left_to_the_user() {
        return;
    }
    needs!(subids);
    let test = Test::of_image(&Registry::open().push("data:1", &image()));
    let run = |name: &str, script: &str| {
        test.devbox(["run", name, "--ids=full", "--root", "--no-project", "--", "sh", "-c", script])
            .output()
            .ok()
            .text()
    };
    test.devbox([
        "run",
        "--ids=full",
        "--root",
        "--",
        "sh",
        "-c",
        "mkdir -m 700 /srv/a; touch /srv/a/f; chown -R 7:8 /srv/a",
    ])
    .output()
    .ok();
    let look = "stat -c '%u:%g %a' /srv/a /srv/a/f /etc/shadow /usr/bin/tool";
    let before = run("demo", look);
    test.devbox(["snapshot", "demo", "s"]).output().ok();
    test.devbox(["clone", "demo", "twin"]).output().ok();
    assert_eq!(run("twin", look), before);
    run("demo", "rm -r /srv/a; chown 9:9 /etc/shadow");
    test.devbox(["rollback", "demo", "s"]).output().ok();
    assert_eq!(run("demo", look), before);
    test.devbox(["snapshots", "demo", "--remove", "s"]).output().ok();
    test.devbox(["rm", "demo", "twin"]).output().ok();
    assert_eq!(fs::read_dir(test.path("data/devbox/boxes")).unwrap().count(), 0);
}

#[test]
fn killed_at_any_moment_there_is_the_one_box_or_the_other() {
    needs!(boxes, images);
    let (test, _) = changed();
    test.devbox([
        "run",
        "--root",
        "--",
        "sh",
        "-c",
        "for i in $(seq 300); do echo $i >/srv/f$i; done; echo one >/etc/state",
    ])
    .output()
    .ok();
    test.devbox(["snapshot", "demo", "one"]).output().ok();
    test.devbox(["run", "--root", "--", "sh", "-c", "rm /srv/f*; echo two >/etc/state"]).output().ok();
    test.devbox(["snapshot", "demo", "two"]).output().ok();
    let whole = |test: &Test| {
        let state = test.sh("cat /etc/state; ls /srv | grep -c '^f'").text();
        assert!(state == "one\n300\n" || state == "two\n0\n", "{state}");
    };
    for step in 0..24_u64 {
        let to = if step % 2 == 0 { "one" } else { "two" };
        for call in [&["rollback", "demo", to][..], &["clone", "demo", "twin"], &["snapshot", "demo", "cut"]]
        {
            let running = test.devbox(call).spawn();
            std::thread::sleep(std::time::Duration::from_millis(step * 3));
            running.signal(nix::sys::signal::Signal::SIGKILL);
            drop(running);
        }
        whole(&test);
        let listed = test.devbox(["ls", "-q"]).output().ok().text();
        if listed.contains("twin") {
            test.devbox(["run", "twin", "--", "cat", "/etc/state"]).output().ok();
            test.devbox(["rm", "twin"]).output().ok();
        }
        if test.devbox(["snapshots", "demo", "-q"]).output().ok().text().contains("cut") {
            test.devbox(["snapshots", "demo", "--remove", "cut"]).output().ok();
        }
    }
    test.devbox(["rollback", "demo", "one"]).output().ok();
    test.sh("cat /etc/state; ls /srv | grep -c '^f'").ok().prints("one\n300");
}

#[test]
fn a_box_moves_to_another_machine() {
    needs!(boxes, images);
    let (test, _) = changed();
    test.sh("echo home >~/f; mkdir -p ~/d; ln ~/f ~/d/g; chmod 600 ~/f").ok();
    let before = diff(&test, "demo");
    let file = test.path("demo.devbox");
    let file = file.to_str().unwrap();
    test.devbox(["export", "demo", file]).output().ok().prints(file);
    // with the image fetched by its digest there, or brought along
    let with = test.devbox(["export", "--with-image", "demo", "-"]).output().ok();
    let away = Test::new();
    let there = |name: &str| {
        assert_eq!(diff(&away, name), before, "{name}");
        let run = |script: &str| {
            away.devbox(["run", name, "--no-project", "--", "sh", "-c", script]).output().ok().text()
        };
        assert_eq!(run("cat ~/f ~/d/g; test ~/f -ef ~/d/g && stat -c %a ~/f"), "home\nhome\n600\n");
        assert_eq!(run("cat /etc/text; grep -c \"^$(id -un):\" /etc/passwd"), "text\nmore\n1\n");
        let kept = |test: &Test, name: &str| root(test, name, LOOK);
        assert_eq!(kept(&away, name), kept(&test, "demo"));
    };
    away.devbox(["import", "-", "packed"]).stdin(with.stdout).output().ok().prints("packed");
    there("packed");
    let names = away.devbox(["images", "-q"]).output().ok().text();
    assert!(!names.contains("devbox-import"), "{names}");
    away.devbox(["import", file]).output().ok().prints("demo");
    there("demo");
    away.devbox(["import", file]).output().refused(&["there is a box `demo` already"]);
    away.devbox(["prune", "--all"]).output().ok();
    there("packed");
    away.devbox(["rm", "demo", "packed"]).output().ok();
    assert_eq!(fs::read_dir(away.path("data/devbox/boxes")).unwrap().count(), 0);
}

#[test]
fn owners_move_along() {
    needs!(boxes, images);
    if host::left_to_the_user() {
        return;
    }
    needs!(subids);
    let test = Test::of_image(&Registry::open().push("data:1", &image()));
    let full = |test: &Test, script: &str| {
        test.devbox(["run", "demo", "--ids=full", "--root", "--no-project", "--", "sh", "-c", script])
            .output()
            .ok()
            .text()
    };
    test.devbox(["run", "--ids=full", "--root", "--", "true"]).output().ok();
    full(
        &test,
        "mkdir -m 700 /srv/a; touch /srv/a/f; chown -R 7:8 /srv/a; echo >>/etc/shadow; chown 0:0 /usr/bin/tool",
    );
    let look = "stat -c '%u:%g %a' /srv/a /srv/a/f /etc/shadow /usr/bin/tool /var/mail";
    let before = full(&test, look);
    let file = test.path("demo.devbox").display().to_string();
    test.devbox(["export", "demo", &file]).output().ok();
    let away = Test::new();
    away.devbox(["import", &file]).output().ok();
    assert_eq!(full(&away, look), before);
    away.devbox(["rm", "demo"]).output().ok();
}

#[test]
fn archives_of_strangers_harm_nothing() {
    use crate::harness::image::tar;
    let test = Test::new();
    test.write("home/mine", "mine");
    let mine = test.home().join("mine").display().to_string();
    let about = |name: &str| {
        format!(
            "{{\"version\":1,\"many_ids\":false,\"with_image\":false,\"record\":{{\"version\":1,\"name\":\"{name}\",\"created\":0,\
             \"image\":\"host\",\"manifest\":null,\"layers\":[],\"defaults\":{{}},\"profiles\":[],\"project\":null,\
             \"ephemeral\":false,\"user\":null,\"ids\":null}}}}"
        )
    };
    let import = |listing: &str| test.devbox(["import", "-"]).stdin(tar(listing)).output();
    import("f 644 box.json {}").refused(&[
        "cannot import -",
        "no archive of `devbox export`",
        "devbox export BOX FILE",
    ]);
    import("f 644 other x").refused(&["no archive of `devbox export`"]);
    import(&format!("l box.json {mine}")).refused(&["no archive of `devbox export`"]);
    import(&format!("f 644 box.json {}\nf 644 ../../../home/mine x", about("a"))).refused(&["leaves"]);
    import(&format!("f 644 box.json {}", about("../a"))).refused(&["can't be the name of a box"]);
    import(&format!("f 644 box.json {}", about("a").replace("\"version\":1,\"many", "\"version\":9,\"many")))
        .refused(&["newer"]);
    import(&format!("f 644 box.json {}", about("a").replace("with_image\":false", "with_image\":true")))
        .refused(&["the image it should hold is missing"]);
    test.devbox(["import", "-"]).stdin("junk").output().refused(&["error: "]);
    test.devbox(["import", "/nonexistent"]).output().refused(&["/nonexistent"]);
    let boxes = test.path("data/devbox/boxes");
    assert_eq!(fs::read_dir(&boxes).unwrap().count(), 0, "nothing is left");
    import(&format!("f 644 box.json {}", about("a"))).refused(&["reads the files of this machine", "--yes"]);
    // links stay links, and folders that are none are not taken
    let listing = format!("f 644 box.json {}\nl upper {}\nl home {mine}", about("a"), test.home().display());
    test.devbox(["import", "-", "--yes"]).stdin(tar(&listing)).output().ok();
    assert!(fs::symlink_metadata(boxes.join("a/upper")).unwrap().is_dir());
    assert!(fs::symlink_metadata(boxes.join("a/home")).unwrap().is_dir());
    assert_eq!(fs::read_to_string(&mine).unwrap(), "mine");
    test.devbox(["rm", "a"]).output().ok();
}

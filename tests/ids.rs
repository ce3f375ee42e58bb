//! Who one is in a box, and what that takes: `single` as me and as root, `full`.

use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::unistd::Uid;

use crate::harness::registry::Registry;
use crate::harness::{Image, Packing, Test, host};

const MAP: &str = "awk '{print $1, $2, $3}' /proc/self/uid_map; cat /proc/self/setgroups";

#[test]
fn single_as_me() {
    needs!(boxes, images);
    let test = Test::busybox();
    let me = Uid::current();
    test.sh(MAP).ok().prints(&format!("{me} {me} 1\ndeny"));
    test.sh("grep NoNewPrivs /proc/self/status | tr -d '\\t '").ok().prints("NoNewPrivs:1");
    if !me.is_root() {
        test.sh("grep CapEff /proc/self/status | tr -d '\\t '").ok().prints("CapEff:0000000000000000");
    }
}

#[test]
fn single_as_root() {
    needs!(boxes, images);
    let test = Test::busybox();
    let root = |script: &str| test.devbox(["run", "--root", "--", "sh", "-c", script]).output().ok();
    root(MAP).prints(&format!("0 {} 1\ndeny", Uid::current()));
    root("id -u; id -un; echo $HOME").prints("0\nroot\n/root");
    root("touch /x && chown 33:33 /x && chgrp 5 /x && echo taken").prints("taken");
    root("echo mine >by-root");
    assert_eq!(fs::metadata(test.project().join("by-root")).unwrap().uid(), Uid::current().as_raw());
    // The box's own mounts are not root's to change, or read-only ones would not stay so.
    root("mount -t tmpfs none /mnt 2>/dev/null || echo refused").prints("refused");
}

#[test]
fn root_by_sudo_needs_no_setuid_bit() {
    needs!(boxes, images);
    let test = Test::busybox();
    test.table(&[
        ("sudo is root", "sudo id -u", "0"),
        ("it passes arguments", "sudo sh -c 'echo \"$1\"' x 'a  b'", "a  b"),
        ("and exit codes", "sudo sh -c 'exit 7'; echo $?", "7"),
        ("chown is taken", "sudo touch /etc/x && sudo chown 1:1 /etc/x && echo ok", "ok"),
        ("files of root are mine", "sudo sh -c 'echo r >/etc/y'; cat /etc/y", "r"),
        ("environment and folder stay", "pwd >/tmp/a; sudo pwd | cmp - /tmp/a && echo same", "same"),
    ]);
}

#[test]
fn full_without_its_helpers_is_refused_before_anything_is_made() {
    needs!(boxes, images);
    let test = Test::busybox();
    for verb in [&["plan", "--ids", "full"][..], &["run", "--ids", "full", "--", "true"]] {
        test.devbox(verb).env("PATH", "/nowhere").output().refused(&[
            "ids `full` needs subordinate ids, and you have none or no helpers to map them",
            "hint: `devbox doctor` says what is missing",
        ]);
    }
    test.devbox(["ls", "-q"]).output().ok().prints("");
    test.devbox(["images", "-q"]).output().ok().prints("");
}

#[test]
fn full_has_the_whole_range() {
    needs!(boxes, images);
    if host::left_to_the_user() {
        return;
    }
    needs!(subids);
    let layer = "f 640:0:42 etc/shadow x\nf 644:1000:1000 home/app/mine x\nf 2755:0:43 usr/bin/wall x";
    let image = Image::busybox().layer(layer, Packing::Gzip);
    let reference = Registry::open().push("ids:full", &image);
    let test = Test::new();
    test.project_file(&format!(
        "image = \"{reference}\"\nname = \"demo\"\nids = \"full\"\nuser = \"root\"\n"
    ));
    test.table(&[
        ("two lines in the map", "wc -l </proc/self/uid_map", "2"),
        ("root is root", "id -u", "0"),
        (
            "owners of the image are kept",
            "stat -c %u:%g:%a /etc/shadow /home/app/mine /usr/bin/wall",
            "0:42:640\n1000:1000:644\n0:43:2755",
        ),
        ("chown is real", "touch /y && chown 33:34 /y && stat -c %u:%g /y", "33:34"),
        ("others can be become", "su app -c 'id -u' </dev/null", "1000"),
        ("and are kept out", "su app -c 'cat /etc/shadow' 2>/dev/null </dev/null || echo refused", "refused"),
        ("it lasts", "stat -c %u /y", "33"),
    ]);
    let layers = test.path("data/devbox/store/layers");
    let foreign = std::process::Command::new("find")
        .arg(layers)
        .args(["!", "-uid", &Uid::current().to_string()])
        .output();
    assert!(foreign.unwrap().stdout.is_empty(), "the store stays the caller's own");
    test.devbox(["rm", "demo"]).output().ok();
    assert!(!test.path("data/devbox/boxes/demo").exists(), "files of other owners are removed too");
}

#[test]
fn full_without_ranges_says_what_is_missing() {
    needs!(boxes, images);
    let test = Test::busybox();
    let toml = fs::read_to_string(test.project().join("devbox.toml")).unwrap();
    test.project_file(&format!("{toml}ids = \"full\"\n"));
    test.devbox(["run", "--", "true"]).env("PATH", "/nowhere").output().refused(&[
        "full",
        "subordinate",
        "devbox doctor",
    ]);
}

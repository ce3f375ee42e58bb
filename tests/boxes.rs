//! Boxes as things: list, inspect, stop, remove; the profile read again at each start.

use std::fs;

use crate::harness::{Running, Test};

fn held(test: &Test) -> Running {
    let session = test.devbox(["run", "--", "sh", "-c", "echo ready; cat"]).spawn();
    session.stdout.expect("ready\n");
    session
}

#[test]
fn ls_shows_state() {
    needs!(boxes, images);
    let test = Test::busybox();
    test.devbox(["ls", "--format", "json"]).output().ok().prints("[]");
    let session = held(&test);
    let listed = test.devbox(["ls", "--format", "json"]).output().ok().json();
    assert_eq!((&listed[0]["name"], &listed[0]["running"]), (&"demo".into(), &true.into()), "{listed}");
    test.devbox(["ls"]).output().ok().lists(&["demo", "running", "busybox:1"]);
    test.devbox(["list", "-q"]).output().ok().prints("demo");
    session.wait().ok();
    let listed = test.devbox(["ls", "--format", "json"]).output().ok().json();
    assert_eq!(listed[0]["running"], false, "{listed}");
}

#[test]
fn inspect_tells_all_about_one() {
    needs!(boxes, images);
    let test = Test::busybox();
    test.sh("true").ok();
    let seen = test.devbox(["inspect", "demo", "--format", "json"]).output().ok().json();
    let one = if seen.is_array() { &seen[0] } else { &seen };
    assert_eq!(one["name"], "demo", "{seen}");
    assert!(seen.to_string().contains("busybox:1") && seen.to_string().contains("sha256:"), "{seen}");
    test.devbox(["inspect", "nobody"]).output().refused(&["nobody"]);
}

#[test]
fn stop_ends_sessions_and_keeps_files() {
    needs!(boxes, images);
    let test = Test::busybox();
    test.sh("echo kept >/kept").ok();
    let mut session = held(&test);
    test.devbox(["stop", "demo"]).output().ok();
    assert!(session.ended(std::time::Duration::from_secs(5)).is_some());
    test.sh("cat /kept").ok().prints("kept");
    test.devbox(["stop", "demo"]).output().ok(); // already stopped is what was asked for
    test.devbox(["stop", "nobody"]).output().refused(&["nobody"]);
}

#[test]
fn rm_removes_and_spares_what_runs() {
    needs!(boxes, images);
    let test = Test::busybox();
    test.sh("mkdir -p /locked/in && chmod 0 /locked && echo x >/x").ok();
    let session = held(&test);
    test.devbox(["rm", "demo"]).output().refused(&["demo", "running", "devbox stop demo"]);
    test.devbox(["rm", "-f", "demo"]).output().ok();
    drop(session);
    assert!(!test.path("data/devbox/boxes/demo").exists());
    test.devbox(["ls", "--format", "json"]).output().ok().prints("[]");
    test.devbox(["rm", "demo"]).output().refused(&["demo"]);
    test.sh("test -e /x || echo fresh").ok().prints("fresh");
}

#[test]
fn rm_touches_nothing_but_the_box() {
    needs!(boxes, images);
    let test = Test::busybox();
    test.write("home/outside/file", "mine");
    let outside = test.home().join("outside");
    test.sh(&format!("ln -s {} /link; ln -s / ~/root; mkdir -p $(seq -s / 1 400)", outside.display())).ok();
    test.devbox(["rm", "demo"]).output().ok();
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "mine");
    assert!(test.project().join("devbox.toml").exists());
}

#[test]
fn a_changed_profile_applies_at_the_next_start() {
    needs!(boxes, images);
    let test = Test::busybox();
    let toml = fs::read_to_string(test.project().join("devbox.toml")).unwrap();
    test.sh("echo ${NEW-none}").ok().prints("none");
    let session = held(&test);
    let mount = "[[mounts]]\ntarget = \"/scratch\"\nmode = \"tmpfs\"\n";
    test.project_file(&format!("{toml}[env]\nNEW = \"there\"\n{mount}"));
    test.sh("ls -d /scratch 2>/dev/null").says(&["demo", "devbox stop demo"]);
    session.wait().ok();
    let after = test.sh("echo $NEW; ls -d /scratch").ok().prints("there\n/scratch");
    assert!(!after.stderr.contains("devbox stop"), "{after}");
}

#[test]
fn another_image_for_the_same_name_is_refused_with_the_way_out() {
    needs!(boxes, images);
    let test = Test::busybox();
    test.sh("true").ok();
    let toml = fs::read_to_string(test.project().join("devbox.toml")).unwrap();
    let other = crate::harness::registry::Registry::open().push("other:1", &crate::harness::Image::busybox());
    let reference = toml.split('"').nth(1).unwrap().to_owned();
    test.project_file(&toml.replace(&reference, &other));
    let said = test.sh("true");
    assert!(said.stderr.contains("demo") && said.stderr.contains("other:1"), "{said}");
}

#[test]
fn names_that_are_paths_are_refused() {
    let test = Test::new();
    for verb in ["rm", "stop", "inspect", "enter"] {
        for name in ["a/b", "..", ".", "../../x", "", "-", "a\nb", ".hidden", "x\u{1b}"] {
            let said = test.devbox([verb, "--", name]).output().fails(125).says(&["error: "]);
            assert!(!said.stderr.contains('\u{1b}'), "{said}");
        }
    }
}

//! Boxes for untrusted code: what they keep from it, seen from inside by the program in `tests/probes`.

use std::fs;

use nix::sys::signal::Signal;

use crate::harness::{Test, host, probes, within};

/// A test, and what mounts the probes into its boxes.
fn prepared() -> (Test, String) {
    let test = Test::busybox();
    let volume = format!("{}:/probe:ro", probes::build(&test.path("")).display());
    (test, volume)
}

#[test]
fn all_probes_pass_in_an_untrusted_box() {
    needs!(boxes, images, compiler);
    let (test, volume) = prepared();
    let run = |command: &[&str]| {
        let call = test.devbox([&["run", "--untrusted", "-v", &volume, "--"], command].concat());
        call.env("PROBE_SECRET", "s3cret").env("SSH_AUTH_SOCK", "/s3cret").output()
    };
    let first = run(&["/probe"]).ok();
    assert!(first.text().lines().count() > 40, "{first}");
    let held =
        test.devbox(["run", "--untrusted", "-v", &volume, "--", "sh", "-c", "echo ready; cat"]).spawn();
    held.stdout.expect("ready\n");
    run(&["/probe"]).ok();
    run(&["sh", "-c", "ls /run/devbox/bin; type sudo"]).fails(127);
}

/// A probe that passes everywhere shows nothing.
#[test]
fn each_probe_can_fail() {
    needs!(boxes, images, compiler);
    let (test, volume) = prepared();
    let seen = test.devbox(["run", "-v", &volume, "--", "/probe"]).output();
    for name in [
        "kernel-settings",
        "masked-files",
        "capabilities",
        "memory-score",
        "netlink",
        "keyring",
        "personality",
        "namespaces",
        "clone-namespaces",
        "joining",
        "mounts",
        "tiocsti",
        "tiocsti-high",
        "tioclinux",
    ] {
        assert!(seen.text().contains(&format!("fail {name}: ")), "{name} passes without protection: {seen}");
    }
    for name in ["descriptors", "executables", "init-memory", "init-environment", "no-new-privileges", "work"]
    {
        assert!(seen.text().contains(&format!("pass {name}\n")), "{name} holds in every box: {seen}");
    }
}

/// Landlock, where the kernel has it: and what was given can be opened again, as it was given.
#[test]
fn the_second_wall_stands() {
    needs!(boxes, images, compiler);
    let (test, volume) = prepared();
    let run =
        |command: &[&str]| test.devbox([&["run", "--untrusted", "-v", &volume, "--"], command].concat());
    let output = fs::File::create(test.path("output")).unwrap();
    let mut call = run(&["sh", "-c", "echo first >/dev/stdout; echo second; cat /dev/stdin"]).command;
    let input = test.write("input", "third\n");
    let append = fs::OpenOptions::new().append(true).open(test.path("output")).unwrap();
    drop(output);
    let status = call.stdin(fs::File::open(&input).unwrap()).stdout(append).status().unwrap();
    assert!(status.success());
    assert_eq!(fs::read_to_string(test.path("output")).unwrap(), "first\nsecond\nthird\n");
    let inspected = test.devbox(["inspect", "demo-untrusted", "--format", "json"]).output().ok().json();
    if inspected["landlock"].is_null() {
        return;
    }
    let mut call = run(&["/probe", "second-wall"]).command;
    let seen = call.stdin(fs::File::open(&input).unwrap()).output().unwrap();
    assert!(seen.status.success(), "{}", String::from_utf8_lossy(&seen.stdout));
    // without it, as on an older kernel: the box starts, and the probe finds the gap
    let mut call = run(&["/probe", "second-wall"]).without(&[libc::SYS_landlock_create_ruleset]).command;
    let seen = call.stdin(fs::File::open(&input).unwrap()).output().unwrap();
    assert!(
        String::from_utf8_lossy(&seen.stdout).contains("writing to what was given for reading"),
        "{seen:?}"
    );
}

#[test]
fn the_project_is_not_changed() {
    needs!(boxes, images);
    let test = Test::busybox();
    test.write("home/work/kept", "before");
    let run = |script: &str| test.devbox(["run", "--untrusted", "--", "sh", "-c", script]).output();
    let said = run("echo after >kept; rm devbox.toml; mkdir .git; ls -A").ok();
    said.prints(".git\nkept").says(&["stays in the box"]);
    run("cat kept").ok().prints("after");
    assert_eq!(fs::read_to_string(test.project().join("kept")).unwrap(), "before");
    assert!(!test.project().join(".git").exists());
    // the box for one's own work is another
    test.sh("cat kept").ok().prints("before");
}

#[test]
fn what_is_refused_is_named() {
    needs!(boxes, images);
    let test = Test::busybox();
    let run = |flags: &[&str], script: &str| {
        test.devbox([&["run"], flags, &["--", "sh", "-c", script]].concat()).output()
    };
    let why = || test.devbox(["why", "--format", "json"]).output().ok().json();
    assert!(!run(&["--untrusted"], "true").ok().stderr.contains("refused"));
    assert_eq!(why().as_array().unwrap().len(), 0);

    // every session has a watcher, and each thing is told once
    let script = "mount -t tmpfs none /mnt; mount -t tmpfs none /mnt; unshare -U true; exit 3";
    run(&["--untrusted"], script).fails(3).says(&["mount(2) and 1 more", "devbox why demo-untrusted"]);
    let refused = why();
    assert_eq!(refused.as_array().unwrap().len(), 2, "{refused}");
    assert_eq!(refused[0]["what"], "mount(2)");
    assert_eq!(refused[1]["what"], "unshare(2) of a new user namespace");
    assert!(refused[0]["remedy"].as_str().unwrap().contains("isolation = \"dev\""), "{refused}");
    test.devbox(["why"]).output().ok().lists(&["mount(2): refused", "to allow it: "]);
    test.devbox(["logs", "demo-untrusted"]).output().ok().lists(&["mount(2)"]);
    assert_eq!(test.devbox(["logs", "-q"]).output().ok().text().lines().count(), 2);

    test.write("home/.npmrc", "token");
    let seen = |path: &str| test.devbox(["why", "--path", path]).output().ok().text();
    assert!(seen("../.npmrc").contains("home/.npmrc: not in the box\n  why: the box has a home of its own"));
    assert!(seen("devbox.toml").contains("devbox.toml: in the box\n"), "{}", seen("devbox.toml"));

    // a box of one's own is not watched
    assert!(!run(&[], "mount -t tmpfs none /mnt; true").ok().stderr.contains("refused"));
    test.devbox(["logs", "nobody"]).output().refused(&["`nobody`"]);
}

#[test]
fn a_box_keeps_its_isolation() {
    needs!(boxes, images);
    let test = Test::busybox();
    test.sh("true").ok();
    test.devbox(["run", "--untrusted", "--", "true"]).output().ok();
    let boxes = test.devbox(["ls", "-q"]).output().ok();
    assert_eq!(boxes.text(), "demo\ndemo-untrusted\n");
    test.devbox(["run", "--untrusted", "demo", "--", "true"])
        .output()
        .refused(&["`demo`", "`dev`", "--name"]);
    test.devbox(["run", "--isolation", "dev", "demo-untrusted", "--", "true"]).output().refused(&[
        "`demo-untrusted`",
        "`untrusted`",
        "--isolation untrusted",
    ]);
    // its name alone enters it as what it is
    test.devbox(["run", "demo-untrusted", "--", "grep", "Seccomp:", "/proc/self/status"])
        .output()
        .ok()
        .prints("Seccomp:\t2");
    // a copy takes helpers that do not work where calls are hidden
    if host::hides() {
        return;
    }
    test.devbox(["clone", "demo-untrusted", "copy"]).output().ok();
    test.devbox(["run", "--isolation", "dev", "copy", "--", "true"]).output().refused(&["`untrusted`"]);
    assert_eq!(
        test.devbox(["inspect", "copy", "--format", "json"]).output().ok().json()["isolation"],
        "untrusted"
    );
}

#[test]
fn wishes_that_weaken_it_are_refused() {
    let test = Test::new();
    test.project_file("image = \"registry.invalid/never:1\"\nisolation = \"untrusted\"\n");
    for (flags, words) in [
        (&["--network", "host"][..], "network `host`"),
        (&["--home", "host"], "home `host`"),
        (&["--root"], "user `root`"),
        (&["--ids", "full"], "user `root`"),
        (&["--image", "host"], "image `host`"),
    ] {
        test.devbox([&["run", "--untrusted"], flags, &["--", "true"]].concat())
            .output()
            .refused(&[words, "untrusted"]);
    }
    let plan = test.devbox(["plan", "--format", "json"]).output().ok().json();
    assert_eq!((&plan["network"], &plan["isolation"]), (&"none".into(), &"untrusted".into()), "{plan}");
}

/// What can't be had is not done without.
#[test]
fn without_filters_it_does_not_start() {
    needs!(boxes, images);
    let test = Test::busybox();
    let run = |flag: &str| {
        let call = test.devbox(["run", "--isolation", flag, "--", "sh", "-c", "echo ran"]);
        call.without(&[libc::SYS_seccomp]).output()
    };
    // root's own sessions need another filter
    if !nix::unistd::Uid::current().is_root() {
        run("dev").ok().prints("ran");
    }
    run("untrusted").refused(&["system-call filters", "--isolation dev"]);
}

#[test]
fn caches_are_its_own() {
    needs!(boxes, images);
    let test = Test::busybox();
    test.project_file(&format!(
        "{}[[mounts]]\nsource = \"shared\"\ntarget = \"/cache\"\nmode = \"cache\"\n",
        fs::read_to_string(test.project().join("devbox.toml")).unwrap()
    ));
    test.sh("echo mine >/cache/file").ok();
    let untrusted = |script: &str| test.devbox(["run", "--untrusted", "--", "sh", "-c", script]).output();
    untrusted("ls -A /cache; echo theirs >/cache/file").ok().prints("");
    untrusted("cat /cache/file").ok().prints("theirs");
    test.sh("cat /cache/file").ok().prints("mine");
}

#[test]
fn killing_devbox_ends_it() {
    needs!(boxes, images);
    let test = Test::busybox();
    let marker = format!("7{}", std::process::id());
    let script = format!("setsid sleep {marker} & echo ready; sleep {marker}");
    let session = test.devbox(["run", "--untrusted", "--", "sh", "-c", &script]).spawn();
    session.stdout.expect("ready\n");
    session.signal(Signal::SIGKILL);
    assert!(within(2, || host::processes(&marker).is_empty()), "left: {:?}", host::processes(&marker));
}

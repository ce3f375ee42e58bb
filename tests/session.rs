//! Sessions: join, exit codes, signals, pipes, orphans, the end of a box.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{Running, Test, host, within};

/// A session that says `ready` and lives until its input ends.
fn held(test: &Test) -> Running {
    let session = test.devbox(["run", "--", "sh", "-c", "echo ready; cat"]).spawn();
    session.stdout.expect("ready\n");
    session
}

#[test]
fn a_second_session_joins() {
    needs!(boxes, images);
    let test = Test::busybox();
    let first = held(&test);
    test.sh("touch /tmp/seen; until grep -q ^cat$ /proc/[0-9]*/comm; do usleep 1000; done; echo together")
        .ok()
        .prints("together");
    test.devbox(["run", "--", "ls", "/tmp"]).output().ok().prints("seen");
    first.wait().ok();
    test.devbox(["run", "--", "ls", "/tmp"]).output().ok().prints(""); // a new start, a new /tmp
}

#[test]
fn enters_at_once_make_one_box() {
    needs!(boxes, images);
    let test = Test::busybox();
    let script = "readlink /proc/self/ns/pid; echo ready; cat";
    let crowd: Vec<_> = (0..6).map(|_| test.devbox(["run", "--", "sh", "-c", script]).spawn()).collect();
    let places: Vec<_> = crowd.iter().map(|one| one.stdout.expect("ready\n")).collect();
    assert!(places.iter().all(|place| *place == places[0]), "{places:?}");
    for one in crowd {
        one.wait().ok();
    }
}

#[test]
fn exit_codes_pass_through() {
    needs!(boxes, images);
    let test = Test::busybox();
    let _box = held(&test);
    for code in [0, 1, 2, 42, 63, 64, 124, 125, 126, 127, 128, 129, 200, 254, 255] {
        test.sh(&format!("exit {code}")).fails(code);
    }
    for signal in [Signal::SIGTERM, Signal::SIGKILL, Signal::SIGSEGV, Signal::SIGINT, Signal::SIGUSR1] {
        test.sh(&format!("kill -{} $$", signal as i32)).fails(128 + signal as i32);
    }
    for (command, code) in
        [("no-such-command", 127), ("/no/such/path", 127), ("/etc/passwd", 126), ("/etc", 126)]
    {
        test.devbox(["run", "--", command]).output().fails(code).says(&["error: ", command]);
    }
}

#[test]
fn the_first_session_has_the_same_exit_codes() {
    needs!(boxes, images);
    let test = Test::busybox();
    for (command, code) in [("exit 0", 0), ("exit 42", 42), ("exit 255", 255), ("kill -9 $$", 137)] {
        test.sh(command).fails(code);
    }
    for (command, code) in [("no-such-command", 127), ("/etc/passwd", 126)] {
        test.devbox(["run", "--", command]).output().fails(code).says(&["error: ", command]);
    }
}

#[test]
fn pipes_carry_any_bytes() {
    needs!(boxes, images);
    let test = Test::busybox();
    let mut state = 1_u32;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(1 << 20)
    .collect();
    for _first_then_again in 0..2 {
        let out = test.devbox(["run", "--", "cat"]).stdin(bytes.clone()).output().ok();
        assert!(out.stdout == bytes, "{} bytes came back", out.stdout.len());
    }
    let both = test.sh("echo out; echo err >&2").ok().prints("out");
    assert_eq!(both.stderr, "err\n");
    test.devbox(["run", "--", "head", "-c", "1"]).stdin(vec![b'x'; 1 << 20]).output().ok().prints("x");
}

#[test]
fn signals_are_forwarded() {
    needs!(boxes, images);
    let test = Test::busybox();
    for signal in
        [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGQUIT]
    {
        let name = signal.as_str().trim_start_matches("SIG");
        let script =
            format!("trap 'echo got {name}; exit 7' {name}; echo ready; while :; do sleep 1 & wait $!; done");
        let session = test.devbox(["run", "--", "sh", "-c", &script]).spawn();
        session.stdout.expect("ready\n");
        session.signal(signal);
        session.stdout.expect(&format!("got {name}"));
        session.wait().fails(7);
    }
    let session = test.devbox(["run", "--", "sh", "-c", "echo ready; sleep 100"]).spawn();
    session.stdout.expect("ready\n");
    session.signal(Signal::SIGTERM);
    session.wait().fails(143);
}

#[test]
fn orphans_are_reaped() {
    needs!(boxes, images);
    let script = "for i in 1 2 3 4 5 6 7 8; do (sh -c 'exit 0' &); done; n=0
        while grep -q '^State:.Z' /proc/[0-9]*/status 2>/dev/null && [ $n -lt 200 ]; do n=$((n+1)); usleep 20000; done
        [ $n -lt 200 ] && echo reaped";
    Test::busybox().sh(script).ok().prints("reaped");
}

#[test]
fn a_box_ends_with_its_last_session() {
    needs!(boxes, images);
    let test = Test::busybox();
    let marker = format!("7{}", std::process::id());
    let first = held(&test);
    let daemon = format!("setsid sh -c 'echo >/tmp/up; exec sleep {marker}' >/dev/null 2>&1 &");
    test.sh(&format!("{daemon} until [ -e /tmp/up ]; do usleep 1000; done")).ok();
    assert!(within(5, || host::processes(&marker).len() == 1), "a daemon lives while another session does");
    first.wait().ok();
    assert!(within(5, || host::processes(&marker).is_empty()), "and ends with the box");
    assert!(!host::mounted_below(&test.path("")));
}

#[test]
fn killing_devbox_ends_everything() {
    needs!(boxes, images);
    let test = Test::busybox();
    let marker = format!("8{}", std::process::id());
    let script = format!("sleep {marker} & setsid sleep {marker} & echo ready; sleep {marker}");
    let session = test.devbox(["run", "--", "sh", "-c", &script]).spawn();
    session.stdout.expect("ready\n");
    assert!(!host::processes(&marker).is_empty());
    session.signal(Signal::SIGKILL);
    assert!(within(2, || host::processes(&marker).is_empty()), "left: {:?}", host::processes(&marker));
    assert!(!host::mounted_below(&test.path("")));
    test.sh("echo again").ok().prints("again");
}

#[test]
fn killing_one_session_spares_the_other() {
    needs!(boxes, images);
    let test = Test::busybox();
    let first = held(&test);
    let marker = format!("9{}", std::process::id());
    let second = test.devbox(["run", "--", "sh", "-c", &format!("echo ready; sleep {marker}")]).spawn();
    second.stdout.expect("ready\n");
    second.signal(Signal::SIGKILL);
    assert!(within(5, || host::processes(&marker).is_empty()), "a session ends with its client");
    test.sh("grep -q ^cat$ /proc/[0-9]*/comm && echo alive").ok().prints("alive");
    first.wait().ok();
}

#[test]
fn throw_away_boxes_leave_nothing() {
    needs!(boxes, images);
    let test = Test::busybox();
    let toml = fs::read_to_string(test.project().join("devbox.toml")).unwrap();
    let reference = toml.split('"').nth(1).unwrap();
    fs::remove_file(test.project().join("devbox.toml")).unwrap();
    let run = ["run", "--rm", "--image", reference, "--"];
    test.devbox([&run[..], &["sh", "-c", "ls /; touch /x; exit 3"]].concat())
        .output()
        .fails(3)
        .prints("bin\ndev\netc\nhome\nmnt\nproc\nroot\nrun\nsbin\nsrv\nsys\ntmp\nusr\nvar");
    test.devbox(["ls", "--format", "json"]).output().ok().prints("[]");
    let boxes = test.path("data/devbox/boxes");
    let gone = || {
        fs::read_dir(&boxes)
            .map_or(true, |left| left.flatten().all(|entry| entry.file_name().as_encoded_bytes()[0] == b'.'))
    };
    assert!(within(5, gone));
    let mut killed = test.devbox([&run[..], &["sh", "-c", "echo ready; cat"]].concat()).spawn();
    killed.stdout.expect("ready\n");
    killed.signal(Signal::SIGKILL);
    killed.ended(Duration::from_secs(5));
    test.devbox([&run[..], &["true"]].concat()).output().ok();
}

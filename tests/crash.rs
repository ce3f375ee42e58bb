//! SIGKILL at any instant of a start: the next command works.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{Test, host, within};

#[test]
fn a_killed_start_leaves_a_usable_box() {
    needs!(boxes, images);
    let test = Test::busybox();
    let marker = format!("5{}", std::process::id());
    for step in 0..24 {
        let mut start = test.devbox(["run", "--", "sleep", &marker]).spawn();
        // A point in time is the very thing tried here: each step is a little later in the start.
        std::thread::sleep(Duration::from_micros(step * 500));
        start.signal(Signal::SIGKILL);
        assert!(start.ended(Duration::from_secs(5)).is_some());
        assert!(within(5, || host::processes(&marker).is_empty()), "step {step}: something still runs");
        test.sh("echo fine").ok().prints("fine");
    }
    assert!(!host::mounted_below(&test.path("")));
}

#[test]
fn a_killed_rm_can_be_done_again() {
    needs!(boxes, images);
    let test = Test::busybox();
    for step in 0..8 {
        test.sh("for i in $(seq 300); do mkdir -p /many/$i; echo x >/many/$i/f; done; chmod 0 /many").ok();
        let mut rm = test.devbox(["rm", "demo"]).spawn();
        std::thread::sleep(Duration::from_millis(step));
        if rm.ended(Duration::ZERO).is_none() {
            rm.signal(Signal::SIGKILL);
        }
        rm.ended(Duration::from_secs(5));
        let again = test.devbox(["rm", "demo"]).output();
        assert!(again.code == 0 || again.stderr.contains("no box"), "{again}");
        test.devbox(["ls", "--format", "json"]).output().ok().prints("[]");
    }
}

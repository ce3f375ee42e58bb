//! A start is cheap: system calls of devbox's own until the command runs, counted by strace.

use std::fs;

use crate::harness::Test;

/// What a start makes today, with some room for the depth of the folders it runs in. Half of it is the mounts
/// themselves: `/dev` alone takes 33, each bind three. The number only keeps it from growing unseen.
const BUDGET: usize = 270;

#[test]
fn a_cold_start_stays_in_its_budget() {
    needs!(boxes, images, strace);
    let test = Test::busybox();
    test.sh("true").ok();
    let log = test.path("strace");
    let wrapper = ["strace", "-f", "-qq", "-o", log.to_str().unwrap()];
    test.under(wrapper, ["run", "--", "/bin/true"]).output().ok();

    let log = fs::read_to_string(&log).unwrap();
    let calls: Vec<_> = log.lines().filter_map(call).collect();
    let goal =
        calls.iter().position(|call| call.starts_with("execve(\"/bin/true\"")).expect("the command ran");
    // Ours begin where the loader ends: with the look at the standard descriptors.
    let begin = calls.iter().position(|call| call.starts_with("poll([{fd=0")).expect("`main` is ours");
    let own = &calls[begin..goal];
    let count = |part: &str| own.iter().filter(|call| call.contains(part)).count();

    let execs: Vec<_> = own.iter().filter(|call| call.starts_with("execve(")).collect();
    assert!(execs.is_empty(), "no helper process in `single` mode: {execs:?}");
    assert_eq!(count("sync("), 0, "nothing is waited for to reach the disk");
    // A debug build asks whether a descriptor is open before each close, and counts its threads before each
    // clone (five calls, two of them getdents64).
    let debug = if cfg!(debug_assertions) { count("F_GETFD") + count("getdents64(") / 2 * 5 } else { 0 };
    let cost = own.len() - debug;
    assert!(cost <= BUDGET, "{cost} system calls, {BUDGET} allowed:\n{}", own.join("\n"));
}

/// The call that a line of the log starts, if it starts one.
fn call(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once(' ')?;
    let rest = rest.trim_start();
    rest.starts_with(|letter: char| letter.is_ascii_lowercase() || letter == '_').then_some(rest)
}

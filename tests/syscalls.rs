//! A start is cheap: system calls of devbox's own until the command runs, counted by strace.

use std::fs;

use crate::harness::Test;

const BUDGET: usize = 90;

#[test]
fn a_cold_start_stays_in_its_budget() {
    needs!(boxes, images, strace);
    let test = Test::busybox();
    test.sh("true").ok();
    let log = test.path("strace");
    let wrapper = ["strace", "-f", "-qq", "-o", log.to_str().unwrap()];
    test.under(wrapper, ["run", "--", "/bin/true"]).output().ok();

    let log = fs::read_to_string(&log).unwrap();
    let started: Vec<_> = log.lines().filter_map(call).collect();
    let goal =
        started.iter().position(|call| call.starts_with("execve(\"/bin/true\"")).expect("the command ran");
    let own = &started[1..goal]; // the first is strace starting devbox
    let execs: Vec<_> = own
        .iter()
        .filter(|call| {
            call.starts_with("exec") && !call.contains("/proc/self/fd/") && !call.starts_with("execveat(")
        })
        .collect();
    assert!(execs.is_empty(), "no helper process in `single` mode: {execs:?}");
    assert!(
        !own.iter().any(|call| call.starts_with("fsync(") || call.starts_with("getdents64(")),
        "no fsync, no folder is read"
    );
    assert!(own.len() <= BUDGET, "{} system calls, {BUDGET} allowed:\n{}", own.len(), own.join("\n"));
    eprintln!("{} system calls until the command runs", own.len());
}

/// The call that a line of the log starts, if it starts one.
fn call(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once(' ')?;
    let rest = rest.trim_start();
    rest.starts_with(|letter: char| letter.is_ascii_lowercase() || letter == '_').then_some(rest)
}

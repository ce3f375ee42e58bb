//! Arguments, help, exit codes of our own.

use crate::harness::Test;

/// The verbs that this version has.
pub const VERBS: &[&str] = &[
    "enter",
    "run",
    "ls",
    "rm",
    "stop",
    "inspect",
    "logs",
    "why",
    "diff",
    "apply",
    "discard",
    "update",
    "commit",
    "snapshot",
    "snapshots",
    "rollback",
    "clone",
    "reset",
    "rename",
    "export",
    "import",
    "init",
    "plan",
    "trust",
    "config",
    "untrust",
    "profiles",
    "pull",
    "images",
    "load",
    "save",
    "push",
    "tag",
    "rmi",
    "login",
    "logout",
    "prune",
    "df",
    "dedupe",
    "verify",
    "doctor",
    "hook",
    "completions",
];

#[test]
fn help_names_every_verb() {
    let test = Test::new();
    test.devbox(["--help"]).output().ok().lists(VERBS);
    for verb in VERBS {
        let help = test.devbox([verb, "--help"]).output().ok();
        assert!(help.text().lines().count() > 5, "{verb}: {help}");
        assert!(help.stderr.is_empty(), "{verb}: {help}");
    }
}

#[test]
fn version_is_one_line() {
    let version = format!("devbox {}", env!("CARGO_PKG_VERSION"));
    let said = Test::new().devbox(["--version"]).output().ok();
    assert!(said.text().starts_with(&version) && said.text().lines().count() == 1, "{said}");
}

#[test]
fn wrong_usage_is_125_and_says_what() {
    let test = Test::new();
    for (args, part) in [
        (&["entre"][..], "enter"),
        (&["run", "--imgae", "x"], "--image"),
        (&["pull"], "pull"),
        (&["ls", "--format", "yaml"], "json"),
        (&["completions", "csh"], "bash"),
    ] {
        let said = test.devbox(args).output().fails(125).says(&[part]);
        assert!(said.stdout.is_empty(), "{said}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let test = Test::new();
    let said =
        test.under(["sh", "-c", "\"$0\" --help | head -1 >/dev/null; \"$0\" profiles | true"], []).output();
    said.ok().says(&[]);
}

#[test]
fn no_home_is_said() {
    let test = Test::new();
    let said = test
        .devbox(["images"])
        .env("HOME", "/nonexistent/home")
        .env("XDG_DATA_HOME", "/proc/nowhere")
        .output();
    said.fails(125).says(&["error: "]);
}

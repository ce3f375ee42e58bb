//! Arguments, help, exit codes of our own.

use std::fs;

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
    "lock",
    "outdated",
    "setup",
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
    "man",
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

/// Each line on standard error as `--log-format json` writes it.
fn log(said: &crate::harness::Outcome) -> Vec<serde_json::Value> {
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    said.stderr.lines().map(line).collect()
}

#[test]
fn programs_can_read_what_is_said() {
    let test = Test::new();
    let json = ["--log-format", "json"];
    for (args, code) in [
        (&["inspect", "none"][..], 125),
        (&["nonsense"], 125),
        (&["run", "--imgae", "x"], 125),
        (&["plan", "--image", "Not A Reference"], 125),
    ] {
        let said = test.devbox([args, &json].concat()).output().fails(code);
        let lines = log(&said);
        let error = lines.last().unwrap();
        assert_eq!(error["level"], "error", "{said}");
        assert!(error["time"].as_str().unwrap().ends_with('Z'), "{said}");
        assert!(error["message"].as_str().is_some_and(|text| !text.starts_with("error")), "{said}");
        assert!(error["causes"].is_array() && error.get("hint").is_some(), "{said}");
        assert_eq!(error["exit-code"], code, "{said}");
        assert!(said.stdout.is_empty());
    }
    test.project_file("imgae = 1\n");
    let said = test.devbox([&["plan"][..], &json].concat()).output().fails(125);
    let error = &log(&said)[0];
    assert!(error["message"].as_str().unwrap().contains("unknown key `imgae`"), "{said}");
    assert_eq!(error["hint"], "did you mean `image`?", "{said}");
}

#[test]
fn progress_and_notes_are_lines_of_json_too() {
    needs!(boxes, images);
    let test = Test::busybox();
    let json = ["--log-format", "json"];
    let said = test.devbox([&["run", "--verbose"][..], &json, &["--", "true"]].concat()).output().ok();
    let lines = log(&said);
    for level in ["progress", "detail", "step"] {
        assert!(lines.iter().any(|line| line["level"] == level), "{level}: {said}");
    }
    let steps = lines.iter().filter(|line| line["level"] == "step");
    assert!(steps.clone().all(|step| step["milliseconds"].is_f64()), "{said}");
    // no terminal, no question
    test.project_file("image = \"host\"\nhome = \"host\"\n");
    let said = test.devbox([&["run"][..], &json, &["--", "true"]].concat()).output().fails(125);
    assert_eq!(log(&said).last().unwrap()["level"], "error");
}

#[test]
fn where_the_time_goes() {
    needs!(boxes, images);
    let test = Test::busybox();
    test.sh("true").ok();
    for args in [&["-v", "run", "--", "true"][..], &["run", "--verbose", "--", "true"]] {
        let said = test.devbox(args).output().ok().says(&[
            "ms  profile\n",
            "ms  plan\n",
            "ms  launch\n",
            "ms  all\n",
        ]);
        assert!(said.stderr.contains("  image") && said.stderr.contains("busybox:1"), "the plan: {said}");
    }
    let said = test.devbox(["run", "--", "true"]).output().ok();
    assert!(said.stderr.is_empty(), "{said}");
    // after these verbs it is a volume
    test.devbox(["run", "-v", "/etc:/mnt:ro", "--", "test", "-e", "/mnt/passwd"]).output().ok();
    test.devbox(["-q", "-v", "ls"]).output().fails(125);
}

#[test]
fn names_that_are_near_are_suggested() {
    let test = Test::new();
    for name in ["app", "web"] {
        fs::create_dir_all(test.path(&format!("data/devbox/boxes/{name}/snapshots/before"))).unwrap();
    }
    test.project_file("image = \"host\"\nname = \"web\"\n");
    for (line, near) in [
        ("inspect ap", "did you mean `app`?"),
        ("stop wbe", "did you mean `web`?"),
        ("logs wbe", "did you mean `web`?"),
        ("diff wbe", "did you mean `web`?"),
        ("clone wbe x", "did you mean `web`?"),
        ("enter ap", "did you mean `app`?"),
        ("run ap true", "did you mean `app`?; to run it as a command: `devbox run -- ap`"),
        ("plan rust-evn", "did you mean `rust-env`?"),
        ("plan --network hots", "did you mean `host`?"),
        ("plan --ids ful", "did you mean `full`?"),
        ("plan --limit memroy=1G", "did you mean `memory`?"),
        ("imgaes", "'images'"),
        ("images --fromat json", "'--format'"),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        test.devbox(&words).output().fails(125).says(&[near]);
    }
    let said = test.devbox(["inspect", "quite-another"]).output().fails(125).says(&["devbox ls"]);
    assert!(!said.stderr.contains("did you mean"), "{said}");
}

#[test]
fn images_and_snapshots_that_are_near_are_suggested() {
    needs!(boxes, images);
    let test = Test::busybox();
    test.sh("true").ok();
    test.devbox(["snapshot", "demo", "before-upgrade"]).output().ok();
    test.devbox(["rollback", "demo", "before-upgrad"])
        .output()
        .fails(125)
        .says(&["did you mean `before-upgrade`?"]);
    test.devbox(["save", "bsybox:1", "-o", "x.tar"])
        .output()
        .fails(125)
        .says(&["did you mean `", "/busybox:1`?"]);
    test.devbox(["rmi", "busybxo:1"]).output().fails(125).says(&["did you mean `", "/busybox:1`?"]);
}

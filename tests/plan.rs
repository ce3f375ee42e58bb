//! `devbox plan`: says what would be done, and does nothing.

use std::fs;

use crate::harness::Test;
use crate::harness::pty::Pty;

#[test]
fn nothing_is_made_or_fetched() {
    let test = Test::new();
    test.project_file("image = \"registry.invalid/never:1\"\n");
    test.devbox(["plan"]).output().ok().lists(&["registry.invalid/never:1", "work"]);
    for folder in ["data", "cache", "run"] {
        let left: Vec<_> =
            fs::read_dir(test.path(folder)).unwrap().flatten().map(|entry| entry.path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn json_names_what_decides() {
    let test = Test::new();
    test.project_file(
        "image = \"debian\"\nname = \"demo\"\n[[mounts]]\ntarget = \"/scratch\"\nmode = \"tmpfs\"\n",
    );
    let plan = test.devbox(["plan", "--format", "json"]).output().ok().json();
    for (key, value) in [
        ("name", "demo".into()),
        ("user", "me".into()),
        ("home", "private".into()),
        ("hostname", "demo".into()),
        ("project", test.project().display().to_string()),
    ] {
        assert_eq!(plan[key], *value, "{key} in {plan}");
    }
    assert_eq!(plan["image"]["registry"], "docker.io/library/debian:latest", "{plan}");
    assert_eq!(plan["mounts"][0]["mode"], "tmpfs", "{plan}");
}

#[test]
fn values_from_the_host_are_not_printed() {
    let test = Test::new();
    test.profile("secretive", "image = \"host\"\n[env-from-host]\nnames = [\"TOKEN\"]\n");
    for args in [&["plan", "secretive"][..], &["plan", "secretive", "--format", "json"]] {
        let plan = test.devbox(args).env("TOKEN", "s3cret").output().ok().lists(&["TOKEN"]);
        assert!(!plan.text().contains("s3cret"), "{plan}");
    }
}

#[test]
fn neither_root_nor_home_is_a_project() {
    let test = Test::new();
    for folder in ["/".into(), test.home()] {
        let plan = test.devbox(["plan", "--format", "json", "host"]).cwd(&folder).output().ok().json();
        assert!(plan["project"].is_null() && plan["no-project-because"].is_string(), "{plan}");
    }
}

#[test]
fn a_terminal_gets_a_tree_and_a_pipe_a_table() {
    let test = Test::new();
    test.project_file("image = \"debian\"\nname = \"demo\"\n");
    let table = test.devbox(["plan"]).output().ok();
    assert!(
        table.text().starts_with("box        demo\nimage      docker.io/library/debian:latest\n"),
        "{table}"
    );
    let mut pty = Pty::spawn(&test.devbox(["plan"]));
    pty.wait();
    let screen = pty.screen.expect("profile");
    assert!(screen.contains("├─ root\r\n│  ├─ image "), "{screen}");
    let mut pty = Pty::spawn(&test.devbox(["plan"]).env("LC_ALL", "C").env("NO_COLOR", "1"));
    pty.wait();
    let screen = pty.screen.expect("profile");
    assert!(screen.starts_with("box demo\r\n|- root\r\n|  |- image ") && screen.is_ascii(), "{screen}");
    let mut pty = Pty::spawn(&test.devbox(["plan"]).env("TERM", "dumb"));
    pty.wait();
    assert!(pty.screen.expect("profile").starts_with("box        demo"));
}

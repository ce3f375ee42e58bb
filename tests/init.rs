//! `devbox init`: a profile for the project in a folder, which loads, and never takes the place of anything.

use std::fs;
use std::os::unix::fs::symlink;

use crate::harness::{Outcome, Test};

fn image(plan: &Outcome) -> String {
    plan.json()["image"]["registry"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn what_is_written_loads() {
    for (file, text, expected) in [
        ("Cargo.toml", "[package]\nname = \"a\"\n", "docker.io/library/rust:1"),
        (
            "rust-toolchain.toml",
            "[toolchain]\nchannel = \"1.85\"\ncomponents = [\"clippy\"]\n",
            "docker.io/library/rust:1.85",
        ),
        (
            "package.json",
            "{\"engines\":{\"node\":\"22.x\"},\"packageManager\":\"pnpm@9.1.0\"}",
            "docker.io/library/node:22",
        ),
        ("pyproject.toml", "[project]\nrequires-python = \"==3.12.*\"\n", "docker.io/library/python:3.12"),
        ("go.mod", "module a\n\ngo 1.22\n", "docker.io/library/golang:1.22"),
        ("CMakeLists.txt", "project(a)\n", "docker.io/library/debian:bookworm"),
        ("notes.txt", "nothing\n", "docker.io/library/debian:bookworm"),
    ] {
        let test = Test::new();
        fs::write(test.project().join(file), text).unwrap();
        let path = test.project().join("devbox.toml");
        let said = test.devbox(["init"]).output().ok().says(&["note: the profile ", ", for "]);
        assert_eq!(said.text(), format!("{}\n", path.display()), "{file}");
        assert!(fs::read_to_string(&path).unwrap().starts_with("# "), "{file}");
        assert_eq!(image(&test.devbox(["plan", "--format", "json"]).output().ok()), expected, "{file}");
    }
}

#[test]
fn nothing_is_written_over() {
    let test = Test::new();
    let path = test.project().join("devbox.toml");
    let kept = test.write("kept", "image = \"host\"\n");
    fs::write(&path, "name = \"mine\"\n").unwrap();
    test.devbox(["init"]).output().refused(&[
        "is there already: a file of",
        "nothing was changed",
        "--print",
    ]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "name = \"mine\"\n");
    for target in [kept.as_path(), &test.path("missing")] {
        fs::remove_file(&path).unwrap();
        symlink(target, &path).unwrap();
        test.devbox(["init"]).output().refused(&["is there already: a link to"]);
        assert!(path.is_symlink());
    }
    assert_eq!(fs::read_to_string(kept).unwrap(), "image = \"host\"\n");
    assert!(!test.path("missing").exists());
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    test.devbox(["init"]).output().refused(&["is there already: a folder"]);
}

#[test]
fn two_at_once_write_one() {
    let test = Test::new();
    let calls: Vec<_> = (0..4).map(|_| test.devbox(["init"]).spawn()).collect();
    let codes: Vec<i32> = calls.into_iter().map(|call| call.wait().code).collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    let left: Vec<_> =
        fs::read_dir(test.project()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["devbox.toml"]);
}

#[test]
fn printing_writes_nothing() {
    let test = Test::new();
    fs::create_dir(test.project().join("sub")).unwrap();
    fs::write(test.project().join("sub/go.mod"), "go 1.22\n").unwrap();
    let printed = test.devbox(["init", "--print", "sub"]).output().ok().says(&["go.mod asks for 1.22"]);
    assert!(printed.text().contains("image = \"docker.io/library/golang:1.22\"\n"), "{printed}");
    assert!(!test.project().join("sub/devbox.toml").exists());
    let silent = test.devbox(["-q", "init", "--print", "sub"]).output().ok();
    assert!(silent.stderr.is_empty() && silent.stdout == printed.stdout, "{silent}");
}

#[test]
fn a_folder_that_is_none_is_named() {
    let test = Test::new();
    test.devbox(["init", "missing"]).output().refused(&["missing"]);
    test.write("home/work/file", "");
    test.devbox(["init", "file"]).output().refused(&["file"]);
}

#[test]
fn a_home_is_no_project() {
    let test = Test::new();
    let home = test.home();
    test.devbox(["init"]).cwd(&home).output().ok().says(&["a home folder is not mounted"]);
}

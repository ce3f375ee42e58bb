//! The documents say what the program does.

use std::fs;

use crate::cli::VERBS;
use crate::harness::{Test, host::source};

fn read(name: &str) -> String {
    fs::read_to_string(source().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn readme_has_what_a_newcomer_needs() {
    let readme = read("README.md");
    let headings: Vec<_> =
        readme.lines().filter(|line| line.starts_with('#')).map(str::to_lowercase).collect();
    for topic in ["quick start", "tour", "profile", "kernel", "host", "box", "compar"] {
        assert!(
            headings.iter().any(|heading| heading.contains(topic)),
            "no heading on {topic}: {headings:?}"
        );
    }
    for part in ["tests/run", "devbox enter", "toolbox", "distrobox", "podman", "bubblewrap"] {
        assert!(readme.contains(part), "{part}");
    }
}

/// The picture is made by `tests/tour/record`: it plays by itself, wherever it is shown.
#[test]
fn the_first_minute_is_shown() {
    assert!(read("README.md").contains("](docs/first-minute.svg)"));
    let picture = read("docs/first-minute.svg");
    assert!(picture.len() < 100_000, "{} bytes", picture.len());
    assert!(picture.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
    for part in ["<script", "<image", "href", "@import", "url(", "<foreignObject"] {
        assert!(!picture.contains(part), "{part}");
    }
    assert_eq!(picture.matches("://").count(), 1, "it names something outside");
    for shown in ["devbox init", "devbox enter", "prefers-reduced-motion"] {
        assert!(picture.contains(shown), "{shown}");
    }
}

/// Every `devbox VERB …` line of a code block: the verb exists, and so does each of its flags.
#[test]
fn commands_shown_exist() {
    let test = Test::new();
    let text = read("README.md");
    let (mut inside, mut seen) = (false, 0);
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        }
        let line = line.trim_start().trim_start_matches("$ ");
        let Some(rest) = line.strip_prefix("devbox ").filter(|_| inside) else { continue };
        let rest = rest.split(['#', '|', '>', '&']).next().unwrap_or_default();
        let words: Vec<_> = rest.split_whitespace().take_while(|word| *word != "--").collect();
        let Some(verb) = words.iter().find(|word| !word.starts_with('-')) else { continue };
        assert!(VERBS.contains(verb) || *verb == "help" || *verb == "man", "{line}");
        let help = test.devbox([verb, "--help"]).output().ok().text();
        for flag in words.iter().filter(|word| word.starts_with("--")) {
            assert!(help.contains(flag.split('=').next().unwrap()), "{flag} in: {line}");
        }
        seen += 1;
    }
    assert!(seen >= 5, "only {seen} commands are shown");
}

#[test]
fn every_profile_key_is_documented() {
    let readme = read("README.md");
    for key in [
        "image",
        "extends",
        "platform",
        "name",
        "user",
        "ids",
        "driver",
        "isolation",
        "home",
        "workdir",
        "shell",
        "hostname",
        "[env]",
        "[env-from-host]",
        "[[mounts]]",
        "[network]",
        "[limits]",
        "[secrets]",
        "ssh-agent",
        "allow",
    ] {
        assert!(readme.contains(key), "{key}");
    }
}

#[test]
fn no_test_file_is_forgotten() {
    let main = read("tests/main.rs");
    for entry in fs::read_dir(source().join("tests")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if let Some(module) = name.strip_suffix(".rs").filter(|module| *module != "main") {
            assert!(main.contains(&format!("mod {module};")), "tests/main.rs does not list {module}");
        }
    }
}

#[test]
fn the_other_documents_are_there() {
    for (name, part) in
        [("ARCHITECTURE.md", "Invariant"), ("CHANGELOG.md", "Unreleased"), ("LICENSE", "Apache")]
    {
        assert!(read(name).contains(part), "{name} lacks {part}");
    }
}

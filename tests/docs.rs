//! The documents say what the program does: every command in them is run, and prints what they show.

mod page;
mod world;

use std::fs;
use std::path::Path;

use crate::cli::VERBS;
use crate::harness::{Test, host::source};
use page::Page;

fn read(name: &str) -> String {
    fs::read_to_string(source().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A test for each page.
macro_rules! pages {
    ($($name:ident $file:literal)+) => {
        const PAGES: &[&str] = &[$($file),+];
        $(#[test]
        fn $name() {
            needs!(boxes, images, bash);
            let wrong = world::run(&Page::read($file, &read($file)));
            assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        })+
    };
}

pages! {
    the_tour_is_true "README.md"
    a_machine_without_the_internet "docs/air-gapped.md"
    boxes "docs/boxes.md"
    continuous_integration "docs/ci.md"
    editors "docs/editors.md"
    ids_and_drivers "docs/ids.md"
    images "docs/images.md"
    several_languages "docs/languages.md"
    limits "docs/limits.md"
    network "docs/network.md"
    profiles "docs/profiles.md"
    a_projects_toolchain "docs/project.md"
    reference "docs/reference.md"
    secrets "docs/secrets.md"
    security "docs/security.md"
    shells "docs/shells.md"
    speed "docs/speed.md"
    troubleshooting "docs/troubleshooting.md"
    what_you_do_not_trust "docs/untrusted.md"
}

#[test]
fn every_page_is_run() {
    for entry in fs::read_dir(source().join("docs")).unwrap().flatten() {
        let name = format!("docs/{}", entry.file_name().to_string_lossy());
        assert!(!name.ends_with(".md") || PAGES.contains(&name.as_str()), "{name} is not among the pages");
    }
}

/// What no test runs is little, and each has its reason.
#[test]
fn what_is_not_run_has_a_reason() {
    let (mut run, mut not_run) = (0, 0);
    for name in PAGES {
        let page = Page::read(name, &read(name));
        run += page.steps.len();
        not_run += page.not_run.len();
        for (command, reason) in page.not_run {
            eprintln!("{name}: {command}: not run: {reason}");
            assert!(reason.len() > 10, "{name}: {command}");
        }
    }
    assert!(run >= 120 && not_run <= 24, "{run} are run, {not_run} are not");
}

#[test]
fn readme_has_what_a_newcomer_needs() {
    let readme = read("README.md");
    let headings: Vec<_> =
        readme.lines().filter(|line| line.starts_with('#')).map(str::to_lowercase).collect();
    for topic in ["quick start", "tour", "host", "box", "compar", "read on"] {
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
    let mut seen = 0;
    for page in PAGES {
        let mut inside = false;
        for line in read(page).lines() {
            if line.trim_start().starts_with("```") {
                inside = !inside;
            }
            let line = line.trim_start().trim_start_matches("$ ");
            let Some(rest) = line.strip_prefix("devbox ").filter(|_| inside) else { continue };
            let rest = rest.split(['#', '|', '>', '&']).next().unwrap_or_default();
            let words: Vec<_> = rest.split_whitespace().take_while(|word| *word != "--").collect();
            let Some(verb) = words.iter().find(|word| !word.starts_with('-')) else { continue };
            assert!(VERBS.contains(verb) || *verb == "help", "{page}: {line}");
            let help = test.devbox([verb, "--help"]).output().ok().text();
            for flag in words.iter().filter(|word| word.starts_with("--")) {
                assert!(help.contains(flag.split('=').next().unwrap()), "{page}: {flag} in: {line}");
            }
            seen += 1;
        }
    }
    assert!(seen >= 40, "only {seen} commands are shown");
}

/// Every link within the documents leads to a file, and to a heading of it.
#[test]
fn links_lead_somewhere() {
    let headings = |page: &str| -> Vec<String> {
        let mut inside = false;
        let text = read(page);
        let lines = text.lines().filter(|line| {
            inside ^= line.starts_with("```");
            !inside && line.starts_with('#')
        });
        let slug = |line: &str| -> String {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
            kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
        };
        lines.map(slug).collect()
    };
    let mut wrong = Vec::new();
    for page in PAGES {
        let folder = Path::new(page).parent().unwrap();
        for link in read(page).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if file.is_empty() { (*page).to_owned() } else { folder.join(file).display().to_string() };
            let target = target.strip_prefix("docs/../").unwrap_or(&target);
            if !source().join(target).exists()
                || !anchor.is_empty() && !headings(target).iter().any(|found| found == anchor)
            {
                wrong.push(format!("{page}: {link}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_profile_key_is_documented() {
    let readme = read("docs/profiles.md");
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
        "[setup]",
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

//! The import table of ARCHITECTURE.md, held by reading the sources: imports go downward, and sideways only
//! where the table says so.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::host::source;

/// Modules by floor, top first. Within the first anything goes.
const FLOORS: &[&[&str]] = &[
    &["main", "lib", "cli", "cmd", "ui", "error"],
    &["session"],
    &["sandbox"],
    &["rootfs"],
    &["push", "pull", "fetch", "layout", "store", "agent", "gate", "probe", "trusted"],
    &["plan", "profile", "toolchain"],
    &["oci", "idmap", "mount", "userns", "cancel", "audit", "limits", "network"],
    &["sys", "dirs"],
];
const SIDEWAYS: &[(&str, &str)] = &[
    ("plan", "profile"),
    ("pull", "fetch"),
    ("pull", "layout"),
    ("pull", "store"),
    ("push", "fetch"),
    ("push", "layout"),
    ("push", "pull"),
    ("push", "store"),
    ("userns", "idmap"),
];

#[test]
fn imports_go_downward() {
    let mut wrong = Vec::new();
    // the shim is a program of its own, compiled by build.rs
    for (file, module) in sources().into_iter().filter(|(file, _)| !file.starts_with(src().join("sys/shim")))
    {
        let text = code(&file);
        for target in imports(&text) {
            let (from, to) = (floor(&module, &file), floor(&target, &file));
            let sideways = from == to && (from == 0 || SIDEWAYS.contains(&(&module, &target)));
            if target != module && to <= from && !sideways {
                wrong.push(format!("{}: {module} imports {target}", file.display()));
            }
        }
        let top = file.file_stem().is_some_and(|stem| stem == "mod" || stem == module.as_str())
            && file.components().count() <= src().components().count() + 2;
        if top && text.lines().any(|line| line.starts_with("use super::")) {
            wrong.push(format!("{}: `super` hides an import, write `crate`", file.display()));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn unsafe_stays_on_the_ground_floor() {
    only("sys", |line| line.contains("unsafe ") || line.contains("allow(unsafe_code)"));
}

#[test]
fn only_ui_prints() {
    let words = ["println!", "eprintln!", "print!(", "eprint!(", "dbg!(", "io::stdout()", "io::stderr()"];
    only("ui", move |line| words.iter().any(|word| line.contains(word)));
}

#[test]
fn table_reads_what_it_should() {
    let text =
        "use crate::a::B;\nuse crate::{c, d::{E, F}, g::H};\nfn f() { crate::i::j(); }\npub(crate) struct K;";
    assert_eq!(imports(text), ["a", "c", "d", "g", "i"]);
}

/// No line outside `module` is one of those.
fn only(module: &str, is: impl Fn(&str) -> bool) {
    let mut wrong = Vec::new();
    for (file, _) in sources().into_iter().filter(|(_, found)| found != module) {
        let text = code(&file);
        wrong.extend(text.lines().filter(|line| is(line)).map(|line| format!("{}: {line}", file.display())));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn floor(module: &str, file: &Path) -> usize {
    let found = FLOORS.iter().position(|floor| floor.contains(&module));
    found.unwrap_or_else(|| panic!("{}: `{module}` stands on no floor of the table", file.display()))
}

fn src() -> PathBuf {
    source().join("src")
}

/// Every source file and the top module it belongs to.
fn sources() -> Vec<(PathBuf, String)> {
    let (mut found, mut folders) = (Vec::new(), vec![src()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("build.rs") {
                let first = path.strip_prefix(src()).unwrap().components().next().unwrap();
                let module = Path::new(&first).with_extension("").display().to_string();
                found.push((path, module));
            }
        }
    }
    assert!(found.len() > 3, "where are the sources?");
    found
}

/// A file's lines without comments.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// First names after each `crate::`, groups opened.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, path) in code.match_indices("crate::") {
        if code[..at].ends_with('$') {
            continue;
        }
        let rest = &code[at + path.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.push(name(rest));
            continue;
        };
        let (mut depth, mut fresh) = (0, true);
        for (at, letter) in group.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => fresh = true,
                letter if fresh && !letter.is_whitespace() => {
                    found.push(name(&group[at..]));
                    fresh = false;
                }
                _ => {}
            }
        }
    }
    found.retain(|name| name.starts_with(|letter: char| letter.is_ascii_lowercase()) && name != "run");
    found
}

fn name(text: &str) -> String {
    text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
}

//! Where pages are run: a throw-away home, and a registry that has images by the names the pages use. They are busybox
//! with stand-ins for the tools that pages call, for it is devbox that is looked at.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use super::page::{Page, Step};
use crate::harness::registry::Registry;
use crate::harness::{Image, Packing, Test, binary, host};

/// Scripts that stand in for tools, by the images that have them.
const TOOLS: &[(&str, &str)] = &[
    (
        "cargo",
        "case \"$1\" in --version) echo cargo 1.85.0;; new) mkdir -p hello/src; echo '     Created binary (application) `hello` package';; \
         run) echo Hello, world!;; build) mkdir -p target/release; echo built >target/release/app;; test) echo test result: ok;; \
         update) echo new >Cargo.lock;; clippy) echo no warnings;; *) exit 9;; esac",
    ),
    ("rustup", "case \"$1\" in show) echo 1.85;; component) echo installed \"$3\";; *) exit 9;; esac"),
    ("node", "echo v22.0.0"),
    (
        "npm",
        "case \"$1\" in install|ci) mkdir -p node_modules/left .git/hooks; echo left >node_modules/left/index.js; \
         echo 'curl evil' >.git/hooks/pre-push; { echo {; echo '  \"main\": \"index.js\",'; tail -n +2 package.json; } >new; mv new package.json; echo added 1 package;; \
         test) echo 1 passing;; run) echo built;; *) exit 9;; esac",
    ),
    ("corepack", "echo corepack \"$@\""),
    ("pnpm", "mkdir -p node_modules; echo Done"),
    ("python", "echo Python 3.12.0"),
    ("python3", "echo Python 3.12.0"),
    ("pip", "echo Successfully installed"),
    ("pytest", "echo 3 passed"),
    ("go", "case \"$1\" in build) echo built >app;; *) echo go1.22;; esac"),
    ("gcc", "echo built >a.out"),
    ("cmake", "mkdir -p build; echo -- Build files have been written"),
    ("ninja", "echo ninja: no work to do."),
    ("make", "echo built >app; echo made"),
    // each package brings a program of its name
    (
        "apt-get",
        "words=; for word in \"$@\"; do case \"$before$word\" in -o*|-*) ;; update|install) verb=$word;; *) words=\"$words $word\";; esac; \
         before=; [ \"$word\" = -o ] && before=-o; done; [ \"$verb\" = install ] || exit 0; \
         for word in $words; do { echo '#!/bin/sh'; echo echo $word 1.0; } >/usr/sbin/$word; chmod 755 /usr/sbin/$word; echo Setting up $word; done",
    ),
];

/// The names in docker.io/library that pages use.
const NAMES: &[&str] = &[
    "rust:1",
    "rust:1.85",
    "node:lts",
    "node:22",
    "python:3",
    "python:3.12",
    "golang:1",
    "golang:1.22",
    "debian:bookworm",
    "debian:12",
    "alpine:latest",
];

/// An address whose `hub` is docker.io and whose `example` is registry.example.
fn registry() -> &'static str {
    static READY: OnceLock<String> = OnceLock::new();
    READY.get_or_init(|| {
        let registry = Registry::open();
        let mut listing = String::from(
            "f 644 etc/os-release ID=debian\\nVERSION_ID=12\\n\nf 644 etc/debian_version 12.15\\n\nf 644 etc/motd Welcome\\n\n",
        );
        for (name, script) in TOOLS {
            listing += &format!("f 755 usr/bin/{name} #!/bin/sh\\n{script}\\n\n");
        }
        let image = Image::busybox().layer(&listing, Packing::Gzip);
        for name in NAMES {
            // something of its own, as they have
            let own = format!("f 644 etc/made-for {name}\n");
            let image = image.clone().layer(&own, Packing::Gzip).created("2023-11-14T22:13:20Z");
            registry.push(&format!("hub/library/{name}"), &image);
        }
        registry.address.clone()
    })
}

/// Runs all of a page, in a home of its own, and tells what was not as the page says.
pub fn run(page: &Page) -> Vec<String> {
    let test = Test::new();
    let address = registry();
    test.write(
        "home/.config/containers/registries.conf",
        &format!(
            "[[registry]]\nprefix = \"docker.io\"\nlocation = \"127.0.0.1:1\"\n[[registry.mirror]]\nlocation = \"{address}/hub\"\ninsecure = true\n\
             [[registry]]\nprefix = \"registry.example\"\nlocation = \"{address}/example\"\ninsecure = true\n"
        ),
    );
    let bin = test.path("bin");
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(binary(), bin.join("devbox")).unwrap();
    let mut world = World {
        cwd: test.home(),
        last: 0,
        path: format!("{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", bin.display()),
        test,
    };
    let wrong = page.steps.iter().filter_map(|step| world.step(page.name, step)).collect();
    let _ = world.shell("devbox rm -qf --all", &[]);
    wrong
}

struct World {
    test: Test,
    path: String,
    cwd: PathBuf,
    last: i32,
}

impl World {
    /// What is wrong about a step.
    fn step(&mut self, page: &str, step: &Step) -> Option<String> {
        let Step::Command { line, command, typed, shown, code } = step else {
            let Step::File { path, text } = step else { unreachable!() };
            let path = self.cwd.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            return None;
        };
        let (said, ended) = self.shell(command, typed);
        let what = if ended != *code {
            format!("ends with {ended}, not {code}")
        } else {
            // a terminal has them side by side
            let row = (command == "ls").then(|| said.replace('\n', " "));
            let missing = missing(shown, row.as_deref().unwrap_or(&said))?;
            format!("does not print {missing:?}")
        };
        Some(format!("{page}:{line}: `{command}` {what}:\n{said}"))
    }

    /// Runs a command where the last one left off; what it said, on both streams, and its code.
    fn shell(&mut self, command: &str, typed: &[String]) -> (String, i32) {
        const SCRIPT: &str =
            r#"exec 2>&1; cd "$1" || exit 99; trap 'pwd >"$2"' EXIT; (exit "$3"); eval "$4""#;
        let left = self.test.path("cwd");
        let (cwd, file, last) =
            (self.cwd.display().to_string(), left.display().to_string(), self.last.to_string());
        let input: String = typed.iter().map(|line| format!("{line}\n")).collect();
        // the pages speak of the usual places
        let unset = ["env", "-u", "XDG_CONFIG_HOME", "-u", "XDG_DATA_HOME", "-u", "XDG_CACHE_HOME"];
        let bash = ["bash", "-c", SCRIPT, "bash", &cwd, &file, &last, command];
        let call = self
            .test
            .plain([&unset[..], &bash[..]].concat())
            .env("PATH", &self.path)
            .env("SHELL", "/bin/bash")
            .stdin(input);
        let outcome = call.output();
        if let Ok(cwd) = fs::read_to_string(left) {
            self.cwd = cwd.trim_end().into();
        }
        self.last = outcome.code;
        let said = outcome.text().replace(&*self.test.home().display().to_string(), "/home/me");
        (said, outcome.code)
    }
}

/// The first of `shown` that does not come in `said`, where lines may stand between. `…` stands for anything.
fn missing(shown: &[String], said: &str) -> Option<String> {
    let mut lines = said.lines();
    // a pull that is done within a second says nothing on its way
    let on_its_way =
        |line: &str| line.starts_with("  ") && words(line).get(1).is_some_and(|word| word == "of");
    let wanted = shown
        .iter()
        .filter(|line| !line.trim().is_empty() && !matches!(line.trim(), "…" | "exit") && !on_its_way(line));
    wanted.into_iter().find(|wanted| !lines.any(|line| alike(wanted, line))).cloned()
}

/// Whether a line is as a page shows it, but for numbers, digests, spaces, an `s` for several, and the caller's name.
fn alike(shown: &str, line: &str) -> bool {
    let (shown, line) = (words(shown), words(line));
    let open = shown.last().is_some_and(|last| last == "…");
    let shown = &shown[..shown.len() - usize::from(open)];
    let me = words(&host::me());
    (line.len() == shown.len() || open && line.len() >= shown.len())
        && shown.iter().zip(&line).all(|(a, b)| {
            a == b || a == "me" && me.contains(b) || a.strip_suffix('…').is_some_and(|a| b.starts_with(a))
        })
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(word).collect()
}

fn word(word: &str) -> String {
    let hex = |part: &str| part.len() >= 12 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    if hex(word.strip_prefix("sha256:").unwrap_or(word)) {
        return "#".into();
    }
    let mut text = String::new();
    for letter in word.trim_end_matches(['s', ',', ';', '.', ':']).chars() {
        match letter {
            '0'..='9' if text.ends_with('0') => {}
            '0'..='9' => text.push('0'),
            _ => text.push(letter),
        }
    }
    match text.as_str() {
        "B" | "KiB" | "MiB" | "GiB" => "B".into(),
        "0.0" => "0".into(),
        "second" | "minute" | "hour" | "day" => "second".into(),
        _ => text,
    }
}

#[test]
fn lines_are_alike() {
    for (shown, line) in [
        ("app  rust:1  running  72 seconds ago", "app rust:1 running 1 minute ago"),
        ("3 layers, 241.69 MiB", "1 layer, 5 B"),
        ("sha256:1e541e4d4c0a70be", "sha256:0123456789abcdef"),
        ("user me", &format!("user  {}", host::me())),
        ("error: no …", "error: no such thing at all"),
    ] {
        assert!(alike(shown, line), "{shown} / {line}");
    }
    for (shown, line) in [("a", "b"), ("a b", "a"), ("a", "a b"), ("error: no …", "error:")] {
        assert!(!alike(shown, line), "{shown} / {line}");
    }
}

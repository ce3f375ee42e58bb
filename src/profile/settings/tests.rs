//! What is shown is the profile again, and each value leads to its line.

use super::*;
use crate::profile::document::Document;
use crate::profile::place::Place;
use crate::profile::{PROJECT_FILE, schema};
use std::fs;

const WHOLE: &str = r#"
image = "rust:1"
platform = "linux/arm64"
name = "Box"
user = "image"
ids = "full"
driver = "overlay"
isolation = "untrusted"
home = "none"
workdir = "sub"
shell = "zsh"
hostname = "my-host"
ssh-agent = ["me@laptop", "a\"b"]

[env]
A = "1"
MANY = "a\n\u001b\u202e\\\"\tü"

[env-from-host]
names = ["TOKEN", "OTHER"]

[[mounts]]
source = "data"
target = "~/data"
mode = "ro"
optional = true

[[mounts]]
target = "/scratch"
mode = "tmpfs"

[[mounts]]
source = "npm"
target = "/npm"
mode = "cache"

[network]
allow = ["a.example", "*.b.example:22"]
ports = ["8080:80"]

[setup]
packages = ["clang", "make"]
run = ["make x", "true", "make x"]
cache = "registry.example/team/cache"

[setup.env]
C = "d"

[secrets]
npmrc = "~/.npmrc"
"a.b" = "x"

[limits]
memory = "4GiB"
cpus = 1.5
pids = 1_000
time = "30m"
files = 1024
disk = "10GiB"
strict = true
"#;

fn profile(text: &str, folder: &str) -> Profile {
    let folder = Place::absolute(Path::new(folder));
    schema::read(&Document { file: "f", text }, Some(&folder)).unwrap().profile
}

fn show(files: &[(&str, &str)]) -> (String, Vec<Setting>) {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let places = Places::in_folder(root.path());
    let project = root.path().join("app").join(PROJECT_FILE);
    let settings = of(&places, &Selector::File(project), root.path()).unwrap();
    let toml = to_toml(&settings, true).replace(&root.path().display().to_string(), "");
    (toml, settings)
}

#[test]
fn what_is_shown_is_the_same_profile() {
    let (_, settings) = show(&[("app/devbox.toml", WHOLE)]);
    for origins in [true, false] {
        let shown = to_toml(&settings, origins);
        assert!(!shown.chars().any(|c| c.is_control() && c != '\n' || c == '\u{202e}'), "{shown}");
        let folder = settings.iter().find(|setting| setting.key == "image").unwrap();
        let folder = Path::new(&folder.from.place).parent().unwrap();
        assert_eq!(profile(&shown, "/elsewhere"), profile(WHOLE, folder.to_str().unwrap()), "{shown}");
    }
    assert!(settings.iter().all(|setting| setting.from.line.is_some()), "{settings:?}");
}

#[test]
fn each_value_leads_to_its_line() {
    let base = "image = \"debian\"\nshell = \"dash\"\n\n[env]\nA = \"base\"\nB = \"base\"\n\n[[mounts]]\nsource = \"/x\"\ntarget = \"/m\"\n\
                [network]\nallow = [\n  \"a.example\",\n  \"b.example\",\n]\n";
    let top = "extends = [\"base\"]\nname = \"top\"\n[env]\nB = \"top\"\n[env-from-host]\nnames = [\"T\",\n \"S\"]\n[[mounts]]\n\
               source = \"data\"\ntarget = \"/m\"\nmode = \"ro\"\n[network]\nallow = [\"b.example\", \"c.example\"]\n";
    let (shown, _) = show(&[("personal/base.toml", base), ("app/devbox.toml", top)]);
    let expected = r#"image = "debian"  # /personal/base.toml:1
name = "top"  # /app/devbox.toml:2
shell = "dash"  # /personal/base.toml:2

[env]
A = "base"  # /personal/base.toml:5
B = "top"  # /app/devbox.toml:4

[env-from-host]
names = [
  "S",  # /app/devbox.toml:7
  "T",  # /app/devbox.toml:6
]

[network]
mode = "private"  # /app/devbox.toml:13
allow = [
  "a.example",  # /personal/base.toml:13
  "b.example",  # /app/devbox.toml:13
  "c.example",  # /app/devbox.toml:13
]

[[mounts]]  # /app/devbox.toml:8
source = "/app/data"
target = "/m"
mode = "ro"
"#;
    assert_eq!(shown, expected);
    let (built_in, _) = show(&[("app/devbox.toml", "extends = [\"rust-env\"]\n")]);
    assert!(built_in.contains("# built in rust-env:"), "{built_in}");
}

#[test]
fn steps_of_several_files_are_shown_as_those_of_one() {
    let base = "[setup]\npackages = [\"make\"]\nrun = [\"true\"]\nenv = { A = \"b\" }\n";
    let top = "extends = [\"base\"]\n[setup]\npackages = [\"clang\"]\nrun = [\n  { command = \"a \\\"b\\\"\", files = [\"x\"] },\n  \"true\",\n]\n";
    let (shown, _) = show(&[("personal/base.toml", base), ("app/devbox.toml", top)]);
    let expected = r#"[setup]
packages = [
  "make",  # /personal/base.toml:2
  "clang",  # /app/devbox.toml:3
]
run = [
  "true",  # /personal/base.toml:3
  { command = "a \"b\"", files = ["x"] },  # /app/devbox.toml:5
  "true",  # /app/devbox.toml:6
]

[setup.env]
A = "b"  # /personal/base.toml:4
"#;
    assert_eq!(shown, expected);
    assert_eq!(profile(&shown, "/").setup.steps.len(), 4);
}

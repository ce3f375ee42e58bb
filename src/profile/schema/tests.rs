//! Every key read, and every refusal compared whole.

use super::*;
use crate::profile::{Driver, Home, Ids, Image, Isolation, Network, User};
use std::path::Path;

/// What a person sees: the profile, or the error as it is printed.
fn shown(text: &str) -> String {
    let folder = Place::absolute(Path::new("/src/app"));
    match read(&Document { file: "devbox.toml", text }, Some(&folder)) {
        Ok(written) => format!("{:?}", written.profile),
        Err(error) => match error.hint() {
            Some(hint) => format!("error: {error}\nhint: {hint}"),
            None => format!("error: {error}"),
        },
    }
}

#[test]
fn the_whole_schema() {
    let text = r#"
image     = "rust:1"
extends   = ["base", "more"]
platform  = "linux/arm64"
name      = "Box"
user      = "image"
ids       = "full"
driver    = "overlay"
isolation = "untrusted"
home      = "none"
workdir   = "sub"
shell     = "zsh"
hostname  = "my-host"
ssh-agent = ["me@laptop"]

[env]
A = "1"

[env-from-host]
names = ["TOKEN"]

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

[[mounts]]
source = "~/x"
target = "${project}/x"

[network]
mode = "none"
ports = ["8080:80"]

[secrets]
npmrc = "~/.npmrc"

[limits]
memory = "4GiB"
cpus = 1.5
pids = 1_000
time = "30m"
files = 1024
disk = "10GiB"
strict = true

[setup]
"#;
    let folder = Place::absolute(Path::new("/src/app"));
    let written = read(&Document { file: "f", text }, Some(&folder)).unwrap();
    let names: Vec<_> = written.extends.iter().map(Spanned::get_ref).collect();
    assert_eq!(names, ["base", "more"]);
    let host = |text| Source::Host(Place::on_host(text, None).unwrap());
    let mount = |source, target, mode, optional| Mount {
        source,
        target: Place::in_box(target).unwrap(),
        mode,
        optional,
    };
    assert_eq!(
        written.profile,
        Profile {
            image: Some(Image::Registry("rust:1".into())),
            platform: Some("linux/arm64".into()),
            name: Some("Box".into()),
            user: Some(User::Image),
            ids: Some(Ids::Full),
            driver: Some(Driver::Overlay),
            isolation: Some(Isolation::Untrusted),
            home: Some(Home::None),
            workdir: Some(Place::on_host("${project}/sub", None).unwrap()),
            shell: Some("zsh".into()),
            hostname: Some("my-host".into()),
            env: [
                ("A".to_owned(), Variable::Literal("1".to_owned())),
                ("TOKEN".to_owned(), Variable::FromHost)
            ]
            .into(),
            mounts: vec![
                mount(host("/src/app/data"), "~/data", MountMode::Ro, true),
                mount(Source::Memory, "/scratch", MountMode::Tmpfs, false),
                mount(Source::Cache("npm".into()), "/npm", MountMode::Cache, false),
                mount(host("~/x"), "${project}/x", MountMode::Rw, false),
            ],
            network: Some(Network::None),
            limits: Limits {
                amounts: [
                    (Limit::Memory, 4 << 30),
                    (Limit::Cpus, 1500),
                    (Limit::Pids, 1000),
                    (Limit::Time, 1800),
                    (Limit::Files, 1024),
                    (Limit::Disk, 10 << 30),
                ]
                .into(),
                strict: Some(true),
            },
            allow: Vec::new(),
            ports: vec!["8080:80".parse().unwrap()],
            secrets: [("npmrc".to_owned(), Place::on_host("~/.npmrc", None).unwrap())].into(),
            setup: Default::default(),
            ssh_agent: vec!["me@laptop".into()],
        }
    );
}

#[test]
fn mistakes_are_shown_whole() {
    for (text, expected) in [
        (
            "# comment\n\nimge = \"rust:1\"\n",
            "error: devbox.toml:3:1: unknown key `imge`\n  |\n3 | imge = \"rust:1\"\n  | ^^^^\nhint: did you mean `image`?",
        ),
        (
            "image = 3\n",
            "error: devbox.toml:1:9: `image` wants a string, not an integer\n  |\n1 | image = 3\n  |         ^\nhint: write it in quotes: \"3\"",
        ),
        (
            "extends = \"base\"\n",
            "error: devbox.toml:1:11: `extends` wants an array, not a string\n  |\n1 | extends = \"base\"\n  |           ^^^^^^\nhint: write it in brackets: `[…]`",
        ),
        (
            "ids = \"singel\"\n",
            "error: devbox.toml:1:7: unknown ids `singel`\n  |\n1 | ids = \"singel\"\n  |       ^^^^^^^^\nhint: did you mean `single`?",
        ),
        (
            "home = \"mine\"\n",
            "error: devbox.toml:1:8: unknown home `mine`\n  |\n1 | home = \"mine\"\n  |        ^^^^^^\nhint: known here: `private`, `host`, `none`",
        ),
        (
            "image = \"a\nuser = \"me\"\n",
            "error: devbox.toml:1:11: not TOML: invalid basic string, expected `\"`\n  |\n1 | image = \"a\n  |           ^",
        ),
        (
            "user = \"me\"\nuser = \"root\"\n",
            "error: devbox.toml:2:1: not TOML: duplicate key\n  |\n2 | user = \"root\"\n  | ^^^^",
        ),
        (
            "[[mounts]]\nsource = \"/a\"\ntraget = \"/b\"\n",
            "error: devbox.toml:3:1: unknown key `traget`\n  |\n3 | traget = \"/b\"\n  | ^^^^^^\nhint: did you mean `target`?",
        ),
        (
            "[[mounts]]\nsource = \"/a\"\n",
            "error: devbox.toml:1:1: the mount has no `target`\n  |\n1 | [[mounts]]\n  | ^^^^^^^^^^\nhint: where it stands in the box: target = \"/path\"",
        ),
        (
            "[env-from-host]\nnames = [\"A=1\"]\n",
            "error: devbox.toml:2:10: [env-from-host] takes names, never values\n  |\n2 | names = [\"A=1\"]\n  |          ^^^^^\nhint: literal values go to [env]; here write \"A\"",
        ),
    ] {
        assert_eq!(shown(text), expected, "{text}");
    }
}

#[test]
fn what_may_be_reached() {
    let read = |text: &str| {
        let text = format!("[network]\n{text}");
        read(&Document { file: "f", text: &text }, None).map(|written| written.profile)
    };
    let profile = read("allow = [\"Registry.example:443\", \"*.example.org\"]").unwrap();
    assert_eq!(profile.network, Some(Network::Private));
    let shown: Vec<_> = profile.allow.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["registry.example:443", "*.example.org"]);
    assert_eq!(read("mode = \"private\"\nallow = [\"a\"]").unwrap().network, Some(Network::Private));
    assert_eq!(read("ports = [\"8080:80\"]").unwrap().network, None);
    for (text, wrong) in [
        (
            "mode = \"none\"\nallow = [\"a\"]",
            "3:10: `allow` does not go with network mode `none`, which leads nowhere",
        ),
        (
            "mode = \"host\"\nallow = [\"a\"]",
            "3:10: `allow` does not go with network mode `host`, which leads everywhere",
        ),
        ("mode = \"host\"\nports = [\"1:1\"]", "3:10: `ports` does not go with network mode `host`"),
        ("allow = [\"a\", \"a/b\"]", "2:15: `a/b` is more than a host and a port"),
        ("allow = \"a\"", "2:9: `allow` wants an array, not a string"),
        ("ports = [\"x\"]", "2:10: `x` does not say which port leads where"),
        ("ports = [80]", "2:10: `ports` wants a string, not an integer"),
    ] {
        let shown = read(text).unwrap_err().to_string();
        assert!(shown.contains(wrong), "{text}: {shown}");
    }
}

#[test]
fn refusals() {
    for (text, place) in [
        ("a.b = 1", "1:1: unknown key `a`"),
        ("zzz = 1\naaa = 1", "1:1: unknown key `zzz`"),
        ("\"\\u001b[31m\" = 1", "1:1: unknown key `\\u{1b}[31m`"),
        ("mounts = 1", "1:10: `mounts` wants an array, not an integer"),
        ("mounts = [1]", "1:11: `mounts` wants a table, not an integer"),
        ("[mounts]\nsource = \"/a\"", "1:1: `mounts` wants an array, not a table"),
        ("env = [\"A=1\"]", "1:7: `env` wants a table, not an array"),
        ("[env]\nA = 1", "2:5: `A` wants a string, not an integer"),
        ("[env]\n\"A B\" = \"1\"", "2:1: `A B` is not a variable name"),
        ("[env]\nA = \"\\u0000\"", "2:5: `A` holds a NUL character"),
        ("shell = \"/bin/a\\u0000\"", "1:9: `shell` holds a NUL character"),
        ("[env]\nA = \"1\"\n[env-from-host]\nnames = [\"A\"]", "4:10: `A` has a value in [env] already"),
        ("[env-from-host]\nname = [\"A\"]", "2:1: unknown key `name`"),
        ("extends = [\"../a\"]", "1:12: `../a` is not a profile name"),
        ("name = \"a/b\"", "1:8: `a/b` is not a box name"),
        ("user = \"a b\"", "1:8: `a b` is not a user"),
        ("hostname = \"-\"", "1:12: `-` is not a host name"),
        ("platform = \"amd64\"", "1:12: `amd64` is not a platform"),
        ("workdir = \"${HOME}\"", "1:11: `${HOME}` would need more expanding than there is"),
        ("mounts = [{ target = \"/a\" }]", "1:11: the mount has no `source`"),
        ("mounts = [{ target = \"/a\", mode = \"cache\" }]", "1:11: the cache has no `source`"),
        (
            "mounts = [{ target = \"/a\", mode = \"cache\", source = \"/b\" }]",
            "1:53: `/b` is not a cache name",
        ),
        ("mounts = [{ target = \"/a\", mode = \"tmpfs\", source = \"/b\" }]", "1:53: a tmpfs has no source"),
        (
            "mounts = [{ target = \"/a\", mode = \"tmpfs\", optional = true }]",
            "1:55: `optional` means nothing with mode `tmpfs`",
        ),
        ("mounts = [{ source = \"/a\", target = \"b\" }]", "1:37: `b` is not absolute"),
        (
            "mounts = [{ source = \"/a\", target = \"/b\", optional = 1 }]",
            "1:54: `optional` wants `true` or `false`, not an integer",
        ),
        ("network = \"none\"", "1:11: `network` wants a table, not a string"),
        ("[limits]\nmemroy = \"1GiB\"", "2:1: unknown key `memroy`"),
        ("[limits]\nmemory = 4", "2:10: `memory` wants a string, not an integer"),
        ("[limits]\nmemory = \"4GB\"", "2:10: `4GB` is not a size"),
        ("[limits]\npids = \"3\"", "2:8: `pids` wants a number, not a string"),
        ("[limits]\npids = 0x10", "2:8: `0x10` is not a number of processes"),
        ("[limits]\ncpus = nan", "2:8: `nan` is not a number of processors"),
        ("limits = { time = \"30\" }", "1:19: `30` is not a time"),
        ("[limits]\nstrict = 1", "2:10: `strict` wants `true` or `false`, not an integer"),
    ] {
        let shown = shown(text);
        assert!(shown.starts_with(&format!("error: devbox.toml:{place}\n")), "{text}: {shown}");
    }
}

/// Text of any kind ends in a profile or an error with its place, never in a panic.
#[test]
fn any_bytes() {
    let seed = "image = \"a\"\n[env]\nA = '''\n\"\"\"[[mounts]]\nsource = {a.b=[1,\t\"ä\\u0000\"]}#\r\n";
    let letters: Vec<char> = seed.chars().collect();
    let mut state = 1u32;
    let mut random = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % below
    };
    for _ in 0..5_000 {
        let text: String = (0..random(60)).map(|_| letters[random(letters.len())]).collect();
        let shown = shown(&text);
        assert!(
            shown.starts_with("Profile") || shown.starts_with("error: devbox.toml:"),
            "{text:?}: {shown}"
        );
    }
    for deep in ["[".repeat(100_000), format!("a = {}", "[".repeat(100_000)), "a.".repeat(100_000)] {
        assert!(shown(&deep).len() < 1000);
    }
}

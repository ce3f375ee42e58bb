//! Profile + flags + a fixed host → the printed plan, compared whole; and every refusal.

use super::*;
use crate::profile::Found;

pub(crate) fn host() -> Host {
    Host {
        uid: 1000,
        gid: 1000,
        user: "me".into(),
        home: "/home/me".into(),
        real_home: "/home/me".into(),
        shell: Some("/usr/bin/zsh".into()),
        cwd: "/home/me/src/app/sub".into(),
        cache: "/home/me/.cache/devbox".into(),
        platform: "linux/amd64".into(),
        subordinate_ids: true,
        variables: BTreeMap::new(),
    }
}

pub(crate) fn project(text: &str) -> Found {
    Found::in_project("/home/me/src/app", text)
}

fn secrets(name: &str) -> Option<String> {
    (name == "TOKEN").then(|| "s3cret".to_owned())
}

/// As `devbox plan` prints it, or the error with its hint.
fn printed(found: &Found, flags: &Flags, host: &Host) -> String {
    match make(found, flags, host, &secrets) {
        Ok(plan) => plan.describe().iter().map(|(name, text)| format!("{name}: {text}\n")).collect(),
        Err(error) => {
            use std::error::Error as _;
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            format!("error: {error}{cause}\nhint: {}", error.hint().unwrap_or_default())
        }
    }
}

/// The rows of that name.
fn rows(name: &str, text: &str, flags: &Flags) -> Vec<String> {
    let plan = make(&project(text), flags, &host(), &secrets).unwrap();
    plan.describe().into_iter().filter(|(row, _)| *row == name).map(|(_, text)| text).collect()
}

#[test]
fn nothing_configured() {
    assert_eq!(
        printed(&Found::built_in("host"), &Flags::default(), &host()),
        "\
box: host
image: host
platform: linux/amd64
user: me
ids: auto
driver: auto
isolation: dev
home: private
project: /home/me/src/app/sub
hostname: host
network: host
profile: host (built in)
"
    );
}

#[test]
fn a_project_on_a_built_in_profile() {
    let text = r#"
extends = ["rust-env"]
image = "127.0.0.1:5000/rust:1"
[env]
RUST_BACKTRACE = "1"
[env-from-host]
names = ["TOKEN", "NOT_SET"]
[[mounts]]
source = "~/.gitconfig"
target = "~/.gitconfig"
mode = "ro"
optional = true
[[mounts]]
source = "data"
target = "${project}/data/in"
mode = "overlay"
[[mounts]]
target = "/scratch"
mode = "tmpfs"
"#;
    assert_eq!(
        printed(&project(text), &Flags::default(), &host()),
        "\
box: app
image: 127.0.0.1:5000/rust:1
platform: linux/amd64
user: me
ids: auto
driver: auto
isolation: dev
home: private
project: /home/me/src/app
hostname: app
network: host
env: CARGO_HOME=/var/cache/cargo
env: CARGO_INSTALL_ROOT=/usr/local/cargo
env: RUST_BACKTRACE=1
env: TOKEN (from the host)
mount: /scratch (tmpfs)
mount: /var/cache/cargo (cache cargo)
mount: /home/me/.gitconfig (ro, optional)
mount: /var/cache/cargo/config from /dev/null (ro)
mount: /var/cache/cargo/config.toml from /dev/null (ro)
mount: /var/cache/cargo/credentials from /dev/null (ro)
mount: /var/cache/cargo/credentials.toml from /dev/null (ro)
mount: /home/me/src/app/data/in from /home/me/src/app/data (overlay)
profile: rust-env (built in)
profile: devbox.toml (/home/me/src/app/devbox.toml)
"
    );
}

#[test]
fn flags_win() {
    let text = r#"
image = "debian"
name = "mine"
user = "me"
ids = "single"
home = "private"
shell = "bash"
hostname = "mine"
[env]
A = "profile"
TOKEN = "literal"
[[mounts]]
source = "/srv"
target = "/data"
[network]
mode = "host"
"#;
    let flags = Flags {
        name: Some("other".into()),
        image: Some("rust:1".parse().unwrap()),
        platform: Some("linux/arm64".into()),
        user: Some(User::Root),
        ids: Some(Ids::Full),
        driver: Some(Driver::Overlay),
        home: Some(Home::None),
        network: Some(Network::None),
        env: vec![("A".into(), Some("flag".into())), ("TOKEN".into(), None), ("NOT_SET".into(), None)],
        volumes: vec!["./x:/data:ro".into(), "~/y:/y".into()],
        workdir: Some("/data".into()),
        project: Some("..".into()),
        hostname: Some("there".into()),
        shell: Some("fish".into()),
        ..Flags::default()
    };
    assert_eq!(
        printed(&project(text), &flags, &host()),
        "\
box: other
image: docker.io/library/rust:1
platform: linux/arm64
user: root
ids: full
driver: overlay
isolation: dev
home: none
project: /home/me/src/app
workdir: /data
shell: fish
hostname: there
network: none
env: A=flag
env: TOKEN (from the host)
mount: /data from /home/me/src/app/sub/x (ro)
mount: /y from /home/me/y (rw)
profile: devbox.toml (/home/me/src/app/devbox.toml)
"
    );
}

#[test]
fn an_image_alone_mounts_nothing() {
    let flags =
        Flags { image: Some("quay.io/some/tool_x:1".parse().unwrap()), image_only: true, ..Flags::default() };
    assert_eq!(
        printed(&Found::default(), &flags, &host()),
        "\
box: tool_x
image: quay.io/some/tool_x:1
platform: linux/amd64
user: me
ids: auto
driver: auto
isolation: dev
home: private
project: none
hostname: tool-x
network: host
"
    );
    let asked = Flags { project: Some(".".into()), ..flags };
    assert!(printed(&Found::default(), &asked, &host()).contains("project: /home/me/src/app/sub\n"));
}

#[test]
fn limits() {
    let text = "image = \"debian\"\n[limits]\nmemory = \"4GiB\"\ncpus = 2\npids = 100\n";
    let flags = |limits: &[(&'static str, &str)]| Flags {
        limits: limits.iter().map(|(flag, text)| (*flag, (*text).to_owned())).collect(),
        ..Flags::default()
    };
    assert_eq!(rows("limit", text, &flags(&[])), ["memory 4GiB", "cpus 2", "pids 100"]);
    let typed = flags(&[("--memory", "memory=64m"), ("--limit", "time=90s")]);
    assert_eq!(rows("limit", text, &typed), ["memory 64MiB", "cpus 2", "pids 100", "time 90s"]);
    let untrusted = Flags { isolation: Some(Isolation::Untrusted), strict_limits: true, ..flags(&[]) };
    assert_eq!(rows("limit", text, &untrusted), ["memory 4GiB", "cpus 2", "pids 100", "files 16384"]);
    assert_eq!(rows("limits", text, &untrusted), ["strict"]);
    assert!(rows("limit", "", &flags(&[])).is_empty());
    for (limits, wrong) in [
        (&[("--memory", "memory=4")][..], "bad value for `--memory`: `4` is not a size"),
        (
            &[("--memory", "memory=1g"), ("--limit", "memory=2g")],
            "bad value for `--limit`: `memory` is limited twice",
        ),
    ] {
        let shown = printed(&project(""), &flags(limits), &host());
        assert!(shown.starts_with(&format!("error: {wrong}\nhint: ")), "{shown}");
    }
}

#[test]
fn every_built_in_profile_plans() {
    for name in ["c-env", "debian", "go-env", "host", "node-env", "python-env", "rust-env"] {
        let plan = make(&Found::built_in(name), &Flags::default(), &host(), &|_| None).unwrap();
        assert_eq!((plan.name.as_str(), plan.user), (name, User::Me));
    }
}

#[test]
fn json_holds_no_secret() {
    let text = "image = \"debian\"\n[env]\nA = \"1\"\n[env-from-host]\nnames = [\"TOKEN\"]";
    let plan = make(&project(text), &Flags::default(), &host(), &secrets).unwrap();
    assert_eq!(plan.env["TOKEN"].value(), "s3cret");
    assert_eq!(
        serde_json::to_string(&plan).unwrap(),
        concat!(
            r#"{"name":"app","image":{"registry":"docker.io/library/debian:latest"},"platform":"linux/amd64","#,
            r#""user":"me","ids":"auto","driver":"auto","isolation":"dev","home":"private","project":"/home/me/src/app","#,
            r#""no-project-because":null,"workdir":null,"shell":null,"hostname":"app","#,
            r#""env":{"A":"1","TOKEN":{"from-host":true}},"mounts":[],"network":"host","limits":{},"#,
            r#""allow":[],"ports":[],"ssh-agent":[],"#,
            r#""profiles":[{"name":"devbox.toml","from":"/home/me/src/app/devbox.toml"}],"#,
            r#""setup":{"steps":[],"cache":null},"pin":null,"unpinned-because":null,"locked":false}"#
        )
    );
    assert!(!format!("{plan:?}").contains("s3cret"));
}

#[test]
fn a_path_that_is_no_text_is_printed_all_the_same() {
    use std::os::unix::ffi::OsStringExt;
    let cwd = PathBuf::from(std::ffi::OsString::from_vec(b"/home/me/a\xff\x1b[31m".to_vec()));
    let plan = make(&Found::default(), &Flags::default(), &Host { cwd, ..host() }, &secrets).unwrap();
    assert!(serde_json::to_string(&plan).unwrap().contains("/home/me/a\u{fffd}"));
    assert!(plan.describe().iter().all(|(_, text)| !text.contains(char::is_control)));
}

#[test]
fn a_home_leaves_the_system_in_sight() {
    let plan = |home: &str| {
        let host = Host { home: home.into(), real_home: home.into(), ..host() };
        make(&Found::built_in("debian"), &Flags::default(), &host, &secrets)
    };
    for home in ["/", "/usr", "/bin", "/dev", "/proc/self"] {
        let error = plan(home).unwrap_err();
        assert!(error.to_string().contains(home) && error.hint().is_some());
    }
    for home in ["/root", "/tmp", "/nonexistent", "/usr/games", "/var/www"] {
        assert!(plan(home).is_ok(), "{home}");
    }
}

#[test]
fn what_never_is_a_project() {
    let standing = |cwd: &str, host: Host| {
        let host = Host { cwd: cwd.into(), ..host };
        let plan = make(&Found::built_in("host"), &Flags::default(), &host, &secrets).unwrap();
        (plan.project.map(|path| path.display().to_string()), plan.no_project_because.unwrap_or_default())
    };
    for (cwd, why) in [
        ("/", "it is the root folder"),
        ("/home", "the home folder is in it"),
        ("/home/me", "it is the home folder"),
        ("/etc", "it belongs to the system"),
        ("/usr", "it belongs to the system"),
        ("/tmp", "it belongs to the system"),
        ("/proc/self", "it belongs to the system"),
        ("/dev/shm", "it belongs to the system"),
    ] {
        assert_eq!(standing(cwd, host()), (None, format!("`{cwd}` can't be one: {why}")));
    }
    for cwd in ["/home/you/x", "/srv/app", "/work", "/tmp/x", "/home/me/x"] {
        assert_eq!(standing(cwd, host()), (Some(cwd.to_owned()), String::new()));
    }
    // a home that is a link is recognised on both sides
    let linked = Host { home: "/home/me".into(), real_home: "/data/me".into(), ..host() };
    for cwd in ["/data/me", "/data", "/home/me"] {
        assert_eq!(standing(cwd, linked.clone()).0, None, "{cwd}");
    }
}

#[test]
fn the_project_folder() {
    let folder = |text: &str, flags: &Flags| rows("project", text, flags).remove(0);
    let flags = |dir: &str| Flags { project: Some(dir.into()), ..Flags::default() };
    assert_eq!(folder("", &Flags::default()), "/home/me/src/app");
    assert_eq!(folder("workdir = \".\"", &Flags::default()), "/home/me/src/app");
    assert_eq!(folder("workdir = \"sub/./x\"", &Flags::default()), "/home/me/src/app/sub/x");
    assert_eq!(folder("workdir = \"../lib\"", &Flags::default()), "/home/me/src/lib");
    assert_eq!(folder("workdir = \"~/w\"", &Flags::default()), "/home/me/w");
    assert_eq!(folder("workdir = \"~/w\"", &flags("../x")), "/home/me/src/app/x");
    assert_eq!(folder("workdir = \"~/w\"", &flags("/srv/x")), "/srv/x");
    assert_eq!(folder("", &Flags { no_project: true, ..Flags::default() }), "none");
}

#[test]
fn names() {
    let named = |found: &Found| make(found, &Flags::default(), &host(), &secrets).unwrap();
    let long = format!("/src/{}", "x".repeat(100));
    for (folder, name, hostname) in [
        ("/src/My App", "My-App", "My-App"),
        ("/src/.hidden_", "hidden_", "hidden"),
        ("/src/ä.b_c", "b_c", "b-c"),
        ("/src/---", "box", "box"),
        ("/", "box", "box"),
        (&long, &"x".repeat(64), &"x".repeat(64)),
    ] {
        let plan = named(&Found::in_project(folder, ""));
        assert_eq!((plan.name.as_str(), plan.hostname.as_str()), (name, hostname), "{folder}");
        assert!(crate::profile::grammar::box_name(&plan.name).is_ok());
        assert!(crate::profile::grammar::host_name(&plan.hostname).is_ok());
    }
    assert_eq!(named(&project("name = \"given\"")).name, "given");
    assert_eq!(named(&project("extends = [\"debian\"]")).name, "app", "the base's name is not the box's");
}

#[test]
fn users_and_ids() {
    let debian = |rest: &str| format!("image = \"debian\"\n{rest}");
    for (text, user, ids) in [
        ("", "me", "auto"),
        ("ids = \"single\"", "me", "single"),
        ("ids = \"full\"", "root", "full"),
        ("ids = \"full\"\nuser = \"node\"", "node", "full"),
        ("user = \"image\"", "image", "auto"),
    ] {
        let text = debian(text);
        let flags = Flags::default();
        assert_eq!(
            (rows("user", &text, &flags).remove(0).as_str(), rows("ids", &text, &flags).remove(0).as_str()),
            (user, ids),
            "{text}"
        );
    }
    let full = Flags { ids: Some(Ids::Full), ..Flags::default() };
    assert_eq!(
        printed(&project(&debian("user = \"me\"")), &full, &host()),
        "error: user `me` does not go with ids `full`: full maps the caller to root\nhint: leave `user` out to be root of the box, or use ids `single`"
    );
}

#[test]
fn what_the_hosts_root_can_not_do() {
    for (text, what) in [
        ("user = \"root\"", "user `root`"),
        ("user = \"image\"", "user `image`"),
        ("user = \"node\"", "user `node`"),
        ("ids = \"full\"", "ids `full`"),
        ("platform = \"linux/arm64\"", "platform `linux/arm64`"),
    ] {
        let shown = printed(&project(&format!("image = \"host\"\n{text}")), &Flags::default(), &host());
        assert!(shown.starts_with(&format!("error: {what} does not go with image `host`: ")), "{shown}");
    }
    let text = "image = \"host\"\nuser = \"me\"\nids = \"single\"\nplatform = \"linux/amd64/v2\"";
    assert_eq!(rows("user", text, &Flags::default()), ["me"]);
}

#[test]
fn mounts_and_their_order() {
    let text = r#"
mounts = [
    { source = "/c", target = "/a/b/c" },
    { source = "/a", target = "/a" },
    { source = "/old", target = "~/x" },
    { source = "/new", target = "/home/me/x", mode = "ro" },
]
"#;
    let expected = ["/a from /a (rw)", "/a/b/c from /c (rw)", "/home/me/x from /new (ro)"];
    let plain: Vec<String> = rows("mount", text, &Flags::default());
    assert_eq!(plain, expected.map(|row| row.replace("/a from /a (rw)", "/a (rw)")));
    let optional = "mounts = [{ source = \"${project}/x\", target = \"/x\", optional = true }]";
    let none = Flags { no_project: true, ..Flags::default() };
    assert_eq!(rows("mount", optional, &none), Vec::<String>::new());
}

#[test]
fn refusals() {
    let flags = Flags::default;
    let project_mount = "mounts = [{ source = \"${project}/x\", target = \"/x\" }]";
    for (text, flags, expected) in [
        (
            "",
            Flags { name: Some("../x".into()), ..flags() },
            "bad value for `--name`: `../x` is not a box name",
        ),
        (
            "",
            Flags { hostname: Some("a b".into()), ..flags() },
            "bad value for `--hostname`: `a b` is not a host name",
        ),
        (
            "",
            Flags { platform: Some("x".into()), ..flags() },
            "bad value for `--platform`: `x` is not a platform",
        ),
        ("", Flags { shell: Some("".into()), ..flags() }, "bad value for `--shell`: `` is not a shell"),
        ("", Flags { workdir: Some("x".into()), ..flags() }, "bad value for `-w`: `x` is not absolute"),
        (
            "",
            Flags { env: vec![("A B".into(), None)], ..flags() },
            "bad value for `-e`: `A B` is not a variable name",
        ),
        (
            "",
            Flags { env: vec![("A".into(), Some("\0".into()))], ..flags() },
            "bad value for `-e`: a value can't hold NUL",
        ),
        ("", Flags { volumes: vec!["/a".into()], ..flags() }, "bad value for `-v`: `/a` is not a volume"),
        (
            "",
            Flags { project: Some("/home/me".into()), ..flags() },
            "`/home/me` can't be the project folder: it is the home folder",
        ),
        (
            "",
            Flags { project: Some("/".into()), ..flags() },
            "`/` can't be the project folder: it is the root folder",
        ),
        ("workdir = \"~\"", flags(), "`/home/me` can't be the project folder: it is the home folder"),
        (
            project_mount,
            Flags { no_project: true, ..flags() },
            "a mount uses `${project}`, but no project folder is mounted",
        ),
    ] {
        let shown = printed(&project(text), &flags, &host());
        assert!(shown.starts_with(&format!("error: {expected}\nhint: ")), "{shown}");
    }
    // a home at the root would let `~` reach what no target may be
    let text = "mounts = [{ source = \"/a\", target = \"~/proc\" }]";
    let odd = Host { home: "/".into(), real_home: "/".into(), ..host() };
    let shown = printed(&project(text), &flags(), &odd);
    assert!(shown.starts_with("error: the home folder `/` can't be one in a box"), "{shown}");
}

#[test]
fn an_untrusted_box_keeps_to_itself() {
    let debian = |rest: &str| project(&format!("image = \"debian\"\n{rest}"));
    let untrusted = Flags { isolation: Some(Isolation::Untrusted), ..Flags::default() };
    let plan = |found: &Found, flags: &Flags| make(found, flags, &host(), &secrets).unwrap();
    let typed = plan(&debian(""), &untrusted);
    assert_eq!((typed.name.as_str(), typed.network, typed.user), ("app-untrusted", Network::None, User::Me));
    let written = plan(&debian("isolation = \"untrusted\"\nname = \"mine\""), &Flags::default());
    assert_eq!((written.name.as_str(), written.isolation), ("mine-untrusted", Isolation::Untrusted));
    let named = Flags { name: Some("it".into()), ..untrusted.clone() };
    assert_eq!(plan(&debian(""), &named).name, "it");
    let trusted = Flags { isolation: Some(Isolation::Dev), ..Flags::default() };
    assert_eq!(plan(&debian("isolation = \"untrusted\""), &trusted).name, "app");
    let long = plan(&debian(&format!("name = \"{}\"", "x".repeat(64))), &untrusted);
    assert_eq!(long.name, format!("{}-untrusted", "x".repeat(54)));
    for (text, what, instead) in [
        ("", "image `host`", "name an image"),
        ("image = \"debian\"\n[network]\nmode = \"host\"", "network `host`", "`--network none`"),
        ("image = \"debian\"\nhome = \"host\"", "home `host`", "`--home private`"),
        ("image = \"debian\"\nuser = \"root\"", "user `root`", "`--user me`"),
        ("image = \"debian\"\nuser = \"image\"", "user `image`", "`--user me`"),
        ("image = \"debian\"\nuser = \"node\"", "user `node`", "`--user me`"),
        ("image = \"debian\"\nids = \"full\"", "user `root`", "`--user me`"),
    ] {
        let shown = printed(&project(text), &untrusted, &host());
        let expected = format!("error: {what} does not go with isolation `untrusted`: ");
        assert!(shown.starts_with(&expected) && shown.contains(instead), "{shown}");
    }
}

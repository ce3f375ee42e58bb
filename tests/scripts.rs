//! `devbox run` where nobody sits: make, git hooks, services, CI. No terminal, odd descriptors, hardly an environment.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::harness::host::{self, source};
use crate::harness::{Outcome, Test, binary};

const HOST: &str = "image = \"host\"\nname = \"demo\"\n";

/// A project with a box over this machine's own files.
fn project() -> Test {
    let test = Test::new();
    test.project_file(HOST);
    test
}

/// A shell's `script`, in which `$DEVBOX` is the program.
fn sh(test: &Test, script: &str) -> Outcome {
    test.plain(["sh", "-c", script]).env("DEVBOX", &binary().display().to_string()).output()
}

#[test]
fn make_runs_many_at_once_and_sees_failures() {
    needs!(boxes);
    if !host::works(&["make", "--version"]) {
        return host::skip("make is not installed");
    }
    let test = project();
    fs::write(
        test.project().join("Makefile"),
        "all: a b c d\na b c d:\n\t@$(DEVBOX) run -- sh -c 'echo $@ $$MAKEFLAGS >$@; ls /proc/self/fd | wc -l >>$@'\n\
         fails:\n\t@$(DEVBOX) run -- sh -c 'exit 3'\n",
    )
    .unwrap();
    // the box is new to all of them, and make's own descriptors are not the box's
    sh(&test, "make -j4").ok();
    for name in ["a", "b", "c", "d"] {
        assert_eq!(fs::read_to_string(test.project().join(name)).unwrap(), format!("{name}\n4\n"));
    }
    let failed = sh(&test, "make fails").fails(2);
    assert!(failed.stderr.contains("Error 3"), "{failed}");
}

#[test]
fn a_git_hook_decides_by_a_box() {
    needs!(boxes);
    if !host::works(&["git", "--version"]) {
        return host::skip("git is not installed");
    }
    let test = project();
    let hook = |name: &str, script: &str| {
        let path = test.project().join(".git/hooks").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    sh(&test, "git init -q . && git config user.name me && git config user.email me@example.org").ok();
    // what git says of its own process is nothing to the box, which sees the project as it is
    hook("pre-commit", "exec $DEVBOX -q run -- sh -c 'env | grep ^GIT_; cat; test ! -e bad'");
    let commit = "git add -A && git commit -q -m one -a && git log --format=%s";
    sh(&test, commit).ok().prints("one");
    fs::write(test.project().join("bad"), "").unwrap();
    assert_ne!(sh(&test, commit).code, 0);
    fs::remove_file(test.project().join("bad")).unwrap();
    // a hook that is handed something on a pipe
    hook("pre-push", "exec $DEVBOX -q run -- sh -c 'read from id to zero && echo $from >pushed'");
    sh(&test, "git init -q --bare ../remote && git push -q ../remote HEAD:refs/heads/main").ok();
    assert_eq!(fs::read_to_string(test.project().join("pushed")).unwrap(), "HEAD\n");
}

#[test]
fn descriptors_may_be_closed() {
    needs!(boxes);
    let test = project();
    for (script, printed) in [
        ("$DEVBOX -q run -- cat <&-", ""),
        ("$DEVBOX -q run -- cat </dev/null", ""),
        ("$DEVBOX -q run -- echo out 2>&-", "out"),
        ("$DEVBOX -q run -- sh -c 'echo lost; echo x >made' >&-; cat made", "x"),
        ("$DEVBOX -q run -- sh -c 'echo y >made' <&- >&- 2>&-; cat made", "y"),
        ("exec 7<devbox.toml 8>&1; $DEVBOX -q run -- sh -c 'ls /proc/self/fd | wc -l'", "4"),
        ("yes | $DEVBOX -q run -- head -n 1", "y"),
        ("$DEVBOX -q run -- yes | head -n 1", "y"),
        ("trap '' PIPE INT TERM; $DEVBOX -q run -- sh -c 'yes | head -n 1'", "y"),
        ("setsid -w $DEVBOX -q run -- sh -c 'tty; echo \"[$TERM]\"'", "not a tty\n[xterm]"),
        ("echo 'echo in; exit 4' | $DEVBOX -q enter; echo $?", "in\n4"),
    ] {
        let done = sh(&test, script);
        assert_eq!((done.code, done.text().trim_end()), (0, printed), "{script}: {done}");
    }
}

/// As a unit of systemd is started, and a job of cron.
#[test]
fn hardly_an_environment_is_enough() {
    needs!(boxes);
    let test = project();
    // the places alone: a home is known by the accounts, and must not be written to by a test
    let places = ["XDG_CONFIG_HOME=config", "XDG_DATA_HOME=data", "XDG_CACHE_HOME=cache"].map(|place| {
        let (name, folder) = place.split_once('=').unwrap();
        format!("{name}={}", test.path(folder).display())
    });
    let run = |home: &[&str], command: &[&str]| {
        let places = places.iter().map(String::as_str);
        let words: Vec<&str> = ["env", "-i"].into_iter().chain(places).chain(home.iter().copied()).collect();
        test.under(words, [&["run", "--"], command].concat()).output()
    };
    let home = format!("HOME={}", test.home().display());
    // without a runtime folder it is one below the cache
    let script = "echo $TERM; pwd; [ -n \"$PATH\" ] && [ -n \"$HOME\" ] && [ -n \"$USER\" ]";
    run(&[&home], &["sh", "-c", script]).ok().prints(&format!("\n{}", test.project().display()));
    assert!(test.path("cache/devbox/run").exists());
    run(&["HOME=rel"], &["true"]).refused(&["HOME is `rel`", "set HOME"]);
    for system in ["/", "/usr"] {
        run(&[&format!("HOME={system}")], &["true"]).refused(&["home folder", system, "set HOME"]);
    }
    // neither a variable nor an account says where it is
    if host::works(&["unshare", "-U", "--map-user=54321", "true"]) {
        let wrapper = ["unshare", "-U", "--map-user=54321", "env", "-i"];
        test.under(wrapper, ["run", "--", "true"]).output().refused(&["no home folder", "set HOME"]);
    }
    test.plain(["sh", "-c", "mkdir ../gone && cd ../gone && rmdir ../gone && exec $DEVBOX run -- true"])
        .env("DEVBOX", &binary().display().to_string())
        .output()
        .refused(&["current folder"]);
}

#[test]
fn exit_codes_are_those_of_the_table() {
    needs!(boxes);
    let test = project();
    let help = test.devbox(["--help"]).output().ok().text();
    let reference = fs::read_to_string(source().join("docs/reference.md")).unwrap();
    for (command, code) in [
        (&["run", "--", "true"][..], 0),
        (&["run", "--", "sh", "-c", "exit 7"], 7),
        (&["run", "--limit", "time=1s", "--name", "timed", "--", "sleep", "30"], 124),
        (&["run", "--image", "nowhere.invalid/a:1", "--pull", "never", "--", "true"], 125),
        (&["run", "--", "/etc/hostname"], 126),
        (&["run", "--", "no-such-command"], 127),
        (&["run", "--", "sh", "-c", "kill -TERM $$"], 143),
    ] {
        test.devbox(command).output().fails(code);
        if (122..=127).contains(&code) {
            assert!(help.contains(&code.to_string()) && reference.contains(&format!("| {code} |")), "{code}");
        }
    }
}

/// Keys below these are the user's own, or there only where they apply.
const FREE: [&str; 3] = ["plan .env", "plan .uses", "config .env"];

/// The fields of `value`, as `.mounts[].source`.
fn fields(verb: &str, value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) if !FREE.contains(&&*format!("{verb} {at}")) => {
            for (key, value) in object {
                let at = format!("{at}.{key}");
                found.insert(format!("{verb} {at}"));
                fields(verb, value, &at, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| fields(verb, item, &format!("{at}[]"), found)),
        _ => {}
    }
}

/// What programs read stays: a field that is gone or renamed breaks them, one that is new is written down once.
#[test]
fn json_keeps_its_fields() {
    needs!(boxes, images);
    let test = Test::busybox();
    let text = fs::read_to_string(test.project().join("devbox.toml")).unwrap();
    let more = "driver = \"auto\"\nssh-agent = [\"key\"]\n[env]\nA = \"b\"\n[[mounts]]\nsource = \"~/x\"\ntarget = \"/x\"\nmode = \"ro\"\noptional = true\n\
                [limits]\npids = 500\n[network]\nmode = \"host\"\n";
    test.project_file(&text);
    test.sh("echo new >/etc/motd; rm -f /etc/group").ok();
    test.devbox(["snapshot", "demo"]).output().ok();
    test.devbox(["run", "--untrusted", "--", "sh", "-c", "echo x >f; mount -t tmpfs none /mnt"]).output();
    test.project_file(&format!("{text}{more}"));
    test.devbox(["--yes", "trust"]).output().ok();
    let mut found = BTreeSet::new();
    for (verb, args) in [
        ("ls", &["ls"][..]),
        ("images", &["images"]),
        ("inspect", &["inspect", "demo"]),
        ("df", &["df"]),
        ("diff", &["diff", "demo"]),
        ("diff-untrusted", &["diff", "demo-untrusted"]),
        ("snapshots", &["snapshots", "demo"]),
        ("plan", &["plan"]),
        ("profiles", &["profiles"]),
        ("trust", &["trust"]),
        ("trust-list", &["trust", "--list"]),
        ("config", &["config", "show"]),
        ("config-origin", &["config", "show", "--origin"]),
        ("doctor", &["doctor"]),
        ("prune", &["prune", "--dry-run"]),
        ("verify", &["verify"]),
        ("logs", &["logs", "demo-untrusted"]),
        ("why", &["why", "demo-untrusted"]),
    ] {
        let said = test.devbox([args, &["--format", "json"]].concat()).output();
        fields(verb, &said.json(), "", &mut found);
        assert!(
            found.iter().any(|field| field.starts_with(&format!("{verb} "))),
            "{verb} says nothing: {said}"
        );
    }
    let kept = fs::read_to_string(source().join("tests/fixtures/json-fields")).unwrap_or_default();
    let kept: BTreeSet<String> = kept.lines().map(str::to_owned).collect();
    let (gone, new): (Vec<_>, Vec<_>) =
        (kept.difference(&found).collect(), found.difference(&kept).cloned().collect());
    assert!(gone.is_empty(), "fields that programs may read are gone: {gone:#?}");
    assert!(new.is_empty(), "write these into tests/fixtures/json-fields:\n{}", new.join("\n"));
}

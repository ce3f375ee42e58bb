//! The project of an untrusted box as a transaction: what it wrote is shown, applied as a whole, or dropped.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{Outcome, Pty, Test, host, within};

/// A project of a few files, and what a script of the box makes of it.
fn changed(script: &str) -> (Test, Outcome) {
    let test = Test::busybox();
    for (name, text) in
        [("kept", "kept\n"), ("a", "one\ntwo\nthree\n"), ("gone", "x\n"), ("dir/in", "in\n"), ("mode", "m\n")]
    {
        test.write(&format!("home/work/{name}"), text);
    }
    let said = untrusted(&test, script);
    (test, said)
}

fn untrusted(test: &Test, script: &str) -> Outcome {
    test.devbox(["run", "--untrusted", "--", "sh", "-c", script]).output()
}

const CHANGES: &str = "printf 'one\\n2\\nthree\\n' >a; rm gone; chmod 755 mode; mkdir -p new/deep; echo n >new/deep/file; \
                       ln -s ../kept new/link; ln new/deep/file new/same; mv dir moved";

/// All of the project but its profile, a line each.
fn shown(test: &Test) -> String {
    let said = test.plain(["sh", "-c", "find . ! -name devbox.toml -printf '%M %n %s %p %l\\n' | grep -v '^d.* \\.' | sort -k4; cat $(find . -type f ! -name devbox.toml | sort)"]);
    said.output().ok().text()
}

#[test]
fn a_summary_then_the_patch_then_all_of_it() {
    needs!(boxes, images);
    let (test, said) = changed(CHANGES);
    said.ok().says(&["changed", "added", "1 changed", "1 with another mode", "deleted", "devbox apply"]);
    let listed = test.devbox(["diff", "--no-patch"]).output().ok();
    for line in ["C  12 B  a", "D        gone", "new/deep/file", "moved/in", "dir"] {
        assert!(listed.text().contains(line), "{line}: {listed}");
    }
    let patch = test.devbox(["diff", "-p"]).output().ok().text();
    assert!(patch.contains("--- a/a\n+++ b/a\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n"), "{patch}");
    assert!(patch.contains("old mode 100644\nnew mode 100755"), "{patch}");
    let whole = test.devbox(["diff"]).output().ok().text();
    assert!(whole.contains(&patch) && whole.contains("C  12 B  a"), "{whole}");
    let json = test.devbox(["diff", "--format", "json"]).output().ok().json();
    assert!(
        json.as_array().unwrap().iter().any(|line| line["path"] == "a" && line["what"] == "changed"),
        "{json}"
    );
    // the same by hand
    let direct = Test::new();
    for (name, text) in
        [("kept", "kept\n"), ("a", "one\ntwo\nthree\n"), ("gone", "x\n"), ("dir/in", "in\n"), ("mode", "m\n")]
    {
        direct.write(&format!("home/work/{name}"), text);
    }
    direct.plain(["sh", "-c", CHANGES]).output().ok();
    test.devbox(["apply"]).output().ok();
    assert_eq!(shown(&test), shown(&direct));
    assert_eq!(
        fs::metadata(test.project().join("new/same")).unwrap().ino(),
        fs::metadata(test.project().join("new/deep/file")).unwrap().ino()
    );
    assert_eq!(test.devbox(["diff"]).output().ok().text(), "");
    assert_eq!(untrusted(&test, "cat a").ok().prints("one\n2\nthree").stderr.matches("changed").count(), 1);
}

#[test]
fn a_part_and_the_rest_dropped() {
    needs!(boxes, images);
    let (test, said) = changed(CHANGES);
    said.ok();
    let before = fs::metadata(test.project().join("kept")).unwrap();
    test.devbox(["apply", "new/deep", "new/same", "gone"]).output().ok();
    assert!(test.project().join("new/deep/file").exists() && !test.project().join("gone").exists());
    assert!(!test.project().join("new/link").exists() && test.project().join("dir/in").exists());
    let left = test.devbox(["diff", "--no-patch"]).output().ok().text();
    assert!(left.contains("new/link") && left.contains("  a") && !left.contains("new/deep"), "{left}");
    untrusted(&test, "cat new/deep/file new/link; echo again >new/deep/file; ls gone").fails(1);
    // what was applied is no conflict later
    test.devbox(["apply", "new/deep/file"]).output().ok();
    assert_eq!(fs::read_to_string(test.project().join("new/deep/file")).unwrap(), "again\n");
    test.devbox(["discard", "a", "moved"]).cwd(test.project()).output().ok();
    untrusted(&test, "cat a; ls moved").fails(1).text().starts_with("one\ntwo");
    test.devbox(["discard"]).output().ok();
    assert_eq!(test.devbox(["diff"]).output().ok().text(), "");
    untrusted(&test, "ls").ok().prints("a\ndevbox.toml\ndir\nkept\nmode\nnew");
    let after = fs::metadata(test.project().join("kept")).unwrap();
    assert_eq!((before.ino(), before.ctime_nsec()), (after.ino(), after.ctime_nsec()));
    test.devbox(["apply", "nothing"]).output().refused(&["changed nothing at `nothing`"]);
    test.devbox(["apply", "../outside"]).output().refused(&["not in the project"]);
}

#[test]
fn what_runs_later_has_to_be_named() {
    needs!(boxes, images);
    let (test, said) = changed(
        "mkdir -p .git/hooks .git/objects .vscode sub; echo evil >.git/hooks/pre-commit; echo o >.git/objects/o; \
         echo x >.vscode/tasks.json; echo y >.envrc; echo z >>devbox.toml; echo w >sub/.ENVRC; ln -s /etc/passwd out; \
         ln -s sub in; echo plain >plain; mkfifo pipe; cp /bin/busybox set; chmod 4755 set; ln -s sub .github; \
         mkdir -p bare/objects/x bare/refs bare/hooks; echo r >bare/HEAD; echo c >bare/config; echo h >bare/hooks/post-checkout",
    );
    said.ok().says(&["to be named", "git finds hooks"]);
    let applied = test.devbox(["apply"]).output().ok();
    applied.says(&["left in box", ".envrc", "leads out", "FIFO"]);
    let there = |name: &str| fs::symlink_metadata(test.project().join(name)).is_ok();
    for name in ["plain", "in", "set"] {
        assert!(there(name), "{name}");
    }
    for name in [
        ".git",
        ".vscode/tasks.json",
        ".envrc",
        "sub/.ENVRC",
        "out",
        "pipe",
        ".github",
        "bare/HEAD",
        "bare/objects",
        "bare/config",
        "bare/hooks/post-checkout",
    ] {
        assert!(!there(name), "{name}");
    }
    assert_eq!(fs::metadata(test.project().join("set")).unwrap().mode() & 0o7777, 0o755);
    assert!(!fs::read_to_string(test.project().join("devbox.toml")).unwrap().contains('z'));
    // the folder above names them not, but the folder that makes them so
    test.devbox(["apply", "."]).output().ok();
    test.devbox(["apply", "sub"]).output().ok();
    assert!(!there(".envrc") && !there("sub/.ENVRC"));
    test.devbox(["apply", ".git", ".vscode/tasks.json", "out", "sub/.ENVRC"]).output().ok();
    assert!(
        there(".git/hooks/pre-commit")
            && there(".git/objects/o")
            && there(".vscode/tasks.json")
            && there("out")
            && there("sub/.ENVRC")
    );
    assert!(!there(".envrc") && !there("pipe"));
}

#[test]
fn a_repository_without_git_stays_in_the_box() {
    needs!(boxes, images);
    let test = Test::busybox();
    for name in ["HEAD", "config", "objects/o", "refs/r"] {
        test.write(&format!("home/work/.git/{name}"), "x\n");
    }
    let script = "rm .git/HEAD; mkdir objects refs; echo 'ref: refs/heads/main' >HEAD; touch objects/.k refs/.k; \
                  printf '[core]\\n fsmonitor=\"touch /tmp/taken; false\"\\n' >config; echo y >.git/objects/y; echo p >plain";
    let flags = ["run", "--untrusted", "--apply", "--", "sh", "-c", script];
    test.devbox(flags).output().ok().says(&["to be named", "git finds hooks"]);
    let there = |name: &str| test.project().join(name).exists();
    assert!(there("plain") && there(".git/objects/y") && there(".git/HEAD"));
    assert!(!there("config") && !there("HEAD") && !there("objects") && !there("refs"));
    test.devbox(["apply", "config"]).output().ok();
    assert!(there("config") && !there("HEAD"));
}

#[test]
fn what_is_copied_out_is_named_as_well() {
    needs!(boxes, images);
    let test = Test::busybox();
    let script = "mkdir -p dist/.git/hooks dist/bare/objects dist/bare/refs; echo a >dist/app; echo e >dist/.envrc; \
                  echo c >dist/.git/config; echo h >dist/bare/HEAD; echo c >dist/bare/config; mkfifo dist/pipe";
    let said =
        test.devbox(["run", "--untrusted", "--out", "out:dist", "--", "sh", "-c", script]).output().ok();
    said.says(&["not copied out", "dist/.envrc", "dist/.git", "dist/bare/config", "FIFO"]);
    let there = |name: &str| test.project().join("out").join(name).exists();
    assert!(there("dist/app") && !there("dist/.envrc") && !there("dist/.git"));
    assert!(!there("dist/bare/config") && !there("dist/bare/HEAD"));
    test.devbox(["apply", "--out", "out", "dist/.envrc"]).output().ok();
    assert!(there(".envrc"));
}

#[test]
fn a_tree_too_deep_is_refused_and_can_be_dropped() {
    needs!(boxes, images);
    let test = Test::busybox();
    let script = "p=$(printf 'd/%.0s' $(seq 1050)); mkdir -p a/$p b/$p && mv b a/$p";
    let run = |script: &str| test.devbox(["run", "--untrusted", "--", "sh", "-c", script]).output();
    let began = Instant::now();
    run(script).ok().says(&["longer than 4096 bytes", "devbox discard"]);
    test.devbox(["apply"]).output().refused(&["longer than 4096 bytes"]);
    test.devbox(["discard"]).output().ok();
    assert_eq!(test.devbox(["diff"]).output().ok().text(), "");
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

#[test]
fn both_sides_changed() {
    needs!(boxes, images);
    let (test, said) =
        changed("echo box >a; rm -r dir; echo new >both; echo m >>mode; echo k >>kept; rm gone");
    said.ok();
    test.write("home/work/a", "host\n");
    test.write("home/work/dir/more", "host\n");
    test.write("home/work/both", "host\n");
    fs::remove_file(test.project().join("mode")).unwrap();
    fs::remove_file(test.project().join("gone")).unwrap();
    let said = test.devbox(["apply"]).output();
    said.refused(&["nothing that box", "4 of the same paths", "--force"]);
    assert_eq!(fs::read_to_string(test.project().join("kept")).unwrap(), "kept\n", "all or nothing");
    test.devbox(["apply", "kept"]).output().ok();
    test.devbox(["apply", "a"]).output().refused(&["1 of the same"]);
    test.devbox(["apply", "--force"]).output().ok();
    assert_eq!(fs::read_to_string(test.project().join("a")).unwrap(), "box\n");
    assert!(!test.project().join("dir").exists() && test.project().join("mode").exists());
    assert!(
        fs::read_dir(test.project())
            .unwrap()
            .flatten()
            .all(|entry| !entry.file_name().to_string_lossy().starts_with(".devbox-"))
    );
}

#[test]
fn flags_for_machines() {
    needs!(boxes, images);
    let (test, said) = changed("true");
    assert!(!said.ok().stderr.contains("changed /"));
    let run = |flags: &[&str], script: &str| {
        test.devbox([&["run", "--untrusted"], flags, &["--", "sh", "-c", script]].concat()).output()
    };
    run(&["--apply"], "echo 1 >a; exit 3").fails(3).says(&["ended with 3"]);
    assert_eq!(fs::read_to_string(test.project().join("a")).unwrap(), "one\ntwo\nthree\n");
    run(&["--apply"], "echo 2 >a").ok().says(&["applied to"]);
    assert_eq!(fs::read_to_string(test.project().join("a")).unwrap(), "2\n");
    run(&["--discard"], "echo 3 >a; exit 4").fails(4).says(&["dropped"]);
    run(
        &["--rm", "--out", "dist:out/app:dir", "--discard"],
        "mkdir out; echo app >out/app; chmod 755 out/app; echo x >dir/new; ln -s /etc dir/etc",
    )
    .ok();
    assert_eq!(fs::read_to_string(test.project().join("dist/app")).unwrap(), "app\n");
    assert_eq!(fs::metadata(test.project().join("dist/app")).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(
        fs::read_dir(test.project().join("dist/dir")).unwrap().count(),
        2,
        "what was there, too, and no link out"
    );
    assert!(!test.project().join("out").exists());
    // what can't be applied is not thrown away
    let held = test
        .devbox([
            "run",
            "--untrusted",
            "--rm",
            "--apply",
            "--",
            "sh",
            "-c",
            "echo 6 >a; echo ready; read x; true",
        ])
        .spawn();
    held.stdout.expect("ready\n");
    test.write("home/work/a", "mine\n");
    let said = held.wait().fails(125).says(&["meanwhile", "is kept"]);
    let name = said.stderr.split("apply -n ").nth(1).unwrap().split('`').next().unwrap().to_owned();
    test.devbox(["apply", "-n", &name, "--force"]).output().ok();
    assert_eq!(fs::read_to_string(test.project().join("a")).unwrap(), "6\n");
    test.devbox(["rm", &name]).output().ok();
    run(&["--out", "dist"], "true").refused(&["does not say what"]);
    test.devbox(["run", "--apply", "--", "true"]).output().refused(&["--apply", "untrusted"]);
    // a box with work in it is not removed unasked
    run(&[], "echo 5 >a").ok();
    test.devbox(["rm", "demo-untrusted"]).output().refused(&["not applied", "-f"]);
    test.devbox(["rm", "-f", "demo-untrusted"]).output().ok();
}

#[test]
fn links_on_the_way_are_not_followed() {
    needs!(boxes, images);
    let (test, said) = changed("rm -r dir; ln -s ../outside dir; echo x >kept");
    said.ok();
    let outside = test.home().join("outside");
    fs::create_dir(&outside).unwrap();
    test.devbox(["apply", "dir"]).output().ok();
    assert_eq!(fs::read_link(test.project().join("dir")).unwrap().to_str(), Some("../outside"));
    untrusted(&test, "rm dir; mkdir dir; echo evil >dir/file").ok();
    // the host's own link is replaced, not gone through
    test.devbox(["apply", "--force"]).output().ok();
    assert_eq!(fs::read_to_string(test.project().join("dir/file")).unwrap(), "evil\n");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    untrusted(&test, "echo more >dir/more").ok();
    fs::remove_dir_all(test.project().join("dir")).unwrap();
    symlink(&outside, test.project().join("dir")).unwrap();
    test.devbox(["apply"]).output().refused(&["meanwhile"]);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

/// Numbers that look random, the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % most
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }
}

/// A line of a script that changes a tree, or fails at that. Times are set, for the two runs are at two times. Links are
/// made where no folder is moved: moving one is copying it where an overlay is below, and breaks them. Modes let the owner
/// write, for the test may run as root.
fn step(random: &mut Random) -> String {
    const FOLDERS: [&str; 5] = ["d", "e", "d/f", "e/g", "d/f/h"];
    const TOP: [&str; 5] = ["a", "b", "c", "x", "y"];
    let file = |random: &mut Random| match random.below(2) {
        0 => random.of(&TOP).to_owned(),
        _ => format!("{}/{}", random.of(&FOLDERS), random.of(&["m", "n", "o"])),
    };
    let one = file(random);
    let time = 1_000_000_000 + random.below(1000);
    let set = |path: &str| format!("[ -f {path} ] && [ ! -L {path} ] && touch -d @{time} {path}");
    match random.below(12) {
        0 | 1 => format!("[ ! -L {one} ] && echo {time} >{one}; {}", set(&one)),
        2 => format!("[ ! -L {one} ] && [ -f {one} ] && echo more {time} >>{one}; {}", set(&one)),
        3 => format!("rm -f {one}"),
        4 => format!("mkdir {}", random.of(&FOLDERS)),
        5 => format!("rmdir {}", random.of(&FOLDERS)),
        6 => format!("rm -rf {}", random.of(&FOLDERS)),
        7 => {
            let other = file(random);
            format!("[ ! -d {other} ] && mv {one} {other}")
        }
        8 => format!("[ ! -e {0} ] && mv {1} {0}", random.of(&FOLDERS), random.of(&FOLDERS)),
        9 => format!("[ ! -L {0} ] && [ -f {0} ] && ln {0} {1}", random.of(&TOP), random.of(&["l1", "l2"])),
        10 => format!("ln -s {} {one}", random.of(&["a", "d/m", "nowhere"])),
        _ => format!(
            "[ ! -L {one} ] && [ -e {one} ] && chmod {} {one}",
            random.of(&["600", "644", "755", "640"])
        ),
    }
}

/// What of a tree two runs have in common: kinds, modes, links, content, and the times of files.
const LOOK: &str = "find . ! -name devbox.toml -type f -printf '%M %s %T@ %p\\n' -exec cat {} + -o -type l -printf '%p -> %l\\n' -o \
                    -type d ! -name . -printf '%M %p\\n' | sort";

/// What a tree that nobody touched keeps, down to the times.
const LOOK_CLOSELY: &str =
    "find . -printf '%M %n %s %T@ %C@ %i %p %l\\n' | sort; cat $(find . -type f | sort)";

#[test]
fn applied_it_is_as_if_done_there_and_dropped_as_if_not() {
    needs!(boxes, images);
    let (test, direct) = (Test::busybox(), Test::new());
    let mut random = Random(20_261_121);
    let start = "mkdir -p d/f e; for f in a b d/m d/f/n e/o; do echo $f >$f; touch -d @1000000000 $f; done";
    for test in [&test, &direct] {
        test.plain(["sh", "-c", start]).output().ok();
    }
    for round in 0..25 {
        let script: Vec<String> = (0..20).map(|_| step(&mut random)).collect();
        // an overlay breaks the links of what is below it when it is written to
        let script = format!("exec 2>/dev/null; rm -f l1 l2\n{}\ntrue", script.join("\n"));
        let look = |test: &Test| test.plain(["sh", "-c", LOOK]).output().ok().text();
        let closely = || test.plain(["sh", "-c", LOOK_CLOSELY]).output().ok().text();
        let before = closely();
        untrusted(&test, &script).ok();
        assert_eq!(closely(), before, "round {round}: {script}");
        if random.below(3) == 0 {
            test.devbox(["discard"]).output().ok();
            assert_eq!(closely(), before, "round {round}, dropped: {script}");
            untrusted(&test, "true").ok();
            assert_eq!(test.devbox(["diff", "--no-patch"]).output().ok().text(), "", "round {round}");
            continue;
        }
        let named = test.devbox(["apply"]).output().ok();
        direct.plain(["sh", "-c", &script]).output().ok();
        assert_eq!(look(&test), look(&direct), "round {round}: {script}\n{named}");
        assert_eq!(test.devbox(["diff", "--no-patch"]).output().ok().text(), "", "round {round}: {script}");
    }
}

#[test]
fn killed_at_any_moment_all_of_it_is_applied_or_nothing() {
    needs!(boxes, images);
    let test = Test::busybox();
    let write = "i=0; while [ $i -lt 200 ]; do echo $VALUE >file$i; i=$((i+1)); done";
    test.plain(["sh", "-c", write]).env("VALUE", "start").output().ok();
    let values = || {
        let said = test.plain(["sh", "-c", "cat file* | sort -u"]).output().ok();
        assert_eq!(test.plain(["sh", "-c", "ls | grep -c file"]).output().ok().text(), "200\n");
        said.text().trim().to_owned()
    };
    let run = |value: &str| {
        let set = format!("VALUE={value}; {write}; mkdir -p new; echo $VALUE >new/file");
        untrusted(&test, &set).ok();
    };
    run("timed");
    let began = Instant::now();
    test.devbox(["apply"]).output().ok();
    let whole = began.elapsed();
    let mut random = Random(5);
    for round in 0..16 {
        let before = values();
        let value = format!("round{round}");
        run(&value);
        let apply = test.devbox(["apply", "--force"]).spawn();
        std::thread::sleep(whole * random.below(110) as u32 / 100);
        apply.signal(Signal::SIGKILL);
        drop(apply);
        // whoever takes the lock next
        let said = untrusted(&test, "cat file7").ok();
        assert_eq!(said.text().trim(), value);
        let now = values();
        assert!(now == before || now == value, "round {round}: {now}");
        let listed = test.plain(["ls", "-A"]).output().ok().text();
        assert!(!listed.contains(".devbox-apply"), "{listed}");
        if now != value {
            test.devbox(["apply", "--force"]).output().ok();
            assert_eq!(values(), value);
        }
    }
}

#[test]
fn many_at_once() {
    needs!(boxes, images);
    let (test, said) = changed("true");
    said.ok();
    let script = "echo from $DEVBOX_FORK; echo $DEVBOX_FORK >a; echo oops >&2; httpd -p 127.0.0.1:8099 && exit $((DEVBOX_FORK % 3))";
    let said = test.devbox(["run", "--untrusted", "--forks", "4", "--", "sh", "-c", script]).output();
    for number in 1..=4 {
        assert!(said.text().contains(&format!("[{number}] from {number}\n")), "{said}");
        assert!(said.stderr.contains(&format!("[{number}] oops\n")), "{said}");
        let changes = format!("demo-untrusted.{number}  {}     ", number % 3);
        assert!(said.stderr.contains(&changes) && said.stderr.contains("1 changed"), "{changes}: {said}");
        let log = test.path(&format!("data/devbox/boxes/demo-untrusted.{number}/output.log"));
        let log = fs::read_to_string(log).unwrap();
        assert!(log.contains(&format!("from {number}\n")) && log.contains("oops"), "{log}");
    }
    assert_eq!(fs::read_to_string(test.project().join("a")).unwrap(), "one\ntwo\nthree\n");
    said.fails(2);
    let again = test.devbox(["run", "--untrusted", "--forks", "2", "--", "true"]).output();
    again.refused(&["demo-untrusted.1", "discard --forks"]);
    test.devbox(["apply", "-n", "demo-untrusted.3"]).output().ok();
    assert_eq!(fs::read_to_string(test.project().join("a")).unwrap(), "3\n");
    test.devbox(["apply", "-n", "demo-untrusted.4"]).output().refused(&["meanwhile"]);
    let gone = test.devbox(["discard", "--forks"]).output().ok();
    assert_eq!(gone.text().lines().count(), 4, "{gone}");
    assert_eq!(test.devbox(["ls", "-q"]).output().ok().text(), "demo-untrusted\n");
    test.devbox(["run", "--forks", "2", "--", "true"]).output().refused(&["--forks", "untrusted"]);
}

#[test]
fn forks_end_with_devbox() {
    needs!(boxes, images);
    let (test, said) = changed("true");
    said.ok();
    let marker = format!("8{}", std::process::id());
    let script = format!("echo ready; exec sleep {marker}");
    let mut forks = test.devbox(["run", "--untrusted", "--forks", "2", "--", "sh", "-c", &script]).spawn();
    forks.stdout.expect("] ready\n");
    forks.stdout.expect("] ready\n");
    assert!(host::processes(&marker).len() >= 2);
    forks.signal(Signal::SIGTERM);
    assert!(forks.ended(Duration::from_secs(5)).is_some());
    assert!(within(2, || host::processes(&marker).is_empty()));
    let forks = test.devbox(["run", "--untrusted", "--forks", "2", "--", "sh", "-c", &script]).spawn();
    forks.stdout.expect("] ready\n");
    forks.stdout.expect("] ready\n");
    forks.signal(Signal::SIGKILL);
    assert!(within(2, || host::processes(&marker).is_empty()), "left: {:?}", host::processes(&marker));
}

#[test]
fn nothing_of_it_acts_on_a_terminal() {
    needs!(boxes, images);
    let (test, said) = changed(
        "printf 'red \\033[31m \\033]0;title\\007\\n' >kept; e=$(printf 'x\\033[2Jy'); echo 1 >\"$e\"; mkdir \"d$e\"",
    );
    let said = said.ok();
    assert!(!said.stderr.contains('\u{1b}') && said.stderr.contains("x\\x1b[2Jy"), "{said}");
    for verb in [&["diff"][..], &["diff", "-p"], &["apply"]] {
        let mut pty = Pty::spawn(&test.devbox(verb));
        pty.wait();
        let shows = |text| pty.screen.so_far().contains(text);
        assert!(
            within(2, || shows("\\x1b[2Jy") || shows("\\033[2Jy")),
            "{verb:?}: {:?}",
            pty.screen.so_far()
        );
        let screen = pty.screen.so_far();
        assert!(
            !screen.contains("\u{1b}[2J") && !screen.contains("\u{1b}]0") && !screen.contains("red \u{1b}"),
            "{screen:?}"
        );
    }
}

#[test]
fn a_full_disk_changes_nothing() {
    needs!(boxes, images);
    let test = Test::busybox();
    let script = "mount -t tmpfs -o size=300k none \"$PWD\" && cd \"$PWD\" && cp ../profile devbox.toml && echo kept >a || exit 99
        \"$0\" run --untrusted -- sh -c 'echo other >a; mkdir b; dd if=/dev/zero of=b/big bs=1k count=900 2>/dev/null' || exit 98
        \"$0\" apply; code=$?; cat a; ls -A; \"$0\" diff --no-patch; \"$0\" apply a; cat a; \"$0\" discard; exit $code";
    fs::copy(test.project().join("devbox.toml"), test.path("home/profile")).unwrap();
    let said = test.under(["unshare", "-Urm", "sh", "-c", script], []).output();
    let said = said.fails(125).says(&["error: ", "No space left", "hint: "]);
    assert!(said.text().starts_with("kept\na\ndevbox.toml\nC  6 B         a\n"), "{said}");
    assert!(said.text().contains("b/big") && said.text().contains("\nother\n"), "{said}");
}

#[test]
fn what_is_no_fork_stays() {
    needs!(boxes, images);
    let test = Test::busybox();
    test.devbox(["run", "--name", "demo-untrusted.7", "--", "true"]).output().ok();
    test.devbox(["run", "--untrusted", "--forks", "1", "--", "true"]).output().ok();
    test.devbox(["discard", "--forks"]).output().ok().prints("demo-untrusted.1");
    test.devbox(["rename", "demo-untrusted.7", "demo-untrusted.1"]).output().ok();
    let forks = test.devbox(["run", "--untrusted", "--forks", "1", "--", "true"]).output();
    forks.refused(&["`demo-untrusted.1` is there, and is no fork"]);
    test.devbox(["ls", "-q"]).output().ok().prints("demo-untrusted.1");
}

#[test]
fn what_can_not_be_listed_is_not_removed_unasked() {
    needs!(boxes, images);
    let (test, said) = changed("echo x >new");
    said.ok();
    let away = test.path("away");
    fs::rename(test.project(), &away).unwrap();
    let home = test.path("home");
    test.devbox(["rm", "demo-untrusted"]).cwd(&home).output().refused(&["can't be listed", "rm -f"]);
    fs::rename(&away, test.project()).unwrap();
    test.devbox(["apply"]).output().ok();
    assert_eq!(fs::read_to_string(test.project().join("new")).unwrap(), "x\n");
    test.devbox(["rm", "demo-untrusted"]).output().ok();
}

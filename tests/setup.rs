//! `[setup]`: steps that run once and become layers, shared, pushed and fetched by key.

use std::fs;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::image::Packing;
use crate::harness::registry::Registry;
use crate::harness::{Image, Outcome, Test, host, within};

/// A project over busybox with this `[setup]`.
fn project(setup: &str) -> Test {
    let test = Test::busybox();
    set(&test, setup);
    test
}

fn set(test: &Test, setup: &str) {
    let image = Registry::open().push("busybox:1", &Image::busybox());
    test.project_file(&format!("image = \"{image}\"\nname = \"demo\"\nshell = \"sh\"\n[setup]\n{setup}\n"));
}

/// The steps that were done, by number.
fn done(said: &Outcome) -> Vec<usize> {
    let lines = said.stderr.lines().filter_map(|line| line.strip_prefix("note: set-up step "));
    lines.map(|rest| rest.split(' ').next().unwrap().parse().unwrap()).collect()
}

/// What identifies the root of the box `demo`.
fn root(test: &Test) -> String {
    let box_ = test.devbox(["inspect", "demo", "--format", "json"]).output().ok().json();
    box_["root"].as_str().unwrap().to_owned()
}

const TWO: &str = "run = [\"echo one > /etc/one\", \"cat /etc/one > /etc/two; echo said\"]";

#[test]
fn steps_are_done_once_and_their_results_shared() {
    needs!(boxes, images);
    let test = project(TWO);
    let first = test.sh("cat /etc/one /etc/two").ok().prints("one\none");
    assert_eq!(done(&first), [1, 2], "{first}");
    first.says(&["said"]);
    assert_eq!(done(&test.sh("true").ok()), [0; 0]);
    // nothing of it is the box's own
    test.devbox(["diff", "demo"]).output().ok().prints("");
    // another project with the same wish
    let other = test.home().join("other");
    fs::create_dir(&other).unwrap();
    let file = fs::read_to_string(test.project().join("devbox.toml")).unwrap().replace("demo", "other");
    fs::write(other.join("devbox.toml"), file).unwrap();
    let said = test.devbox(["run", "--", "cat", "/etc/two"]).cwd(&other).output().ok().prints("one");
    assert_eq!(done(&said), [0; 0], "{said}");
    test.devbox(["plan"]).output().ok().lists(&["echo one > /etc/one (done)", "(done)"]);
    test.devbox(["rm", "-f", "other"]).output().ok();
}

#[test]
fn a_change_does_again_what_follows_it() {
    needs!(boxes, images);
    let test = project(
        "run = [\"echo one > /etc/one\", { command = \"cat a.txt > /etc/two\", files = [\"a.txt\"] }]",
    );
    fs::write(test.project().join("a.txt"), "first").unwrap();
    assert_eq!(done(&test.sh("echo mine > /etc/mine; cat /etc/two").ok().prints("first")), [1, 2]);
    // the content of a file that a step names
    fs::write(test.project().join("a.txt"), "second").unwrap();
    let said = test.sh("cat /etc/two /etc/mine").ok().prints("secondmine");
    assert_eq!(done(&said), [2], "{said}");
    fs::write(test.project().join("a.txt"), "first").unwrap();
    assert_eq!(done(&test.sh("cat /etc/two").ok().prints("first")), [0; 0]);
    // a command, and one step less
    set(&test, "run = [\"echo one > /etc/one\", \"echo three > /etc/three\"]");
    assert_eq!(done(&test.sh("ls /etc/two 2>&1; cat /etc/three").ok()), [2]);
    set(&test, "run = [\"echo one > /etc/one\"]");
    assert_eq!(done(&test.sh("ls /etc/three; cat /etc/mine")), [0; 0]);
    set(&test, "run = [\"echo new > /etc/one\"]");
    assert_eq!(done(&test.sh("cat /etc/one").ok().prints("new")), [1]);
}

#[test]
fn a_box_that_runs_or_has_its_own_is_not_pulled_from_under_anybody() {
    needs!(boxes, images);
    let test = project("run = [\"echo one > /etc/one\"]");
    test.sh("echo mine > /etc/one").ok();
    set(&test, "run = [\"echo two > /etc/one\"]");
    // the box can still be entered, and is what it was
    test.sh("cat /etc/one")
        .ok()
        .prints("mine")
        .says(&["warning: box `demo` stays over", "devbox update --force demo"]);
    test.devbox(["reset", "demo", "/etc/one"]).output().ok();
    test.sh("cat /etc/one").ok().prints("two");
    let mut running = test.devbox(["run", "--", "sh", "-c", "echo up; cat"]).spawn();
    running.stdout.expect("up");
    set(&test, "run = [\"echo three > /srv/three\"]");
    let said = test.sh("ls /srv").ok().prints("");
    said.says(&["runs over another image or set-up"]);
    drop(running.stdin.take());
    running.wait().ok();
    test.sh("ls /srv").ok().prints("three");
}

#[test]
fn a_file_of_a_step_that_is_gone_locks_nobody_out() {
    needs!(boxes, images);
    let test = project("run = [{ command = \"cp a.txt /etc/one\", files = [\"a.txt\"] }]");
    fs::write(test.project().join("a.txt"), "a").unwrap();
    test.sh("true").ok();
    fs::remove_file(test.project().join("a.txt")).unwrap();
    let said = test.sh("cat /etc/one").ok().prints("a");
    said.says(&["a.txt for [setup] (No such file", "box `demo` stays over what it is over"]);
    let mut running = test.devbox(["run", "--", "sh", "-c", "echo up; cat"]).spawn();
    running.stdout.expect("up");
    test.sh("cat /etc/one").ok().prints("a");
    drop(running.stdin.take());
    running.wait().ok();
    // another box can't be made
    test.devbox(["run", "--name", "other", "--", "true"]).output().refused(&["a.txt", "No such file"]);
}

#[test]
fn a_failed_step_leaves_no_layer_and_can_be_looked_into() {
    needs!(boxes, images);
    let test = project("run = [\"echo one > /etc/one\", \"echo half > /etc/half; echo why; exit 3\"]");
    let said = test.sh("true").refused(&["step 2 of 2 failed with exit code 3", "--at-failure", "no layer"]);
    assert_eq!(done(&said), [1, 2]);
    said.says(&["why"]);
    let silent = test.devbox(["-q", "run", "--", "true"]).output();
    assert_eq!(done(&silent), [0; 0]);
    silent.refused(&["  | why"]);
    test.devbox(["setup", "--log", "2"]).output().ok().prints("why");
    let shell = test.devbox(["enter", "--at-failure"]).stdin("cat /etc/half; id -u; pwd\n").output().ok();
    shell.lists(&["half", "0", "/run/devbox/setup"]);
    // what is done there does not become part of anything
    test.devbox(["enter", "--at-failure"]).stdin("echo x > /etc/one\n").output().ok();
    set(&test, "run = [\"echo one > /etc/one\", \"echo good > /etc/half\"]");
    let said = test.sh("cat /etc/one /etc/half").ok().prints("one\ngood");
    assert_eq!(done(&said), [2], "{said}");
    test.devbox(["enter", "--at-failure"]).output().refused(&["no set-up step", "has failed"]);
    test.devbox(["prune"]).output().ok();
    let left = test.devbox(["ls", "-q"]).output().ok();
    assert_eq!(left.text().trim(), "demo", "{left}");
}

#[test]
fn nobody_looks_into_a_step_at_work_and_no_step_begins_under_a_look() {
    needs!(boxes, images);
    let test = project("run = [\"echo begun; sleep 3; exit 3\"]");
    let running = test.devbox(["run", "--", "true"]).spawn();
    running.stderr.expect("\nbegun");
    test.devbox(["enter", "--at-failure"]).output().refused(&["step 1 is being done right now"]);
    test.devbox(["prune"]).output().ok().prints("");
    running.wait().refused(&["step 1 of 1 failed"]);
    let mut shell = test.devbox(["enter", "--at-failure"]).spawn();
    shell.stdin.as_mut().unwrap().write_all(b"echo u''p\n").unwrap();
    shell.stdout.expect("up");
    let mut again = test.devbox(["run", "--", "true"]).spawn();
    again.stderr.expect("or looks into its failure");
    assert_eq!(again.ended(Duration::from_millis(500)), None);
    drop(shell.stdin.take());
    shell.wait().ok();
    again.wait().refused(&["step 1 of 1 failed"]);
}

#[test]
fn what_failed_is_found_whatever_became_of_the_steps() {
    needs!(boxes, images);
    let test = project("run = [\"echo one > /etc/one\", { command = \"sh a.sh\", files = [\"a.sh\"] }]");
    let script = |text: &str| fs::write(test.project().join("a.sh"), text).unwrap();
    let look = |input: &str| test.devbox(["enter", "--at-failure"]).stdin(input).output();
    // done once; another time, with the same key, it fails
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let seconds = now();
    script(&format!("echo half > /etc/half; [ $(date +%s) -lt {} ]", seconds + 5));
    test.sh("true").ok();
    look("").refused(&["no set-up step of this project has failed"]);
    assert!(within(10, || now() > seconds + 5));
    test.devbox(["setup", "--again", "2"]).output().refused(&["step 2 of 2 failed"]);
    look("cat /etc/one /etc/half\n").ok().lists(&["one", "half"]).says(&["step 2 of 2 failed here: sh a.sh"]);
    // another image below, steps that are none
    fs::remove_file(test.project().join("a.sh")).unwrap();
    look("cat /etc/half\n").ok().lists(&["half"]).says(&["step 2, not as it is now, failed here: sh a.sh"]);
    // another project has nothing to do with it
    let other = project("run = [\"echo one > /etc/one\"]");
    other.devbox(["enter", "--at-failure"]).output().refused(&["no set-up step of this project has failed"]);
    // done well it is over
    script("true");
    test.devbox(["setup"]).output().ok();
    look("").refused(&["no set-up step of this project has failed"]);
}

#[test]
fn what_a_failed_step_left_is_kept_by_another_name_alone() {
    needs!(boxes, images);
    let test = project("run = [\"echo one > /etc/one\", \"echo half > /etc/half; exit 3\"]");
    test.sh("true").refused(&["step 2 of 2 failed"]);
    let left = test.devbox(["ls", "-q"]).output().ok().text().trim().to_owned();
    assert!(left.starts_with("setup-"), "{left}");
    test.devbox(["run", &left, "--", "true"]).output().refused(&["set-up step left", "--at-failure"]);
    let archive = test.path("box.tar");
    test.devbox(["export", &left, archive.to_str().unwrap()]).output().ok();
    test.devbox(["clone", &left, "kept"]).output().ok();
    for args in [&["prune", "-n"][..], &["prune"]] {
        assert_eq!(test.devbox(args).output().ok().text().lines().next(), Some(left.as_str()), "{args:?}");
    }
    test.sh("true").refused(&["step 2 of 2 failed"]);
    test.devbox(["rename", &left, "renamed"]).output().ok();
    test.devbox(["import", archive.to_str().unwrap(), "imported"]).output().ok();
    assert_eq!(test.devbox(["prune", "--format", "json"]).output().ok().json()["boxes"], json!([]));
    for name in ["kept", "renamed", "imported"] {
        let said = test.devbox(["run", name, "--", "cat", "/etc/one", "/etc/half"]).cwd("/").output().ok();
        assert_eq!(done(&said.prints("one\nhalf")), [0; 0], "{name}");
        test.devbox(["rm", "-f", name]).output().ok();
    }
}

#[test]
fn steps_see_the_image_and_their_files_alone() {
    needs!(boxes, images);
    let script = "id -u; ls; echo $A $SECRET; ls /home; touch a.txt 2>&1; ls $HOME; ls -A /root";
    let test = project(&format!(
        "run = [{{ command = \"{script}\", files = [\"sub/a.txt\", \"run.sh\"] }}, \
         {{ command = \"./run.sh\", files = [\"run.sh\"] }}]\nenv = {{ A = \"b\" }}"
    ));
    fs::create_dir(test.project().join("sub")).unwrap();
    fs::write(test.project().join("sub/a.txt"), "a").unwrap();
    fs::write(test.project().join("run.sh"), "#!/bin/sh\necho ran\n").unwrap();
    fs::write(test.project().join("other"), "x").unwrap();
    std::process::Command::new("chmod").arg("+x").arg(test.project().join("run.sh")).status().unwrap();
    let said = test.devbox(["setup"]).env("SECRET", "s3cret").output().ok();
    let said = said.says(&["\n0\nrun.sh\nsub\nb\n", "Read-only file system", "\nran\n"]);
    assert!(!said.stderr.contains("s3cret") && !said.stderr.contains("other"), "{said}");
    // a link may lead anywhere
    fs::remove_file(test.project().join("run.sh")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", test.project().join("run.sh")).unwrap();
    test.devbox(["setup"]).output().refused(&["run.sh", "it is a link"]);
    fs::remove_file(test.project().join("run.sh")).unwrap();
    test.devbox(["setup"]).output().refused(&["run.sh", "No such file"]);
}

#[test]
fn a_result_has_nothing_of_who_made_it() {
    needs!(boxes, images);
    let test = project("run = [\"echo x > /srv/x; echo y > /root/y\"]");
    let name = test.devbox(["setup", "-q"]).output().ok().text().trim().to_owned();
    let archive = test.path("result.tar");
    test.devbox(["save", "-o", archive.to_str().unwrap(), &name]).output().ok();
    let mut members = tar::Archive::new(fs::File::open(&archive).unwrap());
    let mut found = Vec::new();
    for member in members.entries().unwrap() {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut member.unwrap(), &mut bytes).unwrap();
        // the layer is compressed or not; the base's is, and has busybox
        let plain = if bytes.starts_with(&[0x1f, 0x8b]) {
            let mut plain = Vec::new();
            let mut unpacked = flate2::read::GzDecoder::new(&bytes[..]);
            std::io::Read::read_to_end(&mut unpacked, &mut plain).unwrap();
            plain
        } else {
            bytes
        };
        let mut layer = tar::Archive::new(&plain[..]);
        let Ok(entries) = layer.entries() else { continue };
        let names: Vec<_> = entries
            .map_while(Result::ok)
            .map(|entry| entry.path().unwrap().display().to_string().trim_end_matches('/').to_owned())
            .collect();
        if names.contains(&"srv/x".to_owned()) && !names.contains(&"bin/busybox".to_owned()) {
            found = names;
        }
    }
    found.sort();
    assert_eq!(found, ["root", "root/y", "srv", "srv/x"]);
}

#[test]
fn one_does_it_and_all_others_fetch_it() {
    needs!(boxes, images);
    let repository = Registry::open().reference("setup/shared");
    let setup =
        format!("run = [\"echo $$ > /etc/one\", \"cat /proc/uptime > /etc/two\"]\ncache = \"{repository}\"");
    let one = project(&setup);
    assert_eq!(done(&one.sh("true").ok()), [1, 2]);
    one.devbox(["lock"]).output().ok();
    let sent = one.devbox(["setup", "--push", "-q"]).output().ok();
    assert_eq!(sent.text().lines().count(), 2, "{sent}");
    one.devbox(["setup", "--push"]).output().ok().says(&["has all of it already"]);

    let other = project(&setup);
    fs::copy(one.project().join("devbox-lock.toml"), other.project().join("devbox-lock.toml")).unwrap();
    let said = other.devbox(["run", "--locked", "--network", "none", "--", "cat", "/etc/two"]).output().ok();
    assert_eq!(done(&said), [0; 0], "{said}");
    assert_eq!(root(&one), root(&other));
    let all = "cd /; find bin etc/one etc/two root srv usr | sort | while read f; do [ -f \"$f\" ] && cat \"$f\"; \
               stat -c '%n %a %u %g %s %Y' \"$f\"; done | sha256sum";
    assert_eq!(one.sh(all).ok().text(), other.sh(all).ok().text());
    // of a set-up with another last step the first is fetched
    let third = project(&setup.replace("/proc/uptime", "/etc/hostname"));
    let said = third.sh("true").ok();
    assert_eq!(done(&said), [2], "{said}");
}

#[test]
fn what_is_locked_replaces_what_the_cache_has() {
    needs!(boxes, images);
    let repository = Registry::open().reference("setup/replaced");
    let setup = format!(
        "run = [\"echo one > /etc/one\", \"cat /proc/sys/kernel/random/uuid > /etc/two\"]\ncache = \"{repository}\""
    );
    let one = project(&setup);
    let push = |more: &[&str]| {
        let args = ["setup", "--push", "-q"].iter().chain(more).copied().collect::<Vec<_>>();
        one.devbox(args).output().ok()
    };
    assert_eq!(push(&[]).text().lines().count(), 2);
    // what was made anew because it was asked for is for all
    assert_eq!(push(&["--again", "2"]).text().lines().count(), 1);
    one.devbox(["setup", "--push"]).output().ok().says(&["has all of it already"]);
    // what was made anew only here stays here
    one.devbox(["setup", "--again", "2"]).output().ok();
    let said = one.devbox(["setup", "--push"]).output().ok().prints("");
    said.says(&["has another result of step 2, which stays", "devbox setup --again 2 --push"]);
    // until it is what the project is held to
    one.devbox(["lock"]).output().ok();
    assert_eq!(push(&[]).text().lines().count(), 1);
    let two = one.sh("cat /etc/two").ok().text();
    let other = project(&setup);
    fs::copy(one.project().join("devbox-lock.toml"), other.project().join("devbox-lock.toml")).unwrap();
    other.devbox(["run", "--locked", "--", "cat", "/etc/two"]).output().ok().prints(two.trim());
}

#[test]
fn a_cache_is_not_believed_everything() {
    needs!(boxes, images);
    let repository = Registry::open().reference("setup/false");
    let setup = format!("run = [\"echo one > /etc/one\"]\ncache = \"{repository}\"");
    let test = project(&setup);
    let plan = test.devbox(["pull", &Registry::open().reference("busybox:1")]).output().ok();
    drop(plan);
    let steps = test.devbox(["plan", "--format", "json"]).output().ok().json();
    let key = steps["steps"][0]["key"].as_str().unwrap()["sha256:".len()..].to_owned();
    // somebody's image by the key's name
    let evil = Image::busybox().layer("f 644 etc/one evil", Packing::Gzip);
    Registry::open().push(&format!("setup/false:{key}"), &evil);
    let said = test.sh("cat /etc/one").ok().prints("one");
    said.says(&["is not the result of that set-up"]);
    // nor is a name that was pulled
    let other = project("run = [\"echo two > /etc/two\"]");
    other.devbox(["pull", &Registry::open().reference("busybox:1")]).output().ok();
    // a cache that can't be asked is said, and the step done
    set(&other, "run = [\"echo two > /etc/two\"]\ncache = \"127.0.0.1:1/nobody/there\"");
    other.sh("cat /etc/two").ok().prints("two").says(&["cannot look for results of set-up in 127.0.0.1:1"]);
    // and is not asked where nothing is to be fetched
    set(&other, "run = [\"echo three > /etc/three\"]\ncache = \"127.0.0.1:1/nobody/there\"");
    let said =
        other.devbox(["run", "--pull", "never", "--", "cat", "/etc/three"]).output().ok().prints("three");
    assert!(!said.stderr.contains("cannot look"), "{said}");
}

#[test]
fn what_a_cache_says_counts_for_who_names_it() {
    needs!(boxes, images);
    let repository = Registry::open().reference("setup/evil");
    let step = "run = [\"echo good > /etc/tool\"]";
    let test = project(&format!("{step}\ncache = \"{repository}\""));
    test.devbox(["pull", &Registry::open().reference("busybox:1")]).output().ok();
    let steps = test.devbox(["plan", "--format", "json"]).output().ok().json();
    let key = steps["steps"][0]["key"].as_str().unwrap().to_owned();
    let place = format!("setup/evil:{}", &key["sha256:".len()..]);
    let evil = || {
        let labels = serde_json::json!({ "dev.devbox.setup": key });
        Image::busybox().layer("f 644 etc/tool evil\\n", Packing::Gzip).set("Labels", labels)
    };
    // how a result is run is the image's word, not the cache's
    Registry::open()
        .push(&place, &evil().set("Env", serde_json::json!(["PATH=/bin", "PROMPT_COMMAND=evil"])));
    test.sh("cat /etc/tool; echo $PROMPT_COMMAND").ok().prints("good").says(&["it is not used"]);
    test.devbox(["rm", "-f", "demo"]).output().ok();
    test.devbox(["prune", "--all"]).output().ok();
    // who names a cache believes it; nobody else has to
    Registry::open().push(&place, &evil());
    test.sh("cat /etc/tool").ok().prints("evil");
    test.devbox(["rm", "-f", "demo"]).output().ok();
    set(&test, step);
    assert_eq!(done(&test.sh("cat /etc/tool").ok().prints("good")), [1]);
    // nor what was done over it
    let more = step.replace("\"]", "\", \"cp /etc/tool /etc/copy\"]");
    test.devbox(["rm", "-f", "demo"]).output().ok();
    test.devbox(["prune", "--all"]).output().ok();
    set(&test, &format!("{more}\ncache = \"{repository}\""));
    assert_eq!(done(&test.sh("cat /etc/copy").ok().prints("evil")), [2]);
    test.devbox(["rm", "-f", "demo"]).output().ok();
    set(&test, &more);
    assert_eq!(done(&test.sh("cat /etc/copy").ok().prints("good")), [1, 2]);
}

#[test]
fn a_box_that_was_replaced_meanwhile_is_not_touched() {
    needs!(boxes, images);
    let test = project("run = [\"echo one > /etc/one\"]");
    test.sh("true").ok();
    set(&test, "run = [\"echo begun; sleep 3; echo two > /etc/one\"]");
    let moving = test.devbox(["run", "--", "true"]).spawn();
    moving.stderr.expect("begun");
    test.devbox(["rm", "-f", "demo"]).output().ok();
    let image = Registry::open().reference("busybox:1");
    let strange = ["run", "--untrusted", "--name", "demo", "--image", &image, "--", "true"];
    test.devbox(strange).output().ok();
    moving.wait().refused(&["demo", "untrusted"]);
    let found = test.devbox(["inspect", "demo", "--format", "json"]).output().ok().json();
    assert_eq!((&found["isolation"], &found["setup"]), (&"untrusted".into(), &serde_json::Value::Null));
}

#[test]
fn two_at_once_do_it_once() {
    needs!(boxes, images);
    let test = project("run = [\"sleep 1; cat /proc/sys/kernel/random/uuid > /etc/one\"]");
    let calls: Vec<_> = ["a", "b", "c"]
        .iter()
        .map(|name| test.devbox(["run", "--name", name, "--", "cat", "/etc/one"]).spawn())
        .collect();
    let said: Vec<_> = calls.into_iter().map(|call| call.wait().ok()).collect();
    assert_eq!(
        said.iter().map(|one| done(one).len()).sum::<usize>(),
        1,
        "{}\n{}\n{}",
        said[0],
        said[1],
        said[2]
    );
    assert!(said.iter().all(|one| one.text() == said[0].text()));
    test.devbox(["rm", "-f", "a", "b", "c"]).output().ok();
}

#[test]
fn killed_or_interrupted_it_begins_again() {
    needs!(boxes, images);
    let test = project("run = [\"echo one > /etc/one\", \"echo begun; sleep 20 && echo two > /etc/two\"]");
    let mut running = test.devbox(["run", "--", "true"]).spawn();
    running.stderr.expect("begun");
    running.signal(Signal::SIGKILL);
    running.ended(Duration::from_secs(10)).unwrap();
    let running = test.devbox(["run", "--", "true"]).spawn();
    running.stderr.expect("begun");
    running.signal(Signal::SIGINT);
    let ended = running.wait();
    assert_eq!((ended.code, done(&ended)), (130, vec![2]), "{ended}");
    assert_eq!(test.devbox(["ls", "-q"]).output().ok().text(), "");
    set(&test, "run = [\"echo one > /etc/one\", \"echo two > /etc/two\"]");
    assert_eq!(done(&test.sh("cat /etc/two").ok().prints("two")), [2]);
}

#[test]
fn a_step_that_minds_no_signal_is_the_last_one() {
    needs!(boxes, images);
    let test = project(
        "run = [\"trap : TERM; echo begun; sleep 2; echo one > /etc/one\", \"cp /etc/one /etc/two\"]",
    );
    let running = test.devbox(["run", "--", "true"]).spawn();
    running.stderr.expect("\nbegun");
    running.signal(Signal::SIGTERM);
    let ended = running.wait();
    assert_eq!((ended.code, done(&ended)), (143, vec![1]), "{ended}");
    ended.says(&["stopped after set-up step 1", "its result is kept"]);
    assert_eq!(done(&test.sh("cat /etc/two").ok().prints("one")), [2]);
}

#[test]
fn results_nobody_stands_on_are_pruned() {
    needs!(boxes, images);
    let test = project(TWO);
    test.sh("true").ok();
    let results = || {
        let images = test.devbox(["images", "-q"]).output().ok();
        images.text().lines().filter(|name| name.contains("devbox/setup:")).count()
    };
    assert_eq!(results(), 2);
    test.devbox(["prune"]).output().ok();
    // that of the first step is used again when the second changes
    assert_eq!(results(), 2);
    set(&test, "run = [\"echo one > /etc/one\", \"echo other\"]");
    assert_eq!(done(&test.sh("true").ok()), [2]);
    assert_eq!(results(), 3);
    // a lock may want it still, and no registry may have it
    test.devbox(["prune"]).output().ok();
    assert_eq!(results(), 3);
    let month = || {
        for record in fs::read_dir(test.path("data/devbox/store/images/sha256")).unwrap() {
            let path = record.unwrap().path();
            let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            record["recorded"] = (record["recorded"].as_u64().unwrap() - 31 * 86_400).into();
            fs::write(&path, record.to_string()).unwrap();
        }
    };
    month();
    test.devbox(["prune"]).output().ok();
    assert_eq!(results(), 2);
    assert_eq!(done(&test.sh("true").ok()), [0; 0]);
    test.devbox(["rm", "demo"]).output().ok();
    test.devbox(["prune"]).output().ok();
    assert_eq!(results(), 0);
    // with the box gone, as `run --rm` leaves it
    test.sh("true").ok();
    test.devbox(["rm", "demo"]).output().ok();
    test.devbox(["prune"]).output().ok();
    assert_eq!(results(), 2);
    test.devbox(["prune", "--all"]).output().ok();
    assert_eq!(results(), 0);
    assert!(fs::read_dir(test.path("data/devbox/setup")).unwrap().next().is_none());
}

#[test]
fn steps_can_be_done_again() {
    needs!(boxes, images);
    let test = project(
        "run = [\"cat /proc/sys/kernel/random/uuid > /etc/one\", \"cat /proc/sys/kernel/random/uuid > /etc/two\"]",
    );
    let before = test.sh("cat /etc/one /etc/two").ok().text();
    assert_eq!(done(&test.devbox(["setup", "--again", "2"]).output().ok()), [2]);
    assert_eq!(test.sh("cat /etc/one /etc/two").ok().text(), before);
    test.devbox(["update"]).output().ok();
    let after = test.sh("cat /etc/one /etc/two").ok().text();
    assert_eq!(after.lines().next(), before.lines().next());
    assert_ne!(after, before);
    test.devbox(["setup", "--again", "3"]).output().refused(&["there is no step 3, only 2"]);
}

#[test]
fn a_result_is_an_image_like_others() {
    needs!(boxes, images);
    let test = project("run = [\"echo one > /etc/one\"]");
    test.sh("echo mine > /etc/mine").ok();
    test.devbox(["commit", "demo", "made:1"]).output().ok();
    test.devbox(["run", "--rm", "--image", "made:1", "cat", "/etc/one", "/etc/mine"])
        .output()
        .ok()
        .prints("one\nmine");
    test.devbox(["clone", "demo", "twin"]).output().ok();
    test.devbox(["run", "twin", "cat", "/etc/one"]).output().ok().prints("one");
    test.devbox(["rm", "-f", "twin"]).output().ok();
    // what it was done to stays with it
    let base = Registry::open().reference("busybox:1");
    test.devbox(["rmi", "made:1"]).output().ok();
    test.devbox(["prune", "--all"]).output().ok();
    test.devbox(["images", "-q"]).output().ok().lists(&[&base]);
    // on another machine nobody could fetch it
    let file = test.path("demo.devbox").display().to_string();
    test.devbox(["export", "demo", &file]).output().refused(&["the result of a set-up", "--with-image"]);
    assert!(!test.path("demo.devbox").exists());
    test.devbox(["export", "--with-image", "demo", &file]).output().ok();
    let away = Test::new();
    away.devbox(["import", &file]).output().ok();
    away.devbox(["run", "demo", "cat", "/etc/one", "/etc/mine"]).output().ok().prints("one\nmine");
    away.devbox(["rm", "-f", "demo"]).output().ok();
}

#[test]
fn owners_are_those_the_steps_gave() {
    needs!(boxes, images);
    if host::left_to_the_user() {
        return;
    }
    needs!(subids);
    let steps = "run = [\"echo x > /srv/x; chown 1000:1000 /srv/x; mkdir -m 2775 /srv/d; chgrp 5 /srv/d\"]";
    let test = project(steps);
    let file = fs::read_to_string(test.project().join("devbox.toml")).unwrap();
    test.project_file(&file.replace("[setup]", "ids = \"full\"\n[setup]"));
    let look = "stat -c '%u:%g %a' /srv/x /srv/d";
    assert_eq!(done(&test.sh(look).ok().prints("1000:1000 644\n0:5 2775")), [1]);
    test.devbox(["diff", "demo"]).output().ok().prints("");
    test.devbox(["rm", "-f", "demo"]).output().ok();
    // with one id they are written down, for those who can have them
    test.project_file(&file);
    let name = test.devbox(["setup", "-q"]).output().ok().text().trim().to_owned();
    let said =
        test.devbox(["run", "--rm", "--ids", "full", "--image", &name, "--", "sh", "-c", look]).output();
    said.ok().prints("1000:1000 644\n0:5 2775");
}

#[test]
fn packages_of_debian() {
    needs!(boxes, images, debian, mirror);
    let tar = fs::read(host::debian_tar().unwrap()).unwrap();
    let reference = Registry::open().push("debian:1", &Image::empty().tar(tar, Packing::Zstd));
    let test = Test::new();
    let file = |packages: &str| {
        test.project_file(&format!(
            "image = \"{reference}\"\nname = \"demo\"\n[setup]\npackages = [{packages}]\n"
        ));
    };
    let call = |args: &[&str]| {
        let mut call = test.devbox(args);
        for (name, value) in host::proxies() {
            call = call.env(&name, &value);
        }
        call.output()
    };
    file("\"cron\", \"bc\"");
    call(&["run", "--", "sh", "-c", "echo 6*7 | bc; dpkg --audit"]).ok().prints("42");
    test.devbox(["diff", "demo"]).output().ok().prints("");
    let kept = || {
        let found = std::process::Command::new("find")
            .arg(test.path("cache"))
            .args(["-name", "*.deb"])
            .output()
            .unwrap();
        String::from_utf8(found.stdout).unwrap()
    };
    assert!(kept().contains("/cron_"), "{}", kept());
    file("\"nonsense-that-is-no-package\"");
    call(&["run", "--", "true"]).refused(&["step 1 of 1 failed", "nonsense"]);
    assert!(within(1, || kept().contains("/bc_")));
}

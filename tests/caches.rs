//! Caches that boxes share: for two at once, counted, and removed when no box has them.

use std::fs;
use std::time::{Duration, SystemTime};

use crate::harness::{Test, host, within};

const MOUNT: &str = "[[mounts]]\nsource = \"shared\"\ntarget = \"/mnt/shared\"\nmode = \"cache\"\n";

fn project(more: &str) -> Test {
    let test = Test::busybox();
    let toml = fs::read_to_string(test.project().join("devbox.toml")).unwrap();
    test.project_file(&format!("{toml}{MOUNT}{more}"));
    test
}

#[test]
fn df_knows_their_size_and_use() {
    needs!(boxes, images);
    let test = project("");
    test.sh("head -c 3000000 /dev/urandom >/mnt/shared/x").ok();
    let cache =
        |test: &Test| test.devbox(["df", "--format", "json"]).output().ok().json()["caches"][0].clone();
    let found = cache(&test);
    assert_eq!((&found["name"], &found["in-use"]), (&"shared".into(), &false.into()), "{found}");
    assert!((3_000_000..3_100_000).contains(&found["size"].as_u64().unwrap()), "{found}");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    assert!(found["used"].as_u64().unwrap().abs_diff(now) < 60, "{found}");
    test.devbox(["df"]).output().ok().lists(&["shared"]).says(&["caches take", "prune --caches"]);
    // a start counts as a use, whatever it does
    let folder = test.path("cache/devbox/caches/shared");
    fs::File::open(&folder).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(cache(&test)["used"], 0);
    test.sh("true").ok();
    assert!(cache(&test)["used"].as_u64().unwrap() >= now);
}

#[test]
fn those_of_running_boxes_stay() {
    needs!(boxes, images);
    let test = project("");
    let folder = test.path("cache/devbox/caches/shared");
    let running =
        test.devbox(["run", "--", "sh", "-c", "echo 1 >/mnt/shared/x; echo begun; cat; cat /mnt/shared/x"]);
    let mut running = running.spawn();
    running.stdout.expect("begun");
    test.devbox(["df"]).output().ok().says(&["shared in use"]);
    for dry in [&["prune", "--caches", "--dry-run"][..], &["prune", "--caches"]] {
        test.devbox(dry).output().ok().prints("").says(&["nothing to remove"]);
    }
    drop(running.stdin.take());
    assert_eq!(running.wait().ok().text(), "begun\n1\n");
    let dry = || test.devbox(["prune", "--caches", "-n"]).output().ok().text();
    assert!(within(10, || dry() == "shared\n"), "the box has ended");
    let toml = fs::read_to_string(test.project().join("devbox.toml")).unwrap();
    test.devbox(["prune"]).output().ok();
    assert!(folder.exists(), "caches are removed when that is asked for");
    test.devbox(["prune", "--caches", "-n"]).output().ok().prints("shared").says(&["would remove 1 cache"]);
    assert!(folder.exists());
    let removed = test.devbox(["prune", "--caches", "--format", "json"]).output().ok().json();
    assert_eq!(removed["caches"][0], "shared", "{removed}");
    assert!(removed["bytes"].as_u64().unwrap() >= 4096, "{removed}");
    assert!(!folder.exists());
    // and the next box makes it anew
    test.project_file(&toml);
    test.sh("ls -A /mnt/shared; echo 2 >/mnt/shared/x").ok().prints("");
    assert!(folder.join("x").exists());
}

#[test]
fn old_ones_alone() {
    needs!(boxes, images);
    let test = project("");
    test.sh("true").ok();
    let folder = test.path("cache/devbox/caches/shared");
    let old = test.path("cache/devbox/caches/old");
    fs::create_dir_all(&old).unwrap();
    let days = |days: u64| SystemTime::now() - Duration::from_secs(days * 86_400);
    fs::File::open(&old).unwrap().set_modified(days(40)).unwrap();
    fs::File::open(&folder).unwrap().set_modified(days(20)).unwrap();
    test.devbox(["prune", "--caches", "--older-than", "30"]).output().ok().prints("old");
    assert!(!old.exists() && folder.exists());
    test.devbox(["prune", "--older-than", "30"]).output().fails(125).says(&["--caches"]);
}

#[test]
fn what_is_closed_goes_too_and_what_was_left() {
    needs!(boxes, images);
    let test = project("");
    test.sh("mkdir -p /mnt/shared/a/b && echo x >/mnt/shared/a/b/c && chmod -R a-w /mnt/shared/a").ok();
    // go's module cache is so; and a removal that was cut short
    let left = test.path("cache/devbox/caches/.gone-other-999999999");
    fs::create_dir_all(&left).unwrap();
    test.devbox(["df", "--format", "json"]).output().ok();
    test.devbox(["prune", "--caches"]).output().ok().prints("shared");
    let caches = test.path("cache/devbox/caches");
    let names: Vec<_> = fs::read_dir(caches).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, [".lock"]);
}

#[test]
fn files_of_other_users_of_a_box_go_too() {
    needs!(boxes, images);
    if host::left_to_the_user() {
        return;
    }
    needs!(subids);
    let test = project("");
    let write = "echo x >/mnt/shared/x; chown 7:7 /mnt/shared/x; mkdir -m 700 /mnt/shared/d; touch /mnt/shared/d/y; chown -R 7:7 /mnt/shared/d";
    test.devbox(["run", "--ids", "full", "--", "sh", "-c", write]).output().ok();
    test.devbox(["prune", "--caches"]).output().ok().prints("shared");
    assert!(!test.path("cache/devbox/caches/shared").exists());
}

/// The cache begins while another devbox removes: each either finds it whole or makes it anew.
#[test]
fn a_start_and_a_removal_at_once() {
    needs!(boxes, images);
    let test = project("");
    test.sh("true").ok();
    for _ in 0..8 {
        let write = "echo mine >/mnt/shared/x && sleep 0.05 && cat /mnt/shared/x";
        let start = test.devbox(["run", "--", "sh", "-c", write]).spawn();
        let prune = test.devbox(["prune", "--caches"]).spawn();
        prune.wait().ok();
        start.wait().ok().prints("mine");
    }
}

#[test]
fn cargos_settings_and_tokens_are_not_shared() {
    needs!(boxes, images);
    let test = Test::busybox();
    let toml = fs::read_to_string(test.project().join("devbox.toml")).unwrap();
    test.project_file(&format!("extends = [\"rust-env\"]\n{toml}"));
    let folder = test.path("cache/devbox/caches/cargo");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config.toml"), "[build]\nrustc-wrapper = \"/evil\"\n").unwrap();
    let names = ["config", "config.toml", "credentials", "credentials.toml"];
    // nobody is asked about it
    let said = test.sh("cd $CARGO_HOME && cat conf* cred* && echo token >credentials.toml; mv config x; echo 1 >.package-cache");
    said.ok().prints("").says(&["busy"]);
    assert_eq!(fs::read_to_string(folder.join(".package-cache")).unwrap(), "1\n");
    let kept = names.map(|name| fs::read_to_string(folder.join(name)).unwrap());
    assert!(kept.iter().all(|text| !text.contains("token")), "{kept:?}");
}

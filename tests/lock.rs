//! `devbox-lock.toml`: names held to digests, and set-ups to results.

use std::fs;
use std::path::PathBuf;

use crate::harness::image::Packing;
use crate::harness::registry::Registry;
use crate::harness::{Image, Test};

const LOCK: &str = "devbox-lock.toml";

/// An image that says which it is.
fn image(word: &str) -> Image {
    Image::busybox().layer(&format!("f 644 etc/which {word}\\n"), Packing::Gzip)
}

/// A project over `name`, which stands for the image `first`.
fn project(name: &str) -> Test {
    Test::of_image(&Registry::open().push(name, &image("first")))
}

fn lock_of(test: &Test) -> PathBuf {
    test.project().join(LOCK)
}

fn which(test: &Test, flags: &[&str]) -> crate::harness::Outcome {
    test.devbox([&["run"], flags, &["--", "cat", "/etc/which"]].concat()).output()
}

/// Requests that the registry had for `repository` so far.
fn requests(repository: &str) -> usize {
    let about = format!("/v2/{repository}/");
    Registry::open().log().lines().filter(|line| line.contains(&about)).count()
}

#[test]
fn what_is_locked_stays_whatever_becomes_of_the_name() {
    needs!(boxes, images);
    let test = project("lock/moving:1");
    test.devbox(["lock"]).output().ok().lists(&[LOCK]);
    let locked = fs::read_to_string(lock_of(&test)).unwrap();
    test.devbox(["lock"]).output().ok().says(&["is up to date"]);
    test.devbox(["lock", "--check"]).output().ok();
    which(&test, &["--locked"]).ok().prints("first");
    test.sh("echo mine > /etc/mine").ok();
    test.devbox(["outdated"]).output().ok().lists(&["up to date"]);

    Registry::open().push("lock/moving:1", &image("second"));
    test.devbox(["outdated"]).output().ok().lists(&["lock/moving:1", "outdated"]).says(&["devbox update"]);
    let outdated = test.devbox(["outdated", "--format", "json"]).output().ok().json();
    assert_eq!((&outdated[0]["outdated"], &outdated[0]["available"]), (&true.into(), &true.into()));
    // on another machine, and where everything is fetched anew
    let other = Test::new();
    for name in ["devbox.toml", LOCK] {
        fs::copy(test.project().join(name), other.project().join(name)).unwrap();
    }
    which(&other, &[]).ok().prints("first");
    which(&other, &["--locked", "--pull", "always"]).ok().prints("first");
    test.devbox(["lock"]).output().ok();
    assert_eq!(fs::read_to_string(lock_of(&test)).unwrap(), locked);

    test.devbox(["update"]).output().ok().says(&["lock/moving:1"]);
    which(&test, &["--locked"]).ok().prints("second");
    test.sh("cat /etc/mine").ok().prints("mine");
    // who has the older box gets the newer lock
    fs::copy(lock_of(&test), lock_of(&other)).unwrap();
    which(&other, &["--locked"]).ok().prints("second").says(&["is over"]);
    // and back
    fs::write(lock_of(&other), &locked).unwrap();
    which(&other, &["--locked"]).ok().prints("first");
}

#[test]
fn a_locked_start_asks_nobody() {
    needs!(boxes, images);
    let test = project("lock/quiet:1");
    test.devbox(["lock"]).output().ok();
    which(&test, &[]).ok();
    let before = requests("lock/quiet");
    assert!(before > 0);
    for flags in [&[][..], &["--locked"], &["--rm"], &["--locked", "--pull", "always", "--rm"]] {
        which(&test, flags).ok().prints("first");
    }
    assert_eq!(requests("lock/quiet"), before);
}

#[test]
fn drift_is_refused_and_named() {
    needs!(boxes, images);
    let test = project("lock/drift:1");
    let file = fs::read_to_string(test.project().join("devbox.toml")).unwrap();
    let refused = |parts: &[&str]| {
        which(&test, &["--locked"]).refused(&[&["not as locked: ", "hint: "], parts].concat());
    };
    refused(&["there is no devbox-lock.toml", "`devbox lock`"]);
    test.devbox(["lock"]).output().ok();
    let other = Registry::open().push("lock/drift:2", &image("other"));
    for (flags, parts) in [
        (vec!["--image", &other], vec!["`--image` asks for something else"]),
        (vec!["--platform", "linux/s390x"], vec!["`platform`", "linux/s390x"]),
    ] {
        which(&test, &[&["--locked"], &flags[..]].concat()).refused(&parts);
    }
    test.project_file(&file.replace("lock/drift:1", "lock/drift:2"));
    refused(&["`image`", "lock/drift:2 is not in devbox-lock.toml"]);
    which(&test, &["--name", "plain"]).ok().prints("other");
    test.devbox(["lock", "--check"]).output().refused(&["not up to date"]);
    test.project_file(&format!("{file}[setup]\nrun = [\"echo x > /etc/x\"]\n"));
    refused(&["`[setup]`", "are not those in the lock"]);
    test.devbox(["lock"]).output().ok();
    which(&test, &["--locked"]).ok().prints("first");
    // a box that runs is not moved
    let mut running = test.devbox(["run", "--", "sh", "-c", "echo up; cat"]).spawn();
    running.stdout.expect("up");
    test.project_file(&format!("{file}[setup]\nrun = [\"echo y > /etc/x\"]\n"));
    test.devbox(["setup", "-q"]).output().ok();
    let lock = fs::read_to_string(lock_of(&test)).unwrap();
    test.devbox(["lock"]).output().ok();
    refused(&["runs over another image or set-up", "devbox stop demo"]);
    drop(running.stdin.take());
    running.wait().ok();
    which(&test, &["--locked"]).ok();
    // a result that nobody has
    fs::write(lock_of(&test), lock).unwrap();
    refused(&["`[setup]`"]);
    let gone = Test::new();
    for name in ["devbox.toml", LOCK] {
        fs::copy(test.project().join(name), gone.project().join(name)).unwrap();
    }
    gone.project_file(&format!("{file}[setup]\nrun = [\"echo x > /etc/x\"]\n"));
    which(&gone, &["--locked"]).refused(&["the result that is locked is not here", "devbox setup --push"]);
    which(&gone, &[]).ok().says(&["was done here and is not the one in the lock"]);
    test.devbox(["rm", "-f", "plain"]).output().ok();
}

#[test]
fn a_lock_that_makes_no_sense_is_shown_with_its_line() {
    needs!(images);
    let test = project("lock/damaged:1");
    test.devbox(["lock"]).output().ok();
    let good = fs::read_to_string(lock_of(&test)).unwrap();
    for (from, to, parts) in [
        ("version = 1", "version = 7", &["devbox-lock.toml:2:", "version `7`", "knows version 1"][..]),
        ("\n[[image]]", "\n<<<<<<< ours\n[[image]]", &["devbox-lock.toml:4:", "not TOML"]),
        ("digest = \"sha256:", "digest = \"sha1:", &["devbox-lock.toml:6:", "is not a digest"]),
        ("[[image.platform]]", "[[image.platfrom]]", &["unknown key `platfrom`", "did you mean `platform`?"]),
    ] {
        fs::write(lock_of(&test), good.replacen(from, to, 1)).unwrap();
        test.devbox(["plan"]).output().refused(parts);
    }
    // layers that are another image's
    let layers: Vec<&str> = good.lines().filter(|line| line.starts_with("  \"sha256:")).collect();
    fs::write(lock_of(&test), good.replace(layers[0], layers[1])).unwrap();
    test.devbox(["run", "--", "true"]).output().refused(&["contradicts itself", "`devbox lock` anew"]);
}

#[test]
fn what_a_registry_has_lost_is_said() {
    needs!(boxes, images);
    let test = project("lock/lost:1");
    test.devbox(["lock"]).output().ok();
    which(&test, &[]).ok();
    Registry::open().forget("lock/lost");
    // who has it needs nobody
    which(&test, &["--locked"]).ok().prints("first");
    test.devbox(["outdated"]).output().ok().lists(&["gone", "no more"]);
    let other = Test::new();
    for name in ["devbox.toml", LOCK] {
        fs::copy(test.project().join(name), other.project().join(name)).unwrap();
    }
    which(&other, &[]).refused(&["does not have", "as it is locked any more", "devbox update"]);
}

#[test]
fn a_lock_is_for_every_platform_there_is() {
    needs!(boxes, images);
    let (here, there) = (image("first").build(), image("elsewhere").architecture("s390x").build());
    let own = crate::harness::image::architecture();
    let name = Registry::open().push_index("lock/many:1", &[("s390x", &there), (own, &here)]);
    let test = Test::of_image(&name);
    test.devbox(["lock"]).output().ok();
    let lock = fs::read_to_string(lock_of(&test)).unwrap();
    for platform in [own, "s390x"] {
        assert!(lock.contains(&format!("platform = \"linux/{platform}\"")), "{lock}");
    }
    which(&test, &["--locked"]).ok().prints("first");
    // a set-up is each platform's own, and that of another one stays in the lock
    let file = fs::read_to_string(test.project().join("devbox.toml")).unwrap();
    let digest = format!("sha256:{}", "ab".repeat(32));
    let other =
        format!("\n[[setup]]\nplatform = \"linux/s390x\"\nkey = \"{digest}\"\nlayers = [\"{digest}\"]\n");
    fs::write(lock_of(&test), lock + &other).unwrap();
    test.project_file(&format!("{file}[setup]\nrun = [\"echo x > /etc/x\"]\n"));
    test.devbox(["lock"]).output().ok();
    let lock = fs::read_to_string(lock_of(&test)).unwrap();
    assert_eq!(lock.matches("[[setup]]").count(), 2, "{lock}");
    which(&test, &["--locked"]).ok();
}

#[test]
fn only_what_others_can_have_is_locked() {
    needs!(images);
    let test = Test::new();
    test.devbox(["lock"]).output().refused(&["no devbox.toml here"]);
    test.devbox(["outdated"]).output().refused(&["no devbox-lock.toml"]);
    test.project_file("image = \"host\"\n");
    test.devbox(["lock"]).output().refused(&["host can't be locked", "of this machine"]);
    let name = Registry::open().push("lock/named:1", &image("first"));
    test.devbox(["pull", &name]).output().ok();
    test.devbox(["tag", &name, "localhost/own:1"]).output().ok();
    test.project_file("image = \"localhost/own:1\"\n");
    test.devbox(["lock"]).output().refused(&["localhost/own:1 can't be locked", "named on this machine"]);
}

#[test]
fn without_a_box_update_renews_the_lock_alone() {
    needs!(images);
    let test = project("lock/alone:1");
    test.devbox(["update"]).output().refused(&["there is no box `demo`"]);
    test.devbox(["lock"]).output().ok();
    let before = fs::read_to_string(lock_of(&test)).unwrap();
    Registry::open().push("lock/alone:1", &image("second"));
    test.devbox(["update"]).output().ok();
    assert_ne!(fs::read_to_string(lock_of(&test)).unwrap(), before);
    assert_eq!(test.devbox(["ls", "-q"]).output().ok().text(), "");
}

#[test]
fn what_is_locked_of_a_set_up_stays_where_it_was_done_otherwise() {
    needs!(boxes, images);
    let test = project("lock/elsewhere:1");
    let file = fs::read_to_string(test.project().join("devbox.toml")).unwrap();
    let setup = "[setup]\nrun = [\"cat /proc/sys/kernel/random/uuid > /etc/one\"]\n";
    test.project_file(&format!("{file}{setup}"));
    test.devbox(["lock"]).output().ok();
    let locked = fs::read_to_string(lock_of(&test)).unwrap();
    let other = Test::new();
    for name in ["devbox.toml", LOCK] {
        fs::copy(test.project().join(name), other.project().join(name)).unwrap();
    }
    // a check does nothing, and asks nobody
    let before = requests("lock/elsewhere");
    let said = other.devbox(["lock", "--check"]).output().ok();
    assert!(!said.stderr.contains("set-up step"), "{said}");
    assert_eq!(requests("lock/elsewhere"), before);
    assert_eq!(other.devbox(["images", "-q"]).output().ok().text(), "");
    which(&other, &[]).ok().says(&["is not the one in the lock", "`devbox update` takes this one"]);
    other.devbox(["lock"]).output().ok().says(&["is up to date"]);
    assert_eq!(fs::read_to_string(lock_of(&other)).unwrap(), locked);
    which(&other, &["--locked"]).refused(&["the result that is locked is not here"]);
    other.devbox(["update"]).output().ok().says(&["set-up for linux/"]);
    assert_ne!(fs::read_to_string(lock_of(&other)).unwrap(), locked);
    which(&other, &["--locked"]).ok();

    // an entry that says nothing locks nothing
    which(&test, &["--locked"]).ok();
    let (head, tail) = locked.rsplit_once("layers = [").unwrap();
    fs::write(lock_of(&test), format!("{head}layers = []\n")).unwrap();
    which(&test, &["--locked"]).refused(&["not as locked: `[setup]`"]);
    test.devbox(["lock", "--check"]).output().refused(&["not up to date"]);
    // nor does one with other layers below
    let image = head.rfind("[[setup]]").unwrap();
    let (image, setup) = head.split_at(image);
    let layers: Vec<&str> = image.lines().filter(|line| line.starts_with("  \"sha256:")).collect();
    let swapped = image.replace(layers[1], layers[0]);
    fs::write(lock_of(&test), format!("{swapped}{setup}layers = [{tail}")).unwrap();
    which(&test, &["--locked"]).refused(&["contradicts itself"]);
    fs::write(lock_of(&test), &locked).unwrap();
    which(&test, &["--locked"]).ok();
}

#[test]
fn a_box_goes_over_to_the_lock_as_it_is() {
    needs!(boxes, images);
    let test = project("lock/forced:1");
    test.devbox(["update", "--locked"]).output().refused(&["there is no devbox-lock.toml"]);
    test.devbox(["lock"]).output().ok();
    test.sh("echo mine > /etc/which").ok();
    let other = Test::new();
    for name in ["devbox.toml", LOCK] {
        fs::copy(test.project().join(name), other.project().join(name)).unwrap();
    }
    Registry::open().push("lock/forced:1", &image("second"));
    other.devbox(["update"]).output().ok();
    fs::copy(lock_of(&other), lock_of(&test)).unwrap();
    let locked = fs::read_to_string(lock_of(&test)).unwrap();
    Registry::open().push("lock/forced:1", &image("third"));
    let hint = "`devbox update --locked --force demo`";
    which(&test, &[]).ok().prints("mine").says(&["stays over", hint]);
    which(&test, &["--locked"]).refused(&["stays over", hint]);
    test.devbox(["update", "--locked"]).output().refused(&["stays over", hint]);
    test.devbox(["update", "--locked", "--force"]).output().ok();
    assert_eq!(fs::read_to_string(lock_of(&test)).unwrap(), locked);
    which(&test, &["--locked"]).ok().prints("mine");
    test.devbox(["update", "--locked"]).output().ok().says(&["is over what is locked already"]);
    test.devbox(["reset", "demo", "/etc/which"]).output().ok();
    which(&test, &["--locked"]).ok().prints("second");
    // one that runs is not moved, and the lock is not renewed
    let mut running = test.devbox(["run", "--", "sh", "-c", "echo up; cat"]).spawn();
    running.stdout.expect("up");
    test.devbox(["update"]).output().refused(&["is running"]);
    assert_eq!(fs::read_to_string(lock_of(&test)).unwrap(), locked);
    drop(running.stdin.take());
    running.wait().ok();
    test.devbox(["update"]).output().ok();
    which(&test, &["--locked"]).ok().prints("third");
}

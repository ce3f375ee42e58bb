//! Owners that a box with one id can't have are written down.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use devbox::sys::xattr;

use crate::harness::{Test, host};

/// The owner that is written down for `path` of the box `demo`.
fn recorded(test: &Test, path: &str) -> String {
    let own = if host::driver().as_deref() == Some("copy") { "tree" } else { "upper" };
    let path = test.path("data/devbox/boxes/demo").join(own).join(path);
    let value =
        xattr::get(&path, c"user.devbox.owner").unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    String::from_utf8(value.unwrap_or_default()).unwrap()
}

fn as_root(test: &Test, script: &str) -> String {
    test.devbox(["run", "--root", "--", "sh", "-c", script]).output().ok().text().trim_end().to_owned()
}

#[test]
fn owners_are_written_down() {
    needs!(boxes, images);
    let test = Test::busybox();
    let script = "cd /srv; touch a b c d e 'f g'; mkdir dir; ln -s a link; ln -s b onlink; mkfifo pipe
        chown 33:34 a; chown 33:1 b; chown 1:2 d; chown 4:3 d; chown 5:6 /srv/dir
        chown -h 7:7 link; chown 9:9 onlink; chown 1:1 pipe; chown 0:0 e; chown 4294967294:65534 'f g'
        stat -c %u:%g a dir";
    assert_eq!(as_root(&test, script), "0:0\n0:0", "inside, all belongs to the one id there is");
    let rows = [
        ("a", "33:34"),
        ("b", "9:9"),
        ("c", ""),
        ("d", "4:3"),
        ("e", "0:0"),
        ("f g", "4294967294:65534"),
        ("dir", "5:6"),
    ];
    for (path, owner) in rows {
        assert_eq!(recorded(&test, &format!("srv/{path}")), owner, "{path}");
    }
    test.sh("sudo chown 10:11 /srv/a && sudo sudo chown 12:9 /srv/b && sudo su -c 'chown -R 13:13 /srv/dir'")
        .ok();
    let now = ["a", "b", "dir"].map(|path| recorded(&test, &format!("srv/{path}")));
    assert_eq!(now, ["10:11", "12:9", "13:13"]);
}

#[test]
fn changing_owners_does_what_the_kernel_does() {
    needs!(boxes, images);
    let test = Test::busybox();
    let root = |script: &str| as_root(&test, script);
    assert_eq!(root("touch /x; chmod 6755 /x; chown 1:1 /x; stat -c %a /x"), "755", "set-id bits go");
    assert_eq!(root("mkdir /d; chmod 2775 /d; chown 1:1 /d; stat -c %a /d"), "2775", "but not a folder's");
    let refused = root("chown 1:1 /no/where 2>&1; echo $?; chown 1:1 /x/y 2>&1; echo $?");
    assert!(refused.contains("No such file") && refused.contains("Not a directory"), "{refused}");
    assert!(!refused.contains('0'), "{refused}");
    root("mkdir -p /jail/bin /jail/etc; cp /bin/busybox /jail/bin; ln -s /etc/f /jail/l; touch /jail/etc/f /etc/f
          chroot /jail /bin/busybox chown 20:20 /l; cd /jail; chown 21:1 etc");
    assert_eq!(recorded(&test, "jail/etc/f"), "20:20", "the caller's own root counts");
    assert_eq!(recorded(&test, "jail/etc"), "21:1");
    assert_eq!(recorded(&test, "etc/f"), "");
    root("chown 1:1 /proc/self/fd/1 /dev/stdout /dev/null /etc/hosts; echo taken");
}

#[test]
fn nothing_is_written_down_on_files_of_the_host() {
    needs!(boxes, images);
    let test = Test::busybox();
    fs::write(test.project().join("mine"), "").unwrap();
    as_root(&test, "chown 33:33 mine");
    assert_eq!(xattr::get(&test.project().join("mine"), c"user.devbox.owner").unwrap(), None);
}

#[test]
fn the_watcher_ends_with_the_last_it_watches() {
    needs!(boxes, images);
    // For root, `me` is a root that has a watcher all the time.
    if host::left_to_the_user() {
        return;
    }
    let test = Test::busybox();
    let watchers = "cat /proc/[0-9]*/comm 2>/dev/null | grep -c owners";
    test.sh(&format!("sudo sleep 60 & sleep 0.3; {watchers}; kill $!; wait; sleep 0.3; {watchers}"))
        .prints("1\n0");
    // It holds nothing of its caller's: a pipe ends with those who write to it.
    let began = std::time::Instant::now();
    test.sh("sudo sh -c 'sleep 20 >/dev/null 2>&1 </dev/null &' | cat; echo over").prints("over");
    assert!(began.elapsed() < Duration::from_secs(10));
    sleep(Duration::from_millis(50));
    // And no key of a terminal or signal of a job ends it before them.
    test.sh(
        "trap '' INT TERM HUP; sudo sh -c 'kill -INT 0; kill -TERM 0; kill -HUP 0; touch /y; chown 3:3 /y'",
    )
    .ok();
    assert_eq!(recorded(&test, "y"), "3:3");
}

#[test]
fn without_a_listener_chown_succeeds_and_is_forgotten() {
    needs!(boxes, images);
    let test = Test::busybox();
    let script = "touch /x && chown 3:4 /x && echo taken; cat /proc/[0-9]*/comm | grep owners || true";
    let call = test.devbox(["run", "--root", "--", "sh", "-c", script]).without_listeners();
    call.output().ok().prints("taken");
    assert_eq!(recorded(&test, "x"), "");
}

#[test]
fn the_watcher_holds_nothing_on_older_kernels_either() {
    needs!(boxes, images);
    let test = Test::busybox();
    let script =
        "sudo sh -c 'touch /x; chown 3:4 /x; sleep 20 >/dev/null 2>&1 </dev/null &' | cat; echo over";
    let began = std::time::Instant::now();
    let call = test.devbox(["run", "--", "sh", "-c", script]).without(&[libc::SYS_close_range]);
    call.output().ok().prints("over");
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(recorded(&test, "x"), "3:4");
}

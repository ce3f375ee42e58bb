//! Limits of a box, as they are held on this machine: what goes beyond is ended, said, and has an exit code of its own.
//! `tests/kernel/run` shows the same where the kernel holds them in a cgroup.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::harness::{Test, host, probes, within};

/// Bytes of memory that `devbox` processes with `marker` among their arguments have in all.
fn memory_of(marker: &str) -> u64 {
    let pages = |pid: &i32| {
        let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
        text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0)
    };
    host::processes(marker).iter().map(pages).sum::<u64>() * 4096
}

#[test]
fn a_fork_bomb_stays_in_its_box() {
    needs!(boxes, images);
    let test = Test::busybox();
    // each level starts two, so that thousands would be there within a second
    let script =
        "bomb() { bomb | bomb; }; bomb 2>/dev/null & sleep 3; ls -d /proc/[0-9]* | wc -l; echo alive";
    let limits = ["--limit", "pids=60", "--limit", "time=60s"];
    let run =
        |more: &[&str]| test.devbox([&["run"], more, &limits, &["--", "sh", "-c", script]].concat()).output();
    for isolation in ["dev", "untrusted"] {
        let said = run(&["--isolation", isolation]);
        // its own shell may be one that can't fork
        assert!(
            said.code == 0 || said.stderr.contains("fork") || said.stdout.is_empty(),
            "{isolation}: {said}"
        );
        if let Some(count) = said.text().lines().next().and_then(|line| line.trim().parse::<u32>().ok()) {
            // as root, by the highest pid: some hundreds more
            assert!(count <= 500, "{isolation}: {count} processes");
        }
        assert!(within(5, || host::processes("bomb() {").is_empty()), "{isolation}: processes are left");
    }
}

#[test]
fn processes_are_counted() {
    needs!(boxes, images);
    if nix::unistd::Uid::current().is_root() {
        return;
    }
    let test = Test::busybox();
    let script = "n=0; while [ $n -lt 40 ]; do sleep 9 & n=$((n+1)); done; wait";
    for (limit, fits) in [("pids=20", false), ("pids=80", true)] {
        let call = test.devbox(["run", "--limit", limit, "--limit", "time=1s", "--", "sh", "-c", script]);
        let said = call.output();
        assert_eq!(!said.stderr.contains("fork"), fits, "{limit}: {said}");
    }
    test.devbox(["plan", "--limit", "pids=20"]).output().ok().lists(&["pids 20: rlimit"]);
}

#[test]
fn who_takes_too_much_memory_is_ended() {
    needs!(boxes, images);
    let test = Test::busybox();
    let script = "echo began; a=x; while :; do a=$a$a; done";
    let began = Instant::now();
    let said =
        test.devbox(["run", "--memory", "64MiB", "--limit", "time=60s", "--", "sh", "-c", script]).output();
    let said = said.fails(123).prints("began").says(&[
        "out of memory",
        "64MiB",
        "memory = \"128MiB\"",
        "best effort",
    ]);
    assert!(began.elapsed() < Duration::from_secs(30), "{said}");
    let inspected = test.devbox(["inspect", "demo", "--format", "json"]).output().ok().json();
    assert_eq!(inspected["limits"][0]["limit"], "memory", "{inspected}");
    assert_eq!(inspected["limits"][0]["by"], "watch", "{inspected}");
    // what is left of it can be entered again
    test.sh("echo back").ok().prints("back");
    // shared memory counts, in a box that has several processes, each of them small
    let many = "for n in 1 2 3 4 5 6; do sh -c 'a=xxxxxxxxxxxxxxxx; while [ ${#a} -lt 16000000 ]; do a=$a$a; done; sleep 30' & done; wait";
    test.devbox(["run", "--memory", "64MiB", "--limit", "time=60s", "--", "sh", "-c", many])
        .output()
        .fails(123);
    // so do files in memory
    let files = "n=0; while [ $n -lt 60 ]; do dd if=/dev/zero of=/tmp/$n bs=1M count=4 2>/dev/null; n=$((n+1)); done; sleep 9; echo all";
    test.devbox(["run", "--memory", "64MiB", "--limit", "time=60s", "--", "sh", "-c", files])
        .output()
        .fails(123);
    // and who stays below is left alone
    let fits = "a=x; while [ ${#a} -lt 8000000 ]; do a=$a$a; done; sleep 2; echo fits";
    test.devbox(["run", "--memory", "128MiB", "--", "sh", "-c", fits]).output().ok().prints("fits");
}

#[test]
fn memory_that_no_mapping_shows_counts() {
    needs!(boxes, images, compiler);
    let test = Test::busybox();
    let volume = format!("{}:/memory:ro", probes::build_named(&test.path(""), "memory").display());
    for way in ["file", "thread", "segment", "namespace"] {
        let said = test.devbox(["run", "-v", &volume, "--memory", "64MiB", "--", "/memory", way]).output();
        said.fails(123).says(&["out of memory"]);
    }
}

#[test]
fn all_sessions_of_the_box_are_told() {
    needs!(boxes, images);
    let test = Test::busybox();
    let limits = ["--memory", "64MiB"];
    let run = |script: &str| test.devbox([&["run"][..], &limits, &["--", "sh", "-c", script]].concat());
    let first = run("echo ready; sleep 60").spawn();
    first.stdout.expect("ready\n");
    run("a=x; while :; do a=$a$a; done").output().fails(123).says(&["out of memory"]);
    first.wait().fails(123).says(&["out of memory"]);
}

#[test]
fn who_fills_the_disk_is_ended() {
    needs!(boxes, images);
    let test = Test::busybox();
    let filler = "echo began; while :; do dd if=/dev/zero of=/var-$n bs=1M count=4 2>/dev/null; n=x$n; done";
    for isolation in ["dev", "untrusted"] {
        let more = ["--isolation", isolation, "--limit", "disk=24MiB", "--limit", "time=60s"];
        let said = test.devbox([&["run"][..], &more, &["--", "sh", "-c", filler]].concat()).output();
        said.fails(122).prints("began").says(&["out of disk", "24MiB", "disk = \"48MiB\""]);
    }
    // hidden from other users' eyes, and in the project of an untrusted box
    let hidden =
        "mkdir d; cd d; exec >file; chmod 0 .; while :; do dd if=/dev/zero bs=1M count=4 2>/dev/null; done";
    let more =
        ["--isolation", "untrusted", "--name", "other", "--limit", "disk=24MiB", "--limit", "time=60s"];
    test.devbox([&["run"][..], &more, &["--", "sh", "-c", hidden]].concat()).output().fails(122);
    test.devbox(["rm", "-f", "other", "demo-untrusted"]).output().ok();
    // and files that have no name any more
    let removed =
        "exec 3>/var/f; rm /var/f; dd if=/dev/zero bs=1M count=60 >&3 2>/dev/null; sleep 20; echo all";
    let more = ["--limit", "disk=24MiB", "--limit", "time=60s"];
    test.devbox([&["run"][..], &more, &["--", "sh", "-c", removed]].concat()).output().fails(122);
}

#[test]
fn a_box_that_nobody_watches_is_ended() {
    needs!(boxes, images);
    let test = Test::busybox();
    let marker = format!("unwatched{}", std::process::id());
    let session =
        test.devbox(["run", "--limit", "disk=1GiB", "--", "sh", "-c", "echo ready; sleep 60", &marker]);
    let session = session.spawn();
    session.stdout.expect("ready\n");
    // of those that have our arguments it alone is alone in its session
    let leads = |pid: &i32| {
        nix::unistd::getsid(Some(nix::unistd::Pid::from_raw(*pid))).is_ok_and(|id| id.as_raw() == *pid)
    };
    let is_devbox =
        |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "devbox");
    let found: Vec<i32> =
        host::processes(&marker).into_iter().filter(|pid| leads(pid) && is_devbox(pid)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    let began = Instant::now();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(found[0]), nix::sys::signal::Signal::SIGKILL).unwrap();
    let said = session.wait();
    assert!(said.code != 0 && began.elapsed() < Duration::from_secs(20), "{said}");
    assert!(within(5, || host::processes(&marker).is_empty()), "processes are left");
    test.sh("echo back").ok().prints("back");
}

#[test]
fn who_takes_too_long_is_ended() {
    needs!(boxes, images);
    let test = Test::busybox();
    let run = |script: &str| test.devbox(["run", "--limit", "time=1s", "--", "sh", "-c", script]).output();
    let began = Instant::now();
    let said = run("trap 'echo asked; exit 7' TERM; echo began; sleep 30 & wait").fails(124);
    said.prints("began\nasked").says(&["out of time", "1s", "time = \"2s\""]);
    assert!(began.elapsed() < Duration::from_secs(5));
    // who does not listen is killed
    run("trap '' TERM; echo began; while :; do sleep 1; done").fails(124).prints("began");
    run("exit 3").fails(3);
    // each session has its own time
    let first = test.devbox(["run", "--limit", "time=4s", "--", "sh", "-c", "echo ready; sleep 60"]).spawn();
    first.stdout.expect("ready\n");
    std::thread::sleep(Duration::from_secs(2));
    test.devbox(["run", "--limit", "time=4s", "--", "sh", "-c", "sleep 3; echo done"])
        .output()
        .ok()
        .prints("done");
    first.wait().fails(124);
}

#[test]
fn open_files_are_limited() {
    needs!(boxes, images);
    let test = Test::busybox();
    let run = |more: &[&str]| {
        let command = ["--", "sh", "-c", "ulimit -n; ulimit -Hn; ulimit -n 99999 2>/dev/null || echo kept"];
        test.devbox([&["run"], more, &command].concat()).output().ok()
    };
    run(&["--limit", "files=100"]).prints("100\n100\nkept");
    let usual = run(&["--untrusted"]);
    assert!(usual.text().starts_with("16384\n16384\n"), "{usual}");
}

#[test]
fn endless_output_is_not_held_in_memory() {
    needs!(boxes, images);
    let test = Test::busybox();
    // nobody reads what is printed, to a pipe or to a terminal
    let terminal = nix::pty::openpty(None, None).unwrap();
    for tty in [false, true] {
        let marker = format!("y{}{tty}", std::process::id());
        let mut command = test.devbox(["run", "--limit", "time=20s", "--", "yes", &marker]).command;
        let side = || Stdio::from(terminal.slave.try_clone().unwrap());
        match tty {
            true => command.stdin(side()).stdout(side()).stderr(side()),
            false => command.stdin(Stdio::null()).stdout(Stdio::piped()),
        };
        let mut session = command.spawn().unwrap();
        assert!(within(10, || host::processes(&marker).len() > 1));
        std::thread::sleep(Duration::from_secs(1));
        let taken = memory_of(&marker);
        let _ = session.kill();
        let _ = session.wait();
        assert!(taken > 0 && taken < 64 << 20, "{taken} bytes");
    }
}

#[test]
fn strict_limits_are_held_or_refused() {
    needs!(boxes, images);
    let test = Test::busybox();
    let run =
        |limit: &str| test.devbox(["run", "--strict-limits", "--limit", limit, "--", "echo", "ran"]).output();
    run("disk=1GiB").refused(&["disk of box `demo`", "exactly", "1GiB", "`strict`"]);
    run("time=1m").ok().prints("ran");
    run("files=64").ok().prints("ran");
    let plan = test.devbox(["plan", "--limit", "memory=1GiB", "--format", "json"]).output().ok().json();
    if plan["held"][0]["by"] == "watch" {
        run("memory=1GiB").refused(&["memory of box `demo`", "cgroup of your own", "devbox doctor"]);
    } else {
        run("memory=1GiB").ok().prints("ran");
    }
}

#[test]
fn a_running_box_keeps_its_limits() {
    needs!(boxes, images);
    let test = Test::busybox();
    let first = test.devbox(["run", "--limit", "files=100", "--", "sh", "-c", "echo ready; cat"]).spawn();
    first.stdout.expect("ready\n");
    let joined = test.devbox(["run", "--limit", "files=50", "--", "sh", "-c", "ulimit -n"]).output().ok();
    joined.prints("100").says(&["runs with other mounts or settings"]);
    test.devbox(["inspect", "demo"]).output().ok().lists(&["files 100: rlimit"]);
}

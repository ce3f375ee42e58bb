//! Terminals: size, Ctrl-C, Ctrl-Z, and the host's terminal as it was, however a session ends.

use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::Signal;

use crate::harness::{Pty, Test, binary, host, within};

/// A shell in the box, at its first prompt.
fn enter(test: &Test) -> Pty {
    let mut pty = Pty::spawn(&test.devbox(["enter"]));
    pty.line("echo st''arted", "started");
    pty
}

#[test]
fn a_terminal_of_the_boxs_own() {
    needs!(boxes, images);
    let test = Test::busybox();
    let mut pty = enter(&test);
    pty.line("tty", "/dev/pts/0");
    pty.line("stty size", "37 111");
    pty.line("echo $TERM", "xterm");
    pty.line("(trap 'stty size' WINCH; echo tr''apped; while :; do sleep 1 & wait $!; done)", "trapped");
    pty.resize(50, 132);
    pty.screen.expect("50 132");
    pty.send("\x03");
    assert!(pty.is_raw());
    pty.send("exit 9\n");
    assert_eq!(pty.wait().code(), Some(9));
    assert!(pty.restored());
}

#[test]
fn control_c_stops_the_command_not_the_shell() {
    needs!(boxes, images);
    let test = Test::busybox();
    let mut pty = enter(&test);
    pty.line("sh -c 'echo be''gun; exec sleep 1000'", "begun");
    pty.send("\x03");
    pty.line("echo code=$?", "code=130");
    pty.send("exit\n");
    pty.wait();
    assert!(pty.restored());
}

#[test]
fn control_z_and_back() {
    needs!(boxes, images);
    let test = Test::busybox();
    let mut pty = enter(&test);
    pty.line("sh -c 'echo be''gun; exec cat'", "begun");
    pty.send("\x1a");
    pty.screen.expect("Stopped");
    pty.line("echo still''here", "stillhere");
    pty.line("fg", "cat");
    pty.send("one\n");
    pty.screen.expect("one\r\none\r\n");
    pty.send("\x04");
    pty.line("echo d''one", "done");
    pty.send("exit\n");
    assert_eq!(pty.wait().code(), Some(0));
}

#[test]
fn the_terminal_is_restored_however_it_ends() {
    needs!(boxes, images);
    let test = Test::busybox();
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
        let mut pty = Pty::spawn(&test.devbox(["run", "--", "sh", "-c", "echo ready; exec sleep 1000"]));
        pty.screen.expect("ready");
        assert!(within(5, || pty.is_raw()));
        pty.signal(signal);
        let status = pty.wait();
        assert_eq!(status.code().or(status.signal().map(|n| 128 + n)), Some(128 + signal as i32), "{signal}");
        assert!(pty.restored(), "after {signal}");
    }
    let mut pty = Pty::spawn(&test.devbox(["run", "--", "sh", "-c", "echo ready; kill -9 $$"]));
    pty.screen.expect("ready");
    assert_eq!(pty.wait().code(), Some(137));
    assert!(pty.restored());
}

#[test]
fn a_terminal_that_closes_ends_the_session() {
    needs!(boxes, images);
    let test = Test::busybox();
    let marker = format!("6{}", std::process::id());
    let mut pty = enter(&test);
    pty.line(&format!("sh -c 'echo be''gun; exec sleep {marker}'"), "begun");
    assert!(within(5, || !host::processes(&marker).is_empty()));
    pty.hang_up();
    pty.wait();
    assert!(within(5, || host::processes(&marker).is_empty()));
    test.sh("echo again").ok().prints("again");
}

#[test]
fn bulk_output_is_whole() {
    needs!(boxes, images);
    let test = Test::busybox();
    let mut pty = Pty::spawn(&test.devbox(["run", "--", "sh", "-c", "echo begin; seq 1 60000; echo end"]));
    // What is said about the box comes before.
    pty.screen.expect("begin\r\n");
    let text = pty.screen.expect("end\r\n");
    assert_eq!(text.lines().count(), 60_001);
    assert_eq!(pty.wait().code(), Some(0));
}

#[test]
fn a_pipe_beside_a_terminal_stays_a_pipe() {
    needs!(boxes, images);
    let test = Test::busybox();
    let script = "\"$0\" run -- sh -c 'test -t 0 && test ! -t 1 && printf \"a\\nb\\n\"' | od -An -c";
    let mut pty = Pty::spawn(&test.under(["sh", "-c", script], []));
    pty.screen.expect("a  \\n   b  \\n");
    assert_eq!(pty.wait().code(), Some(0));
}

/// The shell of the host that has `devbox run` as its job is what Ctrl-Z leads back to.
#[test]
fn control_z_stops_a_command_without_a_shell() {
    needs!(boxes, images);
    let test = Test::busybox();
    let mut pty = Pty::spawn(&test.plain(["bash", "--norc", "-i"]).env("PS1", "at home> "));
    pty.screen.expect("at home> ");
    let run = |command: &str| format!("{} run -- {command}", binary().display());
    pty.line(&run("sh -c 'echo be''gun; exec cat'"), "begun");
    for text in ["one", "two"] {
        pty.send("\x1a");
        pty.screen.expect("Stopped");
        pty.line("echo still''here", "stillhere");
        pty.line("fg", "exec cat'\r\n");
        assert!(within(5, || pty.is_raw()));
        pty.send(&format!("{text}\n"));
        pty.screen.expect(&format!("{text}\r\n{text}\r\n"));
    }
    pty.send("\x03");
    pty.screen.expect("at home> ");
    pty.line("echo code=$?", "code=130");
    pty.line(&format!("{}; echo code=$?", run("sh -c 'kill -TERM $$'")), "code=143");
    pty.line(&format!("{} | cat", run("sh -c 'echo be''gun; exec sleep 1000'")), "begun");
    pty.send("\x1a");
    pty.screen.expect("Stopped");
    pty.line("kill %1; fg; echo de''ad", "dead");
    pty.send("exit\n");
    pty.wait();
}

/// Without a shell that could continue it nothing stops.
#[test]
fn control_z_means_nothing_to_a_job_nobody_can_continue() {
    needs!(boxes, images);
    let test = Test::busybox();
    let mut pty = Pty::spawn(&test.devbox(["run", "--", "sh", "-c", "echo be''gun; exec cat"]));
    pty.screen.expect("begun");
    pty.send("\x1a");
    pty.screen.expect("^Z");
    // The terminal is given back for an instant.
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(within(5, || pty.is_raw()));
    pty.send("on\n");
    pty.screen.expect("on\r\non\r\n");
    pty.send("\x04");
    assert_eq!(pty.wait().code(), Some(0));
    assert!(pty.restored());
}

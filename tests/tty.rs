//! Terminals: size, Ctrl-C, Ctrl-Z, and the host's terminal as it was, however a session ends.

use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::Signal;

use crate::harness::{Pty, Test, host, within};

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
    pty.line(
        "(trap 'stty size; exit' WINCH; echo tr''apped; while :; do sleep 1 & wait $!; done)",
        "trapped",
    );
    pty.resize(50, 132);
    pty.screen.expect("50 132");
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
    let mut pty = Pty::spawn(&test.devbox(["run", "--", "sh", "-c", "seq 1 60000; echo end"]));
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

//! `sudo`, `su` and `doas` of a box: what their manuals promise, as far as one id goes.

use crate::harness::registry::Registry;
use crate::harness::{Image, Packing, Pty, Test, host};

#[test]
fn what_was_asked_for_is_kept() {
    needs!(boxes, images);
    let test = Test::busybox();
    test.table(&[
        ("the folder", "cd /usr && sudo pwd", "/usr"),
        ("another folder", "sudo -D /etc pwd; sudo --chdir=/bin pwd", "/etc\n/bin"),
        ("arguments", "sudo printf '%s,' 'a  b' '' '-x'", "a  b,,-x,"),
        ("the exit code", "sudo sh -c 'exit 7'; echo $?", "7"),
        ("a signal's too", "sudo sh -c 'kill -9 $$'; echo $?", "137"),
        ("standard input", "echo in | sudo cat", "in"),
        ("descriptors", "sudo sh -c 'echo three >&3' 3>&1", "three"),
        (
            "descriptors from -C up are closed",
            "sudo -C 3 sh -c 'echo x >&3' 3>&1 2>/dev/null || echo closed",
            "closed",
        ),
        ("variables", "A=1 sudo sh -c 'echo $A $HOME $USER $LOGNAME'", "1 /root root root"),
        ("assignments win", "A=1 sudo A=2 B='x y' sh -c 'echo $A $B; env | grep -c ^A='", "2 x y\n1"),
        ("an assignment of HOME too", "sudo HOME=/x sh -c 'echo $HOME'", "/x"),
        ("-E keeps HOME", "[ \"$(sudo -E sh -c 'echo $HOME')\" = \"$HOME\" ] && echo kept", "kept"),
        ("-EH does not", "sudo -EH sh -c 'echo $HOME'; sudo -E -H sh -c 'echo $HOME'", "/root\n/root"),
        (
            "--preserve-env=HOME",
            "[ \"$(sudo --preserve-env=A,HOME sh -c 'echo $HOME')\" = \"$HOME\" ] && echo kept",
            "kept",
        ),
        (
            "-n, -S, -A, -p ask nobody",
            "sudo -n -S -p 'why: ' id -u; sudo -nu root id -u; sudo -uroot id -u",
            "0\n0\n0",
        ),
        ("who asked", "sudo sh -c 'echo $SUDO_UID' | grep -qx \"$(id -u)\" && echo me", "me"),
        (
            "system folders are searched",
            "PATH=/run/devbox/bin:/bin sudo sh -c 'echo $PATH'",
            "/run/devbox/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
        ),
        ("-k, -v and -K alone do nothing", "sudo -k && sudo -v && sudo -K && echo nothing", "nothing"),
        ("-k with a command runs it", "sudo -k id -u", "0"),
        ("--", "sudo -- id -u; sudo -- A=1 sh -c 'echo $A'", "0\n1"),
        ("-s", "echo 'id -u; echo $0' | SHELL=/bin/ash sudo -s", "0\nash"),
        ("-s with words", "SHELL=/bin/sh sudo -s echo 'a  b'", "a  b"),
        ("-i is a login", "A=1 sudo -i sh -c 'echo $A $PWD $HOME $SHELL'", "/root /root /bin/sh"),
        ("-i with what was asked for", "A=1 B=2 sudo -i --preserve-env=A B=3 sh -c 'echo $A $B'", "1 3"),
        ("-b goes on behind", "sudo -b sh -c 'sleep 0.2; echo late'; echo soon; sleep 0.6", "soon\nlate"),
        ("root twice", "sudo sudo su -c 'sudo id -u'", "0"),
    ]);
}

#[test]
fn su_and_doas() {
    needs!(boxes, images);
    let test = Test::busybox();
    // busybox's shell knows a su of its own.
    let rows = [
        ("$S -c", "$S -c 'id -u; pwd' | head -1", "0"),
        ("a folder stays", "cd /usr; $S -c pwd", "/usr"),
        ("$S - is a login", "A=1 $S - -c 'echo $A $PWD $HOME'", "/root /root"),
        ("$S -l root", "A=1 $S -l root -c 'echo $PWD $A'", "/root"),
        ("-w keeps", "A=1 $S -w A - -c 'echo $A'", "1"),
        ("without a login variables stay", "A=1 $S root -c 'echo $A $HOME'", "1 /root"),
        ("-m keeps HOME", "[ \"$($S -m -c 'echo $HOME')\" = \"$HOME\" ] && echo kept", "kept"),
        ("words for the script", "$S -c 'echo $0 $1' root a b; $S - root -- -c 'echo x'", "a b\nx"),
        ("a shell that is named", "$S -s /bin/ash -c 'echo $0'", "ash"),
        ("its exit code", "$S -c 'exit 9'; echo $?", "9"),
        (
            "doas",
            "A=1 doas sh -c 'echo $(id -u) $A $DOAS_USER' | cut -c 1-3; doas -u root -n id -u",
            "0 1\n0",
        ),
        ("doas -s", "echo 'id -u' | doas -s", "0"),
    ]
    .map(|(what, script, expected)| (what, format!("S=/run/devbox/bin/su; {script}"), expected));
    let rows: Vec<_> =
        rows.iter().map(|(what, script, expected)| (*what, script.as_str(), *expected)).collect();
    test.table(&rows);
}

#[test]
fn the_terminal_stays() {
    needs!(boxes, images);
    let test = Test::busybox();
    let mut pty = Pty::spawn(&test.devbox(["enter"]));
    pty.line("sudo tty", "/dev/pts/0");
    pty.line("sudo sh -c 'echo be''gun; exec cat'", "begun");
    pty.send("\x1a");
    pty.screen.expect("Stopped");
    pty.line("echo st''ill", "still");
    pty.line("fg", "cat");
    pty.send("one\n");
    pty.screen.expect("one\r\none\r\n");
    pty.send("\x04");
    pty.line("echo code=$?", "code=0");
    pty.send("exit\n");
    pty.wait();
}

#[test]
fn what_can_not_be_is_said() {
    needs!(boxes, images);
    let test = Test::busybox();
    for (script, code, words) in [
        ("sudo -u www-data id", 1, "`ids = \"full\"`"),
        ("sudo -g www-data id", 1, "`ids = \"full\"`"),
        ("/run/devbox/bin/su app -c id", 1, "cannot become `app`"),
        ("doas -u app id", 1, "`ids = \"full\"`"),
        ("sudo -e /etc/hosts", 1, "no sudoedit"),
        ("sudo --frobnicate id", 1, "--frobnicate"),
        ("sudo -Z id", 1, "-Z"),
        ("sudo", 1, "usage: sudo"),
        ("sudo -D /nowhere id", 1, "/nowhere"),
        ("sudo -u", 1, "without its value"),
        ("sudo nothing-of-this-name", 127, "command not found"),
        ("sudo /etc", 126, "cannot be executed"),
        ("/run/devbox/bin/su -s /no/shell -c id", 127, "no such shell"),
    ] {
        let said = test.sh(script).fails(code).says(&[words]);
        assert!(said.stdout.is_empty(), "{script}: {said}");
    }
}

#[test]
fn with_more_ids_they_hand_over() {
    needs!(boxes, images);
    if host::left_to_the_user() {
        return;
    }
    needs!(subids);
    let script = "#!/bin/sh\\necho its-own $*";
    let image = Image::busybox().layer(&format!("f 755 usr/bin/sudo {script}"), Packing::Gzip);
    let reference = Registry::open().push("sudo:full", &image);
    let test = Test::new();
    test.project_file(&format!("image = \"{reference}\"\nname = \"demo\"\nids = \"full\"\n"));
    test.table(&[
        ("root has the image's", "sudo -u app id", "its-own -u app id"),
        ("or needs none", "doas id -u", "0"),
        ("and the image's su", "su app -c 'id -u'; su - app -c 'echo $HOME'", "1000\n/home/app"),
    ]);
    test.sh("doas -u app id").fails(1).says(&["the image has no program of this name"]);
    for name in ["sudo", "su", "doas"] {
        let call = test.devbox(["run", "--user", "app", "--", name, "true"]);
        call.output().fails(1).says(&["no session gains rights", "devbox run --root demo"]);
    }
}

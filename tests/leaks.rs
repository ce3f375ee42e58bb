//! What must not get into a box: descriptors, variables, the tool's own binary and memory.

use std::fs;
use std::fs::File;
use std::os::fd::AsRawFd;

use crate::harness::Test;
use crate::harness::test::binary;

#[test]
fn only_three_descriptors() {
    needs!(boxes, images);
    let test = Test::busybox();
    let secret = test.write("home/secret", "s3cret");
    let script =
        format!("exec 7<{} 9</ 200</etc/passwd; exec \"$0\" run -- ls /proc/self/fd", secret.display());
    for _first_then_joined in 0..2 {
        // ls has one of its own for the folder it lists
        test.under(["bash", "-c", &script], []).output().ok().prints("0\n1\n2\n3");
    }
    let held = test.devbox(["run", "--", "sh", "-c", "echo ready; cat"]).spawn();
    held.stdout.expect("ready\n");
    test.under(["bash", "-c", &script], []).output().ok().prints("0\n1\n2\n3");
    assert!(File::open(secret).unwrap().as_raw_fd() > 2);
}

#[test]
fn no_variable_of_the_host() {
    needs!(boxes, images);
    let test = Test::busybox();
    let call = |args: &[&str]| {
        let mut call = test.devbox(args);
        for (name, value) in [
            ("SECRET", "s3cret"),
            ("SSH_AUTH_SOCK", "/s3cret"),
            ("DBUS_SESSION_BUS_ADDRESS", "s3cret"),
            ("LD_LIBRARY_PATH", "/s3cret"),
        ] {
            call = call.env(name, value);
        }
        call.output().ok()
    };
    let env = call(&["run", "--", "env"]);
    assert!(!env.text().contains("s3cret"), "{env}");
    let init = call(&[
        "run",
        "--",
        "sh",
        "-c",
        "cat /proc/1/environ /proc/1/cmdline 2>/dev/null | tr '\\0' '\\n'; true",
    ]);
    assert!(!init.text().contains("s3cret"), "{init}");
}

#[test]
fn the_tool_itself_is_out_of_reach() {
    needs!(boxes, images);
    let test = Test::busybox();
    let before = fs::read(binary()).unwrap();
    for root in [&["run"][..], &["run", "--root"]] {
        let run = |script: &str| test.devbox([root, &["--", "sh", "-c", script]].concat()).output().ok();
        // Busy would only mean that it is in use: the moment after, it could be written.
        run("(echo x >/proc/1/exe && echo wrote) 2>&1 | grep -E 'wrote|busy'; true").prints("");
        run("head -c 1 /proc/1/environ /proc/1/mem 2>/dev/null; true").prints("");
    }
    // CVE-2019-5736: the tool is made to execute itself, then overwritten through /proc/self/exe.
    let script = "printf '#!/proc/self/exe\\n' >/tmp/trap; chmod 755 /tmp/trap; echo done";
    test.sh(script).ok().prints("done");
    test.devbox(["run", "--", "sh", "-c", &format!("{script}; /tmp/trap; true")]).output();
    test.devbox(["run", "--", "/proc/self/exe"]).output();
    assert!(fs::read(binary()).unwrap() == before, "the binary is unchanged");
}

#[test]
fn our_sockets_are_not_in_the_box() {
    needs!(boxes, images);
    let test = Test::busybox();
    let script = "find / -type s 2>/dev/null; grep -c -i devbox /proc/net/unix; ls -A ${XDG_RUNTIME_DIR:-/nowhere} 2>/dev/null; true";
    let seen = test.sh(script).ok();
    assert!(!seen.text().contains("devbox"), "{seen}");
}

#[test]
fn the_runtime_folder_is_private() {
    needs!(boxes, images);
    use std::os::unix::fs::MetadataExt;
    let test = Test::busybox();
    test.under(["sh", "-c", "umask 0; exec \"$0\" run -- true"], []).output().ok();
    for folder in ["data/devbox/store", "data/devbox/boxes", "run/devbox"] {
        let mode = fs::metadata(test.path(folder)).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o700, "{folder}");
    }
    let stranger =
        test.under(["sh", "-c", "chmod 777 $XDG_RUNTIME_DIR/devbox; exec \"$0\" run -- true"], []).output();
    stranger.refused(&["run/devbox"]);
}

//! What is handed into a box by name: files, and keys of the caller's ssh-agent.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::harness::Test;

#[test]
fn files_are_read_and_not_written() {
    needs!(boxes, images);
    let test = Test::busybox();
    test.write("home/.npmrc", "token\n");
    test.write("home/other", "more\n");
    let npmrc = test.path("home/.npmrc");
    fs::set_permissions(&npmrc, fs::Permissions::from_mode(0o600)).unwrap();
    let handed = format!("npm={}", npmrc.display());
    for isolation in ["dev", "untrusted"] {
        let flags = ["run", "--isolation", isolation, "--secret", &handed, "--secret", "b=../other", "--"];
        let run = |script: &str| test.devbox([&flags[..], &["sh", "-c", script]].concat()).output();
        run("cat /run/secrets/npm /run/secrets/b").ok().prints("token\nmore");
        run("echo x >/run/secrets/npm").fails(1);
        run("rm -f /run/secrets/npm").fails(1);
    }
    assert_eq!(fs::read_to_string(&npmrc).unwrap(), "token\n");
    test.devbox(["run", "--secret", "npm", "--", "true"]).output().refused(&["`npm` has no file"]);
    test.devbox(["run", "--secret", "a/b=x", "--", "true"]).output().refused(&["`a/b`"]);
    test.devbox(["run", "--secret", "a=nowhere", "--", "true"]).output().refused(&["nowhere does not exist"]);
}

#[test]
fn a_project_that_wants_them_is_asked_about() {
    let test = Test::new();
    test.write("home/.npmrc", "token\n");
    test.project_file(
        "image = \"registry.invalid/never:1\"\nssh-agent = [\"me@laptop\"]\n[secrets]\nnpm = \"~/.npmrc\"\n",
    );
    let plan = test.devbox(["plan"]).output().ok();
    plan.lists(&["signs with the key me@laptop of your ssh-agent", ".npmrc as its secret npm"]);
    test.devbox(["run", "--", "true"]).output().refused(&["me@laptop"]);
}

/// An agent of the test's own with two keys, which ends with the value.
struct Agent {
    process: std::process::Child,
    socket: String,
}

impl Agent {
    fn start(test: &Test) -> Self {
        let socket = test.path("agent.sock").display().to_string();
        let process =
            Command::new("ssh-agent").args(["-D", "-a", &socket]).stdout(Stdio::null()).spawn().unwrap();
        let agent = Self { process, socket };
        for name in ["mine", "work"] {
            let key = test.path(name).display().to_string();
            let mut keygen = Command::new("ssh-keygen");
            assert!(
                keygen
                    .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", &key])
                    .status()
                    .unwrap()
                    .success()
            );
            let began = Instant::now();
            while !agent.add(&key) {
                assert!(began.elapsed() < Duration::from_secs(10), "the agent takes no key");
                thread::sleep(Duration::from_millis(20));
            }
        }
        agent
    }

    fn add(&self, key: &str) -> bool {
        let mut add = Command::new("ssh-add");
        let done = add.args(["-q", key]).env("SSH_AUTH_SOCK", &self.socket).stderr(Stdio::null()).status();
        done.unwrap().success()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn named_keys_of_the_agent_can_be_used() {
    needs!(boxes, ssh);
    let test = Test::new();
    let agent = Agent::start(&test);
    test.project_file("image = \"host\"\n");
    let public = |name: &str| fs::read(test.path(&format!("{name}.pub"))).unwrap();
    fs::write(test.project().join("mine.pub"), public("mine")).unwrap();
    fs::write(test.project().join("work.pub"), public("work")).unwrap();
    let run = |flags: &[&str], script: &str| {
        let call = test.devbox([&["run"], flags, &["--", "sh", "-c", script]].concat());
        call.env("SSH_AUTH_SOCK", &agent.socket).output()
    };
    // none is there unasked
    assert!(!run(&[], "ssh-add -l; echo \"[$SSH_AUTH_SOCK]\"").text().contains("ED25519"));
    let named = ["--ssh-agent", "work", "--ssh-agent", "gone"];
    run(&named, "ssh-add -l | cut -d' ' -f3").ok().prints("work").says(&["no key gone"]);
    let sign = |name: &str| format!("echo text | ssh-keygen -q -Y sign -n file -f {name}.pub 2>&1 | head -1");
    run(&named, &sign("work")).ok().prints("-----BEGIN SSH SIGNATURE-----");
    assert!(!run(&named, &sign("mine")).text().contains("BEGIN"), "another key signs");
    run(&named, "ssh-add -D").fails(1);
    assert!(agent.add(&test.path("mine").display().to_string()));
    let logs = test.devbox(["logs", "work"]).output().ok();
    logs.lists(&["(work)", "allowed", "refused"]);

    // nothing of it outlives the box
    let began = Instant::now();
    while fs::read_dir(test.path("run/devbox"))
        .unwrap()
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().contains("agent"))
    {
        assert!(began.elapsed() < Duration::from_secs(10), "the socket stays");
        thread::sleep(Duration::from_millis(20));
    }
    test.devbox(["run", "--ssh-agent", "work", "--", "true"]).output().refused(&["SSH_AUTH_SOCK"]);
    let gone = test.devbox(["run", "--ssh-agent", "work", "--", "true"]).env("SSH_AUTH_SOCK", "/nowhere");
    gone.output().refused(&["cannot talk to your ssh-agent at /nowhere"]);
}

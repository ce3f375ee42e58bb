//! `image = "host"`: a box over the host's own root. Nothing is downloaded, nothing of the host is changed.

use std::fs;

use crate::harness::Test;

fn host_project() -> Test {
    let test = Test::new();
    test.project_file("image = \"host\"\nname = \"demo\"\n");
    test
}

#[test]
fn the_hosts_tools_and_a_home_of_its_own() {
    needs!(boxes);
    let test = host_project();
    test.write("home/.host-secret", "x");
    let system = fs::read_to_string("/etc/os-release").unwrap();
    test.sh("cat /etc/os-release").ok().prints(&system);
    test.table(&[
        ("the host's programs", "uname -s", "Linux"),
        ("the project", "ls", "devbox.toml"),
        ("a private home", "ls -A ~/.host-secret 2>/dev/null || echo unseen", "unseen"),
        ("a private /tmp", "ls -A /tmp | grep -c dbt-registry", "0"),
        ("a private /run", "ls -A /run/user /run/systemd 2>/dev/null", ""),
        ("own processes only", "ls /proc | grep -c '^[0-9]' | sed 's/^[2-6]$/few/'", "few"),
    ]);
}

#[test]
fn writes_stay_in_the_box_or_are_refused() {
    needs!(boxes);
    let test = host_project();
    let name = format!("devbox-test-{}", std::process::id());
    for folder in ["/usr", "/etc", "/opt", "/var", "/srv", "/tmp", "/usr/bin", "/root", "/boot"] {
        test.sh(&format!("echo x >{folder}/{name}; chmod 777 {folder}; rm -f {folder}/os-release"));
        assert!(!std::path::Path::new(&format!("{folder}/{name}")).exists(), "{folder}");
    }
    assert!(fs::metadata("/etc/os-release").is_ok());
    test.sh("echo kept >~/kept").ok();
    test.sh("cat ~/kept").ok().prints("kept");
    assert!(!test.home().join("kept").exists());
}

#[test]
fn it_is_the_default_and_says_so() {
    needs!(boxes);
    let test = Test::new();
    test.devbox(["enter"])
        .stdin("echo inside; exit\n")
        .output()
        .ok()
        .lists(&["inside"])
        .says(&["machine", "read-only"]);
}

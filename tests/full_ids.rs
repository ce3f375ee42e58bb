//! Boxes with `full` ids: users of their own, and a service that needs them.

use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::unistd::Uid;

use crate::harness::registry::Registry;
use crate::harness::{Image, Packing, Test, host};

/// A box of busybox with the users root, app (1000) and www (33).
fn several() -> Test {
    let listing = "d 755 srv\nd 2775:0:33 srv/shared\nd 755:33:33 srv/www\nf 640:33:33 srv/www/page hello";
    let reference = Registry::open().push("several:1", &Image::busybox().layer(listing, Packing::Gzip));
    let test = Test::new();
    test.project_file(&format!(
        "image = \"{reference}\"\nname = \"demo\"\nids = \"full\"\nuser = \"root\"\n"
    ));
    test.sh("echo www:x:33:app >>/etc/group; echo www:x:33:33::/srv/www:/bin/sh >>/etc/passwd").ok();
    test
}

#[test]
fn several_users() {
    needs!(boxes, images);
    if host::left_to_the_user() {
        return;
    }
    needs!(subids);
    let test = several();
    test.table(&[
        ("one reads what is its own", "su www -c 'cat /srv/www/page'", "hello"),
        ("another only with its group", "su app -c 'cat /srv/www/page' && sed -i 's/:app$/:/' /etc/group && su app -c 'cat /srv/www/page' 2>/dev/null || echo refused; sed -i 's/^www:.*/&app/' /etc/group", "hellorefused"),
        ("su - NAME is a login", "su - www -c 'pwd; id -un; echo $HOME'", "/srv/www\nwww\n/srv/www"),
        ("setgid bits stay where chown leaves them", "mkdir /srv/own; chown app:www /srv/own; chmod 2770 /srv/own; stat -c '%U:%G %a' /srv/own", "app:www 2770"),
        ("processes belong to their users", "su www -c 'sleep 5' & sleep 0.3; stat -c %U /proc/$(pidof sleep | cut -d' ' -f1); kill %1 2>/dev/null; killall sleep", "www"),
    ]);
    // fuse-overlayfs makes all under the group of who asks; docs/ids.md says so
    if host::driver().as_deref() != Some("fuse") {
        test.table(&[
            ("a setgid folder hands on its group", "su app -c 'umask 2; touch /srv/shared/f; mkdir /srv/shared/d'; stat -c '%u:%g %a' /srv/shared/f /srv/shared/d", "1000:33 664\n1000:33 2775"),
            ("who may write there", "su www -c 'echo more >>/srv/shared/f && cat /srv/shared/f'", "more"),
        ]);
    }
    let as_www =
        test.devbox(["run", "--user", "www", "--", "sh", "-c", "id -un; id -gn; cat /srv/www/page"]).output();
    as_www.ok().prints("www\nwww\nhello");
}

#[test]
fn what_root_makes_in_the_project_is_mine() {
    needs!(boxes, images);
    if host::left_to_the_user() {
        return;
    }
    needs!(subids);
    let test = several();
    test.sh("mkdir made && echo x >made/file && su www -c 'touch theirs 2>/dev/null || echo refused'")
        .ok()
        .prints("refused");
    for path in ["made", "made/file"] {
        assert_eq!(fs::metadata(test.project().join(path)).unwrap().uid(), Uid::current().as_raw(), "{path}");
    }
    fs::remove_dir_all(test.project().join("made")).unwrap();
}

/// A box whose image has files of others, `bytes` in one of them.
fn foreign(bytes: usize) -> Test {
    let listing = format!(
        "d 755:1000:1000 home/app\nf 644:1000:1000 home/app/large {}\nf 4711:33:33 home/app/small x\nl home/app/link small\n\
         f 600:3000000:5 home/app/beyond y",
        "z".repeat(bytes)
    );
    let image = Image::busybox().layer(&listing, Packing::Gzip);
    let reference = Registry::open().push("foreign:1", &image);
    let test = Test::new();
    test.project_file(&format!(
        "image = \"{reference}\"\nname = \"demo\"\nids = \"full\"\nuser = \"root\"\n"
    ));
    test
}

fn owners_are_given(bytes: usize) -> Test {
    let test = foreign(bytes);
    let first = test.sh("cd /home/app; stat -c %u:%g:%a . large small link beyond; wc -c <large; cat small");
    let size = format!("1000:1000:755\n1000:1000:644\n33:33:4711\n0:0:777\n0:0:600\n{bytes}\nx");
    let first = first.ok().prints(&size);
    assert!(first.stderr.contains("1 file of the image of box `demo`"), "{first}");
    assert!(first.stderr.contains("beyond your subordinate ones"), "{first}");
    let upper = test.path("data/devbox/boxes/demo/upper/home");
    assert!(!upper.exists(), "nothing of the image is in the box's own files");
    let again = test
        .sh("cd /home/app; su app -c 'echo more >>large; tail -c 5 large; stat -c %u:%g large; rm small'; ls")
        .ok();
    assert!(!again.stderr.contains("subordinate"), "said once: {again}");
    again.prints("more\n1000:1000\nbeyond\nlarge\nlink");
    test.sh("tail -c 5 /home/app/large; chmod 600 /home/app/large; stat -c %u:%a /home/app/large")
        .ok()
        .prints("more\n1000:600");
    test
}

#[test]
fn owners_of_the_image() {
    needs!(boxes, images);
    // The layer of owners is one of the kernel's overlay.
    if host::left_to_the_user() || host::driver().is_some() {
        return;
    }
    needs!(subids);
    let test = owners_are_given(100);
    // A layer of owners that was lost, or left half-made, is made again.
    let folder = test.path("data/devbox/boxes/demo");
    test.plain(["mv", folder.join("owners").to_str().unwrap(), folder.join("owners.new").to_str().unwrap()])
        .output()
        .ok();
    test.sh("stat -c %u:%g /home/app /home/app/large").ok().prints("1000:1000\n1000:1000");
    assert!(!folder.join("owners.new").exists());
    test.devbox(["rm", "demo"]).output().ok();
    assert!(!folder.exists(), "files of other owners are removed too");
}

#[test]
fn many_bytes_of_others_are_no_second_copy() {
    needs!(boxes, images);
    // The layer of owners is one of the kernel's overlay.
    if host::left_to_the_user() || host::driver().is_some() {
        return;
    }
    needs!(subids);
    let test = owners_are_given(40 << 20);
    let owners = test.path("data/devbox/boxes/demo/owners");
    if !owners.join("data").exists() {
        return host::skip("this kernel (before 6.16) or file system has content copied or shared");
    }
    let blocks = test.plain(["du", "-s", owners.join("tree").to_str().unwrap()]).output().ok().text();
    let kilobytes: u64 = blocks.split_whitespace().next().unwrap().parse().unwrap();
    assert!(kilobytes < 4096, "{kilobytes} kB");
    test.devbox(["verify"]).output().ok();
    test.devbox(["rm", "demo"]).output().ok();
    assert!(!owners.exists());
}

#[test]
fn postgresql() {
    needs!(boxes, images, debian, mirror);
    if host::left_to_the_user() {
        return;
    }
    needs!(subids);
    let tar = fs::read(host::debian_tar().unwrap()).unwrap();
    let reference = Registry::open().push("debian:pg", &Image::empty().tar(tar, Packing::Zstd));
    let test = Test::new();
    test.project_file(&format!(
        "image = \"{reference}\"\nname = \"demo\"\nids = \"full\"\nuser = \"root\"\n"
    ));
    let run = |user: &str, script: &str| {
        let proxies =
            host::proxies().into_iter().flat_map(|(name, value)| ["-e".into(), format!("{name}={value}")]);
        let proxies: Vec<String> = proxies.collect();
        let proxies: Vec<&str> = proxies.iter().map(String::as_str).collect();
        test.devbox([&["run", "--user", user], &proxies[..], &["--", "bash", "-ec", script]].concat())
            .output()
    };
    run("root", "export DEBIAN_FRONTEND=noninteractive; apt-get update -q; apt-get install -y -q --no-install-recommends postgresql").ok();
    let cluster = "read -r version name rest < <(pg_lsclusters -h)";
    // Its processes are its own user's; it stays for the session that started it and those that join.
    let served = run(
        "root",
        &format!(
            "{cluster}; pg_ctlcluster $version $name start
             stat -c %U /proc/$(head -1 /var/lib/postgresql/$version/$name/postmaster.pid)
             su - postgres -c \"psql -Atqc 'create table t (a int); insert into t select generate_series(1, 1000)'\"
             su postgres -c \"cd /; psql -Atc 'select sum(a), current_user from t'\"
             pg_ctlcluster $version $name stop; pg_lsclusters -h | cut -d' ' -f4"
        ),
    );
    served.ok().prints("postgres\n500500|postgres\ndown");
    // Another start of the box, and a session of the user itself beside it.
    let keeps = format!(
        "{cluster}; pg_ctlcluster $version $name start; read -r _ || pg_ctlcluster $version $name stop"
    );
    let server = test.devbox(["run", "--user", "root", "--", "bash", "-ec", &keeps]).spawn();
    let asks = "cd /; for try in {1..100}; do psql -Atc 'select count(*) from t' 2>/dev/null && break; sleep 0.1; done; id -un";
    run("postgres", asks).ok().prints("1000\npostgres");
    server.wait().ok();
    let log =
        run("root", &format!("{cluster}; tail -1 /var/log/postgresql/postgresql-$version-$name.log")).ok();
    assert!(log.text().contains("database system is shut down"), "{log}");
}

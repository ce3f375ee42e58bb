//! What a box lives through: other versions of devbox, an image whose name moves on, a home that moves, a reboot,
//! another profile.

use std::fs;
use std::process::Command;

use crate::harness::registry::Registry;
use crate::harness::{Image, Packing, Test, host};

/// A copy stays as it is made, and the boxes of these tests are not: what they do is refused, which `drivers` tests.
fn is_copy() -> bool {
    host::driver().as_deref() == Some("copy")
}

/// `data-1.tar.gz` is what devbox 0.1.0 left behind: two layers of an image with a whiteout, links and foreign owners,
/// and a box `old`, in which root added to one file, removed another and made a third.
#[test]
fn what_an_earlier_version_left_is_used() {
    needs!(boxes, images);
    if is_copy() {
        return;
    }
    let test = Test::new();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/data-1.tar.gz");
    let fixture = std::env::var_os("DEVBOX_TESTS_SOURCE").map_or_else(
        || fixture.into(),
        |source| std::path::PathBuf::from(source).join("tests/fixtures/data-1.tar.gz"),
    );
    let mut tar = Command::new("tar");
    tar.args(["--xattrs", "--no-same-owner", "-xpzf"]).arg(fixture).arg("-C").arg(test.path("data"));
    assert!(tar.status().unwrap().success());
    // A program to look around with.
    let (busybox, _) = host::busybox_and_applets().unwrap();
    fs::copy(busybox, test.path("data/devbox/boxes/old/upper/busybox")).unwrap();

    test.devbox(["ls", "-q"]).output().ok().prints("old");
    let run = |script: &str| test.devbox(["run", "old", "--", "/busybox", "sh", "-c", script]).output();
    run("/busybox cat /etc/motd /root/kept; /busybox readlink /etc/link; echo $FIXTURE; pwd")
        .ok()
        .prints("from the second layer\nmore\nkept\nmotd\none\n/srv");
    run("/busybox ls /etc/gone /srv/page").fails(1);
    run("echo again >/root/again; /busybox cat /root/again").ok().prints("again");
    test.devbox(["verify"]).output().ok();
    test.devbox(["images", "-q"]).output().ok();
    let image = "127.0.0.1:5000/fixture:1";
    test.devbox(["save", image, "-o", "out.tar"]).output().ok();
    test.devbox(["load", "-i", "out.tar"]).output().ok();
    test.devbox(["rm", "old"]).output().ok();
    test.devbox(["prune", "--all", "-y"]).output().ok();
    test.devbox(["images", "-q"]).output().ok().prints("");
}

#[test]
fn a_box_keeps_its_image_when_the_name_moves_on() {
    needs!(boxes, images);
    let registry = Registry::open();
    let image = |text: &str| Image::busybox().layer(&format!("f 644 etc/age {text}\\n"), Packing::Gzip);
    let reference = registry.push("moving:1", &image("old"));
    let test = Test::of_image(&reference);
    test.sh("cat /etc/age; echo mine >/etc/mine").ok().prints("old");
    registry.push("moving:1", &image("new"));
    test.devbox(["pull", &reference]).output().ok();
    test.sh("cat /etc/age /etc/mine").ok().prints("old\nmine");
    test.devbox(["prune", "-y"]).output().ok();
    test.sh("cat /etc/age /etc/mine").ok().prints("old\nmine");
    test.devbox(["rmi", &reference]).output();
    test.devbox(["prune", "--all", "-y"]).output().ok();
    test.sh("cat /etc/age /etc/mine").ok().prints("old\nmine");
    test.devbox(["run", "--rm", "--image", &reference, "--", "cat", "/etc/age"]).output().ok().prints("new");
}

#[test]
fn a_home_that_moves_takes_its_boxes_along() {
    needs!(boxes, images);
    let test = Test::busybox();
    test.sh("echo system >/etc/mine; echo home >~/mine").ok();
    let moved = test.path("elsewhere");
    fs::rename(test.path("data"), &moved).unwrap();
    let sh = |script: &str| {
        let call = test.devbox(["run", "--", "sh", "-c", script]);
        call.env("XDG_DATA_HOME", moved.to_str().unwrap()).output()
    };
    sh("cat /etc/mine ~/mine").ok().prints("system\nhome");
    fs::rename(&moved, test.path("data")).unwrap();
    test.sh("cat /etc/mine ~/mine").ok().prints("system\nhome");
}

/// A layer that had not reached the disk when the power went is fetched again; one that had is not.
#[test]
fn a_power_cut_costs_what_was_not_on_the_disk() {
    needs!(boxes, images);
    let registry = Registry::open();
    let reference = registry.push("power:1", &Image::busybox());
    let test = Test::of_image(&reference);
    test.sh("echo kept >/etc/mine").ok();
    let layers = test.path("data/devbox/store/layers/sha256");
    let layer = fs::read_dir(&layers).unwrap().next().unwrap().unwrap().path();
    let meta = fs::read_to_string(layer.join("meta")).unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert!(meta.contains(boot.trim()));
    let other = meta.replace(boot.trim(), "00000000-0000-0000-0000-000000000000");
    let reboot = |durable: bool| {
        fs::write(layer.join("meta"), &other).unwrap();
        let mark = layer.join("durable");
        if durable { fs::write(mark, "").unwrap() } else { drop(fs::remove_file(mark)) }
    };
    reboot(true);
    test.sh("cat /etc/mine").ok().prints("kept");
    reboot(false);
    test.devbox(["run", "--pull", "never", "--", "true"]).output().refused(&["is not here"]);
    let again = test.sh("cat /etc/mine").ok();
    again.says(&["layers of box `demo` are missing; they are fetched again"]).prints("kept");
}

#[test]
fn mounts_variables_user_and_shell_can_change_later() {
    needs!(boxes, images);
    let test = Test::busybox();
    test.sh("echo kept >/etc/mine").ok();
    let profile = fs::read_to_string(test.project().join("devbox.toml")).unwrap();
    fs::create_dir(test.project().join("shared")).unwrap();
    fs::write(test.project().join("shared/file"), "there").unwrap();
    test.project_file(&format!(
        "{profile}user = \"root\"\nhostname = \"other\"\n[env]\nNEW = \"value\"\n\
         [[mounts]]\nsource = \"${{project}}/shared\"\ntarget = \"/shared\"\nmode = \"ro\"\n"
    ));
    test.sh(
        "id -u; hostname; echo $NEW; cat /shared/file; cat /etc/mine; touch /shared/x 2>/dev/null || echo ro",
    )
    .ok()
    .prints("0\nother\nvalue\ntherekept\nro");
    test.project_file(&profile);
    let me = nix::unistd::Uid::current();
    test.sh("id -u; echo $NEW; cat /shared/file 2>/dev/null; cat /etc/mine")
        .ok()
        .prints(&format!("{me}\n\nkept"));
}

/// Owners that one id can't have wait in notes until there are more, and come back from there.
#[test]
fn ids_can_change_later() {
    needs!(boxes, images);
    if host::left_to_the_user() {
        return;
    }
    needs!(subids);
    let layer =
        "f 644:33:33 srv/page x\nf 644:33:33 srv/other x\nf 644:33:33 srv/gone x\nf 2755:0:43 usr/bin/wall x";
    let image = Image::busybox().layer(layer, Packing::Gzip);
    let test = Test::of_image(&Registry::open().push("later:1", &image));
    let run = |ids: &str, script: &str| {
        test.devbox(["run", "--root", "--ids", ids, "--", "sh", "-c", script]).output().ok()
    };
    const SEE: &str = "cd /srv; stat -c '%u:%g %a %n' * /etc/mine /usr/bin/wall 2>/dev/null; cat page; ls -a ~ | grep -c mine";
    run(
        "single",
        "cd /srv; chown 34:35 page; echo more >>other; rm gone; touch new /etc/mine ~/mine; chown 7:8 new; chmod 4711 new",
    );
    let many =
        "7:8 4711 new\n33:33 644 other\n34:35 644 page\n0:0 644 /etc/mine\n0:43 2755 /usr/bin/wall\nx1";
    run("full", SEE).says(&["goes over from `single` ids to `full`"]).prints(many);
    run("full", SEE).prints(many);
    run(
        "full",
        "cd /srv; mkdir mine; chown 70:70 mine; echo y >mine/y; chown 71:72 mine/y; chmod 600 mine/y; chmod 700 mine",
    );
    run("single", "cat /srv/mine/y; stat -c %u:%g /srv/new /srv/mine/y").prints("y\n0:0\n0:0");
    run("single", "touch /srv/third; chown 9:9 /srv/third");
    run("full", "stat -c '%u:%g %a' /srv/mine /srv/mine/y /srv/third /srv/new /srv/page")
        .prints("70:70 700\n71:72 600\n9:9 644\n7:8 4711\n34:35 644");
    test.devbox(["rm", "demo"]).output().ok();
}

#[test]
fn a_box_goes_over_to_the_newest_image() {
    needs!(boxes, images);
    if is_copy() {
        return;
    }
    let registry = Registry::open();
    let image = |text: &str, place: &str, owner: u8| {
        let listing = format!(
            "f 644 etc/age {text}\\n\nf 644 etc/both same\\n\nf 644 etc/mine {text}\\n\nf 644 srv/dir/file x\\n\n\
             f 644:{owner}:{owner} srv/owned x\\n\n{place}"
        );
        Image::busybox().layer(&listing, Packing::Gzip)
    };
    let reference =
        registry.push("updated:1", &image("old", "d 755 opt/place\nd 755 opt/empty\nd 755 opt/mode", 3));
    let test = Test::of_image(&reference);
    let update = |arguments: &[&str]| test.devbox([&["update"], arguments].concat()).output();
    update(&[]).refused(&["there is no box `demo`"]);
    // Copies that are as the image's hide nothing, but where they stand in a folder that does.
    let copies = "cd /etc; cp -p age /tmp; rm age; cp -p /tmp/age .; echo own >both; echo own >own; \
                  cd /srv; cp -p dir/file /tmp; rm -r dir; mkdir dir; cp -p /tmp/file dir; cat /etc/age";
    test.sh(copies).ok().prints("old");
    update(&[]).ok().says(&["over the newest"]);
    registry.push("updated:1", &image("new", "l opt/place ../etc\nl opt/empty ../etc\nd 700 opt/mode", 4));

    test.sh("echo own >/etc/mine; echo own >/opt/place/own; echo own >/opt/mode/own").ok();
    // what the box has no more is no reason to stay
    test.sh("touch /opt/empty/x; rm /opt/empty/x").ok();
    let refused = update(&[]);
    refused.refused(&[
        "/etc/mine is the box's own",
        "/opt/place is the box's own",
        "stays over its image: 2 of its own paths",
        "hint: `devbox update --force demo`",
    ]);
    test.sh("cat /etc/age /etc/mine").ok().prints("old\nown");
    let mut held = test.devbox(["run", "--", "sh", "-c", "echo ready; cat"]).spawn();
    held.stdout.expect("ready\n");
    update(&["--force"]).refused(&["is running"]);
    assert!(held.ended(std::time::Duration::ZERO).is_none());
    held.wait().ok();

    test.sh("rm -r /opt/place").ok();
    update(&["--force", "-q"]).ok();
    test.sh("cat /etc/age /etc/mine /etc/both /etc/own /srv/dir/file").ok().prints("new\nown\nown\nown\nx");
    test.sh("readlink /opt/empty; stat -c %a /opt/mode; cat /opt/mode/own").ok().prints("../etc\n700\nown");
    let me = nix::unistd::User::from_uid(nix::unistd::Uid::current()).unwrap().unwrap();
    test.sh("id -un").ok().prints(&me.name);
    update(&[]).ok().says(&["over the newest"]);
    test.devbox(["verify"]).output().ok();
}

/// A name given on this machine may be a stranger's image elsewhere.
#[test]
fn a_name_given_here_is_not_asked_for_elsewhere() {
    needs!(boxes, images);
    if is_copy() {
        return;
    }
    let registry = Registry::open();
    let test = Test::of_image(&registry.push("given:1", &Image::busybox()));
    let theirs = registry.push("team:1", &Image::busybox().layer("f 644 etc/theirs x\\n", Packing::Gzip));
    test.sh("echo first >/etc/ours").ok();
    test.devbox(["commit", "demo", &theirs]).output().ok();
    test.devbox(["run", "--image", &theirs, "--name", "team", "--", "cat", "/etc/ours"]).output().ok();
    test.sh("echo second >/etc/ours").ok();
    test.devbox(["commit", "demo", &theirs]).output().ok();
    test.devbox(["update", "team"]).output().ok().says(&["was named on this machine"]);
    test.devbox(["run", "team", "--", "cat", "/etc/ours"]).output().ok().prints("second");
    // until it is asked for
    test.devbox(["pull", &theirs]).output().ok();
    test.devbox(["update", "team"]).output().ok();
    test.devbox(["run", "team", "--", "cat", "/etc/theirs"]).output().ok().prints("x");
}

/// Many images have one time for all their files.
#[test]
fn a_change_of_the_same_size_and_time_is_one() {
    needs!(boxes, images);
    let image = Image::busybox().layer("f 644 etc/age old\\n", Packing::Gzip);
    let test = Test::of_image(&Registry::open().push("times:1", &image));
    test.sh("touch -r /etc/age /tmp/time; echo new >/etc/age; touch -r /tmp/time /etc/age").ok();
    test.devbox(["diff", "-q", "demo"]).output().ok().prints("/etc/age");
}

//! The three drivers: each shows the same box, says what it is, and leaves nothing behind.

use std::fs;

use nix::sys::signal::Signal;

use crate::harness::registry::Registry;
use crate::harness::{Image, Packing, Test, hide, host, within};

const DRIVERS: [&str; 3] = ["overlay", "fuse", "copy"];

/// Two layers in which the upper one hides what the lower one has, in every way there is.
fn layered() -> String {
    let low = "d 755 srv\nd 755 srv/old\nf 644 srv/old/file x\nd 755 srv/anew\nf 644 srv/anew/hidden x\n\
               f 644 srv/both low\nf 600 srv/closed secret\nf 640 srv/one same\nh srv/two srv/one\nd 555 srv/sealed\n\
               f 444 srv/sealed/file x\np 644 srv/fifo\nl srv/link /etc/passwd\nf 4755 srv/setuid x\nf 000 srv/none n";
    let top = "f 644 srv/.wh.old \nd 755 srv/anew\nf 644 srv/anew/.wh..wh..opq \nf 644 srv/anew/new x\nf 644 srv/both top";
    let image = Image::busybox().layer(low, Packing::Gzip).layer(top, Packing::Gzip);
    Registry::open().push("layered:1", &image)
}

/// All of `/srv`, a line each.
const LIST: &str =
    "cd /srv && find . | sort | xargs stat -c '%A %h %n' | grep -v '^d.* [0-9]* ' ; ls -R /srv; cat both";

fn box_with(driver: &str) -> Test {
    let test = Test::of_image(&layered());
    let toml = fs::read_to_string(test.project().join("devbox.toml")).unwrap();
    test.project_file(&format!("{toml}driver = \"{driver}\"\n"));
    test
}

/// The run has a driver for all tests; these here name their own.
fn run<'a>(test: &Test, driver: &'a str, script: &'a str) -> crate::harness::Outcome {
    test.devbox(["run", "--driver", driver, "--", "sh", "-c", script]).env("DEVBOX_DRIVER", "").output()
}

#[test]
fn all_show_the_same_box() {
    needs!(boxes, fuse, images);
    let mut shown = Vec::new();
    for driver in DRIVERS {
        let test = box_with(driver);
        let first = run(&test, driver, LIST).ok().text();
        assert!(
            first.contains("top") && first.contains("new") && !first.contains("hidden"),
            "{driver}: {first}"
        );
        let change = "cd /srv && rm -r anew && mkdir anew && echo 1 >anew/mine && rm both && \
                      mv link moved && sudo sh -c 'echo x >sealed/by-root; chown 7:7 anew/mine'; sudo cat none";
        let said = run(&test, driver, change).ok();
        assert_eq!(said.text(), "n", "{driver}");
        // What becomes of two names of one file of the image is not the same everywhere: an overlay breaks them (its
        // documentation says so), and fuse-overlayfs may lose what was written to it.
        let list = "cd /srv && find . | sort | grep -v -e '^./one' -e '^./two' | xargs stat -c '%A %u %g %n'; cat anew/mine; id -u";
        let second = run(&test, driver, list).ok().text();
        assert!(second.contains("mine") && !second.contains("./both"), "{driver}: {second}");
        shown.push((driver, first, second));
        let record = test.devbox(["inspect", "demo", "--format", "json"]).output().ok().json();
        assert_eq!(record["driver"], driver);
    }
    for other in &shown[1..] {
        assert_eq!(shown[0].1, other.1, "{} as the image has it", other.0);
        assert_eq!(shown[0].2, other.2, "{} after changes", other.0);
    }
}

#[test]
fn overlay_and_fuse_take_over_from_each_other() {
    needs!(boxes, fuse, images);
    let test = box_with("fuse");
    let change = "cd /srv && rm -r anew && mkdir anew && echo 1 >anew/mine && rm both && rm -r sealed";
    run(&test, "fuse", &format!("chmod 755 /srv/sealed; {change}")).ok();
    let list = "find /srv | sort; cat /srv/anew/*";
    let before = run(&test, "fuse", list).ok().text();
    assert!(!before.contains("new/new") && !before.contains("both"), "{before}");
    let said = run(&test, "overlay", list).ok().prints(&before);
    said.says(&["from the driver `fuse` to `overlay`"]);
    assert_eq!(run(&test, "overlay", list).ok().stderr, "");
    run(&test, "overlay", "rm -r /srv/old /srv/anew; mkdir /srv/anew; echo 2 >/srv/anew/theirs").ok();
    let before = run(&test, "overlay", list).ok().text();
    run(&test, "fuse", list).ok().prints(&before).says(&["from the driver `overlay` to `fuse`"]);
}

#[test]
fn what_fuse_would_hide_keeps_a_box_from_it() {
    needs!(boxes, fuse, images);
    let test = box_with("overlay");
    run(
        &test,
        "overlay",
        "mkdir /srv/.wh.folder; echo mine >/srv/.wh.folder/.wh.notes; echo more >/srv/both",
    )
    .ok();
    let said =
        run(&test, "fuse", "true").refused(&["can't go over to the driver `fuse`", "`/srv/.wh.folder`"]);
    assert!(said.stderr.contains("nothing is changed"), "{said}");
    assert_eq!(
        test.devbox(["inspect", "demo", "--format", "json"]).output().ok().json()["driver"],
        "overlay"
    );
    run(
        &test,
        "overlay",
        "cat /srv/.wh.folder/.wh.notes; mv /srv/.wh.folder/.wh.notes /srv/notes; rmdir /srv/.wh.folder",
    )
    .ok()
    .prints("mine");
    let list = "cat /srv/notes /srv/both";
    run(&test, "fuse", list).ok().prints(
        "mine
more",
    );
    run(&test, "overlay", list).ok().prints(
        "mine
more",
    );
}

#[test]
fn a_copy_stays_a_copy() {
    needs!(boxes, fuse, images);
    let test = box_with("copy");
    run(&test, "copy", "echo mine >/mine").ok().says(&["the image is copied into box `demo`", "about"]);
    assert_eq!(run(&test, "copy", "cat /mine").ok().stderr, "", "it is copied once");
    for other in ["overlay", "fuse"] {
        let said = run(&test, other, "true").refused(&["was made with the driver `copy`", "devbox rm demo"]);
        assert!(said.stderr.contains(&format!("`{other}`")), "{said}");
    }
    let plain = test.devbox(["run", "--", "cat", "/mine"]);
    plain.env("DEVBOX_DRIVER", "auto").output().ok().prints("mine");
    let own = test.path("data/devbox/boxes/demo");
    assert!(own.join("tree/mine").exists() && fs::read_dir(own.join("upper")).unwrap().next().is_none());
    // what the box wrote did not reach the layers
    let test = box_with("overlay");
    run(&test, "overlay", "ls /mine").fails(1);
}

#[test]
fn a_killed_copy_leaves_nothing() {
    needs!(boxes, images);
    let files: String = (0..3000).map(|number| format!("f 644 srv/file{number} {number}\n")).collect();
    let image = Image::busybox().layer(&format!("d 755 srv\n{files}"), Packing::Gzip);
    let test = Test::of_image(&Registry::open().push("many:1", &image));
    let own = test.path("data/devbox/boxes/demo");
    let mut caught = 0;
    for _ in 0..5 {
        let mut running = test.devbox(["run", "--driver", "copy", "--", "true"]).spawn();
        if within(20, || own.join("tree.new/srv").exists() || own.join("tree").exists()) {
            running.signal(Signal::SIGKILL);
        }
        running.ended(std::time::Duration::from_secs(5));
        caught += usize::from(own.join("tree.new").exists());
        if own.join("tree").exists() {
            break;
        }
    }
    assert!(caught > 0, "no copy was interrupted");
    let said = test.devbox(["run", "--driver", "copy", "--", "sh", "-c", "ls /srv | wc -l"]).output().ok();
    assert_eq!(said.text().trim(), "3000");
    assert!(!own.join("tree.new").exists());
}

#[test]
fn a_full_disk_is_said_and_leaves_nothing_of_the_copy() {
    needs!(boxes, images);
    let image = Image::busybox().layer("f 644 srv/big @/bin/sh", Packing::Gzip);
    let reference = Registry::open().push("big:1", &image);
    let test = Test::of_image(&reference);
    // room for the image, not for a second one
    let size = fs::metadata(which::which("busybox").unwrap()).unwrap().len() * 3 / 2
        + fs::metadata("/bin/sh").unwrap().len();
    let script = format!(
        "mount -t tmpfs -o size={size} none $XDG_DATA_HOME && \"$0\" run --driver copy -- true; code=$?; \
         ls -A $XDG_DATA_HOME/devbox/boxes/demo; exit $code"
    );
    let said = test.under(["unshare", "-Urm", "sh", "-c", &script], []).output();
    assert_eq!(said.code, 125, "{said}");
    assert!(
        said.stderr.contains("cannot copy the image") && said.stderr.contains("the disk is full"),
        "{said}"
    );
    assert!(!said.text().contains("tree"), "{said}");
}

#[test]
fn the_server_is_out_of_reach_and_ends_with_the_box() {
    needs!(boxes, fuse, images);
    let test = box_with("fuse");
    let servers = || host::processes(test.path("data").to_str().unwrap());
    let script = "cat /proc/[0-9]*/cmdline | grep -c '[f]use-overlayfs'; ls /proc/self/fd | wc -l";
    run(&test, "fuse", script).prints("0\n4");
    assert!(within(5, || servers().is_empty()), "a server is left");
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let mut running =
            test.devbox(["run", "--", "sh", "-c", "echo ready; sleep 1000"]).env("DEVBOX_DRIVER", "").spawn();
        running.stdout.expect("ready");
        assert!(!servers().is_empty());
        running.signal(signal);
        running.ended(std::time::Duration::from_secs(10));
        assert!(within(10, || servers().is_empty()), "a server is left after {signal}");
        assert!(!host::mounted_below(&test.path("data")));
    }
}

#[test]
fn the_box_outlives_who_started_it() {
    needs!(boxes, fuse, images);
    let test = box_with("fuse");
    let first =
        test.devbox(["run", "--", "sh", "-c", "echo ready; read line"]).env("DEVBOX_DRIVER", "").spawn();
    first.stdout.expect("ready");
    let script = "echo joined; read line; cat /srv/both; echo more >/srv/late; cat /srv/late";
    let mut second = test.devbox(["run", "--", "sh", "-c", script]).env("DEVBOX_DRIVER", "").spawn();
    second.stdout.expect("joined");
    first.wait().fails(1);
    drop(second.stdin.take());
    second.wait().ok().prints("joined\ntopmore");
}

#[test]
fn a_server_that_fails_says_why() {
    needs!(boxes, fuse, images);
    let test = box_with("fuse");
    let bin = test.path("bin");
    fs::create_dir_all(&bin).unwrap();
    let call = |text: &str| {
        let path = bin.join("fuse-overlayfs");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let path = format!("{}:/usr/bin:/bin", bin.display());
        test.devbox(["run", "--", "true"]).env("DEVBOX_DRIVER", "").env("PATH", &path).output()
    };
    call("#!/bin/sh\necho 'the moon is wrong' >&2\nexit 1\n").refused(&["the moon is wrong", "fuse.log"]);
    call("no program\n").refused(&["cannot run", "fuse-overlayfs"]);
    fs::remove_file(bin.join("fuse-overlayfs")).unwrap();
    let nowhere = bin.to_str().unwrap();
    let none = test.devbox(["run", "--", "true"]).env("DEVBOX_DRIVER", "").env("PATH", nowhere).output();
    none.refused(&["needs fuse-overlayfs", "install", "--driver overlay"]);
    // nothing stands in the way afterwards
    test.devbox(["run", "--", "true"]).env("DEVBOX_DRIVER", "").output().ok();
}

#[test]
fn many_ids() {
    needs!(boxes, fuse, images);
    if host::left_to_the_user() {
        return;
    }
    needs!(subids);
    let image =
        Image::busybox().layer("d 750:5:6 srv\nf 640:5:6 srv/file x\nf 600:0:7 srv/other y", Packing::Gzip);
    let reference = Registry::open().push("owned:1", &image);
    for driver in DRIVERS {
        let test = Test::of_image(&reference);
        let call = |script: &str| {
            let words = ["run", "--ids", "full", "--root", "--driver", driver, "--", "sh", "-c", script];
            test.devbox(words).env("DEVBOX_DRIVER", "").output().ok()
        };
        call(
            "chown 9:9 /srv/file; mkdir -m 2775 /srv/set; chgrp 8 /srv/set; echo joe:x:1234:1234::/:/bin/sh >>/etc/passwd",
        );
        call("stat -c '%u:%g %a' /srv /srv/file /srv/other /srv/set | sed 's/ 2775$/ 775/'")
            .prints("5:6 750\n9:9 640\n0:7 600\n0:8 775");
        call("su joe -c 'id -u; touch /tmp/x && cat /srv/other 2>&1'; stat -c %u /tmp/x")
            .prints("1234\ncat: can't open '/srv/other': Permission denied\n1234");
        test.devbox(["rm", "-f", "demo"]).output().ok();
        assert!(!test.path("data/devbox/boxes/demo").exists(), "{driver}");
    }
}

#[test]
fn the_best_that_works_is_chosen_and_said_once() {
    needs!(boxes, fuse, images);
    let reference = layered();
    for (path, driver) in [("/usr/sbin:/usr/bin:/sbin:/bin", "fuse"), ("/nowhere", "copy")] {
        let test = Test::of_image(&reference);
        // overlay takes no upper on another one
        let script = format!(
            "cd $TMPDIR && mkdir l u w && mount -t overlay -o userxattr,lowerdir=l,upperdir=u,workdir=w none $XDG_DATA_HOME \
             && cd - >/dev/null && export PATH={path} && \"$0\" plan && \"$0\" run -- /bin/cat /srv/both && \"$0\" run -- /bin/true \
             && \"$0\" plan && \"$0\" inspect demo"
        );
        let said =
            test.under(["unshare", "-Urm", "sh", "-c", &script], []).env("DEVBOX_DRIVER", "").output().ok();
        assert_eq!(said.stderr.matches("uses the driver").count(), 1, "{said}");
        assert!(said.stderr.contains(&format!("`{driver}`: the kernel refuses an overlay")), "{said}");
        let plans: Vec<_> = said
            .text()
            .lines()
            .filter(|line| line.starts_with("driver "))
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(plans[0], "driver auto", "{said}");
        assert!(plans[1].starts_with(&format!("driver auto: {driver} (the kernel refuses")), "{said}");
        assert!(plans[2].contains(driver) && plans[2].contains("refuses"), "{said}");
    }
}

#[test]
fn who_asks_in_vain_is_told() {
    needs!(boxes);
    let test = Test::new();
    let host = test.devbox(["run", "--image", "host", "--driver", "copy", "--", "true"]).output();
    host.refused(&["driver `copy` does not go with image `host`"]);
    // the variable is for boxes that have one
    test.devbox(["run", "--image", "host", "--", "true"]).env("DEVBOX_DRIVER", "fuse").output().ok();
    let wrong = test.devbox(["plan"]).env("DEVBOX_DRIVER", "fusion").output();
    wrong.refused(&["DEVBOX_DRIVER", "unknown driver `fusion`", "fuse"]);
    let plan = |driver: &str, toml: &str| {
        test.project_file(&format!("image = \"debian\"\n{toml}"));
        test.devbox(["plan", "--format", "json"]).env("DEVBOX_DRIVER", driver).output().ok().json()["driver"]
            .clone()
    };
    assert_eq!(plan("fuse", "driver = \"copy\"\n"), "fuse");
    assert_eq!(plan("", "driver = \"copy\"\n"), "copy");
}

#[test]
fn older_kernels_show_the_same_box() {
    needs!(boxes, fuse, images);
    let old = hide::all();
    let reference = layered();
    for driver in DRIVERS {
        let mut shown = Vec::new();
        for hidden in [&[][..], &old[..]] {
            let test = Test::of_image(&reference);
            for folder in ["ro", "rw", "lay"] {
                test.write(&format!("home/share/{folder}/file"), "host\n");
            }
            let mount = |name: &str, mode: &str| {
                format!(
                    "[[mounts]]\nsource = \"~/share/{name}\"\ntarget = \"/mnt/{name}\"\nmode = \"{mode}\"\n"
                )
            };
            let mounts = mount("ro", "ro") + &mount("rw", "rw") + &mount("lay", "overlay");
            test.project_file(&format!(
                "image = \"{reference}\"\nname = \"demo\"\ndriver = \"{driver}\"\n{mounts}"
            ));
            let script = "awk '{print $2, $3, substr($4, 1, 2), ($4 ~ /nosuid/), ($4 ~ /nodev/), ($4 ~ /noexec/)}' /proc/mounts; \
                          for m in ro rw lay; do echo box 2>&1 >/mnt/$m/new; cat /mnt/$m/*; done; ls -l /dev | wc -l; \
                          echo x >/dev/null && tty; ls /; touch /sys/x; id -u; sudo id -u; ls /proc/self/fd | wc -l; \
                          head -c 3 /etc/hosts; mount -t tmpfs none /mnt; sudo mount -o remount,rw,bind /mnt/ro; cat /srv/both";
            let call = |script| {
                test.devbox(["run", "--yes", "--", "sh", "-c", script])
                    .env("DEVBOX_DRIVER", "")
                    .without(hidden)
            };
            let whole = format!("{{ {script}; }} 2>&1");
            let first = call(&whole).output().text();
            let second = call("cat /mnt/lay/new; ls /mnt/ro; echo >/kept").output().ok().text();
            assert!(first.contains("/mnt/ro") && second.starts_with("box"), "{driver}: {first}{second}");
            assert_eq!(fs::read_to_string(test.home().join("share/rw/new")).unwrap(), "box\n");
            assert!(
                !test.home().join("share/lay/new").exists() && !test.home().join("share/ro/new").exists()
            );
            shown.push((first + &second).replace(test.path("").to_str().unwrap(), "TEST/"));
        }
        assert_eq!(shown[0], shown[1], "{driver}");
    }
}

#[test]
fn older_kernels_show_the_same_host() {
    needs!(boxes);
    let mut shown = Vec::new();
    for hidden in [&[][..], &hide::all()[..]] {
        let test = Test::new();
        let script = "awk '{top[$2] = $3 \" \" substr($4, 1, 2)} END {for (at in top) print at, top[at]}' /proc/mounts | \
                      while read at rest; do test -e $at && echo $at $rest; done | sort; touch /etc/x /usr/x; ls -d /etc; ls -A /tmp /run";
        let words =
            ["run", "--image", "host", "--name", "demo", "--", "sh", "-c", &format!("{{ {script}; }} 2>&1")];
        let said = test.devbox(words).without(hidden).output();
        assert!(said.text().contains("Read-only"), "{said}");
        let said = said.text();
        let place = test.path("");
        let place = place.to_str().unwrap();
        shown.push(said.replace(place, "TEST/").replace(place.trim_end_matches('/'), "TEST"));
    }
    assert_eq!(shown[0], shown[1]);
}

#[test]
fn a_copy_shares_blocks_where_the_file_system_can() {
    needs!(boxes, images);
    if !nix::unistd::Uid::current().is_root() {
        return;
    }
    let image = Image::busybox().layer("f 644 srv/big @/bin/bash\nf 644 srv/more @/bin/bash", Packing::Gzip);
    let reference = Registry::open().push("shared:1", &image);
    for make in ["mkfs.btrfs -q", "mkfs.xfs -q"] {
        if which::which(make.split(' ').next().unwrap()).is_err() {
            host::skip(&format!("{make} is not installed"));
            continue;
        }
        let test = Test::of_image(&reference);
        // in mounts of its own, so that all of it goes with the shell
        let script = format!(
            "set -e; cd $TMPDIR; truncate -s 500M disk; {make} disk >/dev/null; mount -o loop disk $XDG_DATA_HOME; cd - >/dev/null
             used() {{ sync -f $XDG_DATA_HOME; df --output=used -k $XDG_DATA_HOME | tail -1; }}
             \"$0\" run --driver overlay --name first -- true; before=$(used)
             \"$0\" run --driver copy --name demo -- sh -c 'cmp /srv/big /srv/more && echo x >>/srv/big && echo same'; after=$(used)
             \"$0\" run --driver copy --name demo -- sh -c 'cmp -s /srv/big /srv/more || echo differs'
             \"$0\" run --driver overlay --name first -- cmp /srv/big /srv/more
             echo $((after - before))"
        );
        let said =
            test.under(["unshare", "-m", "sh", "-c", &script], []).env("DEVBOX_DRIVER", "").output().ok();
        let lines: Vec<_> = said.text().lines().map(str::to_owned).collect();
        assert_eq!(lines[..2], ["same", "differs"], "{make}: {said}");
        let kilobytes: i64 = lines[2].parse().unwrap();
        let image = fs::metadata("/bin/bash").unwrap().len() * 2 / 1024;
        assert!(kilobytes < image as i64 / 2, "{make}: {kilobytes} KiB of an image of {image}: {said}");
        assert!(said.stderr.contains("are shared with it"), "{said}");
    }
}

#[test]
fn a_box_in_a_box() {
    needs!(boxes, images, debian);
    let tar = fs::read(host::debian_tar().unwrap()).unwrap();
    let reference = Registry::open().push("debian:1", &Image::empty().tar(tar, Packing::Zstd));
    let inner = Registry::open().push("busybox:1", &Image::busybox());
    let test = Test::of_image(&reference);
    let bin = crate::harness::test::binary();
    let volume = format!("{}:/opt/bin:ro", bin.parent().unwrap().display());
    let devbox = format!("/opt/bin/{}", bin.file_name().unwrap().to_str().unwrap());
    // in its home, which is no overlay, and on its root
    for (data, driver) in [("$HOME/data", "overlay"), ("/data", "copy")] {
        let script = format!(
            "export XDG_DATA_HOME={data} XDG_RUNTIME_DIR=/tmp/run; mkdir -p $XDG_DATA_HOME; mkdir -p -m 700 $XDG_RUNTIME_DIR
             {devbox} -q run --image {inner} --name inner -- sh -c 'id -u; echo x >/kept; ls /opt; sudo id -u'
             {devbox} run inner -- cat /kept; {devbox} inspect inner | awk '/^driver/ {{print $2}}'"
        );
        let words = ["run", "-v", &volume, "--", "bash", "-c", &script];
        let said = test.devbox(words).env("DEVBOX_DRIVER", "overlay").output().ok();
        said.prints(&format!("{}\n0\nx\n{driver}", nix::unistd::Uid::current()));
    }
}

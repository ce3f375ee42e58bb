//! What stands in a box: kernel folders, generated files, home, project, mounts.

use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::unistd::{Gid, Uid};

use crate::harness::registry::Registry;
use crate::harness::{Image, Packing, Test, host};

/// (what, script, what it prints)
const VIEW: &[(&str, &str, &str)] = &[
    ("pid 1 is the box's", "ls /proc | grep -c '^[0-9]' | sed 's/^[2-6]$/few/'", "few"),
    (
        "device nodes",
        "for n in null zero full random urandom tty; do test -c /dev/$n || echo no $n; done",
        "",
    ),
    ("null takes writes that may create", "echo x >/dev/null && echo ok", "ok"),
    (
        "no other device",
        "find /dev -type b -o -type c | grep -v -E 'null|zero|full|random|tty|ptmx|console|pts'",
        "",
    ),
    ("fd links", "echo a | cat /dev/stdin; echo b >/dev/stdout; ls /dev/fd >/dev/null && echo c", "a\nb\nc"),
    (
        "devpts is the box's",
        "grep -c ' /dev/pts devpts' /proc/mounts; test -e /dev/ptmx && echo ptmx",
        "1\nptmx",
    ),
    ("shm", "echo x >/dev/shm/x && cat /dev/shm/x; stat -c %a /dev/shm; ls /dev/shm", "x\n1777\nx"),
    ("mqueue", "grep -c ' /dev/mqueue mqueue' /proc/mounts", "1"),
    (
        "/sys cannot be written",
        "ls /sys/kernel >/dev/null && touch /sys/kernel/x 2>/dev/null || echo read-only",
        "read-only",
    ),
    ("/sys is mounted read-only", "awk '$2==\"/sys\" {print substr($4,1,2)}' /proc/mounts", "ro"),
    ("/tmp", "stat -c %a /tmp; ls -A /tmp | grep -v ^dbt-; touch /tmp/x && echo ok", "1777\nok"),
    ("no host path among mounts", "grep -c devbox/store/staging /proc/mounts", "0"),
    ("hostname", "hostname; cat /proc/sys/kernel/hostname", "demo\ndemo"),
    (
        "hosts",
        "grep -c -w localhost /etc/hosts | sed 's/[1-9]/some/'; grep -c -w demo /etc/hosts | sed 's/[1-9]/some/'",
        "some\nsome",
    ),
    ("marker", "test -f /run/.containerenv && echo file; echo $container", "file\ndevbox"),
    ("system files can be changed", "echo x >/usr/mine && cat /usr/mine", "x"),
    ("and stay changed", "cat /usr/mine", "x"),
    ("HOME is there and mine", "cd && test -O . && test -w . && echo ok", "ok"),
    // 32 and 33 are libc's own, and come ignored from whoever started the test by posix_spawn
    (
        "umask, signals, streams are fresh",
        "umask; grep -E 'Sig(Blk|Ign)' /proc/self/status | tr -d '\\t' | sed s/180000000/000000000/",
        "0022\nSigBlk:0000000000000000\nSigIgn:0000000000000000",
    ),
];

#[test]
fn kernel_folders_and_generated_files() {
    needs!(boxes, images);
    Test::busybox().table(VIEW);
}

#[test]
fn i_am_known_inside() {
    needs!(boxes, images);
    let test = Test::busybox();
    let (me, gid) = (Uid::current(), Gid::current());
    test.sh("id -u; id -g; whoami").ok().prints(&format!("{me}\n{gid}\n{}", host::me()));
    test.sh("grep -c \"^$(whoami):\" /etc/passwd; grep -c '^app:' /etc/passwd").ok().prints("1\n1");
    if me.is_root() {
        return; // the image's own entry for root stays
    }
    let home = test.sh("echo $HOME; grep \"^$(whoami):\" /etc/passwd | cut -d: -f6").ok().text();
    let lines: Vec<_> = home.lines().collect();
    assert_eq!(lines.first(), lines.last(), "HOME is what passwd says");
}

#[test]
fn network_files_are_the_hosts() {
    needs!(boxes, images);
    let test = Test::busybox();
    let resolv = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    test.sh("cat /etc/resolv.conf").ok().prints(&resolv);
}

#[test]
fn time_zone_and_locale_are_the_hosts() {
    needs!(boxes, images);
    let test = Test::busybox();
    test.sh("echo $LANG").ok().prints("C.UTF-8");
    if let Ok(zone) = fs::read("/etc/localtime") {
        assert_eq!(test.sh("cat /etc/localtime").ok().stdout, zone);
    }
}

#[test]
fn home_is_private_and_kept() {
    needs!(boxes, images);
    let test = Test::busybox();
    test.write("home/.host-secret", "x");
    test.sh("echo kept >~/kept; test -e ~/.host-secret || echo unseen").ok().prints("unseen");
    test.sh("cat ~/kept").ok().prints("kept");
    assert!(!test.home().join("kept").exists());
}

#[test]
fn project_stands_at_its_own_path() {
    needs!(boxes, images);
    let test = Test::busybox();
    let folder = test.project().join("sub");
    fs::create_dir(&folder).unwrap();
    let script = "pwd; echo made >file; cat ../devbox.toml | head -1 | cut -c1-5";
    let out = test.devbox(["run", "--", "sh", "-c", script]).cwd(&folder).output();
    out.ok().prints(&format!("{}\nimage", folder.display()));
    let made = folder.join("file");
    assert_eq!(fs::read_to_string(&made).unwrap(), "made\n");
    let (owner, mode) = (fs::metadata(&made).unwrap().uid(), fs::metadata(&made).unwrap().mode() & 0o7777);
    assert_eq!((owner, mode), (Uid::current().as_raw(), 0o644));
}

#[test]
fn every_mode_of_a_mount() {
    needs!(boxes, images);
    let test = Test::busybox();
    for folder in ["ro", "rw", "overlay"] {
        test.write(&format!("home/share/{folder}/file"), "host\n");
    }
    let image = fs::read_to_string(test.project().join("devbox.toml")).unwrap();
    let (image, _) = image.split_once('\n').unwrap();
    let mount = |mode: &str, source: &str| {
        format!("[[mounts]]\n{source}\ntarget = \"/mnt/{mode}\"\nmode = \"{mode}\"\n")
    };
    let share = |mode: &str| mount(mode, &format!("source = \"~/share/{mode}\""));
    let mut toml = format!("{image}\nname = \"demo\"\nshell = \"sh\"\n");
    toml += &(share("ro")
        + &share("rw")
        + &share("overlay")
        + &mount("tmpfs", "")
        + &mount("cache", "source = \"shared\""));
    test.profile("mounts", &toml);
    test.profile("other", &format!("{image}\nname = \"other\"\n{}", mount("cache", "source = \"shared\"")));

    let run = |name: &str, script: &str| test.devbox(["run", name, "--", "sh", "-c", script]).output().ok();
    run("mounts", "cat /mnt/ro/file; echo x 2>/dev/null >/mnt/ro/new || echo refused")
        .prints("host\nrefused");
    run("mounts", "cat /mnt/rw/file; echo box >/mnt/rw/new").prints("host");
    assert_eq!(fs::read_to_string(test.home().join("share/rw/new")).unwrap(), "box\n");
    run("mounts", "cat /mnt/overlay/file; echo box >/mnt/overlay/file; echo new >/mnt/overlay/new")
        .prints("host");
    assert_eq!(fs::read_to_string(test.home().join("share/overlay/file")).unwrap(), "host\n");
    run("mounts", "cat /mnt/overlay/file /mnt/overlay/new").prints("box\nnew");
    run("mounts", "echo x >/mnt/tmpfs/x; cat /mnt/tmpfs/x; awk '$2==\"/mnt/tmpfs\" {print $3}' /proc/mounts")
        .prints("x\ntmpfs");
    run("mounts", "ls /mnt/tmpfs").prints("");
    run("mounts", "echo shared >/mnt/cache/x");
    run("other", "cat /mnt/cache/x").prints("shared");
    run("mounts", "grep ' /mnt/' /proc/mounts | grep -v nosuid; true").prints("");
    test.devbox(["rm", "-f", "other"]).output().ok();
}

#[test]
fn missing_sources_are_refused_or_left_out() {
    needs!(boxes, images);
    let test = Test::busybox();
    let image = fs::read_to_string(test.project().join("devbox.toml")).unwrap();
    let mount = "[[mounts]]\nsource = \"~/nowhere\"\ntarget = \"/mnt/x\"\nmode = \"rw\"\n";
    test.profile("strict", &format!("{image}{mount}"));
    test.devbox(["run", "strict", "--", "true"]).output().refused(&["nowhere"]);
    test.profile("lax", &format!("{image}{mount}optional = true\n"));
    test.devbox(["run", "lax", "--", "ls", "/mnt"]).output().ok().prints("").says(&["nowhere"]);
}

#[test]
fn flags_mount_too() {
    needs!(boxes, images);
    let test = Test::busybox();
    let source = test.write("home/data/file", "host\n");
    let volume = format!("{}:/mnt/v:ro", source.parent().unwrap().display());
    let script = "cat /mnt/v/file; touch /mnt/v/x 2>/dev/null || echo refused; pwd";
    let out = test.devbox(["run", "-v", &volume, "-w", "/mnt/v", "--", "sh", "-c", script]).output();
    out.ok().prints("host\nrefused\n/mnt/v");
}

/// mount(2) takes one page of options.
#[test]
fn images_of_many_layers() {
    needs!(boxes, images);
    let image = |count: usize| {
        (1..count).fold(Image::busybox(), |image, number| {
            let listing = format!("f 644 srv/{:03} layer\nf 644 srv/last {number}\n", number % 100);
            image.layer(&listing, Packing::Plain)
        })
    };
    let script = ["--", "sh", "-c", "ls /srv | grep -c . && cat /srv/last"];
    let run = |test: &Test, count: usize| {
        let reference = Registry::open().push(&format!("layers:{count}"), &image(count));
        test.devbox([&["run", "--image", &reference][..], &script].concat()).output()
    };
    run(&Test::new(), 120).ok().prints("101\n119");
    // The kernel refuses the same folder twice; what is below the topmost of them adds nothing.
    let layers = [
        "f 644 srv/last x",
        "f 644 srv/other y",
        "f 644 srv/last x",
        "f 644 srv/.wh.other ",
        "f 644 srv/last x",
    ];
    let image = layers.iter().fold(Image::busybox(), |image, listing| image.layer(listing, Packing::Plain));
    let reference = Registry::open().push("repeated:1", &image);
    Test::new().devbox([&["run", "--image", &reference][..], &script].concat()).output().ok().prints("1\nx");
}

#[test]
fn letters_that_mean_something_to_overlayfs() {
    needs!(boxes, images);
    let reference = Registry::open().push("busybox:1", &Image::busybox());
    let test = Test::new();
    // fuse-overlayfs takes no colon, and that is said
    let fuse = host::driver().as_deref() == Some("fuse");
    if fuse {
        let said = test.devbox(["run", "--image", &reference, "--", "true"]);
        let data = test.path("data/a:b");
        said.env("XDG_DATA_HOME", data.to_str().unwrap())
            .output()
            .refused(&["no path with a `:`", "XDG_DATA_HOME"]);
    }
    let data = test.path(if fuse { r"data/a b,c\d" } else { r"data/a:b,c\d" });
    for _ in 0..2 {
        let said =
            test.devbox(["run", "--image", &reference, "--", "sh", "-c", "echo x >>/kept; wc -l </kept"]);
        said.env("XDG_DATA_HOME", data.to_str().unwrap()).output().ok();
    }
    let own = if host::driver().as_deref() == Some("copy") { "tree" } else { "upper" };
    let kept = data.join("devbox/boxes/busybox").join(own).join("kept");
    assert_eq!(fs::read_to_string(kept).unwrap(), "x\nx\n");
}

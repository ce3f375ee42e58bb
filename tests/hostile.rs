//! Wrong input and a hostile machine: each gets a clear refusal, 125, and nothing is lost.

use std::fs;

use crate::harness::registry::Registry;
use crate::harness::{Image, Packing, Test};

#[test]
fn user_namespaces_forbidden() {
    needs!(boxes, images);
    let test = Test::busybox();
    test.sh("echo kept >~/kept").ok();
    let script = "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$0\" \"$@\"";
    let said = test.under(["unshare", "-Ur", "sh", "-c", script], ["run", "--", "true"]).output();
    said.refused(&["user namespace", "max_user_namespaces"]);
    let doctor = test.under(["unshare", "-Ur", "sh", "-c", script], ["doctor"]).output();
    assert!(doctor.code != 0 && doctor.text().contains("max_user_namespaces"), "{doctor}");
    test.sh("cat ~/kept").ok().prints("kept");
}

#[test]
fn disk_full_while_pulling() {
    needs!(boxes, images);
    let noise: String =
        (0..400_000).map(|number: u32| format!("{:08x}", number.wrapping_mul(2_654_435_761))).collect();
    let listing: String = (0..8).map(|number| format!("f 644 srv/big{number} {noise}\n")).collect();
    let reference = Registry::open().push("big:1", &Image::busybox().layer(&listing, Packing::Plain));
    let test = Test::new();
    // A small file system in a namespace of its own; then a look at what is left there.
    let script = "mount -t tmpfs -o size=8m none \"$XDG_DATA_HOME\" || exit 99; \"$0\" \"$@\"; code=$?
        \"$0\" images --format json; ls -A \"$XDG_DATA_HOME/devbox/store/staging\"; exit $code";
    let said = test.under(["unshare", "-Urm", "sh", "-c", script], ["pull", &reference]).output();
    let said = said.fails(125).prints("[]").says(&["error: ", "big:1", "no space"]);
    assert!(!said.stderr.contains("panicked"), "{said}");
}

#[test]
fn what_is_not_ours_is_refused() {
    let test = Test::new();
    let store = test.write("data/devbox/store/version", "999\n");
    test.devbox(["images"]).output().refused(&["999"]);
    fs::remove_file(store).unwrap();
    fs::remove_dir_all(test.path("data/devbox/store")).unwrap();
    fs::write(test.path("data/devbox/store"), "a file").unwrap();
    test.devbox(["images"]).output().refused(&["store"]);
}

#[test]
fn an_images_traps_are_not_stepped_into() {
    needs!(boxes, images);
    let registry = Registry::open();
    let up = "../".repeat(6);
    let test = Test::new();
    let target = test.write("home/victim", "mine\n");
    let out = target.parent().unwrap().display().to_string();
    for (number, listing) in [
        format!("l dev {out}\nl proc {out}\nl sys {out}\nl tmp {out}"),
        format!("l etc {out}"),
        format!("l etc/resolv.conf {out}/victim\nl etc/hosts {up}{out}/victim\nl etc/hostname {out}/victim"),
        "p 644 etc/passwd\np 644 etc/group\np 644 etc/resolv.conf".to_owned(),
        format!("l home {out}\nl run {out}\nl root {out}"),
        "f 644 etc/passwd \\0\\0:::::\\nroot\\n:x\\n\\n".to_owned(),
    ]
    .into_iter()
    .enumerate()
    {
        let image = Image::busybox().layer(&listing, Packing::Gzip);
        let reference = registry.push(&format!("trap:{number}"), &image);
        let ran = test.devbox(["run", "--rm", "--image", &reference, "--", "echo", "ran"]).output();
        assert!(ran.code == 0 || ran.code == 125, "{listing}: {ran}");
        assert!(!ran.stderr.contains("panicked"), "{ran}");
        assert_eq!(fs::read_to_string(&target).unwrap(), "mine\n", "{listing}");
        let left: Vec<_> = fs::read_dir(&out).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(left.len(), 2, "{listing}: {left:?}");
    }
}

/// What a box leaves in itself is used at its next start, and no link of it may lead to the host: the root of the host
/// would be below `..` if it were kept under the box's.
#[test]
fn a_box_plants_no_way_out() {
    needs!(boxes, images);
    let test = Test::busybox();
    let home = test.path("home");
    let shown = home.display();
    let profile = format!(
        "{}\n[[mounts]]\ntarget = \"/planted/memory\"\nmode = \"tmpfs\"\n\
         [[mounts]]\nsource = \"data\"\ntarget = \"/planted/made/by/us\"\n\
         [[mounts]]\nsource = \"file\"\ntarget = \"/planted/file\"\n",
        fs::read_to_string(test.path("home/work/devbox.toml")).unwrap()
    );
    fs::create_dir(home.join("work/data")).unwrap();
    fs::write(home.join("work/file"), "").unwrap();
    test.write("home/work/devbox.toml", &profile);
    let before = listing(&home);
    for to in ["/", "/..", "/../../..", "/proc/1/root", "/proc/self/cwd/..", &format!("/..{shown}")] {
        for name in ["memory", "made", "file"] {
            let plant = format!(
                "cd /; mkdir -p was; mv planted was/$(cat /proc/sys/kernel/random/uuid) 2>/dev/null; mkdir planted; ln -s {to} planted/{name}; readlink planted/{name}"
            );
            let said = test.sh(&plant);
            assert!(said.code == 0 || said.code == 125, "{name} -> {to}: {said}");
            // the start that meets the link; where it can't go on it says so
            let said = test.sh(&format!("touch /found 2>/dev/null; ls -d /..{shown}/work/devbox.toml"));
            assert!(said.code == 0 || said.code == 125 || said.code == 1, "{name} -> {to}: {said}");
            assert!(!said.stderr.contains("panicked"), "{said}");
            assert_eq!(listing(&home), before, "{name} -> {to}");
            if said.code == 125 {
                test.devbox(["rm", "-f", "demo"]).output().ok();
            }
        }
    }
    assert!(!std::path::Path::new("/found").exists());
}

/// Every path below `folder`.
fn listing(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    let mut all: Vec<_> = entries
        .flat_map(
            |path| if path.is_dir() { [vec![path.clone()], listing(&path)].concat() } else { vec![path] },
        )
        .collect();
    all.sort();
    all
}

#[test]
fn a_working_folder_that_is_none() {
    needs!(boxes, images);
    let test = Test::new();
    let registry = Registry::open();
    for folder in ["/proc/self/fd/3", "/proc/self/fd/9/../..", "/etc/passwd", "/no/such/folder"] {
        let image = Image::busybox().set("WorkingDir", folder.into());
        let reference = registry.push("workdir:1", &image);
        test.devbox(["pull", &reference]).output().ok();
        let said = test.devbox(["run", "--rm", "--image", &reference, "--", "pwd"]).output();
        assert!(said.code == 125 || said.text().starts_with('/'), "{folder}: {said}");
        test.devbox(["run", "--rm", "--image", &reference, "-w", folder, "--", "pwd"])
            .output()
            .refused(&[folder]);
    }
}

#[test]
fn broken_records_are_refused_not_misread() {
    needs!(boxes, images);
    let test = Test::busybox();
    test.sh("true").ok();
    let folder = test.path("data/devbox/boxes/demo");
    for entry in fs::read_dir(&folder).unwrap().flatten().filter(|entry| entry.path().is_file()) {
        let path = entry.path();
        let whole = fs::read(&path).unwrap();
        for bad in [&b""[..], b"\0\0", b"{\"name\":\"x\"", &[0xff; 9]] {
            fs::write(&path, bad).unwrap();
            let said = test.sh("true");
            assert!(said.code == 0 || said.code == 125, "{}: {said}", path.display());
            assert!(!said.stderr.contains("panicked"), "{}: {said}", path.display());
            test.devbox(["ls"]).output();
        }
        fs::write(&path, whole).unwrap();
    }
    test.sh("echo whole").ok().prints("whole");
}

/// The disk is full at every stage of a pull by turns: unpacking, publishing, recording. Each time the error says so,
/// nothing half-made is seen, and with room again the same command works.
#[test]
fn disk_full_in_each_phase() {
    needs!(boxes, images);
    let image = Image::busybox().layer(&"f 644 srv/x x\n".repeat(20), Packing::Gzip);
    let reference = Registry::open().push("full:1", &image);
    let test = Test::new();
    // First how much it takes; then less and less, by bytes and by inodes.
    let script = r#"data=$XDG_DATA_HOME failed=0
        mount -t tmpfs -o size=64m none "$data" || exit 99
        "$0" pull -q "$1" >/dev/null || exit 98
        bytes=$(df --output=used -B 1024 "$data" | tail -1) inodes=$(df --output=iused "$data" | tail -1)
        umount "$data"
        for less in 0 4 8 12 16 20 24 32 64 200 600; do for kind in bytes inodes; do
            # room for so much beside a ballast, which then goes
            mount -t tmpfs -o size=16m,nr_inodes=2000 none "$data" && mkdir "$data/ballast" && cd "$data/ballast" || exit 97
            case $kind in
                bytes) head -c $(((16384 - bytes + less) * 1024)) /dev/zero >x ;;
                inodes) seq $((2000 - inodes + less / 4 - 1)) | xargs touch ;;
            esac
            cd /
            "$0" pull -q "$1" >/dev/null 2>"$data/../said"; code=$?
            case $code in
                0) ;;
                125) grep -q "no space left" "$data/../said" || { echo "$kind $less:"; cat "$data/../said"; } ;;
                *) echo "$kind $less: $code"; cat "$data/../said" ;;
            esac
            [ $code = 0 ] || [ "$(ls -A "$data/devbox/store/staging" 2>/dev/null)" = "" ] || echo "$kind $less: $(ls -A "$data/devbox/store/staging")"
            [ $code = 0 ] || failed=$((failed + 1))
            rm -r "$data/ballast"
            "$0" verify -q || echo "$kind $less: not sound"
            "$0" pull -q "$1" >/dev/null && "$0" verify -q "$1" || echo "$kind $less: not again"
            umount "$data"
        done; done
        [ "$failed" -ge 10 ] || echo "only $failed times full""#;
    let mut call = test.plain(["unshare", "-Urm", "sh", "-c", script]);
    call.command.arg(crate::harness::test::binary()).arg(&reference);
    call.output().ok().prints("");
}

#[test]
fn a_home_that_can_only_be_read() {
    needs!(boxes, images);
    let test = Test::busybox();
    test.sh("echo kept >/kept").ok();
    // As root of a namespace nothing is closed by modes; a read-only mount is closed to everyone.
    let script = "mount --bind \"$XDG_DATA_HOME\" \"$XDG_DATA_HOME\" && mount -o remount,bind,ro \"$XDG_DATA_HOME\" && exec \"$0\" \"$@\"";
    let under = |words: &[&str]| test.under(["unshare", "-Urm", "sh", "-c", script], words).output();
    let image = Registry::open().push("readonly:1", &Image::busybox().layer("f 644 a a", Packing::Gzip));
    under(&["pull", &image]).refused(&["ead-only file system"]);
    under(&["rm", "demo"]).fails(125).says(&["ead-only file system"]);
    let busybox = Registry::open().reference("busybox:1");
    under(&["rmi", &busybox]).refused(&["ead-only file system"]);
    for words in [&["images"][..], &["ls"], &["df"], &["verify"], &["plan"]] {
        under(words).ok();
    }
    test.sh("cat /kept").ok().prints("kept");
    // a store that can only be read is enough for boxes of its images, old and new
    let store = script.replace("\"$XDG_DATA_HOME\"", "\"$XDG_DATA_HOME/devbox/store\"");
    let under = |words: &[&str]| test.under(["unshare", "-Urm", "sh", "-c", &store], words).output();
    under(&["run", "--", "cat", "/kept"]).ok().prints("kept");
    under(&["run", "--name", "other", "--", "echo", "new"]).ok().prints("new");
}

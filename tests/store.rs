//! The store's upkeep: `df`, `prune`, `verify`; locks between commands; damage and how it is told.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::harness::registry::Registry;
use crate::harness::{Image, Packing, Pty, Test, within};

fn two_layers(name: &str) -> (Test, String) {
    let test = Test::new();
    let big = "x".repeat(300_000);
    let listing = format!(
        "f 644 srv/own {big}\nf 0 srv/closed secret\nf 644 srv/a a\nf 600 srv/a again\nh srv/b srv/a"
    );
    let image = Image::busybox().layer(&listing, Packing::Gzip);
    let reference = Registry::open().push(name, &image);
    test.devbox(["pull", "-q", &reference]).output().ok();
    (test, reference)
}

/// The layer folder whose tree has `file`.
fn layer_with(test: &Test, file: &str) -> PathBuf {
    let layers = fs::read_dir(test.path("data/devbox/store/layers/sha256")).unwrap();
    let paths: Vec<PathBuf> = layers.map(|layer| layer.unwrap().path()).collect();
    paths.into_iter().find(|layer| layer.join("tree").join(file).symlink_metadata().is_ok()).unwrap()
}

fn overwrite(path: &Path, bytes: &[u8]) {
    let mode = fs::metadata(path).unwrap().permissions();
    fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, mode).unwrap();
}

#[test]
fn verify_finds_and_repairs_damage() {
    needs!(boxes, images);
    let (test, reference) = two_layers("verify:1");
    test.devbox(["verify"]).output().ok().prints("");
    let sound = test.devbox(["verify", "--format", "json"]).output().ok().json();
    assert_eq!(sound["sound"], true, "{sound}");

    test.devbox(["run", "--image", &reference, "--name", "kept", "--", "sh", "-c", "echo mine >/srv/mine"])
        .output()
        .ok();
    let layer = layer_with(&test, "srv/own");
    let id = layer.file_name().unwrap().to_str().unwrap().to_owned();
    overwrite(&layer.join("tree/srv/own"), b"y");
    overwrite(&layer.join("tree/srv/closed"), b"Secret");
    fs::write(layer.join("tree/srv/\u{1b}[31m"), "").unwrap();
    let said = test.devbox(["verify"]).output().fails(1);
    let said = said.lists(&[
        &id,
        &reference,
        "srv/own: ",
        "srv/closed: has other bytes",
        "[31m: does not belong there",
    ]);
    assert!(!said.text().contains('\u{1b}'), "{said}");
    let json = test.devbox(["verify", "--format", "json", &reference]).output().fails(1).json();
    assert_eq!(json["layers"][0]["digest"], format!("sha256:{id}"), "{json}");
    assert_eq!(json["layers"][0]["damage"].as_array().unwrap().len(), 3, "{json}");

    test.devbox(["verify", "--repair"]).output().ok().says(&["repaired"]);
    test.devbox(["verify"]).output().ok();
    let names = test.devbox(["images", "-q"]).output().ok().text();
    assert_eq!(names.trim(), reference, "no name was added");
    test.devbox(["run", "kept", "--", "cat", "/srv/mine", "/srv/a"]).output().ok().prints("mine\nagain");
}

#[test]
fn a_failed_repair_takes_nothing_away() {
    needs!(boxes, images);
    let (test, reference) = two_layers("failing:1");
    test.devbox(["run", "--image", &reference, "--name", "kept", "--", "true"]).output().ok();
    let own = layer_with(&test, "srv/own").join("tree/srv/own");
    fs::set_permissions(&own, fs::Permissions::from_mode(0o600)).unwrap();
    Registry::open().forget("failing");
    test.devbox(["verify", "--repair"]).output().fails(1).says(&["some damage is left"]);
    test.devbox(["run", "kept", "--", "cat", "/srv/a"]).output().ok().prints("again");
    test.devbox(["run", "--rm", "--image", &reference, "--", "cat", "/srv/a"]).output().ok().prints("again");
    fs::set_permissions(&own, fs::Permissions::from_mode(0o644)).unwrap();
    test.devbox(["verify"]).output().ok();
}

#[test]
fn verify_looks_at_the_images_that_are_named() {
    needs!(images);
    let (test, first) = two_layers("named:1");
    let second = Registry::open().push("named:2", &Image::busybox().layer("f 644 srv/two 2", Packing::Gzip));
    test.devbox(["pull", "-q", &second]).output().ok();
    let images = test.devbox(["images", "--format", "json"]).output().ok().json();
    let digest = |at: usize| images[at]["digest"].as_str().unwrap().to_owned();
    let store = test.path("data/devbox/store");
    let record = store.join("images/sha256").join(&digest(0)[7..]);
    let whole = fs::read(&record).unwrap();
    fs::write(&record, "{").unwrap();
    // whichever comes last, the damage of both is told
    for names in [[&first, &second], [&second, &first]] {
        let json = test.devbox(["verify", "--format", "json", names[0], names[1]]).output().fails(1).json();
        assert_eq!(json["records"].as_array().unwrap().len(), 1, "{json}");
    }
    test.devbox(["verify", &second]).output().ok();
    fs::write(&record, whole).unwrap();
    overwrite(&layer_with(&test, "srv/two").join("tree/srv/two"), b"3");
    for name in [&second, &digest(1), &digest(1)[7..19].to_owned()] {
        test.devbox(["verify", name]).output().fails(1).lists(&["srv/two: "]);
    }
    test.devbox(["verify", &first]).output().ok();
    test.devbox(["verify", "nothing:here"]).output().refused(&["nothing:here"]);
}

#[test]
fn a_damaged_name_is_not_lost() {
    needs!(boxes, images);
    let (test, reference) = two_layers("lost:1");
    let name = fs::read_dir(test.path("data/devbox/store/refs")).unwrap().next().unwrap().unwrap().path();
    let refs = || test.devbox(["images", "-q"]).output().ok().text();
    // nobody has it, and the image that came by it is here
    Registry::open().forget("lost");
    fs::write(&name, "").unwrap();
    test.devbox(["verify", "--repair"]).output().ok().says(&["repaired"]);
    assert_eq!(refs().trim(), reference);
    // nobody knows what it stood for: it stays, and so does the image
    let mine = "127.0.0.1:1/mine:1";
    test.devbox(["tag", &reference, mine]).output().ok();
    test.devbox(["rmi", &reference]).output().ok();
    let name = fs::read_dir(test.path("data/devbox/store/refs")).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&name).unwrap();
    fs::write(&name, "").unwrap();
    let image = fs::read_dir(test.path("data/devbox/store/images/sha256")).unwrap().next().unwrap().unwrap();
    fs::rename(image.path(), test.path("aside")).unwrap();
    test.devbox(["verify", "--repair"]).output().fails(1).says(&["some damage is left"]);
    assert!(name.exists());
    test.devbox(["prune"]).output().refused(&["is damaged"]);
    fs::rename(test.path("aside"), image.path()).unwrap();
    fs::write(&name, whole).unwrap();
    test.devbox(["run", "--rm", "--image", mine, "--", "cat", "/srv/a"]).output().ok().prints("again");
}

#[test]
fn a_record_is_repaired_when_it_is_seen_to_be() {
    needs!(images);
    let test = Test::new();
    let file = test.path("image.tar");
    let save = |name: &str, listing: &str| {
        let reference = Registry::open().push(name, &Image::busybox().layer(listing, Packing::Gzip));
        test.devbox(["pull", "-q", &reference]).output().ok();
        let _ = fs::remove_file(&file);
        test.devbox(["save", "-o", file.to_str().unwrap(), &reference]).output().ok();
        test.devbox(["rmi", &reference]).output().ok();
    };
    save("seen:1", "f 644 srv/a 1");
    test.devbox(["pull", "-q", &format!("oci-archive:{}", file.display())]).output().ok();
    let images = test.path("data/devbox/store/images/sha256");
    let record = fs::read_dir(images).unwrap().next().unwrap().unwrap().path();
    fs::write(&record, "{").unwrap();
    // the file is another by now
    fs::rename(&record, test.path("aside")).unwrap();
    let name = test.path("data/devbox/store/refs");
    fs::rename(&name, test.path("names")).unwrap();
    fs::create_dir(&name).unwrap();
    save("seen:2", "f 644 srv/a 2");
    fs::remove_dir(&name).unwrap();
    fs::rename(test.path("names"), &name).unwrap();
    fs::rename(test.path("aside"), &record).unwrap();
    let out = test.devbox(["verify", "--repair", "--format", "json"]).output().fails(1);
    assert!(out.stderr.contains("another image"), "{out}");
    let json = out.json();
    assert_eq!((&json["records"][0]["repaired"], &json["sound"]), (&false.into(), &false.into()), "{json}");
}

#[test]
fn a_damaged_layer_of_no_image_goes() {
    needs!(boxes, images);
    let test = Test::new();
    let image = Image::busybox().layer("f 644 srv/below x", Packing::Gzip);
    let image = image.layer("f 644 .wh..wh..opq \nf 644 srv/above y", Packing::Gzip);
    let reference = Registry::open().push("opaque:1", &image);
    test.devbox(["pull", "-q", &reference]).output().ok();
    let below = layer_with(&test, "srv/below");
    overwrite(&below.join("tree/srv/below"), b"z");
    test.devbox(["verify"]).output().fails(1).lists(&["no image"]);
    test.devbox(["verify", "--repair"]).output().ok().says(&["repaired"]);
    assert!(!below.exists());
    test.devbox(["verify"]).output().ok();
    test.devbox(["pull", "-q", &reference]).output().ok();
}

#[test]
fn a_layer_is_not_replaced_under_a_running_box() {
    needs!(boxes, images);
    let (test, reference) = two_layers("verify:running");
    let running = test
        .devbox(["run", "--image", &reference, "--name", "busy", "--", "sh", "-c", "echo up; cat"])
        .spawn();
    assert!(within(20, || running.stdout.so_far().contains("up")));
    let layer = layer_with(&test, "srv/own");
    overwrite(&layer.join("tree/srv/own"), b"y");
    test.devbox(["verify", "--repair"]).output().fails(1).says(&["devbox stop busy"]);
    assert_eq!(fs::read(layer.join("tree/srv/own")).unwrap(), b"y");
    test.devbox(["stop", "busy"]).output().ok();
    test.devbox(["verify", "--repair"]).output().ok();
    assert_eq!(fs::read(layer.join("tree/srv/own")).unwrap().len(), 300_000);
}

#[test]
fn damaged_files_are_named_with_a_remedy_and_mended() {
    needs!(boxes, images);
    let (test, reference) = two_layers("damage:1");
    let store = test.path("data/devbox/store");
    let only = |folder: &str| fs::read_dir(store.join(folder)).unwrap().next().unwrap().unwrap().path();
    let layer = layer_with(&test, "srv/own");
    let record = only("images/sha256");
    let name = only("refs");
    for (file, bytes) in [
        (&record, &b""[..]),
        (&record, b"{\"source\""),
        (&record, b"\xff\xfe"),
        (&name, b""),
        (&name, b"\xff\n"),
        (&layer.join("meta"), b"{}"),
        (&layer.join("meta"), b""),
        (&layer.join("index"), b"devbox-index 1\nf 9 0\n"),
        (&layer.join("framing"), b"\x28\xb5\x2f\xfd"),
    ] {
        let what = format!("{} {:?}", file.display(), bytes.escape_ascii().to_string());
        fs::write(file, bytes).unwrap();
        let found = test.devbox(["verify"]).output().fails(1);
        assert!(
            found.text().contains(file.parent().unwrap().file_name().unwrap().to_str().unwrap()),
            "{what}: {found}"
        );
        for verb in [
            &["images"][..],
            &["df"],
            &["run", "--rm", "--image", &reference, "--", "true"],
            &["prune", "-n"],
        ] {
            let said = test.devbox(verb).output();
            assert!(!said.stderr.contains("panicked"), "{what}: {said}");
            if said.code != 0 {
                assert!(
                    said.stderr.contains("is damaged") && said.stderr.contains("hint: "),
                    "{what}: {said}"
                );
            }
        }
        test.devbox(["verify", "--repair"]).output().ok();
        test.devbox(["verify"]).output().ok();
        let script = "cat /srv/a; id -u >/dev/null";
        let out = test.devbox(["run", "--rm", "--image", &reference, "--", "sh", "-c", script]).output();
        out.ok().prints("again");
    }
    fs::write(store.join("version"), "99\n").unwrap();
    test.devbox(["images"]).output().refused(&["newer"]);
    fs::write(store.join("version"), "\0").unwrap();
    test.devbox(["images"]).output().refused(&["version", "hint: "]);
}

#[test]
fn prune_takes_what_nobody_needs_and_nothing_else() {
    needs!(boxes, images);
    let (test, first) = two_layers("prune:1");
    let second = Registry::open().push("prune:2", &Image::busybox().layer("f 644 srv/two 2", Packing::Gzip));
    test.devbox(["pull", "-q", &second]).output().ok();
    test.devbox(["run", "--image", &second, "--name", "kept", "--", "true"]).output().ok();
    let layers = || fs::read_dir(test.path("data/devbox/store/layers/sha256")).unwrap().count();
    assert_eq!(layers(), 3);

    test.devbox(["prune"]).output().ok().prints("").says(&["nothing to remove"]);
    // half a layer of a pull that was killed
    let staging = test.path("data/devbox/store/staging");
    fs::create_dir_all(staging.join("half.new/tree")).unwrap();
    fs::write(staging.join("half.new/tree/x"), vec![1; 100_000]).unwrap();
    let would = test.devbox(["prune", "-n", "--format", "json"]).output().ok().json();
    assert_eq!((would["leftovers"].as_u64(), would["dry-run"].as_bool()), (Some(1), Some(true)), "{would}");
    assert!(would["bytes"].as_u64().unwrap() >= 100_000, "{would}");
    assert!(staging.join("half.new").exists());
    test.devbox(["prune"]).output().ok().says(&["1 leftover"]);
    assert!(!staging.join("half.new").exists());

    test.devbox(["prune", "--all", "--dry-run"]).output().ok().prints(&format!(
        "{first}\n{}",
        test.devbox(["images", "--format", "json"]).output().ok().json()[0]["digest"].as_str().unwrap()
    ));
    assert_eq!(layers(), 3);
    let freed = test.devbox(["prune", "--all", "--format", "json"]).output().ok().json();
    assert!(freed["bytes"].as_u64().unwrap() >= 300_000, "{freed}");
    assert_eq!(layers(), 2, "the box needs two");
    test.devbox(["run", "kept", "--", "cat", "/srv/two"]).output().ok().prints("2");
    test.devbox(["rm", "kept"]).output().ok();
    test.devbox(["prune", "--all"]).output().ok();
    assert_eq!(layers(), 0);
}

#[test]
fn sizes_are_those_of_the_disk() {
    needs!(boxes, images);
    let (test, reference) = two_layers("df:1");
    let other = Registry::open().push("df:2", &Image::busybox().layer("f 644 srv/two 2", Packing::Gzip));
    test.devbox(["pull", "-q", &other]).output().ok();
    let script = "dd if=/dev/zero of=/big bs=1024 count=2048 2>/dev/null; sync";
    test.devbox(["run", "--image", &other, "--name", "kept", "--", "sh", "-c", script]).output().ok();
    let report = test.devbox(["df", "--format", "json"]).output().ok().json();
    let du = |path: &str| {
        let out = test.plain(["du", "-s", "--block-size=1", path]).cwd(test.path("data/devbox")).output();
        out.text().split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    assert_eq!(number(&report["store"]), du("store"), "{report}");
    let image = |name: &str| {
        let images = report["images"].as_array().unwrap();
        images
            .iter()
            .find(|image| image["references"][0] == name)
            .unwrap_or_else(|| panic!("{report}"))
            .clone()
    };
    let (first, second) = (image(&reference), image(&other));
    assert_eq!(number(&first["shared"]), number(&second["shared"]), "busybox: {report}");
    let own = layer_with(&test, "srv/own").display().to_string();
    assert_eq!(number(&first["own"]), du(&own), "{report}");
    assert!(number(&report["boxes"][0]["own"]) >= 2 << 20, "{report}");
    test.devbox(["df"]).output().ok().lists(&["KIND", &reference, "kept"]);
    let mut pty = Pty::spawn(&test.devbox(["df"]));
    pty.wait();
    let screen = pty.screen.expect("the store takes");
    for part in ["images", "├─ ", "└─ kept ", "█░", " its own"] {
        assert!(screen.contains(part), "{part}: {screen}");
    }
}

#[test]
fn boxes_do_not_see_what_is_shared() {
    needs!(boxes, images);
    let big = "x".repeat(10_000);
    let image = |name: &str, listing: &str| {
        Registry::open().push(name, &Image::busybox().layer(listing, Packing::Gzip))
    };
    let one = image("dedupe:1", &format!("f 644 srv/a {big}\nf 644 srv/b {big}"));
    let two = image("dedupe:2", &format!("f 644 srv/c {big}"));
    let test = Test::new();
    for reference in [&one, &two] {
        test.devbox(["pull", "-q", reference]).output().ok();
    }
    let linked = || test.devbox(["dedupe", "--format", "json"]).output().ok().json()["linked"].clone();
    let script = "echo up; sleep 1000";
    let running = test.devbox(["run", "--image", &one, "--name", "kept", "--", "sh", "-c", script]).spawn();
    assert!(within(10, || running.stdout.so_far().contains("up")));
    assert_eq!(linked(), 0, "nothing changes under a running box");
    test.devbox(["stop", "kept"]).output().ok();
    assert!(within(10, || linked() == 1));
    // one file under two names can't be copied
    test.devbox(["run", "kept", "--", "cp", "/srv/a", "/srv/b"]).output().ok();
    test.devbox(["verify"]).output().ok();
}

#[test]
fn who_waits_says_for_whom() {
    needs!(images);
    let (test, reference) = two_layers("wait:1");
    let lock = fs::File::options().read(true).write(true).open(test.path("data/devbox/store/lock")).unwrap();
    lock.lock().unwrap();
    let holder = |pid: u32| {
        fs::write(test.path("data/devbox/store/lock"), format!("{pid}\ndevbox rmi\n")).unwrap();
    };
    // one that is gone, for no process has so high a number
    holder(4_194_305);
    let waiting = test.devbox(["prune"]).spawn();
    assert!(within(10, || waiting.stderr.so_far().contains("waiting for another process")));
    let pid = std::process::id();
    holder(pid);
    let waiting = test.devbox(["rmi", &reference]).spawn();
    let shown = format!("waiting for `devbox rmi` (process {pid})");
    assert!(within(10, || waiting.stderr.so_far().contains(&shown)));
    drop(lock);
    waiting.wait().ok();
}

/// The calls of these names that devbox makes with all its processes, one a line behind the process.
fn traced(test: &Test, calls: &str, args: &[&str]) -> Vec<String> {
    let log = test.path("strace");
    let trace = format!("trace={calls}");
    let wrapper =
        ["strace", "-f", "-y", "-qq", "-e", "signal=none", "-e", &trace, "-o", log.to_str().unwrap()];
    test.under(wrapper, args).output().ok();
    // what goes on in the background is traced to its end before strace ends
    fs::read_to_string(&log).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn an_archive_is_on_the_disk_before_it_has_its_name() {
    needs!(images, strace);
    let test = Test::new();
    let reference = Registry::open().push("durable:1", &Image::busybox());
    test.devbox(["pull", &reference]).output().ok();
    let path = test.path("out.tar").display().to_string();
    fs::write(&path, "old").unwrap();
    let calls = traced(
        &test,
        "fsync,fdatasync,write,linkat,rename,renameat,renameat2",
        &["save", &reference, "-o", &path],
    );
    let find = |what: &dyn Fn(&str) -> bool| calls.iter().position(|call| what(call));
    let named =
        find(&|call| call.contains("rename") && call.contains("out.tar\"")).expect("it gets its name");
    let synced = find(&|call| call.contains("sync(")).expect("it is synced");
    let into =
        |call: &str| call.contains("write(") && call.contains("deleted") || call.contains("out.tar.devbox");
    let last = calls.iter().rposition(|call| call.contains("write(") && into(call)).expect("it is written");
    assert!(last < synced && synced < named, "{calls:#?}");
}

#[test]
fn what_syncs_in_the_background_holds_nothing() {
    needs!(images, strace);
    let test = Test::new();
    let reference = Registry::open().push("background:1", &Image::busybox());
    let calls = traced(&test, "setsid,dup2,dup3,close_range,openat,flock,syncfs", &["pull", &reference]);
    let process = |call: &String| call.split(' ').next().unwrap_or_default().to_owned();
    let begin = calls.iter().position(|call| call.contains(" setsid(")).expect("a process of its own");
    let background = process(&calls[begin]);
    let own: Vec<&String> = calls[begin..].iter().filter(|call| process(call) == background).collect();
    let find = |part: &str| own.iter().position(|call| call.contains(part));
    let closed = find(" close_range(3, ").expect("all is closed");
    let synced = find(" syncfs(").expect("the layers are synced");
    let null =
        own[..closed].iter().filter(|call| call.contains(" dup") && call.contains("</dev/null>")).count();
    assert_eq!(null, 3, "input, output and errors go nowhere: {own:#?}");
    assert!(closed < synced, "{own:#?}");
}

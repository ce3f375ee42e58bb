//! Images in files and out to registries: what other tools write we read, what we write they read.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::unistd::Uid;
use serde_json::{Value, json};

use crate::harness::image::{architecture, digest};
use crate::harness::registry::{BASIC, Registry};
use crate::harness::{Image, Packing, Test, host};

/// Two layers over busybox, with what is easily lost: an owner, a hard link, a removed file, a mode.
fn sample() -> Image {
    Image::busybox()
        .layer("f 644 srv/a one\\n\nf 644 srv/gone x\nf 644:1000:1000 srv/owned o", Packing::Gzip)
        .layer(
            "f 644 srv/a two\\n\nf 644 srv/.wh.gone \nf 4755 srv/mode x\nh srv/link srv/mode",
            Packing::Gzip,
        )
}

const LOOK: &str = "cat /srv/a; ls /srv; stat -c '%h %a' /srv/mode";
const LOOKS: &str = "two\na\nlink\nmode\nowned\n2 4755";

/// The image as a folder in OCI's layout, in which it is called `v1`.
fn layout(test: &Test, name: &str, image: &Image) -> PathBuf {
    let built = image.build();
    let folder = test.path(name);
    fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
    for blob in built.blobs.iter().chain([&built.manifest]) {
        fs::write(folder.join("blobs/sha256").join(&digest(blob)[7..]), blob).unwrap();
    }
    let entry = json!({
        "mediaType": built.media_type, "digest": digest(&built.manifest), "size": built.manifest.len(),
        "annotations": { "org.opencontainers.image.ref.name": "v1" },
    });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] });
    fs::write(folder.join("index.json"), index.to_string()).unwrap();
    fs::write(folder.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").unwrap();
    folder
}

/// A folder as tar, beside it.
fn packed(folder: &Path) -> PathBuf {
    let path = folder.with_extension("tar");
    let mut builder = tar::Builder::new(fs::File::create(&path).unwrap());
    builder.append_dir_all(".", folder).unwrap();
    builder.finish().unwrap();
    path
}

/// What `docker save` wrote before it wrote layouts.
fn docker_archive(test: &Test, image: &Image, name: &str) -> PathBuf {
    let mut blobs = image.build().blobs;
    let config = blobs.pop().unwrap();
    let mut members = vec![("c.json".to_owned(), config)];
    let names: Vec<_> = (0..blobs.len()).map(|number| format!("{number}/layer.tar")).collect();
    members.extend(names.iter().cloned().zip(blobs));
    let manifest = json!([{ "Config": "c.json", "RepoTags": [name], "Layers": names }]);
    members.push(("manifest.json".to_owned(), manifest.to_string().into_bytes()));
    let path = test.path("docker.tar");
    let mut builder = tar::Builder::new(fs::File::create(&path).unwrap());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, &*bytes).unwrap();
    }
    builder.finish().unwrap();
    path
}

/// What another tool says, as JSON.
#[track_caller]
fn said(test: &Test, command: &[&str]) -> Value {
    test.plain(command).output().ok().json()
}

#[track_caller]
fn does(test: &Test, command: &[&str]) {
    test.plain(command).output().ok();
}

#[test]
fn files_become_boxes() {
    needs!(boxes, images);
    let test = Test::new();
    let folder = layout(&test, "home/work/img", &sample());
    let (archive, docker) = (packed(&folder), docker_archive(&test, &sample(), "some/name:1"));
    for image in [
        "oci:img".to_owned(),
        "oci:./img:v1".into(),
        format!("oci-archive:{}", archive.display()),
        "oci-archive:img.tar:v1".into(),
        format!("docker-archive:{}", docker.display()),
        format!("docker-archive:{}:some/name:1", docker.display()),
    ] {
        let out = test.devbox(["run", "--rm", "--image", &image, "--", "sh", "-c", LOOK]).output();
        assert_eq!(out.ok().text().trim_end(), LOOKS, "{image}");
    }
    // a project's own image needs no word of consent, one elsewhere does
    test.project_file("image = \"oci:img\"\nname = \"demo\"\nshell = \"sh\"\n");
    test.sh("cat /srv/a").ok().prints("two");
    test.devbox(["plan"]).output().ok().lists(&["oci:", "work/img"]);
    test.devbox(["rm", "demo"]).output().ok();
    test.project_file(&format!("image = \"docker-archive:{}\"\nname = \"demo\"\n", docker.display()));
    test.devbox(["run", "--", "true"]).output().refused(&["takes its image from", "--yes"]);
    test.devbox(["--yes", "run", "--", "true"]).output().ok();
}

#[test]
fn a_box_keeps_its_image_when_the_files_change() {
    needs!(boxes, images);
    let test = Test::new();
    layout(&test, "home/work/img", &sample());
    test.project_file("image = \"oci:img\"\nname = \"demo\"\nshell = \"sh\"\n");
    test.sh("cat /srv/a").ok().prints("two");
    fs::remove_dir_all(test.project().join("img")).unwrap();
    layout(&test, "home/work/img", &sample().layer("f 644 srv/a three\\n", Packing::Plain));
    test.sh("cat /srv/a").ok().prints("two");
    test.devbox(["pull", "oci:img"]).output().ok();
    test.sh("cat /srv/a").ok().prints("two");
    test.devbox(["rm", "demo"]).output().ok();
    test.sh("cat /srv/a").ok().prints("three");
    // gone, the layers are looked for where they came from
    test.devbox(["rmi", "oci:img"]).output().ok();
    test.sh("cat /srv/a").ok().prints("three");
}

#[test]
fn a_root_file_system_is_used_where_it_stands() {
    needs!(boxes, images);
    let test = Test::new();
    let root = test.path("root");
    for folder in ["bin", "etc", "srv"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    let (busybox, _) = host::busybox_and_applets().unwrap();
    fs::copy(busybox, root.join("bin/sh")).unwrap();
    fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
    fs::write(root.join("srv/a"), "old").unwrap();
    let image = format!("dir:{}", root.display());
    test.project_file(&format!("image = \"{image}\"\nname = \"demo\"\nshell = \"sh\"\n"));
    test.devbox(["run", "--", "true"]).output().refused(&["shows", "as its root"]);
    let run = |script: &str| test.devbox(["--yes", "run", "--", "sh", "-c", script]).output().ok();
    run("read x </srv/a; echo $x; echo new >/srv/a; echo b >/srv/b").prints("old");
    run("read x </srv/a; echo $x").prints("new");
    assert_eq!(fs::read_to_string(root.join("srv/a")).unwrap(), "old", "never written");
    assert!(!root.join("srv/b").exists() && !root.join("proc").exists(), "nothing is made in it");
    assert_eq!(fs::read_to_string(root.join("etc/passwd")).unwrap(), "root:x:0:0::/:/bin/sh\n");

    let refused = |path: &str, why: &str| {
        let image = format!("dir:{path}");
        test.devbox(["run", "--rm", "--image", &image, "--", "true"]).output().refused(&[why]);
    };
    refused("/", "`host` is the image for that");
    refused("/dev", "is mounted in it");
    refused(test.path("data").to_str().unwrap(), "the boxes themselves are kept in it");
    refused("/nonexistent", "there is no folder");
    refused(test.path("home/work/devbox.toml").to_str().unwrap(), "not a folder");
}

#[test]
fn a_root_of_another_owner_is_read_and_said_to_be_so() {
    needs!(boxes, images);
    // the host's own /usr is root's
    if Uid::current().is_root() {
        if !host::left_to_the_user() {
            host::skip("root owns every folder there is");
        }
        return;
    }
    let test = Test::new();
    let call = ["run", "--rm", "--image", "dir:/usr", "--no-project", "--", "/bin/true"];
    let out = test.devbox(call).output();
    if out.stderr.contains("is mounted in it") {
        return host::skip("something is mounted in /usr");
    }
    // the programs in it look for their libraries elsewhere; that is not the question
    assert!(out.stderr.contains("are not yours"), "{out}");
    assert!(!out.stderr.contains("error: cannot"), "{out}");
}

#[test]
fn what_others_write_is_loaded() {
    needs!(images, skopeo);
    let registry = Registry::open();
    let reference = registry.push("loaded:1", &sample());
    let source = format!("docker://{reference}");
    let test = Test::new();
    let at = |name: &str| test.path(name).display().to_string();
    let copy = |target: &str| {
        does(
            &test,
            &["skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false", &source, target],
        );
    };
    copy(&format!("oci:{}:v1", at("layout")));
    copy(&format!("oci-archive:{}:me/oci:1", at("oci.tar")));
    copy(&format!("docker-archive:{}:me/docker:1", at("docker.tar")));

    let digest = digest(&sample().build().manifest);
    for (path, name, same) in [
        ("layout", "localhost/layout:v1", true),
        ("oci.tar", "docker.io/me/oci:1", true),
        ("docker.tar", "docker.io/me/docker:1", false),
    ] {
        test.devbox(["load", &at(path)]).output().ok().prints(name);
        let listed = test.devbox(["images", "--format", "json"]).output().ok().json();
        let image =
            listed.as_array().unwrap().iter().find(|image| image["references"][0] == name).unwrap().clone();
        assert_eq!(image["digest"] == digest.as_str(), same, "{listed}");
        assert_eq!(image["layers"], 3);
    }
    assert_eq!(
        fs::read_dir(test.path("data/devbox/store/layers/sha256")).unwrap().count(),
        3,
        "the same layers"
    );

    // through a pipe, compressed as a whole, under another name
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &fs::read(test.path("docker.tar")).unwrap()).unwrap();
    let other = Test::new();
    other.devbox(["load"]).stdin(gzip.finish().unwrap()).output().ok().prints("docker.io/me/docker:1");
    let plain = fs::read(test.path("oci.tar")).unwrap();
    other.devbox(["load", "--tag", "x:2"]).stdin(plain).output().ok().prints("docker.io/library/x:2");
    other.devbox(["load", "-i", &at("oci.tar")]).output().ok().says(&["here already"]);
    let staging = fs::read_dir(other.path("data/devbox/store/staging")).unwrap().count();
    assert_eq!(staging, 0, "what was piped in is gone");
}

/// umoci ends such a layer with the last file's last byte.
#[test]
fn what_umoci_inserts_is_pulled() {
    needs!(images, umoci);
    let test = Test::new();
    layout(&test, "home/work/img", &sample());
    let image = test.path("home/work/img:v1").display().to_string();
    let insert = |source: &str, target: &str| {
        let rootless = (!Uid::current().is_root()).then_some("--rootless");
        let source = test.path(source).display().to_string();
        let mut command = vec!["umoci", "insert", "--image", &image];
        command.extend(rootless);
        command.extend([&*source, target]);
        does(&test, &command);
    };
    test.write("note", "inserted\n");
    insert("note", "/srv/note");
    test.write("folder/one", "1");
    test.write("folder/two", "22");
    insert("folder", "/srv/folder");
    test.devbox(["pull", "oci:img:v1"]).output().ok();
    test.devbox(["verify"]).output().ok();
    for layer in fs::read_dir(test.path("data/devbox/store/layers/sha256")).unwrap().flatten() {
        if let Ok(text) = fs::read_to_string(layer.path().join("tree/srv/note")) {
            assert_eq!(text, "inserted\n");
            return;
        }
    }
    panic!("no layer has what was inserted");
}

#[test]
fn wrong_input_is_refused_and_leaves_nothing() {
    needs!(images);
    let test = Test::new();
    let folder = layout(&test, "img", &sample());
    let archive = fs::read(packed(&folder)).unwrap();
    for (input, why) in [
        (b"".to_vec(), "standard input is no tar archive"),
        (b"no archive at all".repeat(100), "no tar archive"),
        (archive[..archive.len() / 2].to_vec(), "cut off"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\x03broken".to_vec(), "cannot read standard input"),
    ] {
        test.devbox(["load", "--tag", "a:1"])
            .stdin(input)
            .output()
            .refused(&["cannot load standard input", why]);
    }
    fs::write(test.path("x"), "x").unwrap();
    for (path, why) in [("x", "no tar archive"), ("nothing", "cannot open"), ("home", "no file `oci-layout`")]
    {
        test.devbox(["load", test.path(path).to_str().unwrap()]).output().refused(&[why]);
    }
    test.devbox(["load", folder.to_str().unwrap(), "--tag", &format!("a@{}", digest(b""))])
        .output()
        .refused(&["has a digest"]);
    test.devbox(["images", "--format", "json"]).output().ok().prints("[]");
    assert_eq!(fs::read_dir(test.path("data/devbox/store/staging")).unwrap().count(), 0);
}

#[test]
fn what_is_saved_is_read_by_others() {
    needs!(images, skopeo, umoci);
    let test = Test::new();
    let reference = Registry::open().push("saved:1", &sample());
    let (wanted, config) = (sample().build(), |value: &Value| value["rootfs"]["diff_ids"].clone());
    let diff_ids = config(&serde_json::from_slice(wanted.blobs.last().unwrap()).unwrap());
    test.devbox(["pull", &reference]).output().ok();
    let path = test.path("out.tar").display().to_string();
    // from the registry: nothing changes
    test.devbox(["save", &reference, "-o", &path]).output().ok().prints(&digest(&wanted.manifest));
    let archive = format!("oci-archive:{path}:{reference}");
    assert_eq!(said(&test, &["skopeo", "inspect", &archive])["Digest"], digest(&wanted.manifest).as_str());

    // from files that are gone: packed anew, another manifest, the same diff ids
    let folder = layout(&test, "img", &sample());
    test.devbox(["load", "--tag", "local:1", folder.to_str().unwrap()]).output().ok();
    fs::remove_dir_all(&folder).unwrap();
    let piped =
        test.devbox(["save", "local:1"]).output().ok().says(&["packed anew", "diff ids are the same"]);
    fs::write(&path, &piped.stdout).unwrap();
    let archive = format!("oci-archive:{path}");
    assert_eq!(config(&said(&test, &["skopeo", "inspect", "--config", &archive])), diff_ids);
    does(
        &test,
        &[
            "skopeo",
            "--insecure-policy",
            "copy",
            "-q",
            &archive,
            &format!("oci:{}:v1", test.path("again").display()),
        ],
    );
    let image = format!("{}:v1", test.path("again").display());
    let bundle = test.path("bundle").display().to_string();
    let rootless = if Uid::current().is_root() { "--keep-dirlinks" } else { "--rootless" };
    does(&test, &["umoci", "unpack", rootless, "--image", &image, &bundle]);
    assert_eq!(fs::read_to_string(test.path("bundle/rootfs/srv/a")).unwrap(), "two\n");
    assert!(!test.path("bundle/rootfs/srv/gone").exists());
    let mode = fs::metadata(test.path("bundle/rootfs/srv/mode")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o4755);
    // and back
    test.devbox(["load", "--tag", "back:1", &path]).output().ok().says(&["every layer was here"]);
    // two at once, one blob each
    test.devbox(["save", &reference, "local:1", "-o", &path]).output().ok();
    let two = Test::new();
    let loaded = two.devbox(["load", &path]).output().ok();
    loaded.prints(&format!("{reference}\ndocker.io/library/local:1"));
}

#[test]
fn a_failed_save_leaves_what_was_there() {
    needs!(images);
    let test = Test::new();
    let folder = layout(&test, "img", &sample());
    test.devbox(["load", "--tag", "local:1", folder.to_str().unwrap()]).output().ok();
    let path = test.write("out.tar", "precious").display().to_string();
    test.devbox(["save", "local:1", "nothing:1", "-o", &path]).output().refused(&["no image `nothing:1`"]);
    test.devbox(["save", "local:1", "-o", test.path("home").to_str().unwrap()])
        .output()
        .refused(&["cannot write"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    test.devbox(["save", "local:1", "-o", "/dev/null"]).output().ok();
    assert!(!fs::metadata("/dev/null").unwrap().is_file(), "a device is written to, not replaced");
    std::os::unix::fs::symlink("out.tar", test.path("link.tar")).unwrap();
    test.devbox(["save", "local:1", "-o", test.path("link.tar").to_str().unwrap()]).output().ok();
    assert!(fs::symlink_metadata(test.path("link.tar")).unwrap().is_symlink());
    assert!(fs::metadata(&path).unwrap().len() > 1000, "what the link leads to is replaced");
    let mut killed = test.devbox(["save", "local:1", "-o", &path]).spawn();
    std::thread::sleep(std::time::Duration::from_millis(30));
    if killed.ended(std::time::Duration::ZERO).is_none() {
        killed.signal(nix::sys::signal::Signal::SIGKILL);
    }
    drop(killed);
    let beside = fs::read_dir(test.path("")).unwrap().flatten();
    assert!(!beside.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().contains(".devbox-")));
}

#[test]
fn podman_and_devbox_read_each_other() {
    needs!(images, podman);
    if !Uid::current().is_root() {
        // rootless podman leaves a process behind, and it is the same program
        if std::env::var_os("DEVBOX_TESTS_BOTH").is_none() {
            host::skip("podman is tried as root alone");
        }
        return;
    }
    let test = Test::new();
    let reference = Registry::open().push("podman:1", &sample());
    test.devbox(["pull", &reference]).output().ok();
    // podman takes no more than 50 characters for it
    let short = tempfile::tempdir_in("/tmp").unwrap();
    let (path, root, run) = (test.path("out.tar"), test.path("podman"), short.path());
    let (path, root, run) =
        (path.display().to_string(), root.display().to_string(), run.display().to_string());
    let base = ["podman", "--root", &root, "--runroot", &run, "--storage-driver", "vfs"];
    let podman = |args: &[&str]| test.plain([&base[..], args].concat()).output().ok();
    test.devbox(["save", &reference, "-o", &path]).output().ok();
    podman(&["load", "-q", "-i", &path]).lists(&[&reference]);
    let inspected = podman(&["image", "inspect", &reference]).json();
    let built = sample().build();
    let config: Value = serde_json::from_slice(built.blobs.last().unwrap()).unwrap();
    assert_eq!(inspected[0]["RootFS"]["Layers"], config["rootfs"]["diff_ids"]);
    for format in ["oci-archive", "docker-archive"] {
        fs::remove_file(&path).unwrap();
        podman(&["save", "-q", "--format", format, "-o", &path, &reference]);
        Test::new().devbox(["load", &path]).output().ok().prints(&reference);
        let other = Test::new();
        let saved = fs::read(&path).unwrap();
        other.devbox(["load"]).stdin(saved).output().ok().prints(&reference);
    }
}

#[test]
fn tags_are_further_names() {
    needs!(images);
    let test = Test::new();
    let reference = Registry::open().push("tagged:1", &Image::busybox());
    test.devbox(["pull", &reference]).output().ok();
    test.devbox(["tag", &reference, "a:1", "x.example/b"])
        .output()
        .ok()
        .prints("docker.io/library/a:1\nx.example/b:latest");
    test.devbox(["rmi", &reference]).output().ok();
    let listed = test.devbox(["images", "--format", "json"]).output().ok().json();
    assert_eq!(listed[0]["references"], json!(["docker.io/library/a:1", "x.example/b:latest"]));
    let short = &listed[0]["digest"].as_str().unwrap()[7..19].to_owned();
    test.devbox(["tag", short, "c:1"]).output().ok();
    test.devbox(["tag", "nothing:1", "d:1"]).output().refused(&["no image `nothing:1`"]);
    test.devbox(["tag", "a:1", "D:1"]).output().refused(&["not an image reference"]);
}

#[test]
fn what_is_pushed_is_the_same_elsewhere() {
    needs!(boxes, images);
    let registry = Registry::open();
    let built = sample().build();
    let wanted = digest(&built.manifest);
    let test = Test::new();
    // to another repository of the same registry
    let reference = registry.push("pushed:1", &sample());
    test.devbox(["pull", &reference]).output().ok();
    let copy = registry.reference("pushed/copy:2");
    test.devbox(["push", &reference, &copy]).output().ok().prints(&wanted);
    test.devbox(["push", &reference, &copy]).output().ok().prints(&wanted);
    // to another registry, with a login; layers come from the first
    let locked = Registry::locked().reference("pushed/there:1");
    test.devbox(["push", &reference, &locked])
        .output()
        .refused(&["cannot push", "authentication is required"]);
    let auths = json!({ "auths": { &Registry::locked().address: { "auth": BASIC } } });
    let auth = test.write("auth.json", &auths.to_string()).display().to_string();
    test.devbox(["push", &reference, &locked]).env("REGISTRY_AUTH_FILE", &auth).output().ok().prints(&wanted);
    // from files that are gone: packed anew; the second time it is there
    let folder = layout(&test, "img", &sample().layer("f 644 srv/more m", Packing::Zstd));
    test.devbox(["load", "--tag", "local:1", folder.to_str().unwrap()]).output().ok();
    fs::remove_dir_all(&folder).unwrap();
    let local = registry.reference("pushed/local:1");
    test.devbox(["tag", "local:1", &local]).output().ok();
    let first = test.devbox(["push", &local]).output().ok().says(&["4 layers packed anew"]).text();
    test.devbox(["push", &local]).output().ok().prints(&first);

    for (reference, looks) in
        [(&copy, LOOKS), (&locked, LOOKS), (&local, "two\na\nlink\nmode\nmore\nowned\n2 4755")]
    {
        let other = Test::new();
        let call = other.devbox(["run", "--rm", "--image", reference, "--", "sh", "-c", LOOK]);
        call.env("REGISTRY_AUTH_FILE", &auth).output().ok().prints(looks);
    }
    test.devbox(["push", &wanted]).output().refused(&["does not say where"]);
    test.devbox(["push", &reference, "127.0.0.1:1/a:1"]).output().refused(&["cannot connect"]);
}

#[test]
fn archives_of_other_machines_are_refused() {
    needs!(images);
    let test = Test::new();
    let alien = Image::empty().layer("f 644 srv/a alien", Packing::Plain).architecture("sparc64");
    let folder = layout(&test, "alien", &alien).display().to_string();
    let wanted = format!("not for linux/{}", architecture());
    test.devbox(["load", &folder, "--tag", "a:1"]).output().refused(&[&wanted, "linux/sparc64"]);
    test.devbox(["load", &folder, "--tag", "a:1", "--platform", "linux/sparc64"]).output().ok();
}

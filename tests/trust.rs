//! What a project's file wants beyond its folder: shown, accepted once, listed, taken back, and what an organisation
//! forbids.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::harness::image::tar;
use crate::harness::{Outcome, Pty, Test};

const HOME: &str = "image = \"host\"\nname = \"demo\"\nhome = \"host\"\n";

/// Whether `plan` goes through without a question; nothing is started.
fn asks(test: &Test, folder: &Path) -> bool {
    let said = test.devbox(["trust"]).cwd(folder).output();
    match said.code {
        0 => false,
        _ => {
            said.refused(&["devbox.toml", "--yes"]);
            true
        }
    }
}

#[test]
fn wishes_are_shown_with_why_they_matter() {
    let test = Test::new();
    test.project_file(HOME);
    let home = "shares your home folder";
    test.devbox(["plan"]).output().ok().lists(&[home, "your keys, settings and files are in it"]);
    let wish = &test.devbox(["plan", "--format", "json"]).output().ok().json()["reaches"][0];
    assert_eq!((&wish["kind"], &wish["text"]), (&"home".into(), &home.into()));
    assert!(wish["why"].is_string() && wish["digest"].as_str().unwrap().starts_with("sha256:"), "{wish}");
    test.devbox(["run", "--", "true"]).output().refused(&[home, "your keys", "devbox trust"]);
    test.devbox(["trust"]).output().refused(&[home, "your keys", "devbox trust", "nothing was changed"]);
    assert!(!test.path("data/devbox/trusted").exists());
    test.project_file("image = \"host\"\n");
    test.devbox(["trust"]).output().ok().prints("").says(&["wants nothing beyond"]);
    test.devbox(["trust"]).cwd(test.home()).output().refused(&["no `devbox.toml`"]);
}

#[test]
fn what_is_accepted_is_listed_and_can_be_taken_back() {
    let test = Test::new();
    test.project_file(HOME);
    let file = test.project().join("devbox.toml").display().to_string();
    test.devbox(["trust", "--list"]).output().ok();
    test.devbox(["untrust"]).output().refused(&[&file, "nothing was accepted"]);

    let mut asked = Pty::spawn(&test.devbox(["trust"]));
    asked.screen.expect("your keys");
    asked.line("y", "shares your home folder");
    assert_eq!(asked.wait().code(), Some(0));
    assert!(!asks(&test, &test.project()));

    test.devbox(["trust", "--list"]).output().ok().lists(&[&file, "shares your home folder", "ago"]);
    test.devbox(["-q", "trust", "--list"]).output().ok().prints(&file);
    let list = test.devbox(["trust", "--list", "--format", "json"]).output().ok().json();
    assert_eq!((&list[0]["file"], &list[0]["accepted"][0]["kind"]), (&file.clone().into(), &"home".into()));

    // from a folder below, and even when the file is broken or gone
    let below = test.project().join("src");
    fs::create_dir(&below).unwrap();
    test.project_file("not TOML");
    test.devbox(["untrust"]).cwd(&below).output().ok().prints(&file);
    test.project_file(HOME);
    assert!(asks(&test, &test.project()));
    test.devbox(["--yes", "trust"]).output().ok();
    fs::remove_file(&file).unwrap();
    test.devbox(["untrust", "work"]).cwd(test.home()).output().ok().prints(&file);
    test.project_file(HOME);
    test.devbox(["--yes", "trust"]).output().ok();
    test.devbox(["untrust", "--all"]).output().ok().prints(&file);
    assert!(asks(&test, &test.project()));
}

#[test]
fn it_is_asked_again_only_when_the_wishes_grow() {
    let test = Test::new();
    let with_mounts = |names: &[&str]| {
        let mount = |name: &&str| {
            fs::create_dir_all(test.home().join(name)).unwrap();
            format!("[[mounts]]\nsource = \"~/{name}\"\ntarget = \"/run/{name}\"\nmode = \"ro\"\n")
        };
        test.project_file(&format!("image = \"host\"\n{}", names.iter().map(mount).collect::<String>()));
    };
    with_mounts(&["a", "b"]);
    test.devbox(["--yes", "trust"]).output().ok();
    for (names, asked) in
        [(&["b", "a"][..], false), (&["a"], false), (&[], false), (&["a", "b"], false), (&["a", "c"], true)]
    {
        with_mounts(names);
        assert_eq!(asks(&test, &test.project()), asked, "{names:?}");
    }
    // only what is new is asked about
    let said = test.devbox(["trust"]).output();
    assert!(!said.stderr.contains("home/a") && said.stderr.contains("home/c"), "{said}");
    // what it may do to them counts
    let text = fs::read_to_string(test.project().join("devbox.toml")).unwrap();
    test.project_file(&text.replace("ro", "rw").replace("/c\"", "/a\""));
    assert!(asks(&test, &test.project()));
}

#[test]
fn trust_is_not_inherited() {
    let test = Test::new();
    test.project_file(HOME);
    test.devbox(["--yes", "trust"]).output().ok();
    // the same folder by another way is the same project
    symlink(test.project(), test.home().join("link")).unwrap();
    assert!(!asks(&test, &test.home().join("link")));
    let by_link = ["plan", "--profile", "../link/devbox.toml"];
    test.devbox(by_link).output().ok();
    // a copy, a project that was moved, and a file that is a link are others
    for folder in ["copy", "other"] {
        fs::create_dir(test.home().join(folder)).unwrap();
    }
    fs::write(test.home().join("copy/devbox.toml"), HOME).unwrap();
    symlink(test.project().join("devbox.toml"), test.home().join("other/devbox.toml")).unwrap();
    for folder in ["copy", "other"] {
        assert!(asks(&test, &test.home().join(folder)), "{folder}");
    }
    fs::rename(test.project(), test.home().join("moved")).unwrap();
    fs::create_dir(test.project()).unwrap();
    assert!(asks(&test, &test.home().join("moved")));
    // a link that leads elsewhere by now
    fs::remove_file(test.home().join("link")).unwrap();
    symlink(test.home().join("copy"), test.home().join("link")).unwrap();
    assert!(asks(&test, &test.home().join("link")));
}

/// `devbox` where `/etc/devbox/policy.toml` says `policy`; nothing of this machine is written to. Whoever calls it is
/// root there, as nobody else could have put the file in its place.
fn under_policy(test: &Test, policy: &str, args: &[&str]) -> Outcome {
    test.write("etc/devbox/policy.toml", policy);
    let etc = test.path("etc");
    let script = format!("mount -t overlay -o lowerdir={}:/etc none /etc && exec \"$@\"", etc.display());
    test.under(["unshare", "-Urm", "sh", "-c", &script, "sh"], args).output()
}

#[test]
fn an_organisation_can_forbid() {
    needs!(boxes);
    let test = Test::new();
    test.project_file(HOME);
    let forbid = "reason = \"keys stay on laptops\"\n[forbid]\nhome = true\n";
    let said = ["/etc/devbox/policy.toml", "`forbid.home`", "devbox.toml shares", "keys stay on laptops"];
    for args in [&["plan"][..], &["run", "--", "true"], &["enter"], &["trust"], &["--yes", "trust"]] {
        under_policy(&test, forbid, args).refused(&said);
    }
    assert!(!test.path("data/devbox/trusted").exists(), "it was accepted");
    // what somebody asks for themselves is another thing, unless everyone is meant
    let flags = ["plan", "--home", "host", "host"];
    under_policy(&test, forbid, &flags).ok();
    let everyone = "[forbid.home]\neveryone = true\n";
    under_policy(&test, everyone, &flags).refused(&["`forbid.home`", "the box shares your home folder"]);

    let registries = "registries = [\"registry.invalid/team\"]\n";
    let other = "docker.io/library/debian:12";
    for args in [&["plan", "--image", other][..], &["pull", other], &["run", "--image", other, "--", "true"]]
    {
        under_policy(&test, registries, args).refused(&["registries", other, "registry.invalid/team"]);
    }
    under_policy(&test, registries, &["plan", "--image", "registry.invalid/team/a:1"]).ok();

    // an archive's image is fetched from where the archive says
    let digest = format!("sha256:{}", "0".repeat(64));
    let about = format!(
        "{{\"version\":1,\"many_ids\":false,\"with_image\":false,\"record\":{{\"version\":1,\"name\":\"a\",\"created\":0,\
         \"image\":\"other.invalid/a:1\",\"manifest\":\"{digest}\",\"layers\":[],\"defaults\":{{}},\"profiles\":[],\
         \"project\":null,\"ephemeral\":false,\"user\":null,\"ids\":null}}}}"
    );
    let archive = test.path("a.devbox");
    fs::write(&archive, tar(&format!("f 644 box.json {about}"))).unwrap();
    let import = ["import", archive.to_str().unwrap()];
    under_policy(&test, registries, &import).refused(&[
        "registries",
        "other.invalid/a:1",
        "registry.invalid/team",
    ]);

    // a mistake is no permission
    under_policy(&test, "[forbid]\nhom = true\n", &["plan", "host"]).refused(&[
        "/etc/devbox/policy.toml:2:1",
        "`hom`",
        "`home`",
    ]);
    under_policy(&test, "[forbid", &["plan", "host"]).refused(&["/etc/devbox/policy.toml:1"]);
    let open = ["sh", "-c", "chmod 666 etc/devbox/policy.toml"];
    test.plain(open).cwd(test.path("")).output().ok();
    under_policy(&test, "", &["plan", "host"]).refused(&["policy.toml", "written by others"]);
}

#[test]
fn what_an_untrusted_box_wants_is_a_wish_of_its_own() {
    let test = Test::new();
    test.project_file("image = \"registry.invalid/a:1\"\n[network]\nallow = [\"a.example\"]\n");
    test.devbox(["trust"]).output().ok().says(&["wants nothing beyond"]);
    let run = ["run", "--untrusted", "--", "true"];
    test.devbox(run).output().refused(&["reaches a.example", "send there", "`devbox trust --untrusted`"]);
    test.devbox(["--yes", "trust", "--untrusted"]).output().ok().lists(&["reaches a.example"]);
    test.devbox(["trust", "--untrusted"]).output().ok();
    test.devbox(["trust", "--list"]).output().ok().lists(&["reaches a.example"]);
}

#[test]
fn consent_to_a_set_up_goes_with_what_it_was_given_for() {
    let test = Test::new();
    let set = |image: &str, more: &str| {
        test.project_file(&format!(
            "image = \"registry.invalid/{image}\"\nisolation = \"untrusted\"\n[setup]\n\
             run = [{{ command = \"echo nice\\nsh ./install.sh\", files = [\"install.sh\"] }}]\n{more}"
        ));
    };
    let script = |text: &str| fs::write(test.project().join("install.sh"), text).unwrap();
    set("a:1", "");
    script("make");
    let said = ["registry.invalid/a:1", "echo nice\\nsh ./install.sh", "the file install.sh"];
    test.devbox(["trust"]).output().refused(&said);
    test.devbox(["--yes", "trust"]).output().ok();
    assert!(!asks(&test, &test.project()));
    script("make evil");
    assert!(asks(&test, &test.project()), "the file is another");
    test.devbox(["run", "--", "true"]).output().refused(&["the file install.sh"]);
    script("make");
    assert!(!asks(&test, &test.project()));
    set("b:1", "");
    assert!(asks(&test, &test.project()), "the image is another");
    set("a:1", "cache = \"registry.invalid/cache\"\n");
    assert!(asks(&test, &test.project()), "there is a cache");
    fs::remove_file(test.project().join("install.sh")).unwrap();
    set("a:1", "");
    test.devbox(["trust"]).output().refused(&["install.sh (can't be read)"]);
}

#[test]
fn a_link_that_comes_after_the_question_leads_nowhere() {
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    use std::sync::atomic::{AtomicBool, Ordering};
    needs!(boxes, images);
    let test = Test::busybox();
    let toml = fs::read_to_string(test.project().join("devbox.toml")).unwrap();
    let mount =
        |mode: &str| format!("{toml}[[mounts]]\nsource = \"./data\"\ntarget = \"/mnt\"\nmode = \"{mode}\"\n");
    test.write("home/outside/secret", "s3cret");
    let (data, link) = (test.project().join("data"), test.project().join("link"));
    fs::create_dir(&data).unwrap();
    fs::write(data.join("own"), "mine").unwrap();
    // a link that stays in the folder is as good as what it leads to
    symlink("data", &link).unwrap();
    for mode in ["ro", "overlay"] {
        test.project_file(&mount(mode).replace("./data", "./link"));
        test.sh("cat /mnt/own").ok().prints("mine");
    }
    fs::remove_file(&link).unwrap();
    symlink("../outside", &link).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                renameat2(AT_FDCWD, &data, AT_FDCWD, &link, RenameFlags::RENAME_EXCHANGE).unwrap();
            }
        });
        let taken: Vec<_> = (0..40)
            .filter_map(|round| {
                test.project_file(&mount(["rw", "overlay"][round % 2]));
                let said = test.sh("cat /mnt/secret");
                said.text().contains("s3cret").then_some(said.stderr)
            })
            .collect();
        over.store(true, Ordering::Relaxed);
        assert!(taken.is_empty(), "{taken:?}");
    });
}

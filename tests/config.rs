//! What an image's config says: `Env`, `Entrypoint`, `Cmd`, `WorkingDir`, `User`.

use serde_json::json;

use crate::harness::registry::Registry;
use crate::harness::{Image, Packing, Test, host};

fn image() -> Image {
    Image::busybox()
        .layer("d 755 srv/work\nf 644 srv/work/here x", Packing::Gzip)
        .set(
            "Env",
            json!(["PATH=/opt/bin:/bin:/usr/bin", "FROM=image", "OTHER=image", "LD_PRELOAD=/nowhere.so"]),
        )
        .set("Entrypoint", json!(["/bin/echo", "entry"]))
        .set("Cmd", json!(["and", "command"]))
        .set("WorkingDir", json!("/srv/work"))
        .set("User", json!("app"))
}

#[test]
fn entrypoint_and_cmd_run_when_nothing_is_asked_for() {
    needs!(boxes, images);
    let reference = Registry::open().push("config:1", &image());
    let test = Test::new();
    let run = |rest: &[&str]| {
        let args = [&["run", "--rm", "--image", &reference][..], rest].concat();
        test.devbox(args).output().ok()
    };
    run(&[]).prints("entry and command");
    run(&["--", "pwd"]).prints("/srv/work");
    run(&["--", "sh", "-c", "echo ${PATH#/run/devbox/bin:} $FROM $LD_PRELOAD"])
        .prints("/opt/bin:/bin:/usr/bin image /nowhere.so");
    run(&["-e", "FROM=flag", "--", "sh", "-c", "echo $FROM $OTHER"]).prints("flag image");
    run(&["-w", "/srv", "--", "pwd"]).prints("/srv");
    let nothing = Registry::open().push("config:none", &Image::busybox().set("Cmd", json!(null)));
    test.devbox(["run", "--rm", "--image", &nothing]).output().refused(&["command"]);
}

#[test]
fn the_profile_outranks_the_image() {
    needs!(boxes, images);
    let test = Test::new();
    let reference = Registry::open().push("config:2", &image());
    let toml = format!("image = \"{reference}\"\nname = \"demo\"\n[env]\nFROM = \"profile\"\nEMPTY = \"\"\n");
    test.project_file(&toml);
    test.sh("echo $FROM $OTHER ${EMPTY-unset}; pwd")
        .ok()
        .prints(&format!("profile image\n{}", test.project().display()));
}

#[test]
fn only_named_variables_come_from_the_host() {
    needs!(boxes, images);
    let test = Test::new();
    let reference = Registry::open().push("config:3", &image());
    test.profile(
        "token",
        &format!(
            "image = \"{reference}\"\nname = \"demo\"\n[env-from-host]\nnames = [\"TOKEN\", \"UNSET\"]\n"
        ),
    );
    let script = "echo ${TOKEN-none} ${UNSET-none} ${SECRET-none}";
    let call =
        test.devbox(["run", "token", "--", "sh", "-c", script]).env("TOKEN", "t0ken").env("SECRET", "s3cret");
    call.output().ok().prints("t0ken none none");
}

#[test]
fn the_images_user_under_user_image() {
    needs!(boxes, images);
    if host::left_to_the_user() {
        return;
    }
    needs!(subids);
    let test = Test::new();
    for (user, id) in
        [("app", "1000:1000"), ("1000", "1000:1000"), ("0", "0:0"), ("4:5", "4:5"), ("app:root", "1000:0")]
    {
        let reference = Registry::open().push("config:user", &image().set("User", json!(user)));
        test.profile(
            "as-image",
            &format!("image = \"{reference}\"\nname = \"demo\"\nuser = \"image\"\nids = \"full\"\n"),
        );
        test.devbox(["pull", &reference]).output().ok();
        test.devbox(["run", "as-image", "--", "sh", "-c", "echo $(id -u):$(id -g)"]).output().ok().prints(id);
        test.devbox(["rm", "-f", "demo"]).output().ok();
    }
    let reference = Registry::open().push("config:nobody", &image().set("User", json!("no such")));
    test.profile("as-image", &format!("image = \"{reference}\"\nname = \"demo\"\nuser = \"image\"\n"));
    test.devbox(["run", "as-image", "--", "id"]).output().refused(&["no such"]);
}

//! Profiles: found where they should be, read strictly, refused with file, line, column and a suggestion.

use crate::harness::{Pty, Test};

const BUILT_IN: &[&str] = &["host", "rust-env", "node-env", "python-env", "go-env", "c-env", "debian"];

#[test]
fn built_in_ones_are_listed_and_plan() {
    let test = Test::new();
    test.devbox(["profiles"]).output().ok().lists(BUILT_IN).lists(&["built in"]);
    for name in BUILT_IN {
        let plan = test.devbox(["plan", "--format", "json", name]).output().ok().json();
        assert!(plan["image"].is_string() || plan["image"].is_object(), "{plan}");
    }
}

#[test]
fn faults_are_shown_where_they_are() {
    let test = Test::new();
    for (toml, place, parts) in [
        ("image = \"debian\"\nimgae = 1\n", ":2:1", &["imgae", "image"][..]),
        ("image = 3\n", ":1:9", &["image = 3"]),
        ("this is not TOML\n", ":1:", &["this is not TOML"]),
        ("user = \"me\"\nids = \"double\"\n", ":2:7", &["ids = \"double\"", "single"]),
        ("[[mounts]]\ntarget = \"/x\"\nmode = \"rx\"\n", ":3:8", &["rx", "ro"]),
        ("image = \"de bian\"\n", ":1:9", &["de bian"]),
        ("name = \"../up\"\n", ":1:8", &["../up"]),
        ("image = \"a\"\nimage = \"b\"\n", ":2:1", &["image"]),
        ("extends = [\"nowhere\"]\n", ":1:", &["nowhere"]),
    ] {
        test.project_file(toml);
        let said = test.devbox(["plan"]).output().refused(parts).says(&[&format!("devbox.toml{place}")]);
        assert!(!said.stderr.contains('\u{1b}'), "{said}");
    }
}

#[test]
fn a_set_up_needs_an_image_with_layers() {
    let test = Test::new();
    for image in ["host", "dir:/"] {
        test.project_file(&format!("image = \"{image}\"\n[setup]\npackages = [\"clang\"]\n"));
        test.devbox(["plan", "--yes"]).output().refused(&["[setup] does not go with image", image]);
    }
}

#[test]
fn project_files_are_found_upward_and_not_above_home() {
    let test = Test::new();
    let deep = test.project().join("src/deep");
    std::fs::create_dir_all(&deep).unwrap();
    test.project_file("image = \"host\"\nname = \"from-project\"\n");
    test.devbox(["plan"])
        .cwd(&deep)
        .output()
        .ok()
        .lists(&["from-project", &test.project().display().to_string()]);

    test.write("devbox.toml", "name = \"above-home\"\n");
    std::fs::remove_file(test.project().join("devbox.toml")).unwrap();
    let plan = test.devbox(["plan"]).output().ok();
    assert!(!plan.text().contains("above-home"), "{plan}");
}

#[test]
fn extends_and_layers_add_up() {
    let test = Test::new();
    test.profile("base", "image = \"host\"\nshell = \"dash\"\n[env]\nA = \"base\"\nB = \"base\"\n");
    test.project_file("extends = [\"base\"]\nname = \"top\"\n[env]\nB = \"project\"\n");
    let plan = test.devbox(["plan", "--format", "json", "-e", "C=flag"]).output().ok().json();
    assert_eq!((&plan["name"], &plan["shell"]), (&"top".into(), &"dash".into()));
    assert_eq!(plan["env"], serde_json::json!({ "A": "base", "B": "project", "C": "flag" }));

    test.profile("one", "extends = [\"two\"]\n");
    test.profile("two", "extends = [\"one\"]\n");
    test.devbox(["plan", "one"]).output().refused(&["one", "two"]);
    test.devbox(["plan", "rust-evn"]).output().refused(&["rust-evn", "rust-env"]);
}

#[test]
fn a_project_that_reaches_out_is_refused_without_a_terminal() {
    let test = Test::new();
    test.write("home/.ssh/id", "key");
    for toml in [
        "image = \"host\"\n[[mounts]]\nsource = \"~/.ssh\"\ntarget = \"/mnt\"\nmode = \"ro\"\n",
        "image = \"host\"\nhome = \"host\"\n",
        "image = \"host\"\n[env-from-host]\nnames = [\"TOKEN\"]\n",
    ] {
        test.project_file(toml);
        test.devbox(["run", "--", "true"]).env("TOKEN", "s3cret").output().refused(&["devbox.toml"]);
    }
}

#[test]
fn what_was_accepted_is_not_asked_again_until_it_changes() {
    needs!(boxes);
    let test = Test::new();
    let asks = |path: &str| {
        test.project_file(&format!(
            "image = \"host\"\nname = \"demo\"\n[[mounts]]\nsource = \"{path}\"\ntarget = \"/run/m\"\n"
        ));
    };
    for folder in ["home/a", "home/b", "home/work/inside"] {
        std::fs::create_dir_all(test.path(folder)).unwrap();
    }
    let run = ["run", "--", "echo", "ran"];
    asks("../a");
    let wish = format!("mounts {} (rw) at /run/m", test.home().join("a").display());
    test.devbox(["plan"]).output().ok().lists(&["reaches", &wish]);
    let plan = test.devbox(["plan", "--format", "json"]).output().ok().json();
    assert_eq!(
        (&plan["reaches"][0]["kind"], &plan["reaches"][0]["text"]),
        (&"mount".into(), &wish.clone().into())
    );

    let mut no = Pty::spawn(&test.devbox(run));
    no.screen.expect(&wish);
    no.line("n", "not accepted");
    assert_eq!(no.wait().code(), Some(125));
    test.devbox(run).output().refused(&["devbox.toml", &wish, "--yes"]);

    let mut yes = Pty::spawn(&test.devbox(run));
    yes.line("y", "ran\r");
    yes.wait();
    test.devbox(run).output().ok();

    asks("../b");
    test.devbox(run).output().refused(&["devbox.toml"]);
    test.devbox(["--yes", "run", "--", "true"]).output().ok();
    test.devbox(run).output().ok();

    // a link in the project leads where it leads
    asks("inside");
    test.devbox(run).output().ok();
    asks("link");
    std::os::unix::fs::symlink(test.home().join("c"), test.project().join("link")).unwrap();
    std::fs::create_dir(test.home().join("c")).unwrap();
    test.devbox(run).output().refused(&["devbox.toml", "home/c"]);
}

#[test]
fn a_word_that_is_no_name_may_be_a_command() {
    let test = Test::new();
    test.devbox(["run", "pwd"]).output().refused(&["no profile `pwd`", "`devbox run -- pwd`"]);
    test.devbox(["run", "/bin/true"]).output().refused(&["`devbox run -- /bin/true`"]);
    test.devbox(["run", "rust-evn", "--", "true"]).output().refused(&["did you mean `rust-env`"]);
}

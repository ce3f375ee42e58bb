//! `devbox config`: what a profile comes to, with where each value came from, and the schema editors read.

use std::fs;

use crate::harness::Test;
use crate::harness::host::source;

#[test]
fn the_schema_in_profiles_is_up_to_date() {
    let printed = Test::new().devbox(["config", "schema"]).output().ok();
    let kept = fs::read_to_string(source().join("profiles/devbox.schema.json")).unwrap();
    assert!(printed.text() == kept, "devbox config schema >profiles/devbox.schema.json");
    let schema = printed.json();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(schema["properties"]["mounts"]["items"]["properties"]["mode"]["description"].is_string());
}

#[test]
fn what_is_shown_can_be_used_and_leads_back() {
    let test = Test::new();
    test.profile("base", "image = \"debian\"\n[env]\nA = \"base\"\n");
    test.project_file("extends = [\"base\"]\nname = \"top\"\n[env]\nB = \"$HOME\"\n");
    let shown = test.devbox(["config", "show"]).env("DEVBOX_DRIVER", "").output().ok().text();
    assert!(!shown.contains('#'), "{shown}");
    let plan = |args: &[&str]| {
        let plan = test.devbox([&["plan", "--format", "json"], args].concat()).output().ok().json();
        (plan["image"].clone(), plan["name"].clone(), plan["env"].clone())
    };
    let file = test.write("shown.toml", &shown).display().to_string();
    assert_eq!(plan(&[]), plan(&["--profile", &file]));

    let origins = test.devbox(["config", "show", "--origin"]).output().ok();
    let (base, project) = (test.path("config/devbox/profiles/base.toml"), test.project().join("devbox.toml"));
    for (value, from) in [
        ("image = \"debian\"", format!("{}:1", base.display())),
        ("A = \"base\"", format!("{}:3", base.display())),
        ("B = \"$HOME\"", format!("{}:4", project.display())),
    ] {
        assert!(origins.text().contains(&format!("{value}  # {from}\n")), "{value} {from}: {origins}");
    }
    let json =
        test.devbox(["config", "show", "--format", "json"]).env("DEVBOX_DRIVER", "").output().ok().json();
    assert_eq!(
        json,
        serde_json::json!({ "image": "debian", "name": "top", "env": { "A": "base", "B": "$HOME" } })
    );
    let list = test.devbox(["config", "show", "--origin", "--format", "json"]).env("DEVBOX_DRIVER", "copy");
    let list = list.output().ok().json();
    let of =
        |key: &str| list.as_array().unwrap().iter().find(|setting| setting["key"] == key).unwrap().clone();
    assert_eq!((&of("A")["table"], &of("A")["from"]["line"]), (&"env".into(), &3.into()));
    assert_eq!(
        (&of("driver")["value"], &of("driver")["from"]["place"]),
        (&"copy".into(), &"DEVBOX_DRIVER".into())
    );

    test.devbox(["config", "show", "rust-evn"]).output().refused(&["rust-evn", "rust-env"]);
    test.project_file("imgae = \"x\"\n");
    test.devbox(["config", "show"]).output().refused(&["devbox.toml:1:1", "imgae"]);
}

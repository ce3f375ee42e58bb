//! The table of keys, the reader and the schema say the same.

use super::*;
use crate::profile::document::Document;
use crate::profile::place::Place;
use crate::profile::schema::{Written, read};
use std::collections::BTreeSet;
use std::path::Path;

fn written(text: &str) -> Result<Written, String> {
    let folder = Place::absolute(Path::new("/src/app"));
    let read = read(&Document { file: "devbox.toml", text }, Some(&folder));
    read.map_err(|error| format!("{error}\n{}", error.hint().unwrap_or_default()))
}

/// The words the reader lists as known where it meets one that is not.
fn known(text: &str) -> BTreeSet<String> {
    let error = written(text).unwrap_err();
    let (_, words) = error.split_once("known here: `").unwrap_or_else(|| panic!("{error}"));
    words.trim_end_matches('`').split("`, `").map(str::to_owned).collect()
}

/// Nothing is called like this, nor nearly so.
const UNKNOWN: &str = "zzzzzzzzzzzzzzzzzzzzzzzz";

fn keys_of(prefix: &str) -> BTreeSet<String> {
    let schema = table(prefix);
    schema["properties"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn the_reader_asks_for_the_keys_of_the_table_and_no_others() {
    for (prefix, text) in [
        ("", format!("{UNKNOWN} = 1")),
        ("env-from-host.", format!("[env-from-host]\n{UNKNOWN} = 1")),
        ("mounts[].", format!("[[mounts]]\n{UNKNOWN} = 1")),
        ("network.", format!("[network]\n{UNKNOWN} = 1")),
        ("limits.", format!("[limits]\n{UNKNOWN} = 1")),
        ("setup.", format!("[setup]\n{UNKNOWN} = 1")),
        ("setup.run[].", format!("[[setup.run]]\n{UNKNOWN} = 1")),
    ] {
        assert_eq!(keys_of(prefix), known(&text), "{prefix}");
    }
    let tables: BTreeSet<_> = KEYS
        .iter()
        .filter(|key| matches!(key.kind, Section | Sections | Steps))
        .map(|key| key.path)
        .collect();
    let checked = ["env-from-host", "mounts", "network", "limits", "setup", "setup.run"];
    assert_eq!(tables, checked.into(), "a table no test looks at");
}

#[test]
fn every_word_of_a_choice_is_listed() {
    let mut seen = 0;
    for key in KEYS {
        let Words(words) = key.kind else { continue };
        let text = match key.path.rsplit_once('.') {
            None => format!("{} = \"{UNKNOWN}\"", key.path),
            Some(("mounts[]", name)) => format!("[[mounts]]\n{name} = \"{UNKNOWN}\""),
            Some((section, name)) => format!("[{section}]\n{name} = \"{UNKNOWN}\""),
        };
        let words: BTreeSet<String> = words.iter().map(|word| (*word).to_owned()).collect();
        assert_eq!(known(&text), words, "{}", key.path);
        seen += 1;
    }
    assert_eq!(seen, 6);
}

/// What is wrong with `value` by `schema`; knows every word that [`schema`] uses, and refuses others.
fn check(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{at}: {what}: {value}"));
    for (word, rule) in schema.as_object().unwrap() {
        match word.as_str() {
            "$schema" | "title" | "description" | "examples" | "default" => {}
            "type" => {
                let fits = match rule.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "number" => value.is_number(),
                    other => panic!("type {other}"),
                };
                if !fits {
                    return wrong(&format!("not of type {rule}"));
                }
            }
            "enum" if !rule.as_array().unwrap().contains(value) => return wrong("none of the words"),
            "minLength" if value.as_str().is_some_and(str::is_empty) => return wrong("empty"),
            "pattern" => {
                let pattern = regex::Regex::new(rule.as_str().unwrap()).unwrap();
                if value.as_str().is_some_and(|text| !pattern.is_match(text)) {
                    return wrong("does not match");
                }
            }
            "minimum" if value.as_f64() < rule.as_f64() => return wrong("too small"),
            "maximum" if value.as_f64() > rule.as_f64() => return wrong("too large"),
            "enum" | "minLength" | "minimum" | "maximum" => {}
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(rule, item, &format!("{at}[{index}]"))?;
                }
            }
            "anyOf" => {
                let tried: Vec<_> =
                    rule.as_array().unwrap().iter().map(|rule| check(rule, value, at)).collect();
                if tried.iter().all(Result::is_err) {
                    return wrong(&format!("none of these: {tried:?}"));
                }
            }
            "required" => {
                let missing = |name: &&Value| value.get(name.as_str().unwrap()).is_none();
                if let Some(name) = rule.as_array().unwrap().iter().find(missing) {
                    return wrong(&format!("no {name}"));
                }
            }
            "properties" => {
                for (name, item) in value.as_object().into_iter().flatten() {
                    rule.get(name).map_or(Ok(()), |rule| check(rule, item, &format!("{at}.{name}")))?;
                }
            }
            "propertyNames" => {
                for name in value.as_object().into_iter().flat_map(Map::keys) {
                    check(rule, &json!(name), at)?;
                }
            }
            "additionalProperties" => {
                let named = schema.get("properties").and_then(Value::as_object);
                for (name, item) in value.as_object().into_iter().flatten() {
                    match rule {
                        _ if named.is_some_and(|named| named.contains_key(name)) => {}
                        Value::Bool(false) => return wrong(&format!("unknown key {name}")),
                        rule => check(rule, item, &format!("{at}.{name}"))?,
                    }
                }
            }
            other => panic!("the checker does not know `{other}`"),
        }
    }
    Ok(())
}

fn valid(text: &str) -> Result<(), String> {
    let value: Value = toml::from_str(text).map_err(|error| error.to_string())?;
    check(&schema(), &value, "")
}

#[test]
fn examples_are_taken_by_both() {
    for key in KEYS {
        let Key { path, example, default, description, .. } = key;
        assert!(description.ends_with('.') && !example.is_empty(), "{path}");
        assert_ne!(literal(example), Value::Null, "{path}");
        for value in default.iter().chain([example]) {
            let text = match path.rsplit_once('.') {
                None => format!("{path} = {value}"),
                Some(("setup.run[]", "command")) => format!("[[setup.run]]\ncommand = {value}"),
                Some(("setup.run[]", name)) => format!("[[setup.run]]\ncommand = \"x\"\n{name} = {value}"),
                Some(("mounts[]", "target")) => format!("[[mounts]]\nsource = \"/x\"\ntarget = {value}"),
                Some(("mounts[]", "source")) => format!("[[mounts]]\ntarget = \"/x\"\nsource = {value}"),
                Some(("mounts[]", name)) => {
                    format!("[[mounts]]\ntarget = \"/x\"\nsource = \"/x\"\n{name} = {value}")
                }
                Some((section, name)) => format!("[{section}]\n{name} = {value}"),
            };
            valid(&text).unwrap_or_else(|wrong| panic!("{text}: {wrong}"));
            if let Err(wrong) = written(&text) {
                panic!("{text}: {wrong}");
            }
        }
    }
}

#[test]
fn what_one_refuses_the_other_does() {
    for text in [
        "imgae = \"x\"",
        "image = 1",
        "image = \"\"",
        "extends = \"a\"",
        "extends = [\"A/b\"]",
        "platform = \"amd64\"",
        "name = \"-a\"",
        "user = \"a b\"",
        "ids = \"many\"",
        "driver = \"Overlay\"",
        "workdir = \"\"",
        "shell = \"bash -l\"",
        "hostname = \"a_b\"",
        "env = [\"A=b\"]",
        "[env]\nA = 1",
        "[env]\n\"A-B\" = \"1\"",
        "[env-from-host]\nnames = [\"A=b\"]",
        "[env-from-host]\nname = [\"A\"]",
        "[secrets]\n\"a/b\" = \"x\"",
        "[mounts]\ntarget = \"/x\"",
        "[[mounts]]\nsource = \"/x\"",
        "[[mounts]]\nsource = \"/x\"\ntarget = \"x\"",
        "[[mounts]]\nsource = \"/x\"\ntarget = \"/x\"\noptional = \"yes\"",
        "[network]\nmode = \"bridge\"",
        "[network]\nallow = [\"https://a.example\"]",
        "[network]\nports = [\"a\"]",
        "[network]\nports = [8080]",
        "[limits]\nmemory = 4",
        "[limits]\nmemory = \"4GB\"",
        "[limits]\ncpus = \"2\"",
        "[limits]\ncpus = 0",
        "[limits]\npids = 0",
        "[limits]\ntime = \"30\"",
        "[limits]\ntime = \"\"",
        "[limits]\nfiles = 1",
        "[setup]\nrum = []",
    ] {
        assert!(written(text).is_err(), "the reader takes {text}");
        assert!(valid(text).is_err(), "the schema takes {text}");
    }
}

#[test]
fn built_in_profiles_and_those_of_the_documents_are_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for entry in std::fs::read_dir(root.join("profiles")).unwrap().flatten() {
        if entry.path().extension().is_some_and(|ending| ending == "toml") {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            valid(&text).unwrap_or_else(|wrong| panic!("{}: {wrong}", entry.path().display()));
            seen += 1;
        }
    }
    assert_eq!(seen, 7);
    let pages = std::fs::read_dir(root.join("docs")).unwrap().flatten().map(|entry| entry.path());
    let pages = pages.filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    let texts: String = pages.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let blocks = texts.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    // other files say their names
    let blocks: Vec<_> =
        blocks.filter(|text| !text.starts_with("# /") || text.contains("devbox.toml")).collect();
    assert!(blocks.len() >= 8, "{}", blocks.len());
    for text in blocks {
        valid(text).unwrap_or_else(|wrong| panic!("{wrong} in\n{text}"));
        if let Err(wrong) = written(text) {
            panic!("{wrong} in\n{text}");
        }
    }
}

#[test]
fn the_file_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles/devbox.schema.json");
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(kept == schema(), "devbox config schema >profiles/devbox.schema.json");
}

//! The keys of a profile as a table, and the JSON Schema editors read, made from it. The reader asks for keys by
//! name; tests hold the two together.

use serde_json::{Map, Value, json};

use super::value::{Driver, Home, Ids, Isolation, MountMode, Network};

/// One key, or one table.
struct Key {
    /// Where it stands: `image`, `network.mode`, `mounts[].target`; a table without a key ends in a dot.
    path: &'static str,
    kind: Kind,
    /// What is used where it is left out, as TOML.
    default: Option<&'static str>,
    description: &'static str,
    /// A value, as TOML.
    example: &'static str,
}

/// What a key's value is.
#[derive(Clone, Copy)]
enum Kind {
    /// A table with keys of its own, in this table.
    Section,
    /// An array of such tables.
    Sections,
    /// A string that matches.
    Text(&'static str),
    /// One of some words.
    Words(&'static [&'static str]),
    /// One of some words, or a string that matches.
    WordsOr(&'static [&'static str], &'static str),
    /// An array of strings that match.
    Texts(&'static str),
    /// A whole number in these bounds.
    Whole(u64, u64),
    /// A number in these bounds.
    Number(f64, f64),
    /// True or false.
    Bool,
    /// A table of strings under names that match.
    Map(&'static str),
    /// An array of commands, each a string, or a table.
    Steps,
}

use Kind::{Bool, Map as Names, Number, Section, Sections, Steps, Text, Texts, Whole, Words, WordsOr};

const ANY: &str = ".";
const PROFILE_NAME: &str = "^[a-z0-9][a-z0-9_.-]{0,63}$";
const BOX_NAME: &str = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$";
const VARIABLE: &str = "^[A-Za-z_][A-Za-z0-9_]*$";
const SIZE: &str = "^[0-9]+(\\.[0-9]{1,3})? *([kKmMgGtT]([iI][bB])?|[bB])$";
const TIME: &str = "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$";
const IN_BOX: &str = "^(/|~|\\$\\{project\\})";

const fn key(
    path: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    example: &'static str,
    description: &'static str,
) -> Key {
    Key { path, kind, default, description, example }
}

/// All keys, as docs/profiles.md lists them.
#[rustfmt::skip]
const KEYS: &[Key] = &[
    key("image", WordsOr(&["host"], ANY), Some("\"host\""), "\"docker.io/library/rust:1\"",
        "Where the root comes from: a reference, `host` for this machine's own root, or files: `oci:DIR[:NAME]`, `oci-archive:FILE[:NAME]`, `docker-archive:FILE[:NAME]`, `dir:ROOTFS`. Relative paths are below the profile's folder."),
    key("extends", Texts(PROFILE_NAME), None, "[\"rust-env\"]",
        "Profiles this one begins with, left to right. All keys are taken over but `name`; `[env]` is merged by name, `[[mounts]]` by target."),
    key("platform", Text("^linux/[a-z0-9]+(/[a-z0-9]+)?$"), None, "\"linux/amd64\"",
        "Which image of an index: `linux/ARCHITECTURE[/VARIANT]`. Without it, this machine's."),
    key("name", Text(BOX_NAME), None, "\"app\"",
        "Name of the box: letters, digits, `_`, `.` and `-`, at most 64. Without it, the profile's, or the project folder's."),
    key("user", WordsOr(&["me", "root", "image"], "^[A-Za-z0-9_.$][A-Za-z0-9_.$-]{0,127}(:[A-Za-z0-9_.$][A-Za-z0-9_.$-]{0,127})?$"), Some("\"me\""), "\"image\"",
        "Who sessions run as: `me`, `root`, `image` (the image's `User`), or `NAME`, `UID`, `NAME:GROUP`, `UID:GID` of the image. `root` by default with `ids = \"full\"`."),
    key("ids", Words(Ids::WORDS), Some("\"auto\""), "\"single\"",
        "How users map: `single` is one id and needs nothing, `full` all of them by subordinate ids."),
    key("driver", Words(Driver::WORDS), Some("\"auto\""), "\"overlay\"",
        "How layers and the box's own files become a root: the kernel's overlay, fuse-overlayfs, or a copy. Not with `image = \"host\"`."),
    key("isolation", Words(Isolation::WORDS), Some("\"dev\""), "\"untrusted\"",
        "`dev` is for your own work. `untrusted` is for code you do not trust: no network, no rights, and what it writes to the project stays in the box."),
    key("home", Words(Home::WORDS), Some("\"private\""), "\"none\"",
        "What stands at the home folder: one kept with the box, your own (asked about once), or an empty one in memory."),
    key("workdir", Text(ANY), Some("\".\""), "\"app\"",
        "The project folder, relative to the folder of `devbox.toml`."),
    key("shell", Text("^(/\\S*|[^/\\s]+)$"), None, "\"bash\"",
        "What `enter` runs: a name or an absolute path in the box. Without it your login shell, `bash` or `sh`, the first that is there."),
    key("hostname", Text("^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$"), None, "\"app\"",
        "Host name in the box, at most 64 characters. Without it, the box's name."),
    key("ssh-agent", Texts(ANY), None, "[\"me@laptop\"]",
        "Keys of your ssh-agent that may be used: fingerprints or comments, as `ssh-add -l` lists them. Asked about once."),
    key("env", Names(VARIABLE), None, "{ RUST_BACKTRACE = \"1\" }",
        "Variables of each session, by name, with their values."),
    key("env-from-host", Section, None, "{ names = [\"GITHUB_TOKEN\"] }",
        "Variables taken over from the host."),
    key("env-from-host.names", Texts(VARIABLE), None, "[\"GITHUB_TOKEN\"]",
        "Names alone, never values. Unset ones are left out; values are neither printed nor recorded. Asked about once."),
    key("secrets", Names(BOX_NAME), None, "{ npmrc = \"~/.npmrc\" }",
        "Files of the host that stand at `/run/secrets/NAME`, to be read. Asked about once."),
    key("mounts", Sections, None, "[{ target = \"/scratch\", mode = \"tmpfs\" }]",
        "Further files and folders in the box. Those outside of the project are asked about once."),
    key("mounts[].target", Text(IN_BOX), None, "\"/data\"",
        "Where it stands in the box: absolute, or below `~` or `${project}`. Needed."),
    key("mounts[].source", Text(ANY), None, "\"~/data\"",
        "What stands there: a path on the host, relative ones below the profile's folder; `~/` and `${project}/` at the beginning are expanded. For `cache` a name of lower-case letters, digits and `-`. None for `tmpfs`."),
    key("mounts[].mode", Words(MountMode::WORDS), Some("\"rw\""), "\"ro\"",
        "What writes do: `rw` they reach the host, `ro` they are refused, `overlay` they stay in the box, `tmpfs` memory that ends with the box, `cache` a folder kept by devbox and shared by all boxes that name it."),
    key("mounts[].optional", Bool, Some("false"), "true",
        "Leave the mount out, with a note, when the source is missing."),
    key("network", Section, None, "{ mode = \"private\" }",
        "What the box can reach, and what can reach it."),
    key("network.mode", Words(Network::WORDS), None, "\"private\"",
        "`host`: this machine's network; `none`: loopback alone; `private`: one of its own. Without it `host`, `none` with `isolation = \"untrusted\"`, `private` with `allow`."),
    key("network.allow", Texts("^[^\\s/]+$"), None, "[\"registry.npmjs.org\", \"*.example.org:443\"]",
        "All that the box may connect to: `HOST[:PORT]`, `*.DOMAIN[:PORT]`, addresses. Without a port, 80 and 443."),
    key("network.ports", Texts("^(\\S+:)?[0-9]{1,5}(/tcp)?$"), None, "[\"8080:80\"]",
        "Ports of this machine that lead into the box, by TCP: `[ADDRESS:]PORT:BOX_PORT`; on 127.0.0.1 without an address."),
    key("limits", Section, None, "{ memory = \"4GiB\" }",
        "What the box may use."),
    key("limits.memory", Text(SIZE), None, "\"4GiB\"",
        "Most memory of all its processes together, at least `16MiB`."),
    key("limits.cpus", Number(0.01, 8_388.608), None, "2",
        "Most processors; `0.5` is half of one."),
    key("limits.pids", Whole(1, 1 << 22), None, "500",
        "Most processes and threads at a time."),
    key("limits.time", Text(TIME), None, "\"1h30m\"",
        "How long a session may last: numbers with `d`, `h`, `m` and `s`."),
    key("limits.files", Whole(16, 1 << 30), None, "4096",
        "Most open files of each process."),
    key("limits.disk", Text(SIZE), None, "\"10GiB\"",
        "Most of the disk that the box's own files take."),
    key("limits.strict", Bool, Some("false"), "true",
        "Do not start when a limit can't be held exactly."),
    key("setup", Section, None, "{ packages = [\"clang\"] }",
        "What is done once to the image, as root of a clean box. The result is a layer, shared by all boxes that ask for the same."),
    key("setup.packages", Texts("^[A-Za-z0-9@][A-Za-z0-9+._:=~@/-]*$"), None, "[\"clang\", \"pkg-config\"]",
        "Packages, installed by what the image has: apt, dnf, apk, pacman or zypper. They are one step, before those of `run`."),
    key("setup.run", Steps, None, "[\"rustup component add clippy\"]",
        "Commands, each a step, run by `sh -c` without the project; what changes re-runs itself and what comes after. A table names files of the project that the command sees: `{ command = \"…\", files = [\"…\"] }`."),
    key("setup.run[].command", Text("\\S"), None, "\"pip install -r requirements.txt\"",
        "What `sh -c` runs. Needed."),
    key("setup.run[].files", Texts(ANY), None, "[\"requirements.txt\"]",
        "Files of the project that stand in the command's working folder. Their content is a part of the key."),
    key("setup.env", Names(VARIABLE), None, "{ PIP_INDEX_URL = \"https://pypi.example/simple\" }",
        "Variables of the steps, by name, with their values."),
    key("setup.cache", Text(ANY), None, "\"registry.example/team/app-cache\"",
        "A repository that results are fetched from and pushed to, by key."),
];

/// A key as people look it up.
#[derive(Debug, Clone, Copy)]
pub struct Described {
    /// Where it stands: `image`, `network.mode`, `mounts[].target`.
    pub path: &'static str,
    /// What it means, in Markdown.
    pub description: &'static str,
    /// What is used where it is left out, as TOML.
    pub default: Option<&'static str>,
    /// A value, as TOML.
    pub example: &'static str,
}

/// All keys there are, in the order they are written.
pub fn described() -> impl Iterator<Item = Described> {
    KEYS.iter().map(|Key { path, default, description, example, .. }| Described {
        path,
        description,
        default: *default,
        example,
    })
}

/// The JSON Schema (draft 2020-12) of `devbox.toml` and of every other profile.
pub fn schema() -> Value {
    let mut schema = table("");
    let head = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "devbox.toml",
        "description": "A devbox profile: what a box is made of. Every key may be left out.",
    });
    if let (Some(schema), Value::Object(head)) = (schema.as_object_mut(), head) {
        schema.extend(head);
    }
    schema
}

/// The table whose keys' paths begin with `prefix`.
fn table(prefix: &str) -> Value {
    let own = |key: &&Key| {
        let rest = key.path.strip_prefix(prefix).unwrap_or_default();
        !rest.is_empty() && !rest.contains(['.', '['])
    };
    let properties: Map<String, Value> =
        KEYS.iter().filter(own).map(|key| (key.path[prefix.len()..].to_owned(), property(key))).collect();
    let mut table = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    // marked as such for readers, too
    let needed: Vec<_> =
        KEYS.iter().filter(own).filter(|key| key.description.ends_with(" Needed.")).collect();
    if !needed.is_empty() {
        let names: Vec<_> = needed.iter().map(|key| &key.path[prefix.len()..]).collect();
        table["required"] = json!(names);
    }
    table
}

fn property(key: &Key) -> Value {
    let text = |pattern: &str| json!({ "type": "string", "minLength": 1, "pattern": pattern });
    let mut value = match key.kind {
        Section => table(&format!("{}.", key.path)),
        Sections => json!({ "type": "array", "items": table(&format!("{}[].", key.path)) }),
        Text(pattern) => text(pattern),
        Words(words) => json!({ "type": "string", "enum": words }),
        WordsOr(words, pattern) => json!({ "anyOf": [{ "enum": words }, text(pattern)] }),
        Texts(pattern) => json!({ "type": "array", "items": text(pattern) }),
        Whole(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Number(least, most) => json!({ "type": "number", "minimum": least, "maximum": most }),
        Bool => json!({ "type": "boolean" }),
        Names(pattern) => json!({
            "type": "object",
            "propertyNames": { "pattern": pattern },
            "additionalProperties": { "type": "string" },
        }),
        Steps => {
            let steps = [text("\\S"), table(&format!("{}[].", key.path))];
            json!({ "type": "array", "items": { "anyOf": steps } })
        }
    };
    value["description"] = json!(key.description);
    value["examples"] = json!([literal(key.example)]);
    if let Some(default) = key.default {
        value["default"] = literal(default);
    }
    value
}

/// The value that `toml` writes.
fn literal(toml: &str) -> Value {
    let document: Result<Map<String, Value>, _> = toml::from_str(&format!("value = {toml}"));
    document.ok().and_then(|mut document| document.remove("value")).unwrap_or_default()
}

#[cfg(test)]
mod tests;

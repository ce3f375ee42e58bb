//! A merged profile setting by setting, each with the file and line it came from.
//!
//! Nothing of this is kept when a profile is read to be used: the files are read again, merged by the same rules, and
//! each value of the result is looked for in the last of them that has it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use toml::Value;
use toml::de::{DeTable, DeValue};

use super::error::Error;
use super::load::{Places, Text};
use super::setup::{Action, Setup};
use super::{Found, Profile, Selector, Source, Variable, merge};
use crate::dirs::Dirs;
use crate::limits::Limit;

/// One value of a profile.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Setting {
    /// The table it stands in; empty at the top.
    pub table: &'static str,
    /// Its key in that table; those of lists come once for each item.
    pub key: String,
    /// The value, or the item of a list, as a profile would say it.
    pub value: Value,
    /// Whether it is one of a list.
    pub is_item: bool,
    /// Where it came from.
    pub from: Whence,
}

/// Where a setting came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Whence {
    /// A file's path, `built in`, or what else had the word.
    pub place: String,
    /// The profile's name; none when it was no profile.
    pub profile: Option<String>,
    /// Counted from 1; none when it was no file.
    pub line: Option<usize>,
}

/// All settings of the profile `selector` wants, in the order in which profiles are written. Reads what
/// [`find`](super::find) reads.
pub fn settings(dirs: &Dirs, selector: &Selector, cwd: &Path) -> Result<Vec<Setting>, Error> {
    of(&Places::of(dirs), selector, cwd)
}

fn of(places: &Places, selector: &Selector, cwd: &Path) -> Result<Vec<Setting>, Error> {
    let Some(located) = places.locate(selector, cwd)? else { return Ok(Vec::new()) };
    let layers = merge::layers(places, located.text)?;
    let merged =
        layers.iter().fold(Found::default().profile, |base, (_, top)| merge::over(base, top.clone()));
    let own: Vec<_> = layers.iter().map(|(text, profile)| (text, entries(profile))).collect();
    let mut settings: Vec<Setting> = Vec::new();
    for entry in entries(&merged) {
        let same = own.iter().flat_map(|(text, entries)| entries.iter().map(move |other| (text, other)));
        let mut same = same.filter(|(_, other)| other.is_same(&entry));
        // of two the later counts; but the same command twice is two steps
        let is_step = (entry.table, entry.key.as_str()) == ("setup", "run");
        let found = match is_step {
            true => same.nth(settings.iter().filter(|other| entry.is(other)).count()),
            false => same.next_back(),
        };
        let from = found.map(|(text, entry)| origin(text, entry)).unwrap_or_default();
        let Entry { table, key, value, index } = entry;
        let is_item = index.is_some();
        settings.retain(|other| {
            let same = other.table == table && other.key == key;
            !(is_item
                && same
                && !is_step
                && (other.value == value || key == "mounts" && target(&other.value) == target(&value)))
        });
        settings.push(Setting { table, key, value, is_item, from });
    }
    Ok(settings)
}

/// One value of one file.
#[derive(Debug)]
struct Entry {
    table: &'static str,
    key: String,
    value: Value,
    /// Which item of its list it is.
    index: Option<usize>,
}

impl Entry {
    fn is(&self, setting: &Setting) -> bool {
        self.table == setting.table && self.key == setting.key && self.value == setting.value
    }

    fn is_same(&self, other: &Self) -> bool {
        self.table == other.table && self.key == other.key && self.value == other.value
    }
}

fn target(mount: &Value) -> Option<&Value> {
    mount.get("target")
}

/// What `profile` says, value by value.
fn entries(profile: &Profile) -> Vec<Entry> {
    // exhaustive, so that no new key is forgotten
    let Profile {
        image,
        platform,
        name,
        user,
        ids,
        driver,
        isolation,
        home,
        workdir,
        shell,
        hostname,
        env,
        mounts,
        network,
        limits,
        allow,
        ports,
        secrets,
        ssh_agent,
        setup,
    } = profile;
    let mut entries = Vec::new();
    let mut add = |table, key: &str, index, value| {
        entries.push(Entry { table, key: key.to_owned(), value, index });
    };
    let texts = [
        ("image", image.as_ref().map(ToString::to_string)),
        ("platform", platform.clone()),
        ("name", name.clone()),
        ("user", user.as_ref().map(ToString::to_string)),
        ("ids", ids.as_ref().map(ToString::to_string)),
        ("driver", driver.as_ref().map(ToString::to_string)),
        ("isolation", isolation.as_ref().map(ToString::to_string)),
        ("home", home.as_ref().map(ToString::to_string)),
        ("workdir", workdir.as_ref().map(ToString::to_string)),
        ("shell", shell.clone()),
        ("hostname", hostname.clone()),
    ];
    for (key, value) in texts {
        value.into_iter().for_each(|value| add("", key, None, Value::String(value)));
    }
    for (index, key) in ssh_agent.iter().enumerate() {
        add("", "ssh-agent", Some(index), Value::String(key.clone()));
    }
    for (name, variable) in env {
        if let Variable::Literal(value) = variable {
            add("env", name, None, Value::String(value.clone()));
        }
    }
    let from_host = env.iter().filter(|(_, variable)| **variable == Variable::FromHost);
    for (index, (name, _)) in from_host.enumerate() {
        add("env-from-host", "names", Some(index), Value::String(name.clone()));
    }
    for (name, file) in secrets {
        add("secrets", name, None, Value::String(file.to_string()));
    }
    if let Some(mode) = network {
        add("network", "mode", None, Value::String(mode.to_string()));
    }
    for (index, entry) in allow.iter().enumerate() {
        add("network", "allow", Some(index), Value::String(entry.to_string()));
    }
    for (index, port) in ports.iter().enumerate() {
        add("network", "ports", Some(index), Value::String(port.to_string()));
    }
    for (limit, amount) in &limits.amounts {
        let whole = |amount: u64| Value::Integer(i64::try_from(amount).unwrap_or(i64::MAX));
        let value = match limit {
            Limit::Memory | Limit::Disk | Limit::Time => Value::String(limit.shown(*amount)),
            Limit::Cpus if amount.is_multiple_of(1000) => whole(amount / 1000),
            Limit::Cpus => Value::Float(*amount as f64 / 1000.0),
            Limit::Pids | Limit::Files => whole(*amount),
        };
        add("limits", limit.word(), None, value);
    }
    if let Some(strict) = limits.strict {
        add("limits", "strict", None, Value::Boolean(strict));
    }
    set_up(setup, &mut add);
    for (index, mount) in mounts.iter().enumerate() {
        let mut table = toml::Table::new();
        let source = match &mount.source {
            Source::Memory => None,
            Source::Cache(name) => Some(name.clone()),
            Source::Host(place) => Some(place.to_string()),
        };
        table.extend(source.map(|source| ("source".to_owned(), Value::String(source))));
        table.insert("target".to_owned(), Value::String(mount.target.to_string()));
        table.insert("mode".to_owned(), Value::String(mount.mode.to_string()));
        if mount.optional {
            table.insert("optional".to_owned(), Value::Boolean(true));
        }
        add("", "mounts", Some(index), Value::Table(table));
    }
    entries
}

/// What `[setup]` says, as one file would: all packages before all commands, and variables as the last file that has
/// them.
fn set_up(setup: &Setup, add: &mut impl FnMut(&'static str, &str, Option<usize>, Value)) {
    let (mut packages, mut commands) = (0.., 0..);
    let mut steps: Vec<_> = setup.steps.iter().collect();
    steps.sort_by_key(|step| matches!(step.action, Action::Run(_)));
    for step in steps {
        match &step.action {
            Action::Packages(names) => {
                for (name, index) in names.iter().zip(&mut packages) {
                    add("setup", "packages", Some(index), Value::String(name.clone()));
                }
            }
            Action::Run(command) => {
                let command = Value::String(command.clone());
                let files: Vec<_> =
                    step.files.iter().map(|file| Value::String(file.name.display().to_string())).collect();
                let value = match files.is_empty() {
                    true => command,
                    false => Value::Table(
                        [("command".to_owned(), command), ("files".to_owned(), Value::Array(files))]
                            .into_iter()
                            .collect(),
                    ),
                };
                add("setup", "run", commands.next(), value);
            }
        }
    }
    setup.cache.iter().for_each(|cache| add("setup", "cache", None, Value::String(cache.clone())));
    let env: BTreeMap<_, _> = setup.steps.iter().flat_map(|step| &step.env).collect();
    for (name, value) in env {
        add("setup.env", name, None, Value::String(value.clone()));
    }
}

fn origin(text: &Text, entry: &Entry) -> Whence {
    let line = |at: usize| text.text[..at].matches('\n').count() + 1;
    Whence {
        place: text.origin.from.clone(),
        profile: Some(text.origin.name.clone()),
        line: place(&text.text, entry).map(line),
    }
}

/// Where in `text` the entry is written, in bytes.
fn place(text: &str, entry: &Entry) -> Option<usize> {
    let top = DeTable::parse(text).ok()?.into_inner();
    let mut table = &top;
    for part in entry.table.split('.').filter(|part| !part.is_empty()) {
        let DeValue::Table(inner) = table.get(part)?.get_ref() else { return None };
        table = inner;
    }
    // who names hosts to allow has said `private`
    let key = if entry.key == "mode" && !table.contains_key("mode") { "allow" } else { &entry.key };
    let (name, value) = table.get_key_value(key)?;
    let (Some(index), DeValue::Array(items)) = (entry.index, value.get_ref()) else {
        return Some(name.span().start);
    };
    // names have no order of their own
    let named = |item: &&toml::Spanned<DeValue<'_>>| item.get_ref().as_str() == entry.value.as_str();
    let item = match entry.table {
        "env-from-host" => items.iter().find(named),
        _ => items.get(index),
    };
    Some(item?.span().start)
}

/// The settings as TOML that is a profile again; with `origins`, each with where it came from behind it.
pub fn to_toml(settings: &[Setting], origins: bool) -> String {
    let mut text = String::new();
    let comment = |setting: &Setting| match origins {
        true => format!("  # {}", setting.from),
        false => String::new(),
    };
    let mut rest = settings;
    let mut table = "";
    while let Some(first) = rest.first() {
        if let ("mounts", Value::Table(keys)) = (first.key.as_str(), &first.value) {
            let blank = if text.is_empty() { "" } else { "\n" };
            text += &format!("{blank}[[{}]]{}\n", first.key, comment(first));
            // as people write them
            for key in ["source", "target", "mode", "optional"] {
                text +=
                    &keys.get(key).map(|value| format!("{key} = {}\n", literal(value))).unwrap_or_default();
            }
            rest = &rest[1..];
            continue;
        }
        if first.table != table {
            table = first.table;
            let blank = if text.is_empty() { "" } else { "\n" };
            text += &format!("{blank}[{table}]\n");
        }
        let is_bare = first.key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        let key = if is_bare { first.key.clone() } else { quote(&first.key) };
        if !first.is_item {
            text += &format!("{key} = {}{}\n", literal(&first.value), comment(first));
            rest = &rest[1..];
            continue;
        }
        let same = |other: &&Setting| other.is_item && other.table == first.table && other.key == first.key;
        let count = rest.iter().take_while(same).count();
        text += &format!("{key} = [\n");
        for item in &rest[..count] {
            text += &format!("  {},{}\n", literal(&item.value), comment(item));
        }
        text += "]\n";
        rest = &rest[count..];
    }
    text
}

/// `devbox.toml:3`, or `built in rust-env:12`; without anything that could end a comment.
impl std::fmt::Display for Whence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { place, profile, line } = self;
        write!(f, "{}", place.escape_debug())?;
        if let Some(profile) = profile.as_ref().filter(|_| !place.starts_with('/')) {
            write!(f, " {}", profile.escape_debug())?;
        }
        line.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}

fn literal(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        Value::Array(items) => format!("[{}]", items.iter().map(literal).collect::<Vec<_>>().join(", ")),
        Value::Table(keys) => {
            let keys = keys.iter().map(|(key, value)| format!("{key} = {}", literal(value)));
            format!("{{ {} }}", keys.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// A basic string, in which only letters, digits and what a keyboard has stand as they are: the rest might not
/// reach a terminal unchanged.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            ' '..='~' => quoted.push(letter),
            _ if letter.is_alphanumeric() => quoted.push(letter),
            _ => quoted += &format!("\\U{:08X}", u32::from(letter)),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests;

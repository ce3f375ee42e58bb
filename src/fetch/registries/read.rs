//! Which files say it, and how they go together (containers-registries.conf.d(5)): the main file, then drop-ins by
//! name, the system's before the user's; later ones win. A main file of the user's leaves the system's out.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Mode, Registries, Table};
use crate::dirs::{Dirs, variable};
use crate::fetch::error::Fault;
use crate::fetch::file;

/// One file. Keys we know nothing of are another tool's.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Text {
    unqualified_search_registries: Option<Vec<String>>,
    short_name_mode: Option<String>,
    registry: Vec<Table>,
    aliases: BTreeMap<String, String>,
    credential_helpers: Option<Vec<String>>,
    /// Version 1.
    registries: Option<toml::Table>,
}

impl Registries {
    /// Reads all files there are.
    pub fn read(dirs: &Dirs) -> Result<Self, Fault> {
        let (user, system) = (dirs.containers(), Path::new("/etc/containers"));
        let explicit = variable("CONTAINERS_REGISTRIES_CONF").filter(|value| !value.is_empty());
        let own = user.join("registries.conf");
        let (main, drop_ins) = match explicit.map(PathBuf::from) {
            Some(path) => (Some(path), vec![system, &user]),
            None if own.exists() => (Some(own), vec![user.as_path()]),
            None => (Some(system.join("registries.conf")).filter(|path| path.exists()), vec![system, &user]),
        };
        let mut files = Vec::from_iter(main);
        for folder in drop_ins {
            files.extend(confs(&folder.join("registries.conf.d"))?);
        }
        let mut all = Self::default();
        for path in files {
            let bytes = file::read(&path).map_err(|error| unusable(&path, &error))?;
            let text = str::from_utf8(&bytes).map_err(|error| unusable(&path, &error))?;
            all.add(text).map_err(|why| unusable(&path, &why))?;
        }
        Ok(all)
    }

    /// What these texts say, one file each.
    #[cfg(test)]
    pub(super) fn of_texts(texts: &[&str]) -> Result<Self, String> {
        let mut all = Self::default();
        texts.iter().try_for_each(|text| all.add(text)).map(|()| all)
    }

    fn add(&mut self, text: &str) -> Result<(), String> {
        let file: Text = toml::from_str(text).map_err(|error| match error.span() {
            Some(span) => format!("line {}: {}", text[..span.start].lines().count().max(1), error.message()),
            None => error.message().to_owned(),
        })?;
        if file.registries.is_some() {
            return Err(
                "it is of version 1, which is not read any more: see containers-registries.conf(5)".into()
            );
        }
        if let Some(search) = file.unqualified_search_registries {
            self.search = search;
        }
        if let Some(mode) = file.short_name_mode.filter(|mode| !mode.is_empty()) {
            self.mode = mode.parse::<Mode>()?;
        }
        if let Some(helpers) = file.credential_helpers {
            self.helpers = Some(helpers);
        }
        let mut tables = Vec::new();
        for table in file.registry {
            tables.push(checked(table)?);
        }
        self.tables.retain(|old| tables.iter().all(|new| new.prefix != old.prefix));
        self.tables.extend(tables);
        for (name, target) in file.aliases {
            match target.as_str() {
                "" => drop(self.aliases.remove(&name)),
                _ => drop(self.aliases.insert(name, target)),
            }
        }
        Ok(())
    }
}

/// The table with its prefix, when it makes sense.
fn checked(mut table: Table) -> Result<Table, String> {
    for text in [&mut table.prefix, &mut table.location]
        .into_iter()
        .chain(table.mirror.iter_mut().map(|mirror| &mut mirror.location))
    {
        if text.contains("://") {
            return Err(format!(
                "`{}` is an address; a name without `https://` is wanted",
                text.escape_debug()
            ));
        }
        text.truncate(text.trim_end_matches('/').len());
    }
    if table.prefix.is_empty() {
        table.prefix.clone_from(&table.location);
    }
    let wild = table.prefix.starts_with("*.");
    let why = if table.prefix.is_empty() {
        "a [[registry]] has neither `prefix` nor `location`"
    } else if table.prefix.contains('*') && (!wild || table.prefix[1..].contains(['*', '/'])) {
        "`*` stands only at the beginning of a prefix, for parts of the host: `*.example.com`"
    } else if table.location.is_empty() && !wild {
        "its `location` is missing, which only a prefix like `*.example.com` may lack"
    } else if table.mirror.iter().any(|mirror| mirror.location.is_empty()) {
        "a mirror has no `location`"
    } else if table.mirror_by_digest_only
        && table.mirror.iter().any(|mirror| mirror.pull_from_mirror.is_some())
    {
        "`mirror-by-digest-only` and `pull-from-mirror` exclude each other"
    } else {
        return Ok(table);
    };
    match table.prefix.as_str() {
        "" => Err(why.to_owned()),
        prefix => Err(format!("[[registry]] `{}`: {why}", prefix.escape_debug())),
    }
}

/// The files `*.conf` in a folder that may not be there, by name.
fn confs(folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    let entries = match folder.read_dir() {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unusable(folder, &error)),
    };
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "conf") && path.is_file());
    files.sort_unstable();
    Ok(files)
}

fn unusable(path: &Path, why: &dyn Display) -> Fault {
    Fault::Settings { place: path.to_owned(), why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn later_files_win() {
        let first = r#"
            unqualified-search-registries = ["one.example", "two.example"]
            short-name-mode = "enforcing"
            [[registry]]
            location = "a.example"
            insecure = true
            [[registry]]
            location = "b.example"
            [aliases]
            x = "one.example/x"
            y = "one.example/y"
        "#;
        let second = r#"
            unqualified-search-registries = []
            something-new = 1
            [[registry]]
            prefix = "a.example"
            location = "moved.example"
            [aliases]
            x = ""
            z = "z.example/z"
        "#;
        let all = Registries::of_texts(&[first, second]).unwrap();
        assert_eq!(all.search, [""; 0]);
        assert_eq!(all.mode, Mode::Enforcing);
        let tables: Vec<_> = all.tables.iter().map(|table| (&*table.prefix, &*table.location)).collect();
        assert_eq!(tables, [("b.example", "b.example"), ("a.example", "moved.example")]);
        assert_eq!(all.aliases.into_keys().collect::<Vec<_>>(), ["y", "z"]);
    }

    #[test]
    fn mistakes() {
        for (text, words) in [
            ("short-name-mode = \"strict\"", "`strict`"),
            ("[[registry]]\ninsecure = true", "neither"),
            ("[[registry]]\nprefix = \"a.example\"", "location"),
            ("[[registry]]\nprefix = \"a.*.example\"\nlocation = \"x.example\"", "`*` stands"),
            ("[[registry]]\nprefix = \"*.a.example/b\"", "`*` stands"),
            ("[[registry]]\nlocation = \"https://a.example\"", "an address"),
            ("[[registry]]\nlocation = \"a.example\"\n[[registry.mirror]]\ninsecure = true", "mirror has no"),
            ("\n\n[[registry]]\nlocation = 3", "line 4"),
            ("[registries.search]\nregistries = []", "version 1"),
            ("x = ", "line 1"),
        ] {
            let why = Registries::of_texts(&[text]).unwrap_err();
            assert!(why.contains(words), "{text}: {why}");
        }
    }

    #[test]
    fn drop_ins_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["20.conf", "10.conf", "x.conf.bak", "README"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::create_dir(folder.path().join("dir.conf")).unwrap();
        let names: Vec<_> = confs(folder.path()).unwrap();
        let names: Vec<_> = names.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["10.conf", "20.conf"]);
        assert!(confs(&folder.path().join("missing")).unwrap().is_empty());
    }
}

//! `[setup]`: what is done once to an image, before boxes are made of it.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::Serialize;
use toml::Spanned;
use toml::de::DeValue;

use super::document::{Document, Item, Section};
use super::error::Error;
use super::grammar::{self, BadValue, quoted};
use super::place::Place;
use crate::oci::reference::Reference;

/// Most steps of one profile and what it extends; each is a layer.
const MOST_STEPS: usize = 64;

/// What `[setup]` asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Setup {
    /// In order; those of the profiles it extends come first.
    pub steps: Vec<Step>,
    /// The repository results are fetched from and pushed to.
    pub cache: Option<String>,
}

/// One step, which becomes a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// Variables it sees besides the image's.
    pub env: BTreeMap<String, String>,
    /// Files it sees in its working folder.
    pub files: Vec<NamedFile>,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Installs these with the image's package manager.
    Packages(Vec<String>),
    /// Has `sh -c` run this.
    Run(String),
}

/// A file beside the profile that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// The profile's folder.
    pub folder: Place,
    /// Below it, free of `..`.
    pub name: PathBuf,
}

impl Setup {
    /// With `top` over it: further steps after these, another cache instead of this one.
    pub(super) fn and_then(mut self, top: Self) -> Self {
        self.steps.extend(top.steps);
        Self { steps: self.steps, cache: top.cache.or(self.cache) }
    }
}

/// Reads the section. Files are beside the profile, in `folder`.
pub(super) fn read<'t>(
    document: &'t Document<'t>,
    section: Option<Section<'t>>,
    folder: Option<&Place>,
) -> Result<Setup, Error> {
    let Some(mut section) = section else { return Ok(Setup::default()) };
    let packages = section.strings("packages", package)?;
    let run = section.take("run");
    let env = section.section("env")?;
    let cache = section.value("cache", repository)?;
    section.finish()?;
    let mut variables = BTreeMap::new();
    for (key, item) in env.into_iter().flat_map(Section::entries) {
        let name =
            grammar::variable_name(key.get_ref()).map_err(|wrong| document.mistake(key.span(), &wrong))?;
        let value = document.string(&name, item)?.into_owned();
        variables.insert(name, value);
    }
    let mut steps = Vec::new();
    if !packages.is_empty() {
        let packages = packages.into_iter().map(Spanned::into_inner).collect();
        steps.push(Step { action: Action::Packages(packages), env: variables.clone(), files: Vec::new() });
    }
    for item in run.map(|run| document.array("run", run)).transpose()?.into_iter().flatten() {
        let span = item.span();
        let (command, files) = step(document, item, folder)?;
        if steps.len() == MOST_STEPS {
            let wrong = BadValue::new(format!("more than {MOST_STEPS} steps"));
            return Err(document.mistake(span, &wrong.or("join some with `&&`, or put them into a script")));
        }
        steps.push(Step { action: Action::Run(command), env: variables.clone(), files });
    }
    Ok(Setup { steps, cache })
}

/// A step of `run`: a command, or a table with a command and files.
fn step<'t>(
    document: &'t Document<'t>,
    item: Item<'t>,
    folder: Option<&Place>,
) -> Result<(String, Vec<NamedFile>), Error> {
    let span = item.span();
    if !matches!(item.get_ref(), DeValue::Table(_)) {
        let text = document.string("run", item)?;
        return command(&text).map(|text| (text, Vec::new())).map_err(|wrong| document.mistake(span, &wrong));
    }
    let mut table = document.table("run", item)?;
    let text = table.value("command", command)?;
    let files = table.strings("files", |text| named_file(text, folder))?;
    table.finish()?;
    let Some(text) = text else {
        let wrong = BadValue::new("the step has no `command`");
        return Err(document.mistake(span, &wrong.or("what `sh -c` is to run: command = \"…\"")));
    };
    Ok((text, files.into_iter().map(Spanned::into_inner).collect()))
}

fn command(text: &str) -> Result<String, BadValue> {
    match text.trim().is_empty() {
        true => Err(BadValue::new("the command is empty").or("take it out")),
        false => Ok(text.to_owned()),
    }
}

/// A package as its manager knows it, version and architecture included. It becomes an argument, so that it may not look
/// like an option.
fn package(text: &str) -> Result<String, BadValue> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._:=~@/".contains(&byte);
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'@');
    if first && text.len() <= 200 && text.bytes().all(letter) {
        return Ok(text.to_owned());
    }
    Err(BadValue::new(format!("{} is not the name of a package", quoted(text)))
        .or("as the image's package manager knows it: letters, digits and `+-._:=~@/`"))
}

fn named_file(text: &str, folder: Option<&Place>) -> Result<NamedFile, BadValue> {
    let Some(folder) = folder else {
        return Err(BadValue::new(format!(
            "{} is beside a built-in profile, which has no folder",
            quoted(text)
        )));
    };
    let mut name = PathBuf::new();
    for part in Path::new(text).components() {
        match part {
            Component::Normal(part) => name.push(part),
            Component::CurDir => {}
            Component::RootDir | Component::ParentDir | Component::Prefix(_) => {
                return Err(BadValue::new(format!("{} is not below the profile's folder", quoted(text)))
                    .or("a step sees files that belong to its profile, and no others"));
            }
        }
    }
    if name.as_os_str().is_empty() {
        return Err(BadValue::new("the name of the file is empty").or("a path below the profile's folder"));
    }
    Ok(NamedFile { folder: folder.clone(), name })
}

/// A repository of a registry, without a tag: that is the key's place.
fn repository(text: &str) -> Result<String, BadValue> {
    let wrong = |why: String| BadValue::new(why).or("for example \"registry.example/team/app-cache\"");
    let reference: Reference =
        text.parse().map_err(|error| wrong(format!("{} is not a repository: {error}", quoted(text))))?;
    // the parser adds what is left out
    let bare = !text.contains('@') && !text.rsplit('/').next().is_some_and(|last| last.contains(':'));
    match bare && !Reference::is_short(text) {
        true => Ok(format!("{}/{}", reference.registry, reference.repository)),
        false => Err(wrong(format!("{} is not a registry and a repository", quoted(text)))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::*;

    fn setup(text: &str) -> Result<Setup, String> {
        let document = Document { file: "devbox.toml", text };
        let folder = Place::absolute(Path::new("/src/app"));
        let read = schema::read(&document, Some(&folder)).map_err(|error| error.to_string())?;
        Ok(read.profile.setup)
    }

    #[test]
    fn steps_are_read_in_order() {
        let text = "[setup]\nrun = [\"a\", { command = \"b c\", files = [\"x/./y.txt\"] }]\npackages = [\"p\", \"q=1:2~x\"]\n\
                    env = { A = \"b\" }\ncache = \"r.example:5000/t/c\"\n";
        let setup = setup(text).unwrap();
        assert_eq!(setup.cache.as_deref(), Some("r.example:5000/t/c"));
        let actions: Vec<_> = setup.steps.iter().map(|step| step.action.clone()).collect();
        assert_eq!(
            actions,
            [
                Action::Packages(vec!["p".into(), "q=1:2~x".into()]),
                Action::Run("a".into()),
                Action::Run("b c".into())
            ]
        );
        assert!(setup.steps.iter().all(|step| step.env["A"] == "b"));
        assert_eq!(setup.steps[2].files[0].name, Path::new("x/y.txt"));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("packages = [\"-y\"]", "`-y` is not the name of a package"),
            ("packages = [\"a b\"]", "is not the name of a package"),
            ("packages = \"a\"", "wants an array"),
            ("run = [\" \"]", "the command is empty"),
            ("run = [{ files = [\"a\"] }]", "no `command`"),
            ("run = [{ command = \"a\", file = [\"a\"] }]", "unknown key `file`"),
            ("run = [1]", "wants a string"),
            ("run = [{ command = \"a\", files = [\"../a\"] }]", "not below the profile's folder"),
            ("run = [{ command = \"a\", files = [\"/a\"] }]", "not below the profile's folder"),
            ("run = [{ command = \"a\", files = [\".\"] }]", "is empty"),
            ("cache = \"r.example/a:1\"", "not a registry and a repository"),
            ("cache = \"a\"", "not a registry and a repository"),
            ("env = { \"A=\" = \"b\" }", "is not a variable name"),
            ("step = 1", "unknown key `step`"),
        ] {
            let error = setup(&format!("[setup]\n{text}\n")).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        let many = format!("[setup]\nrun = [{}]\n", "\"a\", ".repeat(65));
        assert!(setup(&many).unwrap_err().contains("more than 64 steps"));
    }

    #[test]
    fn what_is_extended_comes_first() {
        let one = setup("[setup]\nrun = [\"a\"]\ncache = \"r.example/a\"\n").unwrap();
        let other = setup("[setup]\nrun = [\"b\"]\n").unwrap();
        let both = one.and_then(other);
        assert_eq!(both.steps.len(), 2);
        assert_eq!(both.steps[1].action, Action::Run("b".into()));
        assert_eq!(both.cache.as_deref(), Some("r.example/a"));
    }
}

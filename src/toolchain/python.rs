//! Python: `pyproject.toml`, `requirements.txt`, `setup.py`, `.python-version`, lock files of uv, poetry and pipenv.

use toml::Value;

use super::folder::Folder;
use super::node::tool_version;
use super::version::{Range, Version};
use super::{Chosen, Toolchain, asked};

const FILES: [&str; 6] =
    ["pyproject.toml", "requirements.txt", "setup.py", "setup.cfg", "Pipfile", ".python-version"];

pub(super) fn find(folder: &Folder<'_>) -> Option<Toolchain> {
    let told_by = folder.first(&FILES)?;
    let mut python =
        Toolchain::new("Python", "python-env", "docker.io/library/python", &folder.shown(told_by));
    python.debian = &["python3", "python3-pip", "python3-venv"];
    let table = |file: &'static str| {
        let text = folder.text(file)?;
        text.parse::<toml::Table>().map_err(|_| folder.ignore(file, "it is not TOML")).ok()
    };
    let (manifest, pipfile) = (table("pyproject.toml"), table("Pipfile"));
    let tool = |names: &[&str]| {
        let mut value = manifest.as_ref()?.get(*names.first()?)?;
        for name in &names[1..] {
            value = value.get(name)?;
        }
        Some(value)
    };
    python.tag = own_file(folder)
        .or_else(|| range(folder, "pyproject.toml", tool(&["project", "requires-python"])?))
        .or_else(|| range(folder, "pyproject.toml", tool(&["tool", "poetry", "dependencies", "python"])?))
        .or_else(|| range(folder, "Pipfile", pipfile.as_ref()?.get("requires")?.get("python_version")?));
    let is_there = |file: &str| format!("{} is there", folder.shown(file));
    if folder.has("uv.lock") {
        python.step("pip install uv", is_there("uv.lock"));
        python.caches.push(("uv", "~/.cache/uv"));
    } else if folder.has("poetry.lock") || tool(&["tool", "poetry"]).is_some() {
        let file = if folder.has("poetry.lock") { "poetry.lock" } else { "pyproject.toml" };
        python.step("pip install poetry", format!("{} is poetry's", folder.shown(file)));
        python.caches.push(("poetry", "~/.cache/pypoetry"));
    } else if pipfile.is_some() {
        python.step("pip install pipenv", is_there("Pipfile"));
    } else if folder.has("requirements.txt") {
        python.remarks.push("`python3 -m venv .venv && .venv/bin/pip install -r requirements.txt` brings the project's packages.".into());
    }
    Some(python)
}

/// `.python-version`, of several the first; `.tool-versions`.
fn own_file(folder: &Folder<'_>) -> Option<Chosen> {
    let file = ".python-version";
    if let Some(text) = folder.text(file) {
        let wish = text
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty() && !line.starts_with('#'))
            .unwrap_or_default();
        if let Some(version) = Version::parse(wish.strip_prefix("cpython-").unwrap_or(wish)) {
            return asked(&version, &folder.shown(file));
        }
        folder.ignore(file, "it names no version of CPython");
    }
    let version = tool_version(folder, &["python"])?;
    asked(&version, &folder.shown(".tool-versions"))
}

/// The newest release a range allows; without an upper end the profile's own will do.
fn range(folder: &Folder<'_>, file: &'static str, wish: &Value) -> Option<Chosen> {
    let Some(range) = wish.as_str().and_then(Range::parse) else {
        folder.ignore(file, "what it says of Python's version is not understood");
        return None;
    };
    // the profile has the newest of the third
    let newest = range.newest(2).filter(|version| version.to_string() != "3")?;
    Some(Chosen {
        why: format!("{newest} is the newest that {} allows", folder.shown(file)),
        what: newest.to_string(),
    })
}

//! Node.js: `package.json`, `.nvmrc`, `.node-version`, `.tool-versions`, lock files.

use serde_json::Value;

use super::folder::Folder;
use super::version::{Range, Version};
use super::{Chosen, Toolchain, asked};

/// The long-term release when this was written. `node:lts` is this one or a later one.
const LTS: u32 = 24;

pub(super) fn find(folder: &Folder<'_>) -> Option<Toolchain> {
    let told_by = folder.first(&["package.json", ".nvmrc", ".node-version"])?;
    let mut node = Toolchain::new("Node.js", "node-env", "docker.io/library/node", &folder.shown(told_by));
    node.debian = &["nodejs", "npm"];
    let manifest = folder.text("package.json").map(|text| serde_json::from_str::<Value>(&text));
    if matches!(manifest, Some(Err(_))) {
        folder.ignore("package.json", "it is not JSON");
    }
    let manifest = manifest.and_then(Result::ok).unwrap_or_default();
    node.tag = own_file(folder).or_else(|| volta(folder, &manifest)).or_else(|| engines(folder, &manifest));
    manager(folder, &manifest, &mut node);
    Some(node)
}

/// `.nvmrc`, `.node-version`: a version, or the name of a long-term release. `.tool-versions`: one of several lines.
fn own_file(folder: &Folder<'_>) -> Option<Chosen> {
    for file in [".nvmrc", ".node-version"] {
        let Some(text) = folder.text(file) else { continue };
        let wish = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default().trim())
            .find(|line| !line.is_empty());
        let wish = wish.unwrap_or_default();
        if let Some(version) = Version::parse(wish.strip_prefix('v').unwrap_or(wish)) {
            return asked(&version, &folder.shown(file));
        }
        let name = wish.strip_prefix("lts/").unwrap_or_default();
        if (2..=20).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_lowercase()) {
            return asked(&name, &folder.shown(file));
        }
        match wish {
            "lts/*" | "lts" => {}
            "node" | "stable" | "current" | "latest" => {
                return Some(Chosen {
                    what: "current".into(),
                    why: format!("{} asks for the newest release", folder.shown(file)),
                });
            }
            _ => folder.ignore(file, "it names no version of Node.js"),
        }
    }
    let version = tool_version(folder, &["nodejs", "node"])?;
    asked(&version, &folder.shown(".tool-versions"))
}

/// The version of one of `tools` in asdf's and mise's file.
pub(super) fn tool_version(folder: &Folder<'_>, tools: &[&str]) -> Option<Version> {
    let text = folder.text(".tool-versions")?;
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        tools.contains(&words.next()?).then(|| Version::parse(words.next()?))?
    })
}

fn volta(folder: &Folder<'_>, manifest: &Value) -> Option<Chosen> {
    let version = Version::parse(manifest.pointer("/volta/node")?.as_str()?)?;
    asked(&version, &format!("`volta` in {}", folder.shown("package.json")))
}

/// `engines`: the newest even release it allows. Without an upper end the long-term one will do, if that is new enough.
fn engines(folder: &Folder<'_>, manifest: &Value) -> Option<Chosen> {
    let wish = manifest.pointer("/engines/node")?.as_str()?;
    let Some(ranges) = wish.split("||").map(|part| Range::parse(part.trim())).collect::<Option<Vec<Range>>>()
    else {
        folder.ignore("package.json", "`engines` has no range of versions that is understood");
        return None;
    };
    let file = format!("`engines` in {}", folder.shown("package.json"));
    if let Some(open) = ranges.iter().find(|range| range.exact.is_none() && range.ceiling.is_none()) {
        let least = open.floor.as_ref().map_or(0, Version::major);
        return (least > LTS).then(|| asked(&least, &file))?;
    }
    let newest = ranges.iter().filter_map(|range| even(range, range.newest(1)?)).max()?;
    Some(Chosen { why: format!("{file} allows {newest}"), what: newest.to_string() })
}

/// Odd releases live for half a year: the even one below, where `range` allows it.
fn even(range: &Range, version: Version) -> Option<Version> {
    let major = version.major();
    let below = major.checked_sub(1).filter(|_| major % 2 == 1 && version.len() == 1);
    let fits = |below: &u32| range.floor.as_ref().is_none_or(|floor| floor.major() <= *below);
    Some(below.filter(fits).map_or(version, |below| Version::of(&[below])))
}

/// What installs the packages: npm is there, pnpm and later yarns come by corepack.
fn manager(folder: &Folder<'_>, manifest: &Value, node: &mut Toolchain) {
    let wish = manifest.get("packageManager").and_then(Value::as_str).unwrap_or_default();
    let named = ["pnpm", "yarn"]
        .into_iter()
        .find(|name| wish.strip_prefix(name).is_some_and(|rest| rest.starts_with('@')));
    let (name, why) = match (named, folder.first(&["pnpm-lock.yaml", ".yarnrc.yml", "bun.lock", "bun.lockb"]))
    {
        (Some(name), _) => (name, format!("`packageManager` in {} is {name}", folder.shown("package.json"))),
        (None, Some("pnpm-lock.yaml")) => ("pnpm", format!("{} is there", folder.shown("pnpm-lock.yaml"))),
        (None, Some(".yarnrc.yml")) => ("yarn", format!("{} is a later yarn's", folder.shown(".yarnrc.yml"))),
        (None, Some(lock)) => {
            node.step("npm install --global bun", format!("{} is there", folder.shown(lock)));
            return;
        }
        (None, None) => return,
    };
    // Node.js 25 has none
    node.step(
        "command -v corepack || npm install --global corepack",
        format!("corepack brings {name}: {why}"),
    );
    node.step("corepack enable", format!("corepack brings {name}: {why}"));
    // it would ask before it fetches what the project names
    node.env.push(("COREPACK_ENABLE_DOWNLOAD_PROMPT", "0"));
    node.caches.push(("corepack", "~/.cache/node/corepack"));
    if name == "pnpm" {
        node.caches.push(("pnpm", "~/.local/share/pnpm/store"));
    }
}

//! Go: `go.mod`, `go.work`.

use super::folder::Folder;
use super::version::Version;
use super::{Toolchain, asked};

/// Since this one a `go` line names the least toolchain; before, only the language.
const TOOLCHAINS_SINCE: [u32; 2] = [1, 21];

pub(super) fn find(folder: &Folder<'_>) -> Option<Toolchain> {
    let file = folder.first(&["go.work", "go.mod"])?;
    let shown = folder.shown(file);
    let mut go = Toolchain::new("Go", "go-env", "docker.io/library/golang", &shown);
    go.debian = &["golang"];
    let text = folder.text(file).unwrap_or_default();
    let line =
        |word: &str| text.lines().find_map(|line| line.trim().strip_prefix(word)?.split_whitespace().next());
    let exact = line("toolchain ").and_then(|name| Version::parse(name.strip_prefix("go")?));
    let least = line("go ").and_then(Version::parse).filter(|version| version.len() > 1);
    if let Some(version) = exact.filter(|version| version.len() > 1) {
        go.tag = asked(&version, &shown);
    } else if let Some(version) = least {
        if version >= Version::of(&TOOLCHAINS_SINCE) {
            go.tag = asked(&version.cut(2), &shown);
        } else {
            go.remarks.push(format!("{shown} is written for Go {version}, which every later Go builds."));
        }
    }
    Some(go)
}

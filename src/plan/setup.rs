//! Set-up as a plan has it: steps with their files found, and the keys their results go by.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use super::{Error, Host, Ids};
use crate::oci::digest::Digest;
use crate::profile::{self, Action};

/// Where a step sees its files, and where it stands.
pub const FOLDER: &str = "/run/devbox/setup";
/// What package managers download, kept for all set-ups.
pub const CACHE: &str = "/run/devbox/packages";
/// Changes with all that a step finds around it and that its key does not say otherwise.
const VERSION: u32 = 1;

/// What is done to the image before a box is made of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Setup {
    /// In order.
    pub steps: Vec<Step>,
    /// The repository results are fetched from and pushed to.
    pub cache: Option<String>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What is done.
    #[serde(flatten)]
    pub action: Action,
    /// Variables it sees besides the image's.
    pub env: BTreeMap<String, String>,
    /// Files of the project it sees.
    pub files: Vec<StepFile>,
}

/// A file of the host that a step sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepFile {
    /// The profile's folder, absolute.
    pub folder: PathBuf,
    /// Below it and below [`FOLDER`], free of `..`.
    pub name: PathBuf,
    /// What it was when the one who enters was asked, for a set-up that has to be accepted: a step sees nothing else.
    pub judged: Option<Content>,
}

impl Serialize for StepFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.folder.join(&self.name).to_string_lossy().serialize(serializer)
    }
}

/// What is known of a file that a step sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Content {
    /// Of its bytes.
    pub digest: Digest,
    /// Whether it may be run.
    pub executable: bool,
}

/// Steps with their files' places worked out.
pub(super) fn resolve(setup: &profile::Setup, host: &Host, project: Option<&Path>) -> Result<Setup, Error> {
    let steps = setup.steps.iter().map(|step| {
        let files = step.files.iter().map(|file| {
            let folder = file.folder.resolve(&host.home, project).ok_or(Error::NoProject("[setup]"))?;
            Ok(StepFile { folder, name: file.name.clone(), judged: None })
        });
        Ok(Step {
            action: step.action.clone(),
            env: step.env.clone(),
            files: files.collect::<Result<_, Error>>()?,
        })
    });
    Ok(Setup { steps: steps.collect::<Result<_, Error>>()?, cache: setup.cache.clone() })
}

impl Step {
    /// In a line: its packages, or the first line of its command.
    pub fn title(&self) -> String {
        match &self.action {
            Action::Packages(names) => format!("packages {}", names.join(" ")),
            Action::Run(command) => {
                let mut lines = command.trim().lines();
                let first = lines.next().unwrap_or_default();
                if lines.next().is_some() { format!("{first} …") } else { first.to_owned() }
            }
        }
    }

    /// All of it in a line, for the one who has to accept it.
    pub(super) fn whole(&self) -> String {
        let mut text = match &self.action {
            Action::Packages(names) => format!("packages {}", names.join(" ")),
            Action::Run(command) => format!("`{}`", command.trim()),
        };
        let env = self.env.iter().map(|(name, value)| format!("{name}={value}"));
        let files = self.files.iter().map(|file| {
            let known = file.judged.map(|content| content.digest.hex()[..12].to_owned());
            format!("the file {} ({})", file.name.display(), known.as_deref().unwrap_or("can't be read"))
        });
        let with: Vec<String> = env.chain(files).collect();
        if !with.is_empty() {
            text = format!("{text} with {}", with.join(", "));
        }
        // quotes are common in commands, and hide nothing
        let escaped =
            |c: char| if matches!(c, '\'' | '"') { c.to_string() } else { c.escape_debug().to_string() };
        text.chars().map(escaped).collect()
    }

    /// The words that are run.
    pub fn argv(&self) -> Vec<String> {
        let words: Vec<&str> = match &self.action {
            Action::Run(command) => vec!["/bin/sh", "-c", command],
            Action::Packages(names) => ["/bin/sh", "-c", PACKAGES, "packages"]
                .into_iter()
                .chain(names.iter().map(String::as_str))
                .collect(),
        };
        words.into_iter().map(str::to_owned).collect()
    }

    /// The key of its result over what `below` stands for: an image's manifest, or the step before. `contents` are those of
    /// its files, in order.
    pub fn key(&self, below: &Digest, ids: Ids, contents: &[Content]) -> Digest {
        #[derive(Serialize)]
        struct Key<'a> {
            version: u32,
            below: &'a Digest,
            // scripts of packages do other things where there are other users
            many_ids: bool,
            action: &'a Action,
            env: &'a BTreeMap<String, String>,
            files: Vec<(String, &'a Content)>,
        }
        let names = self.files.iter().map(|file| file.name.to_string_lossy().into_owned());
        let key = Key {
            version: VERSION,
            below,
            many_ids: ids == Ids::Full,
            action: &self.action,
            env: &self.env,
            files: names.zip(contents).collect(),
        };
        // text, numbers and maps with text for keys: it has a JSON form
        Digest::of(&serde_json::to_vec(&key).unwrap_or_default())
    }
}

/// Installs the packages `$@`, without what they only recommend and without questions. Downloads and lists are kept in
/// [`CACHE`], by distribution, for an index of one is none of another.
const PACKAGES: &str = r#"set -e
release=other
[ -r /etc/os-release ] && . /etc/os-release && release="$ID-${VERSION_ID:-rolling}"
kept=/run/devbox/packages/$release
if ! mkdir -p "$kept" 2>/dev/null; then
    # what is left in /tmp would be a part of the layer
    kept=$(mktemp -d /tmp/packages.XXXXXX)
    trap 'rm -rf "$kept"' EXIT
fi
has() { command -v "$1" >/dev/null 2>&1; }
if has apt-get; then
    mkdir -p "$kept/lists/partial" "$kept/archives/partial"
    export DEBIAN_FRONTEND=noninteractive
    apt() {
        apt-get -q -y -o APT::Sandbox::User=root -o APT::Update::Error-Mode=any \
            -o Dir::State::lists="$kept/lists" -o Dir::Cache::archives="$kept/archives" \
            -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Keep-Downloaded-Packages=true \
            -o Dpkg::Use-Pty=0 "$@"
    }
    apt update
    apt install --no-install-recommends "$@"
elif has dnf; then
    dnf -y --setopt=keepcache=1 --setopt=cachedir="$kept" --setopt=install_weak_deps=0 install "$@"
elif has microdnf; then
    microdnf -y --setopt=install_weak_deps=0 install "$@"
elif has yum; then
    yum -y --setopt=keepcache=1 --setopt=cachedir="$kept" install "$@"
elif has zypper; then
    zypper --non-interactive --pkg-cache-dir "$kept" install --no-recommends "$@"
elif has pacman; then
    pacman -Sy --noconfirm --needed --cachedir "$kept" "$@"
elif has apk; then
    apk add --cache-dir "$kept" --update-cache "$@"
else
    echo "no package manager that devbox knows is in the image: apt-get, dnf, microdnf, yum, zypper, pacman, apk" >&2
    exit 127
fi
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn run(command: &str) -> Step {
        Step { action: Action::Run(command.into()), env: BTreeMap::new(), files: Vec::new() }
    }

    #[test]
    fn keys_stand_for_all_that_counts() {
        let base = Digest::of(b"base");
        let file = StepFile { folder: "/src".into(), name: "a.txt".into(), judged: None };
        let step = Step { files: vec![file.clone()], ..run("a") };
        let content = Content { digest: Digest::of(b"x"), executable: false };
        let key = step.key(&base, Ids::Single, &[content]);
        let with_env = Step { env: [("A".to_owned(), "b".to_owned())].into(), ..step.clone() };
        let elsewhere =
            Step { files: vec![StepFile { folder: "/other".into(), ..file.clone() }], ..step.clone() };
        let renamed = Step { files: vec![StepFile { name: "b.txt".into(), ..file }], ..step.clone() };
        let packages = Step { action: Action::Packages(vec!["a".into()]), ..step.clone() };
        let others = [
            step.key(&Digest::of(b"other"), Ids::Single, &[content]),
            step.key(&base, Ids::Full, &[content]),
            step.key(&base, Ids::Single, &[Content { executable: true, ..content }]),
            step.key(&base, Ids::Single, &[Content { digest: Digest::of(b"y"), ..content }]),
            with_env.key(&base, Ids::Single, &[content]),
            renamed.key(&base, Ids::Single, &[content]),
            packages.key(&base, Ids::Single, &[content]),
        ];
        for (at, other) in others.iter().enumerate() {
            assert_ne!(*other, key, "{at}");
        }
        // where the project is, and how its user maps one id, is nothing to others
        assert_eq!(elsewhere.key(&base, Ids::Single, &[content]), key);
        assert_eq!(step.key(&base, Ids::Auto, &[content]), key);
    }

    #[test]
    fn titles_are_a_line() {
        assert_eq!(run("\n  a b\nc\n").title(), "a b …");
        assert_eq!(run("a b").title(), "a b");
        let packages = Step { action: Action::Packages(vec!["a".into(), "b".into()]), ..run("") };
        assert_eq!(packages.title(), "packages a b");
        assert_eq!(packages.argv()[3..], ["packages", "a", "b"]);
    }
}

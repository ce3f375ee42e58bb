//! What an organisation forbids on its machines: a file of the system's, read before a box is opened.
//!
//! ```toml
//! registries = ["registry.example", "docker.io/library"]   # images come from these alone
//! reason = "see https://wiki.example/boxes"                # said with each refusal
//!
//! [forbid]
//! home = true                                              # to project files
//! mounts = { except = ["/srv/shared"], everyone = true }   # to flags and all profiles, too
//! ```
//!
//! It guides people who mean well; whoever may run programs may run another than devbox.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use toml::Spanned;
use toml::de::DeValue;

use super::document::{Document, Item, Section};
use super::error::Error;
use super::grammar::{BadValue, quoted};
use super::load;
use super::place::Place;
use crate::oci::reference::Reference;

/// Where it stands.
pub const POLICY: &str = "/etc/devbox/policy.toml";

/// What is forbidden, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The file, as it is named in refusals.
    pub file: String,
    /// Each kind at most once.
    pub rules: Vec<Rule>,
    /// What images may come from: `HOST[:PORT][/PATH]`; any registry when none.
    pub registries: Option<Vec<String>>,
    /// Why, for all that does not say it itself.
    pub reason: Option<String>,
}

/// One kind of thing that is forbidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What.
    pub what: Forbidden,
    /// Whatever asks for it, and not project files alone.
    pub everyone: bool,
    /// Files and folders that are not meant, with all below them.
    pub except: Vec<Place>,
    /// Why.
    pub reason: Option<String>,
}

/// What can be forbidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forbidden {
    /// The caller's home folder.
    Home,
    /// Files and folders outside of the project.
    Mounts,
    /// Variables of the caller's.
    Env,
    /// Keys of the caller's ssh-agent.
    SshAgent,
    /// Files handed in by name.
    Secrets,
    /// Ports of this machine that lead into the box.
    Ports,
    /// The network of this machine.
    NetworkHost,
}

impl Forbidden {
    /// All there are.
    pub const ALL: [Self; 7] =
        [Self::Home, Self::Mounts, Self::Env, Self::SshAgent, Self::Secrets, Self::Ports, Self::NetworkHost];

    /// The key for it below `[forbid]`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Home => "home",
            Self::Mounts => "mounts",
            Self::Env => "env",
            Self::SshAgent => "ssh-agent",
            Self::Secrets => "secrets",
            Self::Ports => "ports",
            Self::NetworkHost => "network-host",
        }
    }

    fn has_paths(self) -> bool {
        matches!(self, Self::Mounts | Self::Secrets)
    }
}

impl Policy {
    /// Reads the policy at `path`, which has to belong to the user `owner` and be writable by nobody else; none when
    /// there is no such file.
    pub fn read(path: &Path, owner: u32) -> Result<Option<Self>, Error> {
        let Some((text, facts)) = load::read(path)? else { return Ok(None) };
        if let Some(why) = unsafe_because(&facts, owner) {
            return Err(Error::NotTheSystems { path: path.to_owned(), why });
        }
        let file = path.display().to_string();
        parse(&Document { file: &file, text: &text }).map(Some)
    }

    /// Whether it lets boxes be made of the image `reference`.
    pub fn admits(&self, reference: &Reference) -> bool {
        let name = format!("{}/{}", reference.registry, reference.repository);
        self.registries.as_ref().is_none_or(|allowed| {
            allowed.iter().any(|prefix| {
                name.strip_prefix(prefix.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        })
    }
}

#[cfg(test)]
impl Policy {
    /// The policy of this text.
    pub(crate) fn of(text: &str) -> Self {
        parse(&Document { file: "policy.toml", text }).unwrap()
    }
}

fn unsafe_because(facts: &Metadata, owner: u32) -> Option<String> {
    if facts.uid() != owner {
        return Some(format!("belongs to uid {}, and not to the system", facts.uid()));
    }
    (facts.mode() & 0o022 != 0).then(|| "may be written by others than its owner".to_owned())
}

fn parse(document: &Document<'_>) -> Result<Policy, Error> {
    let mut top = document.parse()?;
    let reason = top.value("reason", reason)?;
    let registries = match top.take("registries") {
        Some(item) => {
            let items = document.array("registries", item)?.into_iter();
            let registries = items.map(|item| registry(document, item));
            Some(registries.collect::<Result<_, _>>()?)
        }
        None => None,
    };
    let mut rules = Vec::new();
    if let Some(mut section) = top.section("forbid")? {
        for what in Forbidden::ALL {
            if let Some(item) = section.take(what.word()) {
                rules.extend(rule(document, what, item)?);
            }
        }
        section.finish()?;
    }
    top.finish()?;
    Ok(Policy { file: document.file.to_owned(), rules, registries, reason })
}

/// `true`, `false`, or a table, which is there to forbid.
fn rule<'t>(document: &'t Document<'t>, what: Forbidden, item: Item<'t>) -> Result<Option<Rule>, Error> {
    let rule = |everyone, except, reason| Some(Rule { what, everyone, except, reason });
    match item.get_ref() {
        DeValue::Boolean(true) => return Ok(rule(false, Vec::new(), None)),
        DeValue::Boolean(false) => return Ok(None),
        DeValue::Table(_) => {}
        other => {
            return Err(document.wrong_type(what.word(), "`true`, `false` or a table", item.span(), other));
        }
    }
    let mut table: Section<'_> = document.table(what.word(), item)?;
    let everyone = table.boolean("everyone")?.is_some_and(Spanned::into_inner);
    let reason = table.value("reason", reason)?;
    let except = if what.has_paths() { table.strings("except", exception)? } else { Vec::new() };
    table.finish()?;
    Ok(rule(everyone, except.into_iter().map(Spanned::into_inner).collect(), reason))
}

fn reason(text: &str) -> Result<String, BadValue> {
    match text.trim() {
        "" => Err(BadValue::new("the reason is empty").or("say why, or take the line out")),
        text => Ok(text.to_owned()),
    }
}

fn exception(text: &str) -> Result<Place, BadValue> {
    let wrong = || BadValue::new(format!("{} is no place on this machine", quoted(text)));
    if !text.starts_with(['/', '~']) || Path::new(text).components().any(|part| part.as_os_str() == "..") {
        return Err(wrong().or("begin it with `/` or `~/`, and write no `..`"));
    }
    Place::on_host(text, None)
}

/// A registry, or a part of one, by the name that images in it have.
fn registry(document: &Document<'_>, item: Item<'_>) -> Result<String, Error> {
    let span = item.span();
    let text = document.string("registries", item)?;
    let full: Option<Reference> = format!("{text}/image").parse().ok();
    match full {
        Some(full) if format!("{}/{}", full.registry, full.repository) == format!("{text}/image") => {
            Ok(text.into_owned())
        }
        _ => {
            let wrong = BadValue::new(format!("{} names no registry", quoted(&text)));
            let hint =
                "`HOST[:PORT]`, or `HOST[:PORT]/PATH` for a part of it, for example `docker.io/library`";
            Err(document.mistake(span, &wrong.or(hint)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    fn read(text: &str) -> Result<Policy, String> {
        parse(&Document { file: "policy.toml", text }).map_err(|error| {
            let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
            format!("{}{hint}", error.to_string().lines().next().unwrap_or_default())
        })
    }

    #[test]
    fn all_there_is() {
        let policy = read(
            "reason = \"why\"\nregistries = [\"r.example:5000\", \"docker.io/library\"]\n[forbid]\nhome = true\n\
             env = false\n[forbid.mounts]\neveryone = true\nexcept = [\"/srv\", \"~/.gitconfig\"]\nreason = \"no\"\n",
        )
        .unwrap();
        let place = |text| Place::on_host(text, None).unwrap();
        let home = Rule { what: Forbidden::Home, everyone: false, except: vec![], reason: None };
        let mounts = Rule {
            what: Forbidden::Mounts,
            everyone: true,
            except: vec![place("/srv"), place("~/.gitconfig")],
            reason: Some("no".into()),
        };
        assert_eq!(policy.rules, [home, mounts]);
        assert_eq!(policy.reason.as_deref(), Some("why"));
        let every = Forbidden::ALL.map(|what| format!("{} = true\n", what.word())).concat();
        assert_eq!(read(&format!("[forbid]\n{every}")).unwrap().rules.len(), Forbidden::ALL.len());
        assert!(read("").unwrap().rules.is_empty());
    }

    #[test]
    fn mistakes_are_never_passed_over() {
        for (text, wrong) in [
            ("forbit = 1", "policy.toml:1:1: unknown key `forbit` (did you mean `forbid`?)"),
            ("[forbid]\nhom = true", "policy.toml:2:1: unknown key `hom` (did you mean `home`?)"),
            (
                "[forbid]\nhome = \"yes\"",
                "policy.toml:2:8: `home` wants `true`, `false` or a table, not a string",
            ),
            (
                "[forbid.home]\nexcept = []",
                "policy.toml:2:1: unknown key `except` (known here: `everyone`, `reason`)",
            ),
            (
                "[forbid.mounts]\nexcept = [\"srv\"]",
                "policy.toml:2:11: `srv` is no place on this machine (begin it with `/` or `~/`, and write no `..`)",
            ),
            (
                "[forbid.mounts]\nexcept = [\"/srv/../etc\"]",
                "policy.toml:2:11: `/srv/../etc` is no place on this machine (begin it with `/` or `~/`, and write no `..`)",
            ),
            (
                "registries = [\"library\"]",
                "policy.toml:1:15: `library` names no registry (`HOST[:PORT]`, or `HOST[:PORT]/PATH` for a part of it, \
                 for example `docker.io/library`)",
            ),
            (
                "registries = [\"\"]",
                "policy.toml:1:15: `` names no registry (`HOST[:PORT]`, or `HOST[:PORT]/PATH` for a part of it, for example `docker.io/library`)",
            ),
            (
                "registries = \"r.example\"",
                "policy.toml:1:14: `registries` wants an array, not a string (write it in brackets: `[…]`)",
            ),
            ("reason = \" \"", "policy.toml:1:10: the reason is empty (say why, or take the line out)"),
        ] {
            assert_eq!(read(text).unwrap_err(), wrong, "{text}");
        }
    }

    #[test]
    fn registries_are_told_by_whole_names() {
        let policy = read("registries = [\"r.example\", \"docker.io/library\"]").unwrap();
        let none = read("registries = []").unwrap();
        for (name, admitted) in [
            ("r.example/a/b:1", true),
            ("debian", true),
            ("docker.io/library/debian:12", true),
            ("docker.io/librarything/debian", false),
            ("docker.io/me/debian", false),
            ("r.example:5000/a", false),
            ("r.example.com/a", false),
            ("localhost/r.example/a", false),
        ] {
            let reference: Reference = name.parse().unwrap();
            assert_eq!(policy.admits(&reference), admitted, "{name}");
            assert!(!none.admits(&reference) && read("").unwrap().admits(&reference));
        }
    }

    #[test]
    fn only_the_systems_own_file_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.toml");
        let me = nix::unistd::geteuid().as_raw();
        assert_eq!(Policy::read(&path, me).unwrap(), None);
        fs::write(&path, "[forbid]\nhome = true\n").unwrap();
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        mode(0o644);
        assert_eq!(Policy::read(&path, me).unwrap().unwrap().rules.len(), 1);
        assert!(Policy::read(&path, me + 1).unwrap_err().to_string().contains("not to the system"));
        for open in [0o664, 0o646] {
            mode(open);
            let error = Policy::read(&path, me).unwrap_err();
            assert!(error.to_string().contains("written by others") && error.hint().is_some());
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(Policy::read(&path, me).is_err());
    }
}

//! Credentials from the files and helpers podman and docker keep them in, looked through in podman's order.
//!
//! Keys of `auths` are `registry[/namespace[/repository]]`, the longest that fits wins (containers-auth.json(5));
//! docker's older spellings (`https://index.docker.io/v1/`) are understood.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use super::helper::{self, HelperError};
use super::{Registries, file};
use crate::dirs::{Dirs, variable};
use crate::oci::reference::Reference;

/// Who we are to a registry. Printing it shows no secret.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Credentials {
    /// Nobody.
    #[default]
    Anonymous,
    /// A name and a password.
    Basic(String, String),
    /// A token as it is sent.
    Bearer(String),
    /// A token of an earlier login, which the token service takes for others (docker: identity token).
    Identity(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Basic(..) => "Basic",
            Self::Bearer(_) => "Bearer",
            Self::Identity(_) => "Identity",
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct AuthFile {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    identitytoken: String,
}

/// How a file would have a registry's credentials kept.
pub(super) enum Keeper {
    /// In itself.
    File,
    /// By a program.
    Helper(String),
}

/// What one place says about a repository: credentials, or nothing, or nothing that can be used for the reason given.
type Found = Result<Option<Credentials>, String>;

/// The credentials kept for `reference`; anonymous when there are none. `note` is told of files and entries
/// that could not be used, never of what is in them.
pub fn credentials(
    dirs: &Dirs,
    registries: &Registries,
    reference: &Reference,
    note: &dyn Fn(&str),
) -> Credentials {
    let files = files(dirs);
    let sources = registries.helpers().map_or_else(|| vec![FILES.to_owned()], <[_]>::to_vec);
    for source in sources {
        let found = match source.as_str() {
            FILES => first_of(&files, reference, note),
            name => helper::get(name, &server(&reference.registry)).unwrap_or_else(|error| {
                note(&complaint(&error));
                None
            }),
        };
        if let Some(found) = found {
            return found;
        }
    }
    Credentials::Anonymous
}

/// What `credential-helpers` of registries.conf calls the files.
pub(super) const FILES: &str = "containers-auth.json";

fn first_of(files: &[PathBuf], reference: &Reference, note: &dyn Fn(&str)) -> Option<Credentials> {
    for path in files {
        match read(path).map(|file| file.look_up(reference)) {
            Ok(Ok(Some(found))) => return Some(found),
            Ok(Ok(None)) => {}
            Ok(Err(why)) => note(&format!("{}: {why}; going on without", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => note(&format!("cannot read credentials in {}: {error}", path.display())),
        }
    }
    None
}

/// Every file credentials may be in, the one that logins are written to first. `REGISTRY_AUTH_FILE` names the only one.
pub(super) fn files(dirs: &Dirs) -> Vec<PathBuf> {
    files_by(dirs, |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from))
}

fn files_by(dirs: &Dirs, set: impl Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    if let Some(only) = set("REGISTRY_AUTH_FILE") {
        return vec![only];
    }
    [
        set("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json")),
        Some(dirs.containers().join("auth.json")),
        Some(set("DOCKER_CONFIG").unwrap_or_else(|| dirs.home.join(".docker")).join("config.json")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The error's text holds nothing of the file: what the parser quotes could be a secret.
pub(super) fn read(path: &Path) -> io::Result<AuthFile> {
    let bytes = file::read(path)?;
    if bytes.trim_ascii().is_empty() {
        return Ok(AuthFile::default());
    }
    serde_json::from_slice(&bytes).map_err(|error| malformed(&error))
}

pub(super) fn malformed(error: &serde_json::Error) -> io::Error {
    let why = format!("line {}, column {}: it is malformed", error.line(), error.column());
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl AuthFile {
    fn look_up(&self, reference: &Reference) -> Found {
        let registry = spelling(&reference.registry);
        let name = format!("{registry}/{}", reference.repository);
        let ask = |helper: &str| helper::get(helper, &server(&registry));
        if let Some(helper) = self.helper_for(&registry) {
            return ask(helper).map_err(|error| complaint(&error));
        }
        let fits =
            |key: &str| name.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let best = self
            .auths
            .iter()
            .map(|(key, entry)| (spelling(key), entry))
            .filter(|(key, _)| fits(key))
            .max_by_key(|(key, _)| key.len());
        match &best {
            Some((_, entry)) if !entry.identitytoken.is_empty() => {
                return Ok(Some(Credentials::Identity(entry.identitytoken.clone())));
            }
            Some((_, entry)) if !entry.auth.is_empty() => {
                return match decode(&entry.auth) {
                    Some((user, password)) => Ok(Some(Credentials::Basic(user, password))),
                    None => Err(format!("the entry for `{registry}` is malformed")),
                };
            }
            _ if self.creds_store.is_empty() => return Ok(None),
            _ => {}
        }
        match ask(&self.creds_store) {
            // it keeps everything, and this may be nothing to it
            Err(HelperError::Missing(_)) if best.is_none() => Ok(None),
            found => found.map_err(|error| complaint(&error)),
        }
    }

    /// Who is to keep the credentials of a registry by this file.
    pub(super) fn keeper(&self, registry: &str) -> Keeper {
        let store = Some(&self.creds_store).filter(|store| !store.is_empty());
        match self.helper_for(&spelling(registry)).or(store) {
            Some(helper) => Keeper::Helper(helper.clone()),
            None => Keeper::File,
        }
    }

    /// Registries this file has something for, by itself or by a helper.
    pub(super) fn keys(&self) -> impl Iterator<Item = &String> {
        self.auths.keys().chain(self.cred_helpers.keys())
    }

    fn helper_for(&self, registry: &str) -> Option<&String> {
        self.cred_helpers.iter().find(|(key, _)| spelling(key) == registry).map(|(_, helper)| helper)
    }
}

/// One spelling of a key: no scheme, no API version, docker's registry by its short name.
pub(super) fn spelling(key: &str) -> String {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    let (host, path) = key.split_at(key.find('/').unwrap_or(key.len()));
    // behind anything but the host it is a repository's name
    let path = if matches!(path, "/v1" | "/v2") { "" } else { path };
    match host {
        "index.docker.io" | "registry-1.docker.io" => format!("docker.io{path}"),
        _ => format!("{host}{path}"),
    }
}

/// What helpers call a registry.
pub(super) fn server(registry: &str) -> String {
    match registry {
        "docker.io" => "https://index.docker.io/v1/".to_owned(),
        _ => registry.to_owned(),
    }
}

/// A helper's failure with its cause, in one line.
pub(super) fn complaint(error: &HelperError) -> String {
    match error {
        HelperError::Broken { source, .. } => format!("{error}: {source}"),
        error => error.to_string(),
    }
}

/// `user:password` in base64, padded or not.
fn decode(auth: &str) -> Option<(String, String)> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let bytes = GeneralPurpose::new(&STANDARD, LENIENT).decode(auth.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    // docker pads with NULs
    Some((user.to_owned(), password.trim_end_matches('\0').to_owned()))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::fs;

    use super::*;

    /// `bob:NAME` for some names.
    const ONE: &str = "Ym9iOm9uZQ==";
    const TWO: &str = "Ym9iOnR3bw";

    fn look_up(texts: &[&str], reference: &str) -> (String, String) {
        let folder = tempfile::tempdir().unwrap();
        let write = |(number, text): (usize, &&str)| {
            let path = folder.path().join(number.to_string());
            fs::write(&path, text).unwrap();
            path
        };
        let mut files: Vec<PathBuf> = texts.iter().enumerate().map(write).collect();
        files.insert(0, folder.path().join("missing"));
        let notes = RefCell::new(String::new());
        let note = |text: &str| notes.borrow_mut().push_str(text);
        let found = match first_of(&files, &reference.parse().unwrap(), &note) {
            Some(Credentials::Basic(user, password)) => format!("{user}:{password}"),
            Some(other) => format!("{other:?}"),
            None => "Anonymous".to_owned(),
        };
        (found, notes.into_inner())
    }

    #[test]
    fn longest_key_of_the_first_file() {
        let file = format!(
            r#"{{"auths":{{"h.example":{{"auth":"{ONE}"}},"h.example/a/b":{{"auth":"{TWO}"}},
                "h.example/c/v1":{{"auth":"{TWO}"}},
                "https://index.docker.io/v1/":{{"auth":"{ONE}"}}}}}}"#
        );
        for (reference, expected) in [
            ("h.example/x", "bob:one"),
            ("h.example/a/b", "bob:two"),
            ("h.example/a/b/c:1", "bob:two"),
            ("h.example/a/bc", "bob:one"),
            ("h.example/c/v1", "bob:two"),
            ("h.example/c/v2", "bob:one"),
            ("h.example/c/d", "bob:one"),
            ("h.example:5000/x", "Anonymous"),
            ("h.example.evil/x", "Anonymous"),
            ("debian", "bob:one"),
        ] {
            assert_eq!(look_up(&[&file], reference), (expected.to_owned(), String::new()), "{reference}");
        }
        let second = format!(r#"{{"auths":{{"h.example":{{"auth":"{TWO}"}}}}}}"#);
        assert_eq!(look_up(&["{}", &second, &file], "h.example/a/b").0, "bob:two");
    }

    #[test]
    fn a_named_file_is_the_only_one() {
        let at = |name: &str| PathBuf::from("/me").join(name);
        let dirs = Dirs {
            home: at(""),
            config: at("config"),
            data: at("data"),
            cache: at("cache"),
            runtime: at("run"),
        };
        let only = |name: &str| (name == "REGISTRY_AUTH_FILE").then(|| at("only.json"));
        assert_eq!(files_by(&dirs, only), [at("only.json")]);
        let run = |name: &str| (name == "XDG_RUNTIME_DIR").then(|| at("run"));
        let files = files_by(&dirs, run);
        assert_eq!((files.len(), &files[0]), (3, &at("run/containers/auth.json")));
        assert_eq!(files_by(&dirs, |_| None).len(), 2);
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        let both = format!(
            r#"{{"auths":{{"h.example":{{"auth":"{ONE}"}}}},"credHelpers":{{"h.example":"x-none"}}}}"#
        );
        let stored = format!(r#"{{"auths":{{"h.example":{{"auth":"{ONE}"}}}},"credsStore":"x-none"}}"#);
        for (file, found, noted) in [
            (r#"{"credHelpers":{"h.example":"x-none"}}"#, "Anonymous", "`docker-credential-x-none`"),
            (r#"{"credHelpers":{"https://h.example":"/x"}}"#, "Anonymous", "`/x` is not the name"),
            (r#"{"credHelpers":{"other.example":"x-none"}}"#, "Anonymous", ""),
            (
                r#"{"credsStore":"x-none","auths":{"h.example":{}}}"#,
                "Anonymous",
                "`docker-credential-x-none`",
            ),
            (r#"{"credsStore":"x-none"}"#, "Anonymous", ""),
            ("", "Anonymous", ""),
            (r#"{"auths":{"h.example":{"identitytoken":"tok"}}}"#, "Identity", ""),
            (r#"{"auths":{"h.example":{"auth":"!!secret!!"}}}"#, "Anonymous", "malformed"),
            (r#"{"auths":"secret"}"#, "Anonymous", "malformed"),
            (&both, "Anonymous", "x-none"),
            (&stored, "bob:one", ""),
        ] {
            let (login, notes) = look_up(&[file], "h.example/x");
            assert_eq!(login, found, "{file}");
            assert!(notes.contains(noted) && notes.is_empty() == noted.is_empty(), "{file}: {notes}");
            assert!(!notes.contains("secret") && !notes.contains("tok\""), "{notes}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        for credentials in [
            Credentials::Basic("bob".into(), "secret".into()),
            Credentials::Bearer("secret".into()),
            Credentials::Identity("secret".into()),
        ] {
            assert!(!format!("{credentials:?}").contains("secret"));
        }
    }
}

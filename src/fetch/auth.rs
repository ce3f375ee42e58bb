//! Credentials from the files podman and docker keep them in, looked through in podman's order.
//!
//! Keys of `auths` are `registry[/namespace[/repository]]`, the longest that fits wins (containers-auth.json(5));
//! docker's older spellings (`https://index.docker.io/v1/`) are understood.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use oci_distribution::secrets::RegistryAuth;
use serde::Deserialize;

use crate::dirs::{Dirs, variable};
use crate::oci::reference::Reference;

/// Such files are small; a larger one is none.
const MAX_FILE: u64 = 1 << 20;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AuthFile {
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

/// What one file says about a repository.
enum Found {
    Login(RegistryAuth),
    /// Nothing, or nothing we can use for the reason given.
    Nothing(Option<String>),
}

/// The credentials kept for `reference`; anonymous when there are none. `note` is told of files and entries
/// that could not be used, never of what is in them.
pub fn credentials(dirs: &Dirs, reference: &Reference, note: &dyn Fn(&str)) -> RegistryAuth {
    first_of(&files(dirs), reference, note)
}

fn first_of(files: &[PathBuf], reference: &Reference, note: &dyn Fn(&str)) -> RegistryAuth {
    for path in files {
        match read(path).map(|file| file.look_up(reference)) {
            Ok(Found::Login(login)) => return login,
            Ok(Found::Nothing(Some(why))) => note(&format!("{}: {why}", path.display())),
            Ok(Found::Nothing(None)) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => note(&format!("cannot read credentials in {}: {error}", path.display())),
        }
    }
    RegistryAuth::Anonymous
}

fn files(dirs: &Dirs) -> Vec<PathBuf> {
    let within = |variable_name, default: Option<PathBuf>, rest: &str| {
        let folder = variable(variable_name).filter(|value| !value.is_empty()).map(PathBuf::from).or(default);
        folder.map(|folder| folder.join(rest))
    };
    [
        variable("REGISTRY_AUTH_FILE").filter(|value| !value.is_empty()).map(PathBuf::from),
        within("XDG_RUNTIME_DIR", None, "containers/auth.json"),
        within("XDG_CONFIG_HOME", Some(dirs.home.join(".config")), "containers/auth.json"),
        within("DOCKER_CONFIG", Some(dirs.home.join(".docker")), "config.json"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The error's text holds nothing of the file: what the parser quotes could be a secret.
fn read(path: &Path) -> io::Result<AuthFile> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    if !path.metadata()?.is_file() {
        return Err(invalid("it is not a file".into()));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(invalid(format!("it is larger than {MAX_FILE} bytes")));
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        invalid(format!("line {}, column {}: it is malformed", error.line(), error.column()))
    })
}

impl AuthFile {
    fn look_up(&self, reference: &Reference) -> Found {
        let registry = spelling(&reference.registry);
        let name = format!("{registry}/{}", reference.repository);
        let fits =
            |key: &str| name.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let best = self
            .auths
            .iter()
            .map(|(key, entry)| (spelling(key), entry))
            .filter(|(key, _)| fits(key))
            .max_by_key(|(key, _)| key.len());
        if let Some((_, entry)) = &best
            && !entry.auth.is_empty()
        {
            return match decode(&entry.auth) {
                Some((user, password)) => Found::Login(RegistryAuth::Basic(user, password)),
                None => Found::Nothing(Some(format!("the entry for `{registry}` is malformed"))),
            };
        }
        let helper =
            self.cred_helpers.iter().find(|(key, _)| spelling(key) == registry).map(|(_, helper)| helper);
        // a store holds everything, so only an entry left empty says that it holds this one
        let store = best.is_some().then_some(&self.creds_store).filter(|store| !store.is_empty());
        if let Some(helper) = helper.or(store) {
            return Found::Nothing(Some(format!(
                "the credentials for `{registry}` are kept by the helper `{}`, and helpers are not asked; going on \
                 without",
                helper.escape_debug()
            )));
        }
        match best {
            Some((_, entry)) if !entry.identitytoken.is_empty() => Found::Nothing(Some(format!(
                "the entry for `{registry}` is an identity token, which can't be used; going on without"
            ))),
            _ => Found::Nothing(None),
        }
    }
}

/// One spelling of a key: no scheme, no API version, docker's registry by its short name.
fn spelling(key: &str) -> String {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    let key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
    let (host, path) = key.split_at(key.find('/').unwrap_or(key.len()));
    match host {
        "index.docker.io" | "registry-1.docker.io" => format!("docker.io{path}"),
        _ => key.to_owned(),
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
            RegistryAuth::Basic(user, password) => format!("{user}:{password}"),
            other => format!("{other:?}"),
        };
        (found, notes.into_inner())
    }

    #[test]
    fn longest_key_of_the_first_file() {
        let file = format!(
            r#"{{"auths":{{"h.example":{{"auth":"{ONE}"}},"h.example/a/b":{{"auth":"{TWO}"}},
                "https://index.docker.io/v1/":{{"auth":"{ONE}"}}}}}}"#
        );
        for (reference, expected) in [
            ("h.example/x", "bob:one"),
            ("h.example/a/b", "bob:two"),
            ("h.example/a/b/c:1", "bob:two"),
            ("h.example/a/bc", "bob:one"),
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
    fn what_cannot_be_used_is_said() {
        let both =
            format!(r#"{{"auths":{{"h.example":{{"auth":"{ONE}"}}}},"credHelpers":{{"h.example":"x"}}}}"#);
        for (file, found, noted) in [
            (r#"{"credHelpers":{"h.example":"pass"}}"#, "Anonymous", "`pass`"),
            (r#"{"credHelpers":{"other.example":"pass"}}"#, "Anonymous", ""),
            (r#"{"credsStore":"desktop","auths":{"h.example":{}}}"#, "Anonymous", "`desktop`"),
            (r#"{"credsStore":"desktop"}"#, "Anonymous", ""),
            (r#"{"auths":{"h.example":{"identitytoken":"tok"}}}"#, "Anonymous", "identity token"),
            (r#"{"auths":{"h.example":{"auth":"!!secret!!"}}}"#, "Anonymous", "malformed"),
            (r#"{"auths":"secret"}"#, "Anonymous", "malformed"),
            (&both, "bob:one", ""),
        ] {
            let (login, notes) = look_up(&[file], "h.example/x");
            assert_eq!(login, found, "{file}");
            assert!(notes.contains(noted) && notes.is_empty() == noted.is_empty(), "{file}: {notes}");
            assert!(!notes.contains("secret") && !notes.contains("tok\""), "{notes}");
        }
    }
}

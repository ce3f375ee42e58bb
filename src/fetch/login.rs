//! Logins that are kept: checked against the registry, then written where podman writes them, in the same form
//! (containers-auth.json(5)), or given to the helper that file names.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, json};

use super::auth_file::change;
use super::credentials::{self, Keeper, complaint, files, server, spelling};
use super::helper::{self, HelperError};
use super::http::{Http, Location};
use super::{Certificates, Credentials, Fault, Network, Proxies, Registries, Timeouts, host, roads};
use crate::dirs::Dirs;
use crate::oci::reference::Reference;

/// Why a login could not be made or taken back.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Not a registry's name.
    #[error("`{}` is not a registry", .0.escape_debug())]
    NotARegistry(String),
    /// A name that can't be sent.
    #[error("a user name has no `:`, and is not empty")]
    BadUser,
    /// The registry did not take it.
    #[error("cannot log in to {registry}: {fault}")]
    Refused {
        /// The registry.
        registry: String,
        /// What it did.
        fault: Fault,
    },
    /// The file can't be read or written.
    #[error("cannot keep credentials in {}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why; holds nothing of the file.
        source: io::Error,
    },
    /// The helper that keeps credentials failed.
    #[error("{}", complaint(.0))]
    Helper(#[from] HelperError),
    /// A part of a registry, and a helper that knows registries only.
    #[error("cannot keep a login for {key} alone: docker-credential-{helper} keeps one for a whole registry")]
    Part {
        /// What the login is for.
        key: String,
        /// The registry.
        registry: String,
        /// The helper.
        helper: String,
    },
    /// There is no such login.
    #[error("not logged in to {key}")]
    NotLoggedIn {
        /// What was asked for.
        key: String,
        /// A file that has it, but is another tool's to write.
        elsewhere: Option<PathBuf>,
    },
}

impl LoginError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotARegistry(_) => {
                Some("for example `docker.io`, `registry.example:5000` or `quay.io/team`".into())
            }
            Self::Refused { fault: Fault::Denied { .. }, .. } => {
                Some("see that name and password are right; some registries want a token as password".into())
            }
            Self::Refused { fault, .. } => fault.hint(),
            Self::NotLoggedIn { elsewhere: Some(path), .. } => {
                Some(format!("{} has it; log out with the tool that wrote it", path.display()))
            }
            Self::Part { registry, .. } => Some(format!(
                "`devbox login {registry}`, or let `REGISTRY_AUTH_FILE` name a file without a helper"
            )),
            Self::File { .. } => Some("`REGISTRY_AUTH_FILE` can name another file".into()),
            Self::BadUser | Self::Helper(_) | Self::NotLoggedIn { .. } => None,
        }
    }
}

/// What a login is for: a registry, or a part of one (`quay.io/team`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// As it is written down.
    text: String,
    /// Some image it is good for.
    sample: Reference,
}

impl Key {
    /// From what users write; an address of docker's kind (`https://…/v1/`) is understood.
    pub fn parse(text: &str) -> Result<Self, LoginError> {
        let key = spelling(text);
        match Reference::located(&format!("{key}/x")) {
            Ok(sample) => Ok(Self { text: key, sample }),
            Err(_) => Err(LoginError::NotARegistry(text.to_owned())),
        }
    }

    /// As it is written down.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is for a part of a registry only, which helpers know nothing of.
    fn is_part(&self) -> bool {
        self.text.contains('/')
    }
}

/// Where something is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// In this file.
    File(PathBuf),
    /// By this helper.
    Helper(String),
}

/// Asks the registry whether it knows this user and password. False when it lets in everybody without asking.
pub fn check(dirs: &Dirs, key: &Key, user: &str, password: &str) -> Result<bool, LoginError> {
    if user.is_empty() || user.contains(':') {
        return Err(LoginError::BadUser);
    }
    let refused = |fault| LoginError::Refused { registry: key.sample.registry.clone(), fault };
    let registries = Registries::read(dirs).map_err(refused)?;
    let places = registries.places(&key.sample).map_err(refused)?;
    // what is said of a place the names were moved to says nothing about this one
    let own = places.iter().rfind(|place| place.reference.registry == key.sample.registry);
    let certificates = Certificates::of(dirs, &key.sample.registry).map_err(refused)?;
    let location = Location {
        host: host(&key.sample),
        repository: String::new(),
        roads: roads(&key.sample, own.and_then(|place| place.insecure), certificates.is_some()),
        login: Credentials::Basic(user.to_owned(), password.to_owned()),
        certificates: certificates.unwrap_or_default(),
    };
    let proxies = Proxies::from_environment().map_err(refused)?;
    let http = Http::new(location, &proxies, &Timeouts::default()).map_err(refused)?;
    let network = Network::start().map_err(|error| refused(Fault::Request(error.into())))?;
    network.handle.block_on(http.knock()).map_err(refused)?;
    let asked = *http.authorization() != Credentials::Anonymous;
    Ok(asked)
}

/// Keeps a login, in place of an earlier one for the same key.
pub fn keep(dirs: &Dirs, key: &Key, user: &str, password: &str) -> Result<Kept, LoginError> {
    keep_in(primary(dirs)?, dirs, key, user, password)
}

fn keep_in(path: PathBuf, dirs: &Dirs, key: &Key, user: &str, password: &str) -> Result<Kept, LoginError> {
    let helper = keeper(dirs, &path, key)?;
    let entry = match &helper {
        Some(helper) if key.is_part() => {
            let (key, registry) = (key.text.clone(), key.sample.registry.clone());
            return Err(LoginError::Part { key, registry, helper: helper.clone() });
        }
        Some(helper) => {
            helper::store(helper, &server(&key.sample.registry), user, password)?;
            json!({})
        }
        None => json!({ "auth": STANDARD.encode(format!("{user}:{password}")) }),
    };
    change(&path, |auths| {
        auths.retain(|known, _| spelling(known) != key.text);
        auths.insert(key.text.clone(), entry);
    })?;
    Ok(helper.map_or(Kept::File(path), Kept::Helper))
}

/// Forgets the login for `key`.
pub fn forget(dirs: &Dirs, key: &Key) -> Result<Kept, LoginError> {
    forget_in(primary(dirs)?, dirs, key)
}

fn forget_in(path: PathBuf, dirs: &Dirs, key: &Key) -> Result<Kept, LoginError> {
    // what a helper has is the whole registry's
    let helper = keeper(dirs, &path, key)?.filter(|_| !key.is_part());
    let erased = match &helper {
        Some(helper) => helper::erase(helper, &server(&key.sample.registry))?,
        None => false,
    };
    let mut found = false;
    change(&path, |auths| {
        auths.retain(|known, _| {
            let same = spelling(known) == key.text;
            found |= same;
            !same
        });
    })?;
    if found || erased {
        return Ok(helper.map_or(Kept::File(path), Kept::Helper));
    }
    let elsewhere = files(dirs).into_iter().filter(|file| *file != path);
    let elsewhere = elsewhere.into_iter().find(|path| keys_of(path).any(|known| known == key.text));
    Err(LoginError::NotLoggedIn { key: key.text.clone(), elsewhere })
}

/// Forgets every login that [`keep`] may have made; gives their keys.
pub fn forget_all(dirs: &Dirs) -> Result<Vec<String>, LoginError> {
    let path = primary(dirs)?;
    let mut keys: Vec<_> = keys_of(&path).collect();
    keys.sort_unstable();
    keys.dedup();
    for key in keys.iter().filter_map(|key| Key::parse(key).ok()).filter(|key| !key.is_part()) {
        if let Some(helper) = keeper(dirs, &path, &key)? {
            helper::erase(&helper, &server(&key.sample.registry))?;
        }
    }
    change(&path, Map::clear)?;
    Ok(keys)
}

/// Registries there are logins for, in any file.
pub fn known(dirs: &Dirs) -> Vec<String> {
    files(dirs).iter().flat_map(|path| keys_of(path)).collect()
}

fn keys_of(path: &Path) -> impl Iterator<Item = String> {
    let keys: Vec<_> = credentials::read(path)
        .map(|file| file.keys().map(|key| spelling(key)).collect())
        .unwrap_or_default();
    keys.into_iter()
}

/// The file logins are written to; the one a link leads to, so that the link stays.
fn primary(dirs: &Dirs) -> Result<PathBuf, LoginError> {
    let path = files(dirs).into_iter().next().unwrap_or_default();
    match path.canonicalize() {
        Ok(path) => Ok(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path),
        Err(source) => Err(LoginError::File { path, source }),
    }
}

/// The helper that is to keep logins for `key`; `None` for the file itself.
fn keeper(dirs: &Dirs, path: &Path, key: &Key) -> Result<Option<String>, LoginError> {
    let refused = |fault| LoginError::Refused { registry: key.sample.registry.clone(), fault };
    let registries = Registries::read(dirs).map_err(refused)?;
    if let Some(first) = registries.helpers().and_then(<[_]>::first)
        && first != credentials::FILES
    {
        return Ok(Some(first.clone()));
    }
    match credentials::read(path) {
        Ok(file) => Ok(match file.keeper(&key.sample.registry) {
            Keeper::Helper(helper) => Some(helper),
            Keeper::File => None,
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LoginError::File { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn keys() {
        for (text, key) in [
            ("docker.io", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("https://h.example:5000", "h.example:5000"),
            ("quay.io/team", "quay.io/team"),
            ("localhost", "localhost"),
            ("[::1]:5000", "[::1]:5000"),
        ] {
            assert_eq!(Key::parse(text).unwrap().text(), key, "{text}");
        }
        for bad in
            ["", "word", "a b.example", "h.example/", "h.example/A", "http:///", "h.example:x", "-h.example"]
        {
            assert!(Key::parse(bad).is_err() || bad == "h.example/", "{bad}");
        }
    }

    #[test]
    fn helpers_keep_whole_registries() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let dirs = Dirs {
            home: at("home"),
            config: at("config"),
            data: at("data"),
            cache: at("cache"),
            runtime: at("run"),
        };
        let (path, [part, whole]) =
            (at("auth.json"), ["h.example/team", "h.example"].map(|key| Key::parse(key).unwrap()));
        for text in [r#"{"credsStore":"x-none"}"#, r#"{"credHelpers":{"h.example":"x-none"}}"#] {
            fs::write(&path, text).unwrap();
            let error = keep_in(path.clone(), &dirs, &part, "me", "secret").unwrap_err();
            assert!(matches!(error, LoginError::Part { .. }), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            // the helper is for this one, and is not there
            let error = keep_in(path.clone(), &dirs, &whole, "me", "secret").unwrap_err();
            assert!(matches!(error, LoginError::Helper(_)), "{error}");
        }
        fs::write(&path, r#"{"credsStore":"x-none","auths":{"h.example/team":{"auth":"x"}}}"#).unwrap();
        assert_eq!(forget_in(path.clone(), &dirs, &part).unwrap(), Kept::File(path.clone()));
        assert!(!fs::read_to_string(&path).unwrap().contains("team"));
        assert!(matches!(forget_in(path, &dirs, &whole), Err(LoginError::Helper(_))));
    }
}

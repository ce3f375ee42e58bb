//! Logins that are kept: checked against the registry, then written where podman writes them, in the same form
//! (containers-auth.json(5)), or given to the helper that file names.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::fcntl::{Flock, FlockArg};
use serde_json::{Map, Value, json};

use super::credentials::{self, Keeper, complaint, files, malformed, server, spelling};
use super::helper::{self, HelperError};
use super::http::{Http, Location};
use super::{Certificates, Credentials, Fault, Network, Proxies, Registries, Timeouts, file, host, roads};
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

/// Changes the entries of a file and leaves all else in it as it is. Others see the old file or the new one; of two
/// who change it at once the second waits.
fn change(path: &Path, edit: impl FnOnce(&mut Map<String, Value>)) -> Result<(), LoginError> {
    let failed = |source| LoginError::File { path: path.to_owned(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let _lock = Flock::lock(File::open(folder).map_err(failed)?, FlockArg::LockExclusive)
        .map_err(|(_, errno)| failed(errno.into()))?;
    // a device can be read, but must not be replaced
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")));
    }
    let bytes = match file::read(path) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    let mut text: Value = match &bytes {
        Some(bytes) if !bytes.trim_ascii().is_empty() => {
            serde_json::from_slice(bytes).map_err(|error| failed(malformed(&error)))?
        }
        _ => json!({}),
    };
    let before = text.clone();
    let object = text.as_object_mut().map(|object| object.entry("auths").or_insert_with(|| json!({})));
    let Some(auths) = object.and_then(Value::as_object_mut) else {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidData, "it is not an object with `auths`")));
    };
    edit(auths);
    // a file that is not there need not be made to say nothing
    if text == before || (bytes.is_none() && text == json!({ "auths": {} })) {
        return Ok(());
    }
    let mut new = serde_json::to_vec_pretty(&text).map_err(|error| failed(malformed(&error)))?;
    new.push(b'\n');
    replace(path, folder, &new).map_err(failed)
}

/// Puts a private file with these bytes in the place of `path`, whole or not at all.
fn replace(path: &Path, folder: &Path, bytes: &[u8]) -> io::Result<()> {
    let nanos =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
    let new = folder.join(format!(".auth.json.{}.{nanos}", std::process::id()));
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(folder)?.sync_all()
    };
    let written = write();
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

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

    #[test]
    fn other_entries_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/auth.json");
        change(&path, |auths| drop(auths.insert("a.example".into(), json!({ "auth": "x" })))).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let text = r#"{"auths":{"a.example":{"auth":"x"}},"credHelpers":{"b":"c"},"other":[1,2.5]}"#;
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        change(&path, |auths| drop(auths.insert("d.example".into(), json!({})))).unwrap();
        assert_eq!(mode(&path), 0o600, "private from now on");
        let mut now: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert!(now["auths"].as_object_mut().unwrap().remove("d.example").is_some());
        assert_eq!(now, serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(path.parent().unwrap().read_dir().unwrap().count(), 1, "nothing half-made is left");
    }

    #[test]
    fn what_can_not_be_read_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth.json");
        for text in ["{\"auths\":", "[]", "{\"auths\":\"secret\"}", "secret"] {
            fs::write(&path, text).unwrap();
            let error = change(&path, Map::clear).unwrap_err();
            assert!(!format!("{error:?}").contains("secret"), "{error:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        fs::remove_file(&path).unwrap();
        // what a device says is nobody's to change; a link to it would be put in its place here
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert!(change(&path, |auths| drop(auths.insert("h.example".into(), json!({})))).is_err());
        assert!(path.is_symlink());
        fs::remove_file(&path).unwrap();
        change(&path, Map::clear).unwrap();
        assert!(!path.exists(), "nothing to say");
    }
}

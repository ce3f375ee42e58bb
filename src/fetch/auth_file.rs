//! The file logins are kept in (containers-auth.json(5)), as it is changed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;

use nix::fcntl::{Flock, FlockArg};
use serde_json::{Map, Value, json};

use super::LoginError;
use super::credentials::malformed;
use super::file;

/// Changes the entries of a file and leaves all else in it as it is. Others see the old file or the new one; of two
/// who change it at once the second waits.
pub(super) fn change(path: &Path, edit: impl FnOnce(&mut Map<String, Value>)) -> Result<(), LoginError> {
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

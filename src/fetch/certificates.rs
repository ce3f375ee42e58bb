//! Certificates for one registry, from `certs.d/HOST[:PORT]` (containers-certs.d(5)): `*.crt` are authorities to trust
//! beside the system's, `NAME.cert` with `NAME.key` is what we show of ourselves.
//!
//! The first of the user's, the system's and docker's folder that has the host counts, alone.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use reqwest::{Certificate, ClientBuilder, Identity};

use super::error::Fault;
use super::file;
use crate::dirs::Dirs;

/// What TLS with one registry takes, beside the system's authorities.
#[derive(Default)]
pub(super) struct Certificates {
    pub(super) authorities: Vec<Certificate>,
    pub(super) identity: Option<Identity>,
}

impl Certificates {
    /// Those for `host` (with its port, if it was given); `None` when there is no folder for it.
    pub(super) fn of(dirs: &Dirs, host: &str) -> Result<Option<Self>, Fault> {
        let places = [
            dirs.containers().join("certs.d"),
            PathBuf::from("/etc/containers/certs.d"),
            PathBuf::from("/etc/docker/certs.d"),
        ];
        // by its grammar a host is one name
        for folder in places.map(|place| place.join(host)) {
            match folder.read_dir() {
                Ok(entries) => return Self::read(&folder, entries).map(Some),
                // what is not for us to read is not for us to use; without it we trust less, never more
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {}
                Err(error) => return Err(unusable(&folder, &error)),
            }
        }
        Ok(None)
    }

    fn read(folder: &Path, entries: std::fs::ReadDir) -> Result<Self, Fault> {
        let mut paths = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<Vec<_>>>()
            .map_err(|error| unusable(folder, &error))?;
        paths.sort_unstable();
        let mut found = Self::default();
        for path in &paths {
            let read = |path: &Path| file::read(path).map_err(|error| unusable(path, &error));
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => {
                    let more = Certificate::from_pem_bundle(&read(path)?);
                    let more = more.ok().filter(|more| !more.is_empty());
                    found
                        .authorities
                        .extend(more.ok_or_else(|| unusable(path, &"it has no certificates in PEM form"))?);
                }
                Some("cert") => {
                    let key = path.with_extension("key");
                    if !paths.contains(&key) {
                        return Err(unusable(path, &format!("its key, {}, is missing", key.display())));
                    }
                    // one after the other is what the client takes
                    let pair = [read(&key)?, b"\n".to_vec(), read(path)?].concat();
                    let identity = Identity::from_pem(&pair)
                        .map_err(|_| unusable(path, &"it is no certificate that goes with its key"))?;
                    found.identity.get_or_insert(identity);
                }
                Some("key") if !paths.contains(&path.with_extension("cert")) => {
                    return Err(unusable(path, &"its certificate (.cert) is missing"));
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// Lets `builder` trust the authorities.
    pub(super) fn trust(&self, builder: ClientBuilder) -> ClientBuilder {
        builder.tls_certs_merge(self.authorities.iter().cloned())
    }

    /// Lets `builder` say who we are.
    pub(super) fn identify(&self, builder: ClientBuilder) -> ClientBuilder {
        match &self.identity {
            Some(identity) => builder.identity(identity.clone()),
            None => builder,
        }
    }
}

fn unusable(path: &Path, why: &dyn Display) -> Fault {
    Fault::Settings { place: path.to_owned(), why: why.to_string() }
}

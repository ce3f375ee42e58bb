//! Folders and environment variables: the only module (beside `probe`) that reads the environment.
//!
//! ```text
//! $XDG_CONFIG_HOME/devbox/    profiles/NAME.toml
//! $XDG_DATA_HOME/devbox/      store/  boxes/  trusted/  setup/
//! $XDG_CACHE_HOME/devbox/     probe results, caches of `mode = "cache"` mounts
//! $XDG_RUNTIME_DIR/devbox/    sockets of running boxes
//! ```

#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The caller's folders. None of them is made by asking.
#[derive(Debug, Clone)]
pub struct Dirs {
    /// The home folder.
    pub home: PathBuf,
    /// `$XDG_CONFIG_HOME/devbox`.
    pub config: PathBuf,
    /// `$XDG_DATA_HOME/devbox`.
    pub data: PathBuf,
    /// `$XDG_CACHE_HOME/devbox`.
    pub cache: PathBuf,
    /// `$XDG_RUNTIME_DIR/devbox`, or a private folder below `cache` when that is unset.
    pub runtime: PathBuf,
}

/// Why the folders can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither `HOME` nor the password database names a home.
    #[error("no home folder: HOME is unset and the password database has none")]
    NoHome,
    /// `HOME` says nothing that can be used.
    #[error("HOME is `{}`, which is not an absolute path", .0.display().to_string().escape_debug())]
    RelativeHome(PathBuf),
    /// A folder of ours belongs to someone else, or others may write to it.
    #[error("{} is not private: {why}", .path.display())]
    NotPrivate {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A folder of ours can't be made.
    #[error("cannot make {}", .path.display())]
    Create {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoHome | Self::RelativeHome(_) => Some("set HOME to a folder you own".into()),
            Self::NotPrivate { path, .. } => {
                Some(format!("chmod 700 {} (and see who owns it)", path.display()))
            }
            Self::Create { .. } => {
                Some("HOME, XDG_DATA_HOME, XDG_CACHE_HOME and XDG_RUNTIME_DIR choose other places".into())
            }
        }
    }
}

impl Dirs {
    /// Reads the environment.
    pub fn from_environment() -> Result<Self, Error> {
        let base = directories::BaseDirs::new().ok_or(Error::NoHome)?;
        if !base.home_dir().is_absolute() {
            return Err(Error::RelativeHome(base.home_dir().to_owned()));
        }
        let cache = base.cache_dir().join("devbox");
        Ok(Self {
            home: base.home_dir().to_owned(),
            config: base.config_dir().join("devbox"),
            data: base.data_dir().join("devbox"),
            runtime: match base.runtime_dir() {
                Some(runtime) => runtime.join("devbox"),
                None => cache.join("run"),
            },
            cache,
        })
    }

    /// The user's settings of podman and its kin: `$XDG_CONFIG_HOME/containers`.
    pub fn containers(&self) -> PathBuf {
        self.config.with_file_name("containers")
    }

    /// Root of the image store.
    pub fn store(&self) -> PathBuf {
        self.data.join("store")
    }

    /// Folder with one file for each project file that was allowed something.
    pub fn trusted(&self) -> PathBuf {
        self.data.join("trusted")
    }

    /// Folder with what steps of set-ups printed.
    pub fn setups(&self) -> PathBuf {
        self.data.join("setup")
    }

    /// Folder with one folder a box.
    pub fn boxes(&self) -> PathBuf {
        self.data.join("boxes")
    }
}

/// Makes `path` (and its parents) mode 0700 if it is missing, and refuses it when it is not the caller's own. Gives its
/// permission bits.
pub fn ensure_private(path: &Path) -> Result<u32, Error> {
    let not_private = |why| Error::NotPrivate { path: path.to_owned(), why };
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_dir() => Err(not_private("it is not a folder")),
        Ok(found) if found.uid() != nix::unistd::geteuid().as_raw() => {
            Err(not_private("it belongs to another user"))
        }
        Ok(found) if found.mode() & 0o022 != 0 => Err(not_private("others may write to it")),
        Ok(found) => Ok(found.mode() & 0o7777),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map(|()| 0o700)
            .map_err(|source| Error::Create { path: path.to_owned(), source }),
        Err(source) => Err(Error::Create { path: path.to_owned(), source }),
    }
}

/// One variable of the caller's environment.
pub fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// The values of `names` that are set and valid UTF-8.
pub fn variables<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeMap<String, String> {
    names.into_iter().filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?))).collect()
}

/// The folder the caller stands in.
pub fn current() -> io::Result<PathBuf> {
    std::env::current_dir()
}

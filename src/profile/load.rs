//! Where profiles are found, and the only reader of their files.

use std::collections::BTreeMap;
use std::fs::{self, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::Error;
use super::lock::{LOCK_FILE, Lock};
use super::nearest::nearest;
use super::{Found, Image, Origin, PROJECT_FILE, Selector, grammar, merge};
use crate::dirs::Dirs;
use crate::sys::fd;

/// Longest profile there may be.
const MAX_BYTES: u64 = 1 << 20;

const SYSTEM: &str = "/etc/devbox/profiles";

/// The profile used where nothing is configured.
const DEFAULT: &str = "host";

const BUILT_IN: [(&str, &str); 7] = [
    ("c-env", include_str!("../../profiles/c-env.toml")),
    ("debian", include_str!("../../profiles/debian.toml")),
    ("go-env", include_str!("../../profiles/go-env.toml")),
    ("host", include_str!("../../profiles/host.toml")),
    ("node-env", include_str!("../../profiles/node-env.toml")),
    ("python-env", include_str!("../../profiles/python-env.toml")),
    ("rust-env", include_str!("../../profiles/rust-env.toml")),
];

/// Whose a profile is; the higher hides the lower of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// Embedded in devbox.
    BuiltIn,
    /// The system's, made by its administrator.
    System,
    /// The caller's.
    Personal,
    /// The project's `devbox.toml`.
    Project,
}

/// A profile as `devbox profiles` lists it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Listed {
    /// The name it is used by; `devbox.toml` for the project's.
    pub name: String,
    /// Whose it is.
    pub from: Layer,
    /// Its file; none for a built-in one.
    pub path: Option<PathBuf>,
    /// The first line of the file, when that is a comment.
    pub description: Option<String>,
    /// The image it or what it extends names.
    pub image: Option<Image>,
    /// What is wrong with it.
    pub problem: Option<String>,
}

/// All profiles someone who stands in `cwd` can use: the project's first, then by name.
///
/// Reads every profile there is; what can't be read is listed with its problem.
pub fn list(dirs: &Dirs, cwd: &Path) -> Vec<Listed> {
    Places::of(dirs).list(cwd)
}

/// A profile's text and what is known of it without parsing it.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) origin: Origin,
    /// The file as messages show it.
    pub(super) shown: String,
    /// What relative paths in it are below; none when it is built in.
    pub(super) folder: Option<PathBuf>,
    /// The highest layer its own name means when it extends that; none at the bottom.
    pub(super) below: Option<Layer>,
}

/// The profile somebody wants, before what it extends is looked for.
pub(super) struct Located {
    pub(super) text: Text,
    /// Its own name, when it was found by one.
    pub(super) name: Option<String>,
    /// Folder of the `devbox.toml` it is.
    pub(super) project_dir: Option<PathBuf>,
}

/// The places profiles are found in.
#[derive(Debug)]
pub(super) struct Places {
    personal: PathBuf,
    system: PathBuf,
    home: PathBuf,
    me: u32,
}

impl Places {
    pub(super) fn of(dirs: &Dirs) -> Self {
        Self {
            personal: dirs.config.join("profiles"),
            system: SYSTEM.into(),
            home: dirs.home.clone(),
            me: nix::unistd::geteuid().as_raw(),
        }
    }

    /// The built-in ones alone, for tests that are to see nothing of this machine.
    #[cfg(test)]
    pub(super) fn built_in() -> Self {
        let nowhere = PathBuf::from("/nonexistent");
        Self { personal: nowhere.clone(), system: nowhere.clone(), home: nowhere, me: 0 }
    }

    /// Those below `folder`: `personal`, `system`.
    #[cfg(test)]
    pub(super) fn in_folder(folder: &Path) -> Self {
        let (personal, system, home) = (folder.join("personal"), folder.join("system"), folder.join("home"));
        Self { personal, system, home, me: nix::unistd::geteuid().as_raw() }
    }

    /// See [`super::find`].
    pub(super) fn find(&self, selector: &Selector, cwd: &Path) -> Result<Found, Error> {
        match self.locate(selector, cwd)? {
            None => Ok(Found::default()),
            Some(Located { text, name, project_dir }) => {
                // a file that was named may be whosever it is, and the lock beside it
                let me = (*selector == Selector::Default).then_some(self.me);
                let lock = project_dir.as_deref().map(|folder| lock(folder, cwd, me)).transpose()?.flatten();
                Ok(Found { name, project_dir, lock, ..merge::merge(self, text)? })
            }
        }
    }

    /// The profile `selector` wants, read; none when it wants none.
    pub(super) fn locate(&self, selector: &Selector, cwd: &Path) -> Result<Option<Located>, Error> {
        Ok(Some(match selector {
            Selector::Nothing => return Ok(None),
            Selector::Name(name) => self.locate_named(name)?,
            Selector::File(path) => {
                let path = cwd.join(path);
                let Some((text, _)) = read(&path)? else { return Err(Error::NoFile { path }) };
                let path = without_links(&path);
                let text = of_file(text, &path, cwd);
                // a project's own file stands for its folder by whatever way it was named
                if path.file_name().is_some_and(|name| name == PROJECT_FILE) {
                    Located { text, name: None, project_dir: path.parent().map(Path::to_owned) }
                } else {
                    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
                    Located { text, name, project_dir: None }
                }
            }
            Selector::Default => match self.project(cwd)? {
                Some(text) => {
                    let project_dir = text.folder.clone();
                    Located { text, name: None, project_dir }
                }
                None => self.locate_named(DEFAULT)?,
            },
        }))
    }

    /// The profile `name`, looked for in `top` and the layers below it.
    pub(super) fn named(&self, name: &str, top: Layer) -> Result<Option<Text>, Error> {
        for (layer, folder) in [(Layer::Personal, &self.personal), (Layer::System, &self.system)] {
            let path = folder.join(format!("{name}.toml"));
            if top >= layer
                && let Some((text, _)) = read(&path)?
            {
                let below = if layer == Layer::Personal { Layer::System } else { Layer::BuiltIn };
                let from = path.display().to_string();
                let (shown, origin) = (from.clone(), Origin { name: name.to_owned(), from });
                let folder = Some(folder.clone());
                return Ok(Some(Text { text, origin, shown, folder, below: Some(below) }));
            }
        }
        Ok(BUILT_IN.iter().find(|(built_in, _)| *built_in == name).map(|(_, text)| Text {
            text: (*text).to_owned(),
            origin: Origin { name: name.to_owned(), from: "built in".to_owned() },
            shown: name.to_owned(),
            folder: None,
            below: None,
        }))
    }

    /// The name like `name` that is there.
    pub(super) fn near(&self, name: &str) -> Option<String> {
        let names = self.names();
        nearest(name, names.keys().map(String::as_str)).map(str::to_owned)
    }

    fn locate_named(&self, name: &str) -> Result<Located, Error> {
        let name = grammar::profile_name(name).map_err(Error::Name)?;
        match self.named(&name, Layer::Personal)? {
            Some(text) => Ok(Located { text, name: Some(name), project_dir: None }),
            None => Err(Error::NoProfile { near: self.near(&name), name }),
        }
    }

    /// The nearest `devbox.toml` in `cwd` or above it, on the same filesystem and not above the home of who
    /// stands in it; one of another user is refused, for anyone may write one into `/tmp`.
    ///
    /// The way up costs one failing open a folder; boundaries are looked at only when a file is found.
    fn project(&self, cwd: &Path) -> Result<Option<Text>, Error> {
        for folder in cwd.ancestors() {
            let path = folder.join(PROJECT_FILE);
            let file = read(&path);
            if matches!(file, Ok(None)) {
                continue;
            }
            if self.crosses_a_boundary(cwd, folder) {
                break;
            }
            let Some((text, facts)) = file? else { break };
            let owner = facts.uid();
            if owner != 0 && owner != self.me {
                return Err(Error::NotOurs { path, owner });
            }
            return Ok(Some(of_file(text, &path, cwd)));
        }
        Ok(None)
    }

    /// Whether the way from `cwd` up to `folder` leaves a filesystem or the home.
    fn crosses_a_boundary(&self, cwd: &Path, folder: &Path) -> bool {
        let identity = |path: &Path| fs::metadata(path).ok().map(|facts| (facts.dev(), facts.ino()));
        let below: Vec<_> = cwd.ancestors().take_while(|step| *step != folder).map(identity).collect();
        if below.is_empty() {
            return false;
        }
        let (home, top) = (identity(&self.home), identity(folder));
        let device = |step: &Option<(u64, u64)>| step.map(|(device, _)| device);
        below.iter().any(|step| step.is_none() || *step == home || device(step) != device(&top))
    }

    /// Every name there is, with whose it is and its file.
    fn names(&self) -> BTreeMap<String, (Layer, Option<PathBuf>)> {
        let mut names: BTreeMap<_, _> =
            BUILT_IN.iter().map(|(name, _)| ((*name).to_owned(), (Layer::BuiltIn, None))).collect();
        for (layer, folder) in [(Layer::System, &self.system), (Layer::Personal, &self.personal)] {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let file = entry.file_name();
                let name = file.to_str().and_then(|file| file.strip_suffix(".toml"));
                if let Some(name) = name.and_then(|name| grammar::profile_name(name).ok()) {
                    names.insert(name, (layer, Some(entry.path())));
                }
            }
        }
        names
    }

    fn list(&self, cwd: &Path) -> Vec<Listed> {
        let project = self.project(cwd).transpose().map(|text| {
            let path = text.as_ref().ok().and_then(|text| Some(text.folder.as_ref()?.join(PROJECT_FILE)));
            self.listed(PROJECT_FILE.to_owned(), (Layer::Project, path), text)
        });
        let named = self.names().into_iter().filter_map(|(name, place)| {
            let text = self.named(&name, Layer::Personal).transpose()?;
            Some(self.listed(name, place, text))
        });
        project.into_iter().chain(named).collect()
    }

    fn listed(
        &self,
        name: String,
        (from, path): (Layer, Option<PathBuf>),
        text: Result<Text, Error>,
    ) -> Listed {
        let mut listed = Listed { name, from, path, description: None, image: None, problem: None };
        let merged = text.and_then(|text| {
            listed.description = description(&text.text);
            merge::merge(self, text)
        });
        match merged {
            Ok(found) => listed.image = found.profile.image,
            // the first line says what is wrong; the rest shows where
            Err(wrong) => listed.problem = wrong.to_string().lines().next().map(str::to_owned),
        }
        listed
    }
}

/// The lock in a project's folder, for someone who stands in `cwd`. As the project's file, it may be nobody's but `me`'s
/// and root's, unless that file was named.
fn lock(folder: &Path, cwd: &Path, me: Option<u32>) -> Result<Option<Lock>, Error> {
    let path = folder.join(LOCK_FILE);
    let Some((text, facts)) = read(&path)? else { return Ok(None) };
    let owner = facts.uid();
    if me.is_some_and(|me| owner != 0 && owner != me) {
        return Err(Error::NotOurs { path, owner });
    }
    Lock::read(&path.strip_prefix(cwd).unwrap_or(&path).display().to_string(), &text).map(Some)
}

/// The text of the file `path` (absolute), which messages show as seen from `cwd`. Its origin is absolute, for
/// boxes are found again by it and projects told apart.
fn of_file(text: String, path: &Path, cwd: &Path) -> Text {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let shown = path.strip_prefix(cwd).unwrap_or(path).display().to_string();
    let origin = Origin { name, from: path.display().to_string() };
    let folder = path.parent().map(Path::to_owned);
    Text { text, origin, shown, folder, below: Some(Layer::Personal) }
}

/// `path` with its folder's links and dots worked out, so that a file has one origin however it is named. The
/// file's own name stays, for it says whether this is a project's.
fn without_links(path: &Path) -> PathBuf {
    let folder = path.parent().and_then(|folder| fd::real_path(folder).ok());
    folder.zip(path.file_name()).map_or_else(|| path.to_owned(), |(folder, name)| folder.join(name))
}

/// The text of the file `path` and what is known of it; none when there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<(String, Metadata)>, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let unfit = |why| Error::Unfit { path: path.to_owned(), why };
    // without O_NONBLOCK the open of a FIFO would wait for a writer
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    let facts = file.metadata().map_err(failed)?;
    if !facts.is_file() {
        return Err(unfit("is not a regular file"));
    }
    if facts.len() > MAX_BYTES {
        return Err(unfit("is larger than 1 MiB"));
    }
    // it may grow while it is read
    let bytes = fd::read_from(&file, MAX_BYTES as usize).map_err(failed)?;
    let text = String::from_utf8(bytes).map_err(|_| unfit("is not UTF-8 text"))?;
    Ok(Some((text, facts)))
}

/// The first line of a profile, when it is a comment.
fn description(text: &str) -> Option<String> {
    let comment = text.lines().next()?.strip_prefix('#')?.trim();
    (!comment.is_empty()).then(|| comment.chars().filter(|letter| !letter.is_control()).take(200).collect())
}

#[cfg(test)]
mod tests;

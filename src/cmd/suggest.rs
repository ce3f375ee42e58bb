//! What someone may have meant whose word names nothing here.

use std::fs;

use crate::dirs::Dirs;
use crate::error::Error;
use crate::profile::{self, nearest};
use crate::session::{self, Boxes};
use crate::store::{self, Store};

/// `did you mean …?`, when the error is about a name and another one is near it. Looks at the disk, and never fails.
pub fn suggestion(error: &Error) -> Option<String> {
    let dirs = Dirs::from_environment().ok()?;
    let near = match error {
        Error::Session(session::Error::NoSuchBox(name)) => near_box(&dirs, name)?,
        // a name may be of a box as well
        Error::Profile(profile::Error::NoProfile { name, near: None }) => near_box(&dirs, name)?,
        Error::Session(session::Error::NoSnapshot { name, snapshot }) => {
            near_snapshot(&dirs, name, snapshot)?
        }
        Error::Store(store::Error::NoImage { name }) => near_image(&dirs, name)?,
        Error::NoTarget { error, word } => {
            return Some(format!("{}; to run it as a command: `devbox run -- {word}`", suggestion(error)?));
        }
        _ => return None,
    };
    Some(format!("did you mean `{near}`?"))
}

fn near_box(dirs: &Dirs, name: &str) -> Option<String> {
    let names = Boxes::new(dirs).names().ok()?;
    nearest(name, names.iter().map(String::as_str)).map(str::to_owned)
}

fn near_snapshot(dirs: &Dirs, name: &str, snapshot: &str) -> Option<String> {
    let folder = Boxes::new(dirs).folder(name).ok()?.join("snapshots");
    let entries = fs::read_dir(folder).ok()?.flatten();
    let names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    nearest(snapshot, names.iter().map(String::as_str).filter(|name| !name.starts_with('.')))
        .map(str::to_owned)
}

/// The image with the nearest name, be it written in full or as people shorten it.
fn near_image(dirs: &Dirs, name: &str) -> Option<String> {
    // opening makes a store where there is none
    let store = dirs.store().is_dir().then(|| Store::open(&dirs.store()).ok())??;
    let names: Vec<String> = store.refs().ok()?.into_keys().collect();
    let last = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    let short: Vec<String> = names.iter().map(|name| last(name)).collect();
    if let Some(full) = nearest(name, names.iter().map(String::as_str)) {
        return Some(full.to_owned());
    }
    let short_name = nearest(&last(name), short.iter().map(String::as_str))?;
    names.iter().zip(&short).find(|(_, short)| *short == short_name).map(|(name, _)| name.clone())
}

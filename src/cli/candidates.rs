//! Names a shell may complete to. Cheap reads only: no lock, no network, nothing started; whatever can't be
//! read has no candidates.

use std::ffi::OsStr;
use std::fs;

use clap_complete::engine::CompletionCandidate;

use super::completion;
use crate::dirs::{self, Dirs};
use crate::fetch::login;
use crate::profile::{self, Layer, Selector};
use crate::session::Boxes;
use crate::store::{RESULTS, Store};
use crate::trusted::Trusted;

/// Boxes that exist.
pub(super) fn boxes(current: &OsStr) -> Vec<CompletionCandidate> {
    let Ok(dirs) = Dirs::from_environment() else { return Vec::new() };
    let Ok(entries) = fs::read_dir(dirs.boxes()) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    matching(current, "box", names.filter(|name| !name.starts_with('.')))
}

/// Snapshots of the box that stands on the line already, else of all boxes.
pub(super) fn snapshots(current: &OsStr) -> Vec<CompletionCandidate> {
    let Ok(dirs) = Dirs::from_environment() else { return Vec::new() };
    let root = dirs.boxes();
    let mut boxes: Vec<_> =
        fs::read_dir(&root).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
    if let Some(named) = completion::words().iter().skip(2).find(|word| boxes.contains(word)) {
        boxes = vec![named.clone()];
    }
    let of = |name| fs::read_dir(root.join(name).join("snapshots")).into_iter().flatten().flatten();
    let entries = boxes.into_iter().flat_map(of);
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    matching(current, "snapshot", names.filter(|name| !name.starts_with('.')))
}

/// Boxes to be entered, and profiles.
pub(super) fn boxes_and_profiles(current: &OsStr) -> Vec<CompletionCandidate> {
    let mut found = boxes(current);
    let (Ok(dirs), Ok(cwd)) = (Dirs::from_environment(), dirs::current()) else { return found };
    let all = Boxes::new(&dirs);
    let is_of_step = |name: &str| {
        name.starts_with("setup-")
            && all.load(name).is_ok_and(|record| record.is_some_and(|record| record.step.is_some()))
    };
    found.retain(|candidate| !candidate.get_value().to_str().is_some_and(is_of_step));
    let profiles = profile::list(&dirs, &cwd).into_iter().filter(|profile| profile.from != Layer::Project);
    let profiles = matching(current, "profile", profiles.map(|profile| profile.name));
    let is_box = |name: &OsStr| found.iter().any(|candidate| candidate.get_value() == name);
    let profiles: Vec<_> = profiles.into_iter().filter(|profile| !is_box(profile.get_value())).collect();
    found.extend(profiles);
    found
}

/// Steps of the set-up of the project the caller stands in, by number.
pub(super) fn steps(current: &OsStr) -> Vec<CompletionCandidate> {
    let (Ok(dirs), Ok(cwd)) = (Dirs::from_environment(), dirs::current()) else { return Vec::new() };
    let Ok(found) = profile::find(&dirs, &Selector::Default, &cwd) else { return Vec::new() };
    let numbers = (1..=found.profile.setup.steps.len()).map(|number| number.to_string());
    matching(current, "set-up step", numbers)
}

/// Project files that were allowed something.
pub(super) fn trusted(current: &OsStr) -> Vec<CompletionCandidate> {
    let Ok(dirs) = Dirs::from_environment() else { return Vec::new() };
    let records = Trusted::of(&dirs).list().unwrap_or_default();
    matching(current, "project", records.into_iter().map(|record| record.file))
}

/// References in the store.
pub(super) fn images(current: &OsStr) -> Vec<CompletionCandidate> {
    let Ok(dirs) = Dirs::from_environment() else { return Vec::new() };
    // opening makes a store where there is none
    if !dirs.store().is_dir() {
        return Vec::new();
    }
    let refs = Store::open(&dirs.store()).and_then(|store| store.refs());
    let names = refs.unwrap_or_default().into_keys();
    matching(current, "image", names.filter(|name| !name.starts_with(RESULTS)))
}

/// Registries somebody logged in to.
pub(super) fn registries(current: &OsStr) -> Vec<CompletionCandidate> {
    let Ok(dirs) = Dirs::from_environment() else { return Vec::new() };
    let mut known = login::known(&dirs);
    known.push("docker.io".into());
    known.sort_unstable();
    known.dedup();
    matching(current, "registry", known.into_iter())
}

fn matching(
    current: &OsStr,
    help: &'static str,
    names: impl Iterator<Item = String>,
) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let mut names: Vec<_> = names.filter(|name| name.starts_with(&*current)).collect();
    names.sort_unstable();
    names.into_iter().map(|name| CompletionCandidate::new(name).help(Some(help.into()))).collect()
}

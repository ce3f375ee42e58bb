//! Names a shell may complete to. Cheap reads only: no lock, no network, nothing started; whatever can't be
//! read has no candidates.

use std::ffi::OsStr;
use std::fs;

use clap_complete::engine::CompletionCandidate;

use crate::dirs::Dirs;

/// Boxes that exist.
pub(super) fn boxes(current: &OsStr) -> Vec<CompletionCandidate> {
    let Ok(dirs) = Dirs::from_environment() else { return Vec::new() };
    let Ok(entries) = fs::read_dir(dirs.boxes()) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    matching(current, "box", names.filter(|name| !name.starts_with('.')))
}

/// Boxes that exist, and profiles.
pub(super) fn boxes_and_profiles(current: &OsStr) -> Vec<CompletionCandidate> {
    boxes(current)
}

/// References in the store.
pub(super) fn images(_current: &OsStr) -> Vec<CompletionCandidate> {
    Vec::new()
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

//! The mounts of profile and flags, with `~`, `${project}` and caches filled in.

use std::path::Path;

use super::flags::{self, volume};
use super::{Error, Flags, Host, Mount, MountMode};
use crate::profile::place::{Place, may_hold_a_mount};
use crate::profile::{self, BadValue, Profile, Source};

/// Where files of `[secrets]` stand in a box.
pub(super) const SECRETS: &str = "/run/secrets";
/// A source that hides what would stand at the target, and shows nothing of the host.
pub const NOTHING: &str = "/dev/null";

/// All mounts: of two with the same target the later counts, and flags come last; outer ones stand before those
/// inside them, so that none hides another.
///
/// `~` is the caller's home on both sides, whoever the session runs as: sessions of one box share its mounts.
pub(super) fn collect(
    profile: &Profile,
    flags: &Flags,
    host: &Host,
    project: Option<&Path>,
) -> Result<Vec<Mount>, Error> {
    let mut mounts: Vec<Mount> = Vec::new();
    let volumes = flags
        .volumes
        .iter()
        .map(|text| volume(text, &host.cwd).map_err(|source| Error::Flag { flag: "-v", source }));
    let bad = |flag| move |source| Error::Flag { flag, source };
    let secrets =
        profile.secrets.iter().map(|(name, file)| secret(name, file.clone()).map_err(bad("[secrets]")));
    let handed = flags.secrets.iter().map(|text| flags::secret(text, &host.cwd).map_err(bad("--secret")));
    for wanted in profile.mounts.iter().cloned().map(Ok).chain(secrets).chain(volumes).chain(handed) {
        let Some(mount) = fill_in(&wanted?, host, project)? else { continue };
        match mounts.iter_mut().find(|other| other.target == mount.target) {
            Some(other) => *other = mount,
            None => mounts.push(mount),
        }
    }
    mounts.sort_by_key(|mount| mount.target.components().count());
    Ok(mounts)
}

/// A file handed in by name, to be read.
pub(super) fn secret(name: &str, file: Place) -> Result<profile::Mount, BadValue> {
    let target = Place::in_box(&format!("{SECRETS}/{name}"))?;
    Ok(profile::Mount { source: Source::Host(file), target, mode: MountMode::Ro, optional: false })
}

/// The mount as it will be made; none when it is optional and below a project there is none of.
fn fill_in(wanted: &profile::Mount, host: &Host, project: Option<&Path>) -> Result<Option<Mount>, Error> {
    let source = match &wanted.source {
        Source::Memory => Some(None),
        Source::Cache(name) => Some(Some(host.cache.join("caches").join(name))),
        Source::Host(place) => place.resolve(&host.home, project).map(Some),
    };
    let (Some(source), Some(target)) = (source, wanted.target.resolve(&host.home, project)) else {
        return if wanted.optional { Ok(None) } else { Err(Error::NoProject("a mount")) };
    };
    may_hold_a_mount(&target).map_err(Error::Target)?;
    Ok(Some(Mount { source, target, mode: wanted.mode, optional: wanted.optional }))
}

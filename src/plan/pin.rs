//! What the lock of a project says about a plan.

use serde::Serialize;

use super::{Flags, Image};
use crate::oci::digest::Digest;
use crate::oci::platform::Platform;
use crate::profile::{Found, LOCK_FILE};

/// The image a lock holds a plan to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pin {
    /// What the name stood for: an index, or the manifest.
    pub digest: Digest,
    /// The manifest for the plan's platform.
    pub manifest: Digest,
    /// The image's layers by their diff ids, bottom first.
    pub layers: Vec<Digest>,
    /// Results of set-ups: their keys, and the layers' diff ids.
    pub setups: Vec<(Digest, Vec<Digest>)>,
}

/// Why a plan is not held to a lock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Drift {
    /// There is none.
    #[error("there is no {LOCK_FILE}")]
    NoLock,
    /// The command line asks for something else.
    #[error("`{0}` asks for something else than the project's file")]
    Flag(&'static str),
    /// The image is none of a registry.
    #[error("`image`: {0} is of this machine alone, and only images of registries are locked")]
    Unlockable(String),
    /// Another image.
    #[error("`image`: {0} is not in {LOCK_FILE}")]
    Image(String),
    /// Another platform.
    #[error("`platform`: {LOCK_FILE} has nothing for {wanted} of {image}, but {had}")]
    Platform {
        /// The image.
        image: String,
        /// What it is to run on.
        wanted: String,
        /// What the lock has.
        had: String,
    },
}

/// What the lock in `found` has for `image` on `platform`; or why it has nothing to say.
pub(super) fn pin(found: &Found, flags: &Flags, image: &Image, platform: &str) -> Result<Pin, Drift> {
    if flags.image.is_some() {
        return Err(Drift::Flag("--image"));
    }
    let Some(lock) = &found.lock else { return Err(Drift::NoLock) };
    let Image::Registry(reference) = image else { return Err(Drift::Unlockable(image.to_string())) };
    let Some(locked) = lock.image(reference) else { return Err(Drift::Image(reference.clone())) };
    let wanted = platform.parse::<Platform>().ok();
    let Some(one) = wanted.and_then(|wanted| locked.suiting(&wanted)) else {
        let had: Vec<_> = locked.platforms.iter().map(|one| one.platform.to_string()).collect();
        let had = if had.is_empty() { "none".to_owned() } else { had.join(", ") };
        return Err(Drift::Platform { image: reference.clone(), wanted: platform.to_owned(), had });
    };
    let setups = lock.setups.iter().map(|setup| (setup.key, setup.layers.clone()));
    Ok(Pin {
        digest: locked.digest,
        manifest: one.manifest,
        layers: one.layers.clone(),
        setups: setups.collect(),
    })
}

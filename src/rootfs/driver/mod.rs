//! How layers and a box's own files become its root: one file a driver.
//!
//! | driver | the box's own files | how the root comes about |
//! |---|---|---|
//! | `overlay` | `upper`, what differs from the layers | the kernel merges |
//! | `fuse` | `upper`, in a form of its own (see [`upper`]) | fuse-overlayfs merges, outside of the box |
//! | `copy` | `tree`, everything | a bind of it |
//!
//! A driver takes layers, the box's folder and ids, and gives a [`Root`]. All of them end with the box's mount namespace.

pub mod copy;
pub mod delta;
pub(super) mod flatten;
mod fuse;
mod overlay;
pub mod owners;
pub mod upper;

use std::path::{Path, PathBuf};

use super::{Error, Wanted};
use crate::mount::{Driver, Root};

pub use overlay::MOST as MOST_LAYERS;

/// The root of a box over an image.
pub(super) fn root(wanted: &Wanted<'_>) -> Result<Root, Error> {
    match wanted.driver {
        Driver::Overlay => overlay::root(wanted),
        Driver::Fuse => fuse::root(wanted),
        Driver::Copy => copy::root(wanted),
    }
}

/// The folders that merge into the root of the box in `folder`, topmost first.
pub fn trees(driver: Driver, folder: &Path, lowers: Vec<PathBuf>) -> Vec<PathBuf> {
    let tree = copy::tree(folder);
    if driver == Driver::Copy && tree.exists() {
        return vec![tree];
    }
    [folder.join("upper")].into_iter().chain(lowers).collect()
}

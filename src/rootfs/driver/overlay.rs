//! The overlay of a box: its layers by names that fit into mount options.
//!
//! mount(2) reads one page of options, in which `:`, `,` and `\` have a meaning. Layers are named relative to the folder
//! that holds them all; where even that is too much, or the box's own folder has such a letter, by short links in the
//! box's folder.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use super::{Error, Wanted};
use crate::mount::{Overlay, Root, c_path};

/// Layers of an image one overlay can have (OVL_MAX_STACK, `fs/overlayfs/params.h`), beside one of the box's own.
pub const MOST: usize = 499;
/// What may be used of the page, less than its 4096 bytes for the options' own names.
const ROOM: usize = 3900;
/// Folder of the links, in the box's.
const LINKS: &str = "l";

pub(super) fn root(wanted: &Wanted<'_>) -> Result<Root, Error> {
    overlay(wanted).map(Root::Overlay)
}

/// The overlay of a box, of at most [`MOST`] layers. Makes links in the box's folder when they are needed.
pub(super) fn overlay(wanted: &Wanted<'_>) -> Result<Overlay, Error> {
    let tree = wanted.delta.as_ref().map(|delta| delta.tree.clone());
    let data = wanted.delta.as_ref().and_then(|delta| delta.data.clone());
    let layers = if data.is_some() { &[] } else { &wanted.lowers[..] };
    let own: Vec<PathBuf> = [wanted.folder.join("upper"), wanted.folder.join("work")]
        .into_iter()
        .chain(tree.clone())
        .chain(data.clone())
        .collect();
    let base = layers.first().and_then(|tree| tree.parent()?.parent()).unwrap_or(Path::new("/"));
    let near: Option<Vec<PathBuf>> =
        layers.iter().map(|layer| layer.strip_prefix(base).ok().map(PathBuf::from)).collect();
    let (base, lowers, own) = match near {
        Some(near) if fit(near.iter().chain(&own)) => (base, near, Path::new("")),
        _ => (wanted.folder, links(wanted.folder, layers)?, wanted.folder),
    };
    // By short names where that is the base.
    let near = |path: &Path| c_path(path.strip_prefix(own).unwrap_or(path));
    Ok(Overlay {
        base: c_path(base)?,
        lowers: tree
            .iter()
            .map(|tree| near(tree))
            .chain(lowers.iter().map(c_path))
            .collect::<Result<_, _>>()?,
        data: data.as_deref().map(near).transpose()?,
        upper: near(&wanted.folder.join("upper"))?,
        work: near(&wanted.folder.join("work"))?,
        volatile: wanted.volatile,
    })
}

fn fit<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> bool {
    let mut length = 0;
    for path in paths {
        let bytes = path.as_os_str().as_encoded_bytes();
        length += bytes.len() + 1;
        if length > ROOM || bytes.iter().any(|byte| matches!(byte, b',' | b':' | b'\\')) {
            return false;
        }
    }
    true
}

/// A link to each layer, named by its place; links of an earlier start are put right.
fn links(folder: &Path, layers: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let links = folder.join(LINKS);
    let made = |path: &Path, result: io::Result<()>| match result {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result.map_err(|source| Error::File { what: "make", path: path.to_owned(), source }),
    };
    made(&links, fs::DirBuilder::new().mode(0o700).create(&links))?;
    let link = |(place, tree): (usize, &PathBuf)| {
        let name = Path::new(LINKS).join(place.to_string());
        let link = folder.join(&name);
        if fs::read_link(&link).ok().as_ref() != Some(tree) {
            let _ = fs::remove_file(&link);
            made(&link, symlink(tree, &link))?;
        }
        Ok(name)
    };
    layers.iter().enumerate().map(link).collect()
}

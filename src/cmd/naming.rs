//! What a word of the command line means as an image.

use std::path::PathBuf;

use super::reference::{self, Doubt};
use crate::dirs::{self, Dirs};
use crate::error::Error;
use crate::oci::digest::Digest;
use crate::oci::reference::Reference;
use crate::oci::source::Source;
use crate::plan::Image;
use crate::profile::place::Place;
use crate::profile::{self, BadValue};
use crate::store::{self, Store, Target};
use crate::ui::Ui;

/// A digest's beginning is taken for one from this length on.
const SHORTEST: usize = 6;

/// An image as it is named, whether or not it is here.
pub(super) enum Name {
    /// One of a registry.
    Registry(Reference),
    /// One in files of the host, their path absolute.
    Files(Source),
    /// A root file system in a folder of the host.
    Folder(PathBuf),
}

/// Reads `text`; a relative path in it is below the current folder.
pub(super) fn read(ui: &Ui, dirs: &Dirs, text: &str, doubt: Doubt) -> Result<Name, Error> {
    if Source::read(text).is_none() && !text.starts_with("dir:") {
        return Ok(Name::Registry(reference::named(ui, dirs, text, doubt)?));
    }
    let lost = |error| BadValue::new(format!("the current folder is not known: {error}"));
    let cwd = dirs::current().map_err(lost)?;
    let image = profile::Image::read(text, Some(&Place::absolute(&cwd)))?;
    match Image::of(&image, &dirs.home, None) {
        Some(Image::Files(source)) => Ok(Name::Files(source)),
        Some(Image::Folder(path)) => Ok(Name::Folder(path)),
        _ => Err(BadValue::new("`${project}` has a meaning in profiles alone").into()),
    }
}

/// What `text` means in the store: a reference or files that stand for an image here, else a digest, alone or behind
/// a name, or the beginning of one.
pub(super) fn find(ui: &Ui, store: &Store, dirs: &Dirs, text: &str) -> Result<Target, Error> {
    look_up(ui, store, dirs, text).map(|(target, _)| target)
}

/// The same, and the name that was given, if it was one.
fn look_up(ui: &Ui, store: &Store, dirs: &Dirs, text: &str) -> Result<(Target, Option<String>), Error> {
    let by_digest = |digest: &Digest| match store.with_digest(digest)?.as_slice() {
        [] => Ok(None),
        [image] => Ok(Some(Target::Image(*image))),
        _ => Err(Error::Ambiguous { name: text.to_owned() }),
    };
    if let Ok(digest) = text.parse() {
        return Ok((by_digest(&digest)?.unwrap_or(Target::Image(digest)), None));
    }
    let name = match read(ui, dirs, text, Doubt::Refuse) {
        Ok(Name::Registry(reference)) => Ok(reference),
        Ok(Name::Files(source)) => return Ok(named(source.to_string())),
        Ok(Name::Folder(_)) => return Err(store::Error::NoImage { name: text.to_owned() }.into()),
        Err(error) => Err(error),
    };
    if let Ok(reference) = &name
        && let name = reference.to_string()
    {
        if store.resolve(&name)?.is_some() {
            return Ok(named(name));
        }
        if let Some(digest) = &reference.digest
            && let Some(image) = by_digest(digest)?
        {
            return Ok((image, Some(name)));
        }
    }
    let images = store.images()?;
    match by_prefix(text, images.iter().map(|image| image.manifest_digest)).as_slice() {
        [] => Ok(named(name?.to_string())),
        [digest] => Ok((Target::Image(*digest), None)),
        _ => Err(Error::Ambiguous { name: text.to_owned() }),
    }
}

/// The image of the store that `text` means, and the name that was given, if it was one.
pub(super) fn image(
    ui: &Ui,
    store: &Store,
    dirs: &Dirs,
    text: &str,
) -> Result<(store::Image, Option<String>), Error> {
    let (target, name) = look_up(ui, store, dirs, text)?;
    let digest = match target {
        Target::Image(digest) => Some(digest),
        Target::Reference(name) => store.resolve(&name)?,
    };
    let found = digest.map(|digest| store.image(&digest)).transpose()?.flatten();
    found.map(|image| (image, name)).ok_or_else(|| store::Error::NoImage { name: text.to_owned() }.into())
}

fn named(name: String) -> (Target, Option<String>) {
    (Target::Reference(name.clone()), Some(name))
}

fn by_prefix(name: &str, digests: impl Iterator<Item = Digest>) -> Vec<Digest> {
    digests.filter(|digest| name.len() >= SHORTEST && digest.hex().starts_with(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_by_their_beginning() {
        let digests = [Digest::of(b"a"), Digest::of(b"b")];
        let find = |name: &str| by_prefix(name, digests.into_iter());
        assert_eq!(find(&digests[0].short()), [digests[0]]);
        assert_eq!(find(&digests[1].hex()), [digests[1]]);
        assert_eq!(find(&digests[0].hex()[..5]), []);
        assert_eq!(find(""), []);
        assert_eq!(find("debian"), []);
    }
}

//! Names of images as users write them: short ones get their registry by this machine's settings.

use crate::dirs::Dirs;
use crate::error::Error;
use crate::fetch::{Mode, Registries, Registry, Short};
use crate::oci::reference::Reference;
use crate::profile::Image;
use crate::store::Store;
use crate::ui::Ui;

/// What may be done about a short name that could mean several images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    /// Ask the user, or the registries.
    Resolve,
    /// Nothing: refuse.
    Refuse,
}

/// The image `text` means. Of several it could mean, those that are here go before the rest.
pub(super) fn named(ui: &Ui, dirs: &Dirs, text: &str, doubt: Doubt) -> Result<Reference, Error> {
    if !Reference::is_short(text) {
        return Ok(text.parse()?);
    }
    let registries =
        Registries::read(dirs).map_err(|fault| Error::ShortName { name: text.to_owned(), fault })?;
    let (mut found, mode) = match registries.meaning(text)? {
        Short::Sure(reference) => return Ok(reference),
        Short::Unsure(found, mode) => (found, mode),
    };
    if let Some(here) = here(dirs, &found)? {
        return Ok(here);
    }
    let names: Vec<_> = found.iter().map(ToString::to_string).collect();
    let chosen = match (doubt, mode) {
        (Doubt::Refuse, _) => None,
        (Doubt::Resolve, Mode::Disabled) => Some(first_that_has_it(ui, dirs, &found)),
        (Doubt::Resolve, _) => ui.choose(&format!("which image is `{text}`?"), &names),
    };
    match chosen {
        Some(number) => Ok(found.swap_remove(number)),
        None => Err(Error::SeveralMeanings { name: text.to_owned(), meanings: names }),
    }
}

/// `image` with its name in full.
pub(super) fn image(ui: &Ui, dirs: &Dirs, image: Image, doubt: Doubt) -> Result<Image, Error> {
    match image {
        Image::Registry(name) => Ok(Image::Registry(named(ui, dirs, &name, doubt)?.to_string())),
        image => Ok(image),
    }
}

fn here(dirs: &Dirs, found: &[Reference]) -> Result<Option<Reference>, Error> {
    if !dirs.store().is_dir() {
        return Ok(None);
    }
    let store = Store::open(&dirs.store())?;
    for reference in found {
        if store.resolve(&reference.to_string())?.is_some() {
            return Ok(Some(reference.clone()));
        }
    }
    Ok(None)
}

/// The first whose registry has it; when none has, the last, whose failure will be told.
fn first_that_has_it(ui: &Ui, dirs: &Dirs, found: &[Reference]) -> usize {
    let has = |reference: &Reference| {
        let tag = reference.digest.map(|digest| digest.to_string()).or_else(|| reference.tag.clone());
        let registry = Registry::open(dirs, reference, &|text| ui.note(text));
        registry.and_then(|registry| registry.digest_of(&tag.unwrap_or_default())).is_ok()
    };
    found.iter().position(has).unwrap_or(found.len() - 1)
}

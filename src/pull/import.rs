//! Images from files: layouts and docker archives, by the same way into the store as those of a registry.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use super::blobs::Archived;
use super::decode::Decoder;
use super::error::{Error, Why};
use super::{Candidate, Origin, Progress, Pulled, behind, complete, keep, layers, resolve, suits};
use crate::fetch::Fetched;
use crate::layout::{self, DockerArchive, Images, Layout};
use crate::oci::config::{self, ImageConfig};
use crate::oci::digest::Digest;
use crate::oci::docker_archive::ArchivedImage;
use crate::oci::manifest::{Descriptor, MAX_SIZE, Manifest};
use crate::oci::media_type::{Compression, OCI_CONFIG, OCI_LAYER};
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::oci::source::{Form, Source};
use crate::store::{self, Image, Store};

/// Brings the image that `source` names into the store, where `source` as text then stands for it. Layers that are
/// here are not read; see [`super::pull`] for the rest.
///
/// # Errors
///
/// When the files can't be read or are not what they should be; layers that were whole by then stay in the store.
pub fn import(
    store: &Store,
    source: &Source,
    platform: &Platform,
    progress: &dyn Progress,
) -> Result<Pulled, Error> {
    let text = source.to_string();
    let names = [text.clone()];
    let bring = || -> Result<Pulled, Why> {
        let shown = source.path.display().to_string();
        let into = Into { store, platform, progress, source: &text, names: &names };
        match source.form {
            Form::Layout => {
                let layout = Layout::in_folder(&source.path)?;
                into.layout(&layout, layout.choose(source.name.as_deref(), platform)?)
            }
            Form::Archive => {
                let layout =
                    Layout::in_archive(seekable(store, layout::open(&source.path)?, &shown)?, &shown)?;
                into.layout(&layout, layout.choose(source.name.as_deref(), platform)?)
            }
            Form::DockerArchive => {
                let archive =
                    DockerArchive::open(seekable(store, layout::open(&source.path)?, &shown)?, &shown)?;
                into.docker(&archive, one_of(&archive, source.name.as_deref())?)
            }
        }
    };
    let brought = bring();
    // what interrupted commands left is no reason to fail
    let _ = store.sweep();
    brought.map_err(|why| Error { action: "pull", image: text, why: Box::new(why) })
}

/// What [`load`] reads.
#[derive(Debug)]
pub enum Input<'a> {
    /// A folder in OCI's image layout, or an archive of any form.
    Path(&'a Path),
    /// Such an archive, seekable or not, compressed or not.
    Stream(File),
}

/// What loaded images are to be called, where the files don't say or another name is wanted.
#[derive(Debug, Default)]
pub struct Names<'a> {
    /// The only image's new name.
    pub name: Option<&'a Reference>,
    /// The repository below `localhost` of an image whose name is at most a tag.
    pub fallback: Option<&'a str>,
}

/// An image that was loaded.
#[derive(Debug)]
pub struct Loaded {
    /// The references that stand for it now.
    pub names: Vec<String>,
    /// What was done.
    pub pulled: Pulled,
}

/// Brings all images of a folder or archive into the store, under the names they have there or those of `names`.
/// `shown` is what the user calls the files; `progress` is asked for once an image.
///
/// # Errors
///
/// As [`import`]; images before the failing one stay in the store with their names.
pub fn load<P: Progress>(
    store: &Store,
    input: Input<'_>,
    shown: &str,
    names: &Names<'_>,
    platform: &Platform,
    progress: &dyn Fn(&str) -> P,
) -> Result<Vec<Loaded>, Error> {
    let bring = || -> Result<Vec<Loaded>, Why> {
        let path = if let Input::Path(path) = input { Some(path) } else { None };
        let images = match input {
            Input::Path(path) if path.is_dir() => Images::Layout(Layout::in_folder(path)?),
            Input::Path(path) => layout::open_archive(seekable(store, layout::open(path)?, shown)?, shown)?,
            Input::Stream(file) => layout::open_archive(seekable(store, file, shown)?, shown)?,
        };
        let source = recorded(path, &images);
        let wanted = match &images {
            Images::Layout(layout) => wanted_of_layout(layout, names.fallback, platform)?,
            Images::Docker(archive) => wanted_of_docker(archive, names.fallback),
        };
        let wanted = named(wanted, names.name)?;
        let mut loaded = Vec::new();
        for (number, names) in wanted {
            let progress = progress(&names.join(", "));
            let into = Into { store, platform, progress: &progress, source: &source, names: &names };
            let pulled = match &images {
                Images::Layout(layout) => into.layout(layout, &layout.entries[number]),
                Images::Docker(archive) => into.docker(archive, &archive.images[number]),
            }?;
            loaded.push(Loaded { names, pulled });
        }
        Ok(loaded)
    };
    let brought = bring();
    let _ = store.sweep();
    brought.map_err(|why| Error { action: "load", image: shown.to_owned(), why: Box::new(why) })
}

/// Where loaded images are from, for their record: `-` for a pipe, which nothing else is called.
fn recorded(path: Option<&Path>, images: &Images) -> String {
    let Some(path) = path else { return "-".to_owned() };
    let form = match images {
        Images::Layout(_) if path.is_dir() => Form::Layout,
        Images::Layout(_) => Form::Archive,
        Images::Docker(_) => Form::DockerArchive,
    };
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    Source { form, path, name: None }.to_string()
}

/// Images to load, by their place in the index or manifest, and what each is to be called.
type Wanted = Vec<(usize, Vec<String>)>;

/// Of several entries with one name, those for several platforms, the one that suits.
fn wanted_of_layout(layout: &Layout, fallback: Option<&str>, platform: &Platform) -> Result<Wanted, Why> {
    let mut wanted = Vec::<(usize, Vec<String>)>::new();
    for (number, entry) in layout.entries.iter().enumerate() {
        let name = entry.image_name().or(entry.ref_name());
        let chosen =
            match layout.entries.iter().filter(|it| it.image_name().or(it.ref_name()) == name).count() {
                1 => entry,
                _ => layout.choose(name, platform)?,
            };
        if std::ptr::eq(chosen, entry) {
            wanted.push((number, called(name, fallback).into_iter().collect()));
        }
    }
    Ok(wanted)
}

fn wanted_of_docker(archive: &DockerArchive, fallback: Option<&str>) -> Wanted {
    let names = |image: &ArchivedImage| -> Vec<String> {
        match image.names.as_slice() {
            [] => called(None, fallback).into_iter().collect(),
            names => names.iter().map(Reference::to_string).collect(),
        }
    };
    archive.images.iter().map(names).enumerate().collect()
}

/// The reference an image's name in a layout comes to. A bare tag says no repository: then it is `fallback`'s. A
/// digest in it is nobody's word but the file's, and is left out.
fn called(name: Option<&str>, fallback: Option<&str>) -> Option<String> {
    let tag = match name {
        Some(name) if name.contains(['/', ':']) => {
            return Some(name.parse::<Reference>().ok()?.without_digest()?.to_string());
        }
        Some(tag) => tag,
        None => "latest",
    };
    let reference: Reference = format!("localhost/{}:{tag}", fallback?).parse().ok()?;
    Some(reference.to_string())
}

/// `wanted` under `name` instead, if one is given; every image has to have some name.
fn named(mut wanted: Wanted, name: Option<&Reference>) -> Result<Wanted, Why> {
    match (wanted.as_mut_slice(), name) {
        ([], _) => return Err(Why::NoImages),
        ([(_, names)], Some(name)) => *names = vec![name.to_string()],
        (several, Some(_)) => return Err(Why::OneNameForMany(several.len())),
        (_, None) => {}
    }
    if wanted.iter().any(|(_, names)| names.is_empty()) { Err(Why::NoName) } else { Ok(wanted) }
}

/// The image called `name`; without a name the only one.
fn one_of<'a>(archive: &'a DockerArchive, name: Option<&str>) -> Result<&'a ArchivedImage, Why> {
    let offered = || archive.images.iter().flat_map(|image| &image.names).map(Reference::to_string).collect();
    match (archive.images.as_slice(), name) {
        ([only], None) => Ok(only),
        ([], None) => Err(Why::NoImages),
        (_, None) => Err(Why::Several(offered())),
        (images, Some(name)) => {
            let wanted = name.parse::<Reference>().ok();
            let found = images.iter().find(|image| image.names.iter().any(|it| Some(it) == wanted.as_ref()));
            found.ok_or_else(|| Why::NotInArchive { wanted: name.to_owned(), offered: offered() })
        }
    }
}

/// The archive as a file that can be read anywhere: itself, or what it holds, unpacked into an unnamed file of the
/// store, when it comes through a pipe or is compressed as a whole.
fn seekable(store: &Store, mut file: File, shown: &str) -> Result<File, Why> {
    use std::io::{BufReader, Seek};
    use std::os::unix::fs::FileExt;
    let unreadable = |source| layout::Error::File { action: "read", shown: shown.to_owned(), source };
    let found = file.metadata().map_err(unreadable)?;
    if found.is_dir() {
        return Err(layout::Error::NotAFile { shown: shown.to_owned() }.into());
    }
    if found.is_file() && file.stream_position().map_err(unreadable)? == 0 {
        let mut head = [0; 4];
        let count = file.read_at(&mut head, 0).map_err(unreadable)?;
        if Compression::of_bytes(&head[..count]) == Compression::None {
            return Ok(file);
        }
    }
    let archive = Decoder::new(BufReader::with_capacity(512 << 10, file)).map_err(unreadable)?;
    store.spool(archive).map_err(|error| match error {
        store::Error::Input(source) => unreadable(source).into(),
        error => error.into(),
    })
}

/// What an image goes into, and as what.
struct Into<'a> {
    store: &'a Store,
    platform: &'a Platform,
    progress: &'a dyn Progress,
    /// Where it comes from, as text.
    source: &'a str,
    /// What will stand for it.
    names: &'a [String],
}

impl Into<'_> {
    fn layout(&self, layout: &Layout, entry: &Descriptor) -> Result<Pulled, Why> {
        let document = |entry: &Descriptor| -> Result<Fetched, Why> {
            if entry.size > MAX_SIZE as u64 {
                return Err(Why::ManifestSize(entry.size));
            }
            let mut bytes = Vec::new();
            let mut blob = layout.blob(entry)?;
            std::io::copy(&mut blob, &mut bytes).map_err(|error| Why::of_bytes(error, entry.digest))?;
            Ok(Fetched { bytes, digest: entry.digest, media_type: Some(entry.media_type.clone()) })
        };
        let (fetched, manifest) = behind(document(entry)?, self.platform, document)?;
        if let Some(pulled) = self.unchanged(|image| image.manifest_digest == fetched.digest)? {
            return Ok(pulled);
        }
        let found = Candidate { fetched, manifest, source: self.source.to_owned() };
        let origin = Origin { blobs: layout, note: &|text| self.progress.note(text) };
        keep(self.store, self.platform, found, &origin, self.names, self.progress)
    }

    /// There is no manifest in it, so one is made: of the layers as they are uncompressed, whose digests are the
    /// diff ids. The same image gives the same manifest each time.
    fn docker(&self, archive: &DockerArchive, image: &ArchivedImage) -> Result<Pulled, Why> {
        let bytes = archive.config(image, config::MAX_SIZE)?;
        let config = ImageConfig::parse(&bytes)?;
        suits(&config, self.platform)?;
        if config.diff_ids.len() != image.layers.len() {
            return Err(Why::LayerCount { layers: image.layers.len(), diff_ids: config.diff_ids.len() });
        }
        let config_digest = Digest::of(&bytes);
        if let Some(pulled) = self.unchanged(|image| image.config_digest == config_digest)? {
            return Ok(pulled);
        }
        let descriptor = |media_type: &str, digest, size| Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
            platform: None,
            annotations: Default::default(),
        };
        let names: HashMap<Digest, &str> =
            config.diff_ids.iter().copied().zip(image.layers.iter().map(String::as_str)).collect();
        let packed: Vec<Descriptor> = config
            .diff_ids
            .iter()
            .map(|diff_id| Ok(descriptor(OCI_LAYER, *diff_id, archive.layer_size(names[diff_id])?)))
            .collect::<Result<_, layout::Error>>()?;
        let note = |text: &str| self.progress.note(text);
        let hold =
            self.store.hold(&mut |holder| note(&format!("waiting for {holder}, which removes images")))?;
        let blobs = Archived { archive, names };
        let done = layers::fetch(self.store, &hold, &blobs, &packed, &config.diff_ids, self.progress)?;
        let size = |diff_id: &Digest| self.store.meta(diff_id).map(|meta| meta.tar_bytes);
        let layers = config
            .diff_ids
            .iter()
            .map(|diff_id| Ok(descriptor(OCI_LAYER, *diff_id, size(diff_id)?)))
            .collect::<Result<_, Why>>()?;
        let manifest = Manifest { config: descriptor(OCI_CONFIG, config_digest, bytes.len() as u64), layers };
        let manifest = manifest.to_json();
        let image = Image {
            manifest_digest: Digest::of(&manifest),
            manifest,
            config_digest,
            config: bytes,
            layers: config.diff_ids,
            source: self.source.to_owned(),
        };
        self.store.put_image(&hold, &image)?;
        for name in self.names {
            self.store.set_own_ref(&hold, name, &image.manifest_digest)?;
        }
        Ok(done.pulled(image.manifest_digest))
    }

    /// When every name stands for one image already, whole and by `same` the one that would come.
    fn unchanged(&self, same: impl Fn(&Image) -> bool) -> Result<Option<Pulled>, Why> {
        let mut found = None;
        for name in self.names {
            let Some(digest) = resolve(self.store, name)? else { return Ok(None) };
            match complete(self.store, &digest)? {
                Some((image, config)) if same(&image) && suits(&config, self.platform).is_ok() => {
                    found = Some(Pulled::unchanged(image.manifest_digest));
                }
                _ => return Ok(None),
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests;

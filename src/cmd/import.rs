//! `devbox import`: a box from an archive of `export`. Nothing the archive says is believed: it is unpacked as a layer
//! is, into a folder that is no box, and its image is known by digests.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::contents::widest;
use super::export::{About, VERSION};
use super::full_maps;
use crate::cli::ImportArgs;
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::idmap::IdMaps;
use crate::oci::config::ImageConfig;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::plan;
use crate::probe;
use crate::pull::{self, Input, Names};
use crate::session::boxes::check_name;
use crate::session::{Boxes, Defaults, Record};
use crate::store::{self, Beside, Store};
use crate::sys::fd;
use crate::ui::Ui;
use crate::userns;

/// Longer than any `box.json` we write.
const MAX_ABOUT: usize = 16 << 20;
const OWNER: &[u8] = b"user.devbox.owner";

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &ImportArgs) -> Result<ExitCode, Error> {
    let shown = args.file.display().to_string();
    let input = open(ui, &args.file)?;
    if let Some(name) = &args.name {
        check_name(name)?;
    }
    let boxes = Boxes::new(dirs);
    let host = probe::host(dirs)?;
    boxes.sweep(|| full_maps(&host));
    let ids = widest(&host);
    let anteroom = Anteroom(boxes.anteroom()?);
    let unpacked = anteroom.0.join("archive");
    let tar =
        decoded(input).map_err(|source| Error::Import { shown: shown.clone(), why: source.to_string() })?;
    let beside = store::unpack_tree(&unpacked, tar)?;
    let tree = unpacked.join("tree");
    let bad = |why: &str| Error::Import { shown: shown.clone(), why: why.to_owned() };
    let about = about(&tree).map_err(|why| bad(&why))?;
    if about.version > VERSION {
        return Err(bad("a newer devbox made it"));
    }
    let name = args.name.clone().unwrap_or_else(|| about.record.name.clone());
    check_name(&name)?;
    if boxes.load(&name)?.is_some() {
        return Err(crate::session::Error::BoxThere(name).into());
    }
    let store = Store::open(&dirs.store())?;
    // what the box stands on stays until its record says so
    let _hold = store.hold(&mut |holder| ui.note(&format!("waiting for {holder}")))?;
    let mut record = about.record.called(&name);
    record.ephemeral = false;
    record.project = None;
    if !record.profiles.is_empty() {
        // a profile of this machine may share what the archive's maker should not have, whatever its name
        record.profiles.clear();
        // of the flags it was made with; the profile's word counted
        record.user = None;
    }
    super::trust::require_once(ui, &shown, &reaches(&record))?;
    (record.driver, record.driver_because) = super::driver::for_import(dirs)?;
    let packed = about.with_image.then(|| tree.join("image.tar"));
    bring_image(ui, dirs, &store, &mut record, packed.as_deref())?;
    note_owners(&tree, &beside, &handed_to_root(&store, &record, &beside)?, &ids)?;
    let started = about.many_ids.then_some("single");
    boxes.create_from(record, &tree, started, &ids)?;
    ui.line(&name)?;
    Ok(ExitCode::SUCCESS)
}

/// Where an archive is unpacked; it goes away with the value.
struct Anteroom(PathBuf);

impl Drop for Anteroom {
    fn drop(&mut self) {
        // what can't be removed now is swept later
        let _ = store::remove_tree(&self.0);
    }
}

fn open(ui: &Ui, path: &Path) -> Result<File, Error> {
    if path.as_os_str() == "-" {
        if ui.reads_terminal() {
            return Err(Error::NothingToImport);
        }
        let input = io::stdin().as_fd().try_clone_to_owned().map_err(Error::Input)?;
        return Ok(input.into());
    }
    File::open(path).map_err(|source| Error::Box { path: path.to_owned(), source })
}

/// The archive, unpacked when it is a zstd frame.
fn decoded(mut input: File) -> io::Result<Box<dyn Read>> {
    let mut head = [0; 4];
    let mut filled = 0;
    while filled < head.len() {
        match input.read(&mut head[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    let all = io::Cursor::new(head[..filled].to_vec()).chain(input);
    if head == [0x28, 0xb5, 0x2f, 0xfd] {
        return Ok(Box::new(zstd::Decoder::new(all)?));
    }
    Ok(Box::new(BufReader::with_capacity(256 << 10, all)))
}

fn about(tree: &Path) -> Result<About, String> {
    let none = "it is no archive of `devbox export`";
    // a link would lead out of the tree
    let is_file = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
    let path = tree.join("box.json");
    if !is_file(&path) {
        return Err(none.to_owned());
    }
    let text = fd::read_small(&path, MAX_ABOUT).map_err(|error| format!("{none}: {error}"))?;
    let about: About = serde_json::from_slice(&text).map_err(|error| format!("{none}: {error}"))?;
    if about.with_image && !is_file(&tree.join("image.tar")) {
        return Err("the image it should hold is missing".to_owned());
    }
    Ok(about)
}

/// Brings the image into the store, from the archive or from where it came, and writes down what of it counts.
fn bring_image(
    ui: &Ui,
    dirs: &Dirs,
    store: &Store,
    record: &mut Record,
    packed: Option<&Path>,
) -> Result<(), Error> {
    record.layers.clear();
    record.defaults = Defaults::default();
    let Some(mut manifest) = record.manifest else { return Ok(()) };
    let platform = Platform::host();
    if let Some(path) = packed {
        // a name of its own, which nothing that is here can have
        let own: Reference = format!("localhost/devbox-import:{}", std::process::id()).parse()?;
        let names = Names { name: Some(&own), fallback: None };
        let loaded =
            pull::load(store, Input::Path(path), &record.image, &names, &platform, &|name| ui.pulling(name))?;
        store.remove_ref(&own.to_string())?;
        manifest = loaded.first().map_or(manifest, |loaded| loaded.pulled.manifest_digest);
    } else if !is_whole(store, &manifest)? {
        let name = &record.image;
        let reference: Reference = name.parse().map_err(|_| Error::ImportImage { image: name.clone() })?;
        if let Some(policy) = super::policy()? {
            plan::policy::registry(&policy, &reference.to_string())?;
        }
        let reference = Reference { tag: None, digest: Some(manifest), ..reference };
        let request = pull::Request { reference: &reference, platform: &platform };
        pull::pull(store, dirs, request, &ui.pulling(name))?;
    }
    super::sync_later(store)?;
    let image = store.image(&manifest)?.ok_or_else(|| Error::Vanished(record.image.clone()))?;
    record.manifest = Some(manifest);
    record.layers = image.layers;
    record.defaults = ImageConfig::parse(&image.config)?.into();
    Ok(())
}

/// What of this machine a box sees for the image it says it has.
fn reaches(record: &Record) -> Vec<String> {
    match record.image.strip_prefix("dir:") {
        Some(path) => vec![format!("reads the folder {}", path.escape_debug())],
        None if record.image == "host" => vec!["reads the files of this machine".to_owned()],
        None => Vec::new(),
    }
}

fn is_whole(store: &Store, manifest: &crate::oci::digest::Digest) -> Result<bool, Error> {
    Ok(store.image(manifest)?.is_some_and(|image| image.layers.iter().all(|layer| store.has_layer(layer))))
}

/// Paths of the tree that are root's, if they are there, and someone else's in the image.
fn handed_to_root(store: &Store, record: &Record, beside: &Beside) -> Result<BTreeSet<Vec<u8>>, Error> {
    let mut paths = BTreeSet::new();
    for layer in &record.layers {
        let owners = store.foreign_owners(layer)?;
        paths.extend(owners.iter().map(|owner| [b"upper/", owner.path_bytes()].concat()));
    }
    for owner in &beside.owners {
        paths.remove(owner.path_bytes());
    }
    Ok(paths)
}

/// Owners and capabilities that the unpacked inodes lack: owners as notes, which a start with many ids makes true.
fn note_owners(tree: &Path, beside: &Beside, to_root: &BTreeSet<Vec<u8>>, ids: &IdMaps) -> Result<(), Error> {
    if beside.owners.is_empty() && beside.capabilities.is_empty() && to_root.is_empty() {
        return Ok(());
    }
    let work = |_| {
        let top = File::open(tree)?;
        let owners = beside
            .owners
            .iter()
            .map(|owner| (owner.path_bytes(), OWNER, format!("{}:{}", owner.uid, owner.gid).into_bytes()));
        let capabilities = beside
            .capabilities
            .iter()
            .map(|(path, value)| (path.as_slice(), &b"security.capability"[..], value.clone()));
        let to_root = to_root.iter().map(|path| (path.as_slice(), OWNER, b"0:0".to_vec()));
        for (path, name, value) in owners.chain(capabilities).chain(to_root) {
            let file = match find(&top, path) {
                Err(error) if matches!(error.errno, Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {
                    continue;
                }
                found => found?,
            };
            let Some(file) = file else { continue };
            match fd::fsetxattr(file.as_fd(), name, &value) {
                // a capability no file here may have
                Err(error) if name != OWNER && error.errno != Errno::ENOSPC => {}
                set => set?,
            }
        }
        Ok(())
    };
    Ok(userns::piped(ids, work, |told| drop(told.read(&mut [0])))?)
}

/// The file or folder at a path of the tree, no link followed; none when it is anything else, which bears no note.
fn find(top: &File, path: &[u8]) -> Result<Option<std::os::fd::OwnedFd>, crate::sys::Error> {
    use nix::fcntl::OFlag;
    let mut names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    let last = names.pop().unwrap_or_default();
    let mut folder = fd::open_folder(top.as_fd(), b".")?;
    for name in names {
        folder = fd::open_folder(folder.as_fd(), name)?;
    }
    let found = fd::stat_at(folder.as_fd(), last)?;
    match found.st_mode & libc::S_IFMT {
        libc::S_IFREG | libc::S_IFDIR => {
            fd::openat(folder.as_fd(), last, OFlag::O_RDONLY | OFlag::O_NONBLOCK, 0).map(Some)
        }
        _ => Ok(None),
    }
}

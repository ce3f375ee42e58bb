//! `devbox df`: what takes how much of the disk, to the block.
//!
//! An image's size is what its layers take; what it shares would stay if it went. A box's size is its own files; its
//! image comes beside it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;

use serde::Serialize;

use super::full_maps;
use crate::cli::{Format, ListArgs};
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::oci::digest::Digest;
use crate::probe;
use crate::session::{Boxes, Cache, Caches};
use crate::store::{Store, Usage};
use crate::ui::{Cell, Table, Tree, Ui, age, count, size};
use crate::userns;

/// All of it, as `--format json` prints it. Sizes are bytes on the disk.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    images: Vec<ImageLine>,
    boxes: Vec<BoxLine>,
    caches: Vec<CacheLine>,
    /// Layers no image has.
    unused_layers: Counted,
    /// What is half-made, by commands at work or cut short.
    staging: u64,
    /// The whole store, each inode once.
    store: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ImageLine {
    references: Vec<String>,
    digest: Digest,
    size: u64,
    shared: u64,
    own: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct BoxLine {
    name: String,
    image: String,
    /// Its own files.
    own: u64,
    /// What its image takes; shared with every box of that image.
    shared: u64,
    /// Folders that could not be looked into.
    closed: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct CacheLine {
    name: String,
    size: u64,
    /// When a box took it last, in seconds since 1970.
    used: u64,
    /// A running box has it.
    in_use: bool,
}

#[derive(Serialize)]
struct Counted {
    count: usize,
    bytes: u64,
}

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &ListArgs) -> Result<ExitCode, Error> {
    let store = Store::open(&dirs.store())?;
    // a removal in the middle would make the sums wrong
    let hold = store.hold(&mut |holder| ui.note(&format!("waiting for {holder}")))?;
    let mut layers = BTreeMap::new();
    for layer in store.layers()? {
        layers.insert(layer, store.layer_usage(&layer)?);
    }
    for stack in store.stacks()?.into_keys() {
        layers.insert(stack, store.stack_usage(&stack)?);
    }
    let (images, unused_layers) = images(&store, &layers)?;
    let report = Report {
        boxes: boxes(dirs, &images, &layers)?,
        caches: caches(dirs)?,
        images,
        unused_layers,
        staging: store.staging_usage()?.bytes(),
        store: store.usage()?.bytes(),
    };
    drop(hold);
    match args.format {
        Format::Json => ui.json(&report)?,
        Format::Table => print(ui, &report)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What the layers take together.
fn total<'a>(layers: &BTreeMap<Digest, Usage>, of: impl Iterator<Item = &'a Digest>) -> Usage {
    let mut usage = Usage::default();
    for layer in of.filter_map(|layer| layers.get(layer)) {
        usage.merge(layer);
    }
    usage
}

fn images(store: &Store, layers: &BTreeMap<Digest, Usage>) -> Result<(Vec<ImageLine>, Counted), Error> {
    let mut users: BTreeMap<Digest, usize> = BTreeMap::new();
    let stacks = store.stacks()?;
    let mut found = Vec::new();
    for entry in store.images()? {
        let mut of = store.image(&entry.manifest_digest)?.map(|image| image.layers).unwrap_or_default();
        of.sort_unstable();
        of.dedup();
        // merged layers belong to whoever has all of them
        let has = |layers: &Vec<Digest>| layers.iter().all(|layer| of.binary_search(layer).is_ok());
        let stacks: Vec<Digest> =
            stacks.iter().filter(|(_, layers)| layers.as_ref().is_some_and(has)).map(|(id, _)| *id).collect();
        of.extend(stacks);
        for layer in &of {
            *users.entry(*layer).or_default() += 1;
        }
        found.push((entry, of));
    }
    let mut lines = Vec::new();
    for (entry, of) in found {
        let all = total(layers, of.iter());
        // what goes with it: layers of no other image, less what has names in layers that stay
        let alone = total(layers, of.iter().filter(|layer| users.get(layer) == Some(&1)));
        let (size, own) = (all.bytes(), alone.freed());
        lines.push(ImageLine {
            references: entry.references,
            digest: entry.manifest_digest,
            size,
            shared: size.saturating_sub(own),
            own,
        });
    }
    let unused: Vec<&Digest> = layers.keys().filter(|layer| !users.contains_key(layer)).collect();
    let bytes = total(layers, unused.iter().copied()).freed();
    Ok((lines, Counted { count: unused.len(), bytes }))
}

fn boxes(dirs: &Dirs, images: &[ImageLine], layers: &BTreeMap<Digest, Usage>) -> Result<Vec<BoxLine>, Error> {
    let boxes = Boxes::new(dirs);
    let mut host = None;
    let mut lines = Vec::new();
    for name in boxes.names()? {
        let Some(record) = boxes.load(&name)? else { continue };
        let folder = boxes.folder(&name)?;
        let mut usage = Usage::of(&folder)?;
        let (mut own, mut closed) = (usage.bytes(), usage.closed);
        if closed > 0 {
            // files of the box's other users: their root may look
            if host.is_none() {
                host = Some(probe::host(dirs)?);
            }
            if let Some(bytes) = host.as_ref().and_then(|host| as_root(host, &folder)) {
                (own, closed) = (bytes, 0);
            }
        }
        usage.closed = closed;
        let image = images.iter().find(|image| Some(image.digest) == record.manifest);
        let shared = image.map_or_else(|| total(layers, record.layers.iter()).bytes(), |image| image.size);
        lines.push(BoxLine { name, image: record.image, own, shared, closed });
    }
    Ok(lines)
}

/// What a folder takes, seen by the root of a namespace with all ids of the caller's; `None` when there is none.
fn as_root(host: &crate::plan::Host, folder: &Path) -> Option<u64> {
    let (uids, gids) = full_maps(host)?;
    let (mut read, mut write) = std::io::pipe().ok()?;
    let looked = userns::as_root(&uids, &gids, || {
        Usage::of(folder)
            .is_ok_and(|usage| usage.closed == 0 && write.write_all(&usage.bytes().to_le_bytes()).is_ok())
    });
    drop(write);
    let mut bytes = [0; 8];
    (looked.ok()? && read.read_exact(&mut bytes).is_ok()).then(|| u64::from_le_bytes(bytes))
}

fn caches(dirs: &Dirs) -> Result<Vec<CacheLine>, Error> {
    let mut lines = Vec::new();
    for Cache { name, path, used, in_use } in Caches::new(dirs).list(&Boxes::new(dirs))? {
        lines.push(CacheLine { name, size: Usage::of(&path)?.bytes(), used, in_use });
    }
    Ok(lines)
}

/// What takes how much, by kind: solid what comes free with it, pale what others have as well.
fn drawn(report: &Report) -> Tree {
    let mut tree = Tree::default();
    let mut kind = |kind: &str, rows: Vec<(&str, u64, u64)>| {
        if !rows.is_empty() {
            tree.row(0, [Cell::text(kind)]);
        }
        for (name, own, shared) in rows {
            let part = match (own, shared) {
                (_, 0) => String::new(),
                (0, _) => "shared".to_owned(),
                _ => format!("{} its own", size(own)),
            };
            let total = Cell::Number(size(own + shared));
            tree.row(1, [Cell::text(name), Cell::Bar(own, shared), total, Cell::text(part)]);
        }
    };
    let digests: Vec<String> = report.images.iter().map(|image| image.digest.to_string()).collect();
    let images = report.images.iter().zip(&digests);
    let images = images.map(|(image, digest)| {
        (image.references.first().unwrap_or(digest).as_str(), image.own, image.shared)
    });
    kind("images", images.collect());
    kind("boxes", report.boxes.iter().map(|one| (one.name.as_str(), one.own, one.shared)).collect());
    kind("caches", report.caches.iter().map(|cache| (cache.name.as_str(), cache.size, 0)).collect());
    tree
}

/// How much caches take, and which of them were not needed for long.
fn tell_caches(ui: &Ui, caches: &[CacheLine]) {
    let bytes: u64 = caches.iter().map(|cache| cache.size).sum();
    let shown = caches.iter().map(|cache| match cache.in_use {
        true => format!("{} in use", cache.name),
        false => format!("{} {}", cache.name, age(cache.used)),
    });
    if !caches.is_empty() {
        let used = shown.collect::<Vec<_>>().join(", ");
        ui.note(&format!(
            "caches take {}, last used: {used}; `devbox prune --caches` frees them",
            size(bytes)
        ));
    }
}

fn print(ui: &Ui, report: &Report) -> Result<(), Error> {
    if ui.draws() {
        ui.tree(&drawn(report))?;
    } else {
        ui.table(&table(report))?;
    }
    summary(ui, report);
    Ok(())
}

fn table(report: &Report) -> Table {
    let mut table = Table::new(["KIND", "NAME", "SIZE", "SHARED", "OWN"]);
    let mut row = |kind: &str, name: &str, total: u64, shared: u64, own: u64| {
        table.row([kind.to_owned(), name.to_owned(), size(total), size(shared), size(own)]);
    };
    for image in &report.images {
        let name = image.references.first().cloned().unwrap_or_else(|| image.digest.to_string());
        row("image", &name, image.size, image.shared, image.own);
    }
    for one in &report.boxes {
        row("box", &one.name, one.own + one.shared, one.shared, one.own);
    }
    for cache in &report.caches {
        row("cache", &cache.name, cache.size, 0, cache.size);
    }
    table
}

fn summary(ui: &Ui, report: &Report) {
    ui.note(&format!("the store takes {}", size(report.store)));
    let Counted { count: layers, bytes } = report.unused_layers;
    if layers > 0 || report.staging > 1 << 20 {
        let free = size(bytes + report.staging);
        ui.note(&format!("{} of no image, and leftovers: devbox prune frees {free}", count(layers, "layer")));
    }
    tell_caches(ui, &report.caches);
    for one in report.boxes.iter().filter(|one| one.closed > 0) {
        let closed = count(usize::try_from(one.closed).unwrap_or(usize::MAX), "folder");
        ui.warning(&format!(
            "box `{}` takes more: {closed} of other users could not be looked into",
            one.name
        ));
    }
}

//! `devbox verify`: is everything in the store as it was when its digest was checked? What is not can be fetched again.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::Mutex;

use serde::Serialize;

use super::{in_use, naming};
use crate::cli::{Format, VerifyArgs};
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::oci::config::ImageConfig;
use crate::oci::digest::Digest;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::oci::source::Source;
use crate::pull;
use crate::session::{self, Boxes};
use crate::store::{self, Damage, DamagedRecord, Store, Target};
use crate::ui::{Ui, count, size};

/// The exit code for damage that was found and is left.
const DAMAGED: u8 = 1;

/// What was found, as `--format json` prints it.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    sound: bool,
    layers: Vec<LayerLine>,
    records: Vec<RecordLine>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct LayerLine {
    digest: Digest,
    /// References, or else digests, of the images that have it.
    images: Vec<String>,
    damage: Vec<DamageLine>,
    /// It was fetched again, and is whole now; or nobody needs it, and it is gone.
    repaired: bool,
}

#[derive(Serialize)]
struct DamageLine {
    entry: Option<String>,
    why: String,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct RecordLine {
    path: String,
    why: String,
    repaired: bool,
}

/// Which images have which layers, as far as their records can be read.
type Users = BTreeMap<Digest, BTreeSet<Digest>>;

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &VerifyArgs) -> Result<ExitCode, Error> {
    let store = Store::open(&dirs.store())?;
    let (records, users, layers) = survey(ui, dirs, &store, &args.references)?;
    let damaged = look(ui, &store, &layers)?;
    drop_stacks(ui, dirs, &store)?;
    let mut report = Report {
        sound: damaged.is_empty() && records.is_empty(),
        layers: damaged.into_iter().map(|(digest, damage)| line(&store, &users, digest, damage)).collect(),
        records: records
            .iter()
            .map(|record| RecordLine {
                path: record.path.display().to_string(),
                why: record.why.clone(),
                repaired: false,
            })
            .collect(),
    };
    if args.format == Format::Table {
        say(ui, &report)?;
    }
    if args.repair && !report.sound {
        repair(ui, dirs, &store, &users, &records, &mut report)?;
    }
    let left = report.layers.iter().filter(|line| !line.repaired).count()
        + report.records.iter().filter(|line| !line.repaired).count();
    report.sound = left == 0;
    match args.format {
        Format::Json => ui.json(&report)?,
        Format::Table if report.layers.is_empty() && report.records.is_empty() => {
            ui.note(&format!("{}: no damage", count(layers.len(), "layer")));
        }
        Format::Table if report.sound => ui.note("all damage is repaired"),
        Format::Table if args.repair => ui.warning("some damage is left"),
        Format::Table => ui.note("`devbox verify --repair` fetches again what is damaged"),
    }
    Ok(if report.sound { ExitCode::SUCCESS } else { ExitCode::from(DAMAGED) })
}

/// Damaged records, what images have which layers, and the layers to be looked at.
fn survey(
    ui: &Ui,
    dirs: &Dirs,
    store: &Store,
    references: &[String],
) -> Result<(Vec<DamagedRecord>, Users, Vec<Digest>), Error> {
    let _hold = store.hold(&mut |holder| ui.note(&format!("waiting for {holder}")))?;
    let mut records = store.verify_records()?;
    let mut wanted = BTreeSet::new();
    for text in references {
        let no_image = || store::Error::NoImage { name: text.clone() };
        wanted.insert(match naming::find(ui, store, dirs, text)? {
            Target::Image(digest) if store.manifests()?.contains(&digest) => digest,
            Target::Image(_) => return Err(no_image().into()),
            Target::Reference(name) => store.resolve(&name)?.ok_or_else(no_image)?,
        });
    }
    if !references.is_empty() {
        records.retain(|record| record.image.is_some_and(|image| wanted.contains(&image)));
    }
    let mut users = Users::new();
    for manifest in store.manifests()? {
        let Ok(Some(image)) = store.image(&manifest) else { continue };
        for layer in image.layers {
            users.entry(layer).or_default().insert(manifest);
        }
    }
    let mut layers = store.layers()?;
    if !references.is_empty() {
        layers.retain(|layer| users.get(layer).is_some_and(|images| !images.is_disjoint(&wanted)));
    }
    Ok((records, users, layers))
}

/// The layers that are damaged.
fn look(ui: &Ui, store: &Store, layers: &[Digest]) -> Result<Vec<(Digest, Vec<Damage>)>, Error> {
    let _hold = store.hold(&mut |holder| ui.note(&format!("waiting for {holder}")))?;
    let bytes = layers.iter().filter_map(|layer| store.meta(layer).ok()).map(|meta| meta.tar_bytes).sum();
    if bytes > 64 << 20 {
        ui.note(&format!("reading {} of {}", size(bytes), count(layers.len(), "layer")));
    }
    let working = ui.working("verifying", bytes);
    let found = Mutex::new(Vec::new());
    store.verify_layers(layers, &|bytes| working.advance(bytes), &|layer, damage| {
        if !damage.is_empty() {
            found.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((layer, damage));
        }
    });
    let mut found = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    found.sort_by_key(|(layer, _)| *layer);
    Ok(found)
}

/// Merged layers have no digest to be held against. Of layers that are whole they are soon made again, at the next
/// start of a box that needs them.
fn drop_stacks(ui: &Ui, dirs: &Dirs, store: &Store) -> Result<(), Error> {
    let _hold = store.hold(&mut |holder| ui.note(&format!("waiting for {holder}")))?;
    let boxes = Boxes::new(dirs);
    for (stack, layers) in store.stacks()? {
        let Some(layer) = layers.and_then(|layers| layers.first().copied()) else { continue };
        match free(&boxes, &layer) {
            Ok(_locks) => store.drop_stack(&stack)?,
            Err(why) => ui.detail(&format!("the layers merged as {} stay: {why}", stack.short())),
        }
    }
    Ok(())
}

fn line(store: &Store, users: &Users, digest: Digest, damage: Vec<Damage>) -> LayerLine {
    let refs = store.refs().unwrap_or_default();
    let images = users.get(&digest).into_iter().flatten();
    let name = |image: &Digest| {
        let names: Vec<String> =
            refs.iter().filter(|(_, of)| *of == image).map(|(name, _)| name.clone()).collect();
        if names.is_empty() { vec![image.to_string()] } else { names }
    };
    LayerLine {
        digest,
        images: images.flat_map(name).collect(),
        damage: damage.into_iter().map(|Damage { entry, why }| DamageLine { entry, why }).collect(),
        repaired: false,
    }
}

fn say(ui: &Ui, report: &Report) -> Result<(), Error> {
    for line in &report.layers {
        let images = if line.images.is_empty() { "no image".to_owned() } else { line.images.join(", ") };
        ui.line(&format!("layer {} of {images}", line.digest))?;
        for damage in &line.damage {
            match &damage.entry {
                Some(entry) => ui.line(&format!("  {entry}: {}", damage.why))?,
                None => ui.line(&format!("  {}", damage.why))?,
            }
        }
    }
    for record in &report.records {
        ui.line(&format!("record {}", record.path))?;
        ui.line(&format!("  {}", record.why))?;
    }
    Ok(())
}

/// Fetches again what is damaged. A layer is only replaced once its successor is whole, and never under a running box;
/// until then all goes on as it was.
fn repair(
    ui: &Ui,
    dirs: &Dirs,
    store: &Store,
    users: &Users,
    records: &[DamagedRecord],
    report: &mut Report,
) -> Result<(), Error> {
    let boxes = Boxes::new(dirs);
    let (mut images, mut doubtful) = (BTreeSet::new(), BTreeSet::new());
    for line in &report.layers {
        if let Err(why) = free(&boxes, &line.digest) {
            ui.warning(&format!("layer {} stays as it is: {why}", line.digest.short()));
            continue;
        }
        doubtful.insert(line.digest);
        images.extend(users.get(&line.digest).into_iter().flatten().copied());
    }
    let doubting = Store::open(&dirs.store())?.doubting(doubtful.clone(), move |layer| free(&boxes, layer));
    for record in records {
        match (&record.reference, record.image) {
            (Some(name), None) => rename(ui, dirs, &doubting, name)?,
            (_, image) => images.extend(image),
        }
    }
    for manifest in images {
        bring_back(ui, dirs, &doubting, &manifest)?;
    }
    let is_left = |layer: &&Digest| !users.contains_key(layer) && !doubting.has_layer(layer);
    drop_unneeded(ui, dirs, store, &doubtful.iter().filter(is_left).copied().collect());

    // nothing of it is taken on trust
    let here = store.layers()?;
    let fetched: Vec<Digest> =
        here.iter().filter(|layer| doubtful.contains(layer) && doubting.has_layer(layer)).copied().collect();
    let damaged: BTreeSet<Digest> = look(ui, store, &fetched)?.into_iter().map(|(layer, _)| layer).collect();
    for line in &mut report.layers {
        let whole = fetched.contains(&line.digest) && !damaged.contains(&line.digest);
        line.repaired = whole || !here.contains(&line.digest);
    }
    let left = store.verify_records()?;
    for (record, line) in records.iter().zip(&mut report.records) {
        line.repaired = left.iter().all(|left| left.path != record.path);
    }
    Ok(())
}

/// Lets a name whose record can't be read stand for an image again: for the one that came by it if that is known, or
/// else for what it stands for elsewhere. Its record stays as it is until then, lest the image is taken for unused.
fn rename(ui: &Ui, dirs: &Dirs, store: &Store, name: &str) -> Result<(), Error> {
    let mut came = Vec::new();
    for manifest in store.manifests()? {
        let Ok(Some(image)) = store.image(&manifest) else { continue };
        let tag = image.source.parse().map(|reference| Reference { digest: None, ..reference }.to_string());
        if image.source == name || tag.is_ok_and(|tag| tag == name) {
            came.push(manifest);
        }
    }
    if let [manifest] = came[..] {
        let hold = store.hold(&mut |holder| ui.note(&format!("waiting for {holder}")))?;
        return Ok(store.set_ref(&hold, name, &manifest)?);
    }
    match Source::read(name) {
        Some(source) => source.is_ok_and(|source| import(ui, store, &source, &Platform::host(), None)),
        None => name.parse().is_ok_and(|name| fetch(ui, dirs, store, &name, &Platform::host(), None)),
    };
    Ok(())
}

/// Fetches what is missing of an image.
fn bring_back(ui: &Ui, dirs: &Dirs, store: &Store, manifest: &Digest) -> Result<(), Error> {
    match origin(store, manifest) {
        None => ui.warning(&format!("nobody knows where image {} came from", manifest.short())),
        Some((Origin::Files(source), platform)) => {
            import(ui, store, &source, &platform, Some(manifest));
        }
        Some((Origin::Registry(reference), platform)) => {
            let named = store.resolve(&reference.to_string())?.is_some();
            fetch(ui, dirs, store, &reference, &platform, Some(manifest));
            if !named {
                store.remove_ref(&reference.to_string())?;
            }
        }
    }
    Ok(())
}

/// Layers of no image can't be fetched, and those of no box either need not be.
fn drop_unneeded(ui: &Ui, dirs: &Dirs, store: &Store, layers: &BTreeSet<Digest>) {
    if layers.is_empty() {
        return;
    }
    let dropped = || -> Result<Vec<Digest>, Error> {
        let alone = store.alone(&mut |holder| ui.note(&format!("waiting for {holder}")))?;
        Ok(alone.drop_unneeded(layers, &in_use::of_boxes(&dirs.boxes())?)?)
    };
    match dropped() {
        Err(error) => error.report(ui),
        Ok(dropped) => {
            for layer in layers.iter().filter(|layer| !dropped.contains(layer)) {
                ui.warning(&format!("layer {} is of no image, but a box stands on it", layer.short()));
            }
        }
    }
}

/// Where an image can be had again.
enum Origin {
    Registry(Reference),
    Files(Source),
}

fn origin(store: &Store, manifest: &Digest) -> Option<(Origin, Platform)> {
    let image = store.image(manifest).ok().flatten();
    let platform = image.as_ref().and_then(|image| ImageConfig::parse(&image.config).ok()?.platform());
    let platform = platform.unwrap_or_else(Platform::host);
    let names = store.refs().unwrap_or_default().into_iter().filter(|(_, of)| of == manifest);
    let mut candidates = image.map(|image| image.source).into_iter().chain(names.map(|(name, _)| name));
    let origin = candidates.find_map(|name| match Source::read(&name) {
        Some(source) => source.ok().map(Origin::Files),
        None => {
            let reference: Reference = name.parse().ok()?;
            Some(Origin::Registry(Reference { tag: None, digest: Some(*manifest), ..reference }))
        }
    })?;
    Some((origin, platform))
}

fn fetch(
    ui: &Ui,
    dirs: &Dirs,
    store: &Store,
    reference: &Reference,
    platform: &Platform,
    expected: Option<&Digest>,
) -> bool {
    let progress = ui.pulling(&reference.to_string());
    let pulled = pull::pull(store, dirs, pull::Request { reference, platform }, &progress);
    drop(progress);
    done(ui, store, &reference.to_string(), pulled, expected)
}

fn import(ui: &Ui, store: &Store, source: &Source, platform: &Platform, expected: Option<&Digest>) -> bool {
    let progress = ui.pulling(&source.to_string());
    let imported = pull::import(store, source, platform, &progress);
    drop(progress);
    done(ui, store, &source.to_string(), imported, expected)
}

/// Whether the image is here that was expected; if not, the user is told why.
fn done(
    ui: &Ui,
    store: &Store,
    name: &str,
    fetched: Result<pull::Pulled, pull::Error>,
    expected: Option<&Digest>,
) -> bool {
    match fetched {
        Ok(pulled) if expected.is_some_and(|expected| *expected != pulled.manifest_digest) => {
            let (found, name) = (pulled.manifest_digest.short(), name.escape_debug());
            ui.warning(&format!("`{name}` holds another image by now, {found}"));
            false
        }
        Ok(_) => super::sync_later(store).is_ok(),
        Err(error) => {
            Error::from(error).report(ui);
            false
        }
    }
}

/// The locks of all boxes that stand on a layer, so that none starts on it; or which one runs.
fn free(boxes: &Boxes, layer: &Digest) -> store::Free {
    let mut locks: Vec<OwnedFd> = Vec::new();
    for name in boxes.names().map_err(|error| error.to_string())? {
        // one whose record can't be read may stand on anything
        if !boxes
            .load(&name)
            .map_or(true, |record| record.is_some_and(|record| record.layers.contains(layer)))
        {
            continue;
        }
        match boxes.try_lock(&name) {
            Ok(Some(lock)) => locks.push(lock),
            Ok(None) => return Err(format!("box `{name}` runs on it; devbox stop {name}")),
            Err(session::Error::NoSuchBox(_)) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(locks)
}

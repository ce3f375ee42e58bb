//! `devbox verify`: is everything in the store as it was when its digest was checked? What is not can be fetched again.

use crate::error::ExitCode;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::Mutex;

use serde::Serialize;

use crate::cli::{Format, VerifyArgs};
use crate::dirs::Dirs;
use crate::error::Error;
use crate::oci::config::ImageConfig;
use crate::oci::digest::Digest;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::oci::source::Source;
use crate::pull;
use crate::session::{self, Boxes};
use crate::store::{self, Damage, DamagedRecord, Store};
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
    /// It was fetched again, and is whole now.
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
    let (records, users, layers) = survey(ui, &store, &args.references)?;
    let damaged = look(ui, &store, &layers)?;
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
        repair(ui, dirs, &users, &records, &mut report)?;
        let again =
            report.layers.iter().filter(|line| line.repaired).map(|line| line.digest).collect::<Vec<_>>();
        // what was fetched is not taken on trust
        for (digest, _) in look(ui, &store, &again)? {
            report
                .layers
                .iter_mut()
                .filter(|line| line.digest == digest)
                .for_each(|line| line.repaired = false);
        }
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
    store: &Store,
    references: &[String],
) -> Result<(Vec<DamagedRecord>, Users, Vec<Digest>), Error> {
    let _hold = store.hold(&mut |holder| ui.note(&format!("waiting for {holder}")))?;
    let mut records = store.verify_records()?;
    let mut wanted = BTreeSet::new();
    for reference in references {
        let name = reference.parse::<Reference>()?.to_string();
        let manifest = store.resolve(&name)?.ok_or(store::Error::NoImage { name })?;
        wanted.insert(manifest);
        records.retain(|record| record.image == Some(manifest));
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
    let store = &Store::open(&dirs.store())?.doubting(doubtful.clone(), move |layer| free(&boxes, layer));
    for (record, line) in records.iter().zip(&mut report.records) {
        line.repaired = match &record.reference {
            // its name is all that is needed
            Some(reference) if record.image.is_none() => {
                store.remove_ref(reference)?;
                reference.parse().is_ok_and(|reference| fetch(ui, dirs, store, &reference, &Platform::host()))
            }
            _ => false,
        };
        images.extend(record.image);
    }
    for manifest in images {
        let Some((origin, platform)) = origin(store, &manifest) else {
            ui.warning(&format!("nobody knows where image {} came from", manifest.short()));
            continue;
        };
        let fetched = match &origin {
            Origin::Files(source) => {
                let progress = ui.pulling(&source.to_string());
                let imported = pull::import(store, source, &platform, &progress);
                drop(progress);
                done(ui, store, imported)
            }
            Origin::Registry(reference) => {
                let named = store.resolve(&reference.to_string())?.is_some();
                let fetched = fetch(ui, dirs, store, reference, &platform);
                if !named {
                    store.remove_ref(&reference.to_string())?;
                }
                fetched
            }
        };
        for (record, line) in records.iter().zip(&mut report.records) {
            line.repaired |= fetched && record.image == Some(manifest);
        }
    }
    for line in &mut report.layers {
        line.repaired = doubtful.contains(&line.digest) && store.has_layer(&line.digest);
    }
    Ok(())
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

fn fetch(ui: &Ui, dirs: &Dirs, store: &Store, reference: &Reference, platform: &Platform) -> bool {
    let progress = ui.pulling(&reference.to_string());
    let pulled = pull::pull(store, dirs, pull::Request { reference, platform }, &progress);
    drop(progress);
    done(ui, store, pulled)
}

/// Whether an image is here again; if not, the user is told why.
fn done(ui: &Ui, store: &Store, fetched: Result<pull::Pulled, pull::Error>) -> bool {
    match fetched {
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

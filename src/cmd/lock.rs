//! `devbox lock` and `devbox outdated`: what a project's names stand for, kept in a file and compared.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::opening::Opening;
use super::reference::Doubt;
use super::setup::{Steps, Wish, own_layers};
use super::{Planned, accepted, planned};
use crate::cli::{Format, LockArgs, OutdatedArgs, PlanFlags};
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode, LockError};
use crate::oci::digest::Digest;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::plan::resolve::Ask;
use crate::plan::{Image, Pin, Plan};
use crate::profile::{Found, LOCK_FILE, Lock, LockedImage, LockedPlatform, LockedSetup};
use crate::pull;
use crate::store::Store;
use crate::ui::{Table, Tone, Ui};

/// A lock to be brought up to date.
pub(super) struct Locking {
    /// The project's folder.
    folder: PathBuf,
    old: Lock,
    /// The image's name in full.
    reference: String,
}

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &LockArgs) -> Result<ExitCode, Error> {
    let Planned { plan, host, found, .. } = accepted(ui, dirs, None, PlanFlags::default())?;
    let locking = Locking::of(dirs, found, &plan.image)?;
    if args.check {
        return match locking.is_current(&plan)? {
            true => Ok(ExitCode::SUCCESS),
            false => Err(LockError::Stale.into()),
        };
    }
    let mut opening = Opening::new(ui, dirs, plan, host, Ask::Image);
    let new = locking.renew(&mut opening, false)?;
    locking.write(ui, &new)?;
    Ok(ExitCode::SUCCESS)
}

impl Locking {
    pub(super) fn of(dirs: &Dirs, found: Found, image: &Image) -> Result<Self, Error> {
        let folder = found.project_dir.ok_or(LockError::NoProject)?;
        let refuse = |why| Err(Error::from(LockError::Unlockable { image: image.to_string(), why }));
        let Image::Registry(reference) = image else {
            return refuse("it is of this machine, and means nothing on others");
        };
        if dirs.store().is_dir() && Store::open(&dirs.store())?.is_own_ref(reference)? {
            return refuse("it was named on this machine, and elsewhere that name may be another image's");
        }
        Ok(Self { folder, old: found.lock.unwrap_or_default(), reference: reference.clone() })
    }

    /// Whether the lock has what the project wants, told by names and keys: nothing is fetched, and no step done.
    fn is_current(&self, plan: &Plan) -> Result<bool, Error> {
        let platform: Platform = plan.platform.parse()?;
        let [image] = self.old.images.as_slice() else { return Ok(false) };
        let Some(one) = image.suiting(&platform).filter(|_| image.reference == self.reference) else {
            return Ok(false);
        };
        let steps = Steps::of(plan, &one.manifest)?;
        let ours: Vec<_> = self.old.setups.iter().filter(|setup| setup.platform == one.platform).collect();
        Ok(match ours.as_slice() {
            [] => steps.keys.is_empty(),
            [setup] => steps.have(&setup.key, &setup.layers),
            _ => false,
        })
    }

    /// The lock as the project wants it now: what is locked stays, unless `anew`; what the project does not name goes.
    /// `opening` is held to the new lock from then on. A set-up is done unless the lock has it.
    pub(super) fn renew(&self, opening: &mut Opening<'_>, anew: bool) -> Result<Lock, Error> {
        let locked = match self.old.image(&self.reference).filter(|_| !anew) {
            Some(locked) => locked.clone(),
            None => self.look(opening)?,
        };
        let platform: Platform = opening.plan.platform.parse()?;
        let Some(one) = locked.suiting(&platform) else {
            let offered = locked.platforms.iter().map(|one| one.platform.to_string()).collect();
            return Err(
                LockError::Platform { image: self.reference.clone(), wanted: platform, offered }.into()
            );
        };
        // one of another platform is right as long as its image is
        let others = |setup: &&LockedSetup| !anew && setup.platform != one.platform;
        let mut setups: Vec<LockedSetup> = self.old.setups.iter().filter(others).cloned().collect();
        opening.plan.pin = Some(Pin {
            digest: locked.digest,
            manifest: one.manifest,
            layers: one.layers.clone(),
            // what the lock has of the set-up is kept, or else does not count
            setups: Vec::new(),
        });
        opening.plan.unpinned_because = None;
        let steps = Steps::of(&opening.plan, &one.manifest)?;
        let same =
            |setup: &&LockedSetup| setup.platform == one.platform && steps.have(&setup.key, &setup.layers);
        if let Some(kept) = self.old.setups.iter().filter(|_| !anew).find(same) {
            setups.push(kept.clone());
        } else if let Some(key) = steps.key() {
            let store = Store::open(&opening.dirs.store())?;
            let _hold = store.hold(&mut |holder| opening.ui.note(&format!("waiting for {holder}")))?;
            let base = opening.base(&store, &self.reference, Some(one.manifest))?;
            let ground = opening.ground(&store, base.clone(), Wish::default())?;
            if let Some(layers) = own_layers(&base, &ground.image) {
                setups.push(LockedSetup { platform: one.platform.clone(), key, layers });
            }
        }
        setups.sort_by_key(|setup| setup.platform.to_string());
        let lock = Lock { images: vec![locked], setups };
        if let Some(pin) = &mut opening.plan.pin {
            pin.setups = lock.setups.iter().map(|setup| (setup.key, setup.layers.clone())).collect();
        }
        Ok(lock)
    }

    /// What the registry says the name stands for now.
    fn look(&self, opening: &Opening<'_>) -> Result<LockedImage, Error> {
        let reference: Reference = self.reference.parse()?;
        let pull::Found { digest, images } =
            pull::look(opening.dirs, &reference, &|text| opening.ui.note(text))?;
        let platforms = images.into_iter().map(|image| LockedPlatform {
            platform: image.platform,
            manifest: image.manifest,
            layers: image.layers,
        });
        Ok(LockedImage { reference: self.reference.clone(), digest, platforms: platforms.collect() })
    }

    /// Writes it, when it is not what is there; tells what changed.
    pub(super) fn write(&self, ui: &Ui, new: &Lock) -> Result<(), Error> {
        let path = self.folder.join(LOCK_FILE);
        let text = new.to_toml();
        if std::fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
            ui.note(&format!("{LOCK_FILE} is up to date"));
            return Ok(());
        }
        replace(&self.folder, &path, text.as_bytes())
            .map_err(|source| LockError::Write { path: path.clone(), source })?;
        for image in &new.images {
            match self.old.image(&image.reference) {
                Some(old) if old.digest == image.digest => {}
                Some(old) => ui.note(&format!(
                    "{}: {} instead of {}",
                    image.reference,
                    image.digest.short(),
                    old.digest.short()
                )),
                None => ui.note(&format!("{}: {}", image.reference, image.digest.short())),
            }
        }
        for setup in new.setups.iter().filter(|setup| !self.old.setups.contains(setup)) {
            ui.note(&format!("set-up for {}: {}", setup.platform, setup.key.short()));
        }
        Ok(ui.line(&path.display().to_string())?)
    }
}

/// Puts `bytes` at `path` as a whole: whoever reads meanwhile, and after a power cut, finds the old or the new.
fn replace(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (draft, mut file) = draft(folder, || RandomState::new().hash_one(0))?;
    let written =
        file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| std::fs::rename(&draft, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&draft);
    }
    written
}

/// A new file in `folder`. What is there came with the sources, and may be a link to anywhere: it is left alone.
fn draft(folder: &Path, mut unforeseen: impl FnMut() -> u64) -> io::Result<(PathBuf, File)> {
    loop {
        let path = folder.join(format!(".{LOCK_FILE}.{:016x}", unforeseen()));
        match File::options().write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|file| (path, file)),
        }
    }
}

/// An image of the lock, as `--format json` prints it.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Compared {
    reference: String,
    locked: Digest,
    /// What the name stands for now; none when the registry does not have it any more.
    now: Option<Digest>,
    /// Whether the registry still has what is locked.
    available: bool,
    outdated: bool,
}

pub(super) fn outdated(ui: &Ui, dirs: &Dirs, args: &OutdatedArgs) -> Result<ExitCode, Error> {
    let planned = planned(ui, dirs, None, PlanFlags::default(), Doubt::Refuse)?;
    planned.permitted()?;
    let found = planned.found;
    let lock = found.lock.ok_or(LockError::NoLock)?;
    let mut compared = Vec::new();
    for image in &lock.images {
        let reference: Reference = image.reference.parse()?;
        let found = pull::newest(dirs, &reference, &image.digest, &|text| ui.note(text))?;
        compared.push(Compared {
            reference: image.reference.clone(),
            locked: image.digest,
            now: found.now,
            available: found.available,
            outdated: found.now != Some(image.digest),
        });
    }
    match args.format {
        Format::Json => ui.json(&compared)?,
        Format::Table if ui.is_quiet() => {
            let mut outdated = compared.iter().filter(|one| one.outdated);
            outdated.try_for_each(|one| ui.line(&one.reference))?;
        }
        Format::Table => {
            let mut table = Table::new(["IMAGE", "LOCKED", "NOW", "STATE"]);
            for one in &compared {
                let now = one.now.map_or_else(|| "gone".to_owned(), |digest| digest.short());
                let state = match (one.outdated, one.available) {
                    (false, _) => "up to date",
                    (true, true) => "outdated",
                    (true, false) => "outdated, and the registry has it no more",
                };
                table.row([one.reference.clone(), one.locked.short(), now, state.to_owned()]);
            }
            ui.table_in_tones(&table, |row, column| match (&compared.get(row)?, column) {
                (one, 3) if one.outdated => Some(Tone::Caution),
                (_, 3) => Some(Tone::Good),
                _ => None,
            })?;
            if compared.iter().any(|one| one.outdated) {
                ui.note("`devbox update` goes over to what the names stand for now");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn planted_links_are_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let (folder, victim) = (place.path().join("project"), place.path().join("victim"));
        fs::create_dir(&folder).unwrap();
        fs::write(&victim, "precious").unwrap();
        let (path, plain) = (folder.join(LOCK_FILE), folder.join("plain"));
        let names = [std::process::id().to_string(), format!("{:016x}", 1), format!("{:016x}", 2)];
        names.iter().for_each(|name| symlink(&victim, folder.join(format!(".{LOCK_FILE}.{name}"))).unwrap());
        symlink(&victim, &path).unwrap();
        replace(&folder, &path, b"lock").unwrap();
        let mut numbers = 1..;
        let (made, _) = draft(&folder, || numbers.next().unwrap()).unwrap();
        assert_eq!(made, folder.join(format!(".{LOCK_FILE}.{:016x}", 3)));
        fs::remove_file(made).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        // the lock is a file like others, and nothing is left beside it
        fs::write(&plain, "").unwrap();
        let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode(&path)), ("lock", mode(&plain)));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), names.len() + 2);
    }
}

//! Which driver a box is started with, and what has to be done before the first start with one.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStringExt;

use crate::dirs::{self, Dirs};
use crate::error::Error;
use crate::idmap::{IdMap, IdMaps};
use crate::mount;
use crate::plan::{Driver, Image, Isolation, Plan};
use crate::probe;
use crate::rootfs::driver::{copy, upper};
use crate::rootfs::project;
use crate::session::{Boxes, Record};
use crate::store::{self, Store, Usage};
use crate::ui::size;
use crate::userns;

use super::opening::Opening;

pub(super) const VARIABLE: &str = "DEVBOX_DRIVER";

/// What copying takes, measured on a small virtual machine with a busy disk; to be right within a factor of two.
const BYTES_A_SECOND: u64 = 250 << 20;
const FILES_A_SECOND: u64 = 12_000;

/// Bytes of a project from which on its copy is announced.
const WORTH_TELLING: u64 = 16 << 20;

/// What `DEVBOX_DRIVER` says.
pub(super) fn usual() -> Result<Option<Driver>, Error> {
    let Some(text) = dirs::variable(VARIABLE).filter(|text| !text.is_empty()) else { return Ok(None) };
    let source = match text.to_string_lossy().parse() {
        Ok(driver) => return Ok(Some(driver)),
        Err(source) => source,
    };
    Err(crate::plan::Error::Flag { flag: VARIABLE, source }.into())
}

/// The driver a profile or flag asks for by name.
pub(super) fn asked(driver: Driver) -> Option<mount::Driver> {
    match driver {
        Driver::Auto => None,
        Driver::Overlay => Some(mount::Driver::Overlay),
        Driver::Fuse => Some(mount::Driver::Fuse),
        Driver::Copy => Some(mount::Driver::Copy),
    }
}

/// The same the other way round.
fn wish(driver: mount::Driver) -> Driver {
    match driver {
        mount::Driver::Overlay => Driver::Overlay,
        mount::Driver::Fuse => Driver::Fuse,
        mount::Driver::Copy => Driver::Copy,
    }
}

/// What `auto` will come to, by the box that is there or else by what was found out since this boot; none when that is
/// open. Nothing is tried.
pub(super) fn foreseen(dirs: &Dirs, plan: &Plan) -> Result<Option<probe::Choice>, Error> {
    if plan.driver != Driver::Auto || plan.image == Image::Host {
        return Ok(None);
    }
    Ok(match Boxes::new(dirs).load(&plan.name)? {
        Some(record) => Some(probe::Choice {
            driver: record.driver,
            because: Some(record.driver_because.unwrap_or_else(|| "as the box has it".to_owned())),
        }),
        None => probe::remembered_driver(dirs),
    })
}

/// The driver for a box that comes from elsewhere, in the form of an overlay: what this machine can do.
pub(super) fn for_import(dirs: &Dirs) -> Result<(mount::Driver, Option<String>), Error> {
    let probe::Choice { driver, because } = match usual()?.and_then(asked) {
        Some(driver) => probe::Choice { driver, because: None },
        None => probe::driver(dirs),
    };
    // to fuse it goes over when it is started
    Ok(if driver == mount::Driver::Copy { (driver, because) } else { (mount::Driver::Overlay, None) })
}

impl Opening<'_> {
    /// Chooses for a box that is being made; says why when it is not the best.
    pub(super) fn choose_driver(&self, record: &mut Record) {
        if self.plan.image == Image::Host {
            return;
        }
        if let Some(driver) = asked(self.plan.driver) {
            record.driver = driver;
            return;
        }
        let probe::Choice { driver, because } = probe::driver(self.dirs);
        if let Some(because) = &because {
            self.ui.note(&format!("box `{}` uses the driver `{driver}`: {because}", record.name));
        }
        (record.driver, record.driver_because) = (driver, because);
    }

    /// From here on the plan says which driver it is.
    pub(super) fn settle_driver(&mut self, record: &Record) {
        if self.plan.driver == Driver::Auto && self.plan.image != Image::Host {
            self.plan.driver = wish(record.driver);
        }
    }

    /// Goes over to the driver that is asked for, where the box's own files allow it. The caller holds the lock.
    pub(super) fn change_driver(
        &self,
        boxes: &Boxes,
        record: &mut Record,
        fresh: bool,
        maps: &IdMaps,
    ) -> Result<(), Error> {
        let Some(wanted) = asked(self.plan.driver).filter(|wanted| *wanted != record.driver) else {
            return Ok(());
        };
        let (name, made_with) = (record.name.clone(), record.driver);
        let copies = made_with == mount::Driver::Copy || wanted == mount::Driver::Copy;
        if copies && !fresh {
            return Err(Error::OtherDriver { name, made_with, wanted });
        }
        let path = boxes.folder(&name)?.join("upper");
        if wanted == mount::Driver::Fuse {
            let look = |mut told: File| {
                let found = upper::reserved_name(File::open(&path)?.into())?;
                Ok(told.write_all(&found.unwrap_or_default())?)
            };
            let mut found = vec![b'/'];
            userns::piped(maps, look, |told| told.read_to_end(&mut found))?
                .map_err(|source| Error::Box { path: path.clone(), source })?;
            if found.len() > 1 {
                return Err(Error::HiddenByFuse { name, path: OsString::from_vec(found).into() });
            }
        }
        if made_with == mount::Driver::Fuse {
            let settled = |mut told: File| {
                let done = File::open(&path).and_then(|top| Ok(upper::settle(top.into())?));
                let _ = write!(told, "{}", done.map_or_else(|error| error.to_string(), |()| "done".into()));
            };
            let said =
                userns::within(maps, settled, |told| std::io::read_to_string(told).unwrap_or_default())
                    .map_err(crate::rootfs::Error::from)?;
            if said != "done" {
                return Err(Error::Upper { name, why: said });
            }
        }
        self.ui.note(&format!("box `{name}` goes over from the driver `{made_with}` to `{wanted}`"));
        (record.driver, record.driver_because) = (wanted, None);
        Ok(boxes.rewrite(record)?)
    }

    /// The copy of the image, before a box with that driver starts for the first time. What an imported box brought along
    /// goes over it.
    pub(super) fn copy_image(
        &self,
        boxes: &Boxes,
        record: &Record,
        lowers: &[std::path::PathBuf],
    ) -> Result<(), Error> {
        let folder = boxes.folder(&record.name)?;
        if self.plan.image == Image::Host
            || record.driver != mount::Driver::Copy
            || copy::tree(&folder).exists()
        {
            return Ok(());
        }
        let (bytes, files) = self.weigh(record, lowers)?;
        let shares = lowers.first().is_some_and(|lower| copy::shares(&folder, lower));
        let written = if shares { 0 } else { bytes * 1000 / BYTES_A_SECOND };
        let time = match (written + files * 1000 / FILES_A_SECOND).div_ceil(1000) {
            0 | 1 => "about a second".to_owned(),
            seconds => format!("about {seconds} seconds"),
        };
        let cost = match shares {
            true => format!(
                "{} are shared with it, so that they take no room until they are changed",
                size(bytes)
            ),
            false => format!("{} are copied", size(bytes)),
        };
        self.ui.note(&format!("the image is copied into box `{}`: {cost}; {time}", record.name));
        let working = self.ui.working("copying", bytes);
        let one = |id| IdMap { container_id: id, host_id: id, size: 1 };
        let maps = IdMaps::Single { uid: one(self.host.uid), gid: one(self.host.gid) };
        let upper = folder.join("upper");
        let layers: Vec<_> = std::iter::once(upper.clone()).chain(lowers.iter().cloned()).collect();
        copy::make(&folder, &layers, &maps, self.ephemeral, &mut |bytes| working.advance(bytes))?;
        // It is in the copy now. What is left of it when this is cut short is never looked at.
        let _ = store::remove_tree(&upper).map(|()| std::fs::create_dir(&upper));
        Ok(())
    }

    /// The copy of an untrusted box's project, where the kernel's overlay is not to be had.
    pub(super) fn copy_project(&self, folder: &std::path::Path, record: &Record) -> Result<(), Error> {
        let Some(project) =
            self.plan.project.as_deref().filter(|_| self.plan.isolation == Isolation::Untrusted)
        else {
            return Ok(());
        };
        if !project::wants_copy(folder, project, record.driver) {
            return Ok(());
        }
        let shares = copy::shares(folder, project);
        let bytes = if shares { 0 } else { Usage::of(project)?.bytes() * 2 };
        if bytes >= WORTH_TELLING {
            self.ui.note(&format!(
                "the project is copied into box `{}`, twice, for the driver `{}` has no overlay: {}",
                record.name,
                record.driver,
                size(bytes)
            ));
        }
        let working = self.ui.working("copying the project", bytes);
        Ok(project::copy_in(folder, project, &mut |bytes| working.advance(bytes))?)
    }

    /// Bytes and files of the image, as far as they are known without a long look.
    fn weigh(&self, record: &Record, lowers: &[std::path::PathBuf]) -> Result<(u64, u64), Error> {
        if let Image::Folder(_) = self.plan.image {
            let found = lowers.iter().map(|lower| Usage::of(lower));
            return Ok((found.map(|usage| usage.map(|usage| usage.bytes())).sum::<Result<_, _>>()?, 0));
        }
        let store = Store::open(&self.dirs.store())?;
        let mut sum = (0, 0);
        for layer in &record.layers {
            let tally = store.meta(layer)?.tally;
            sum = (sum.0 + tally.bytes, sum.1 + tally.entries);
        }
        Ok(sum)
    }
}

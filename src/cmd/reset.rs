//! `devbox reset`: a box, or paths of it, as the image has it.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use super::contents::{Contents, widest};
use crate::cli::ResetArgs;
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::mount::Driver;
use crate::probe;
use crate::rootfs::changes::{Forgotten, forget, restore};
use crate::session::Boxes;
use crate::store;
use crate::ui::Ui;
use crate::userns;

/// Where what a box had at a path goes before it is removed; a leftover of that name is removed with the next change.
const ASIDE: &str = "upper.old";
/// Where what the image has there is copied, with the driver `copy`; likewise.
const NEW: &str = "upper.next";

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &ResetArgs) -> Result<ExitCode, Error> {
    let boxes = Boxes::new(dirs);
    boxes.require(&args.name)?;
    let paths = args.paths.iter().map(|path| relative(path)).collect::<Result<Vec<_>, _>>()?;
    let _lock = boxes.lock_stopped(&args.name)?;
    if paths.is_empty() {
        boxes.reset(&args.name, args.home, &widest(&probe::host(dirs)?))?;
        ui.line(&args.name)?;
        return Ok(ExitCode::SUCCESS);
    }
    let contents = Contents::of(dirs, &boxes, &args.name)?;
    // until its first start nothing is copied
    let copied = contents.files().driver == Driver::Copy;
    // what a first start puts in place may be among the paths
    boxes.mark_anew(&args.name)?;
    for (path, shown) in paths.iter().zip(&args.paths) {
        let work = |mut out: File| {
            let folder: OwnedFd = File::open(&contents.folder)?.into();
            let aside = contents.folder.join(ASIDE);
            store::remove_tree(&aside)?;
            let done = if copied {
                let new = contents.folder.join(NEW);
                store::remove_tree(&new)?;
                std::fs::create_dir(&new)?;
                let place = File::open(&new)?.into();
                let done = restore(&contents.files(), path, &folder, ASIDE.as_bytes(), &place);
                store::remove_tree(&new)?;
                done?
            } else {
                forget(&contents.files(), path, &folder, ASIDE.as_bytes())?
            };
            store::remove_tree(&aside)?;
            Ok(out.write_all(&serde_json::to_vec(&done)?)?)
        };
        let read = |told: &mut userns::Output| serde_json::from_reader(told);
        let done: Result<Forgotten, serde_json::Error> = userns::piped(&contents.ids, work, read)?;
        let unread =
            |error: serde_json::Error| Error::Box { path: contents.folder.clone(), source: error.into() };
        match done.map_err(unread)? {
            Forgotten::Done(true) => ui.line(&shown.display().to_string())?,
            Forgotten::Done(false) => ui.note(&format!("{} is as the image has it", shown.display())),
            Forgotten::Hidden(above) => {
                let above = format!("/{}", String::from_utf8_lossy(&above));
                return Err(Error::ResetBelow { path: shown.clone(), above: above.into() });
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A path in the box without its leading `/`.
fn relative(path: &Path) -> Result<Vec<u8>, Error> {
    let refused = || Error::NotInTheBox(path.to_owned());
    let mut names = Vec::new();
    for component in path.strip_prefix("/").map_err(|_| refused())?.components() {
        match component {
            Component::Normal(name) => names.push(name.as_bytes()),
            _ => return Err(refused()),
        }
    }
    if names.is_empty() { Err(refused()) } else { Ok(names.join(&b'/')) }
}

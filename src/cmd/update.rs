//! `devbox update`: a box over the newest of its image, with all that it wrote itself.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};

use super::accepted;
use super::contents::{self, Contents};
use super::opening::Opening;
use crate::cli::{AfterFlags, PlanFlags, PullPolicy, UpdateArgs};
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::mount::Driver;
use crate::oci::digest::Digest;
use crate::plan::Image;
use crate::plan::resolve::Ask;
use crate::rootfs::changes::{self, Lower, conflicts, drop_copies, take_modes};
use crate::session::Boxes;
use crate::store::Store;
use crate::ui::{Ui, count};
use crate::userns;

const MOST_SHOWN: usize = 10;

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: UpdateArgs) -> Result<ExitCode, Error> {
    let flags = PlanFlags { image: args.image, ..PlanFlags::default() };
    let (plan, host) = accepted(ui, dirs, args.target.as_deref(), flags)?;
    let name = plan.name.clone();
    let boxes = Boxes::new(dirs);
    boxes.require(&name)?;
    if matches!(plan.image, Image::Host | Image::Folder(_)) {
        return Err(Error::NoImageBelow { name, image: plan.image.to_string() });
    }
    let _lock = boxes.lock_stopped(&name)?;
    let record = boxes.require(&name)?;
    if record.driver == Driver::Copy && boxes.last_start(&name)?.is_some() {
        return Err(Error::CopyStays { name });
    }
    let mut new = record.clone();
    new.image = plan.image.to_string();
    let store = Store::open(&dirs.store())?;
    let mut pull = PullPolicy::Always;
    if matches!(plan.image, Image::Registry(_)) && store.is_own_ref(&new.image)? {
        // elsewhere somebody else's image may have that name
        ui.note(&format!(
            "{0} was named on this machine, so no registry is asked for it; `devbox pull {0}` does",
            new.image
        ));
        pull = PullPolicy::Missing;
    }
    let opening = Opening {
        ui,
        dirs,
        plan,
        host,
        ask: Ask::Image,
        pull,
        ephemeral: false,
        after: AfterFlags::default(),
        fork_of: None,
    };
    // Nothing is removed from the store between the look at its layers and the box's record.
    let _hold = store.hold(&mut |holder| ui.note(&format!("waiting for {holder}")))?;
    opening.add_image(&store, &mut new)?;
    if new.layers == record.layers {
        // another name or configuration for the same files
        if new.manifest != record.manifest || new.image != record.image {
            boxes.rewrite(&new)?;
        }
        ui.note(&format!("box `{name}` is over the newest of {} already", new.image));
        return Ok(ExitCode::SUCCESS);
    }

    let box_contents = Contents::of(dirs, &boxes, &name)?;
    let other = contents::lowers(dirs, &new)?;
    let failed = |source| Error::Box { path: box_contents.folder.clone(), source };
    let silent = |told: &mut userns::Output| told.read_to_end(&mut Vec::new()).map(drop);
    // Changes nothing that is seen in the box: only what it has of its own is then in question.
    boxes.mark_anew(&name)?;
    userns::piped(&box_contents.ids, |_| Ok(drop_copies(&box_contents.files())?), silent)?.map_err(failed)?;
    let found = userns::piped(&box_contents.ids, |out| Ok(write(&box_contents, &other, out)?), read)?
        .map_err(failed)?;
    for path in found.iter().take(MOST_SHOWN) {
        ui.note(&format!("{path} is the box's own, and not the same in both images"));
    }
    if found.len() > MOST_SHOWN {
        ui.note(&format!("and {} more", count(found.len() - MOST_SHOWN, "path")));
    }
    if !found.is_empty() && !args.force {
        return Err(Error::Conflicts { name, paths: found.len() });
    }
    userns::piped(&box_contents.ids, |_| Ok(take_modes(&box_contents.files(), &other)?), silent)?
        .map_err(failed)?;
    boxes.rewrite(&new)?;
    ui.line(&new.manifest.as_ref().map(Digest::to_string).unwrap_or_default())?;
    Ok(ExitCode::SUCCESS)
}

/// The paths, a zero byte after each.
fn write(contents: &Contents, other: &[Lower], out: File) -> Result<(), changes::Error> {
    let mut out = BufWriter::new(out);
    conflicts(&contents.files(), other, &mut |path| {
        out.write_all(path)?;
        out.write_all(b"\0")
    })?;
    out.flush().map_err(|error| changes::Error::Taker(error.into()))
}

fn read(found: &mut userns::Output) -> io::Result<Vec<String>> {
    let paths = BufReader::new(found).split(0);
    paths.map(|path| Ok(format!("/{}", String::from_utf8_lossy(&path?)))).collect()
}

//! A box put over other layers than it was made over, with all that it wrote itself.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};

use super::contents::{self, Contents};
use crate::dirs::Dirs;
use crate::error::Error;
use crate::mount::Driver;
use crate::rootfs::changes::{self, Lower, conflicts, drop_copies, take_modes};
use crate::session::{Boxes, Record};
use crate::ui::{Ui, count};
use crate::userns;

const MOST_SHOWN: usize = 10;

/// What holds of a box's own files that stand in the way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    /// They count.
    pub(super) force: bool,
    /// A lock says what the box is to be over.
    pub(super) locked: bool,
}

/// Whether the box of `record` can be put over other layers at all.
pub(super) fn ensure_movable(boxes: &Boxes, record: &Record) -> Result<(), Error> {
    match record.driver == Driver::Copy && boxes.last_start(&record.name)?.is_some() {
        true => Err(Error::CopyStays { name: record.name.clone() }),
        false => Ok(()),
    }
}

/// Puts the box, whose lock the caller holds, over the layers of `new`, its record from then on. What the box has of its
/// own and is not the same in both images stands in the way, unless `standing` says that the box's counts.
pub(super) fn rebase(
    ui: &Ui,
    dirs: &Dirs,
    boxes: &Boxes,
    old: &Record,
    new: &Record,
    standing: Standing,
) -> Result<(), Error> {
    if new.layers == old.layers {
        // another name or configuration for the same files
        return if new == old { Ok(()) } else { Ok(boxes.rewrite(new)?) };
    }
    let name = &old.name;
    let box_contents = Contents::of(dirs, boxes, name)?;
    let other = contents::lowers(dirs, new)?;
    let failed = |source| Error::Box { path: box_contents.folder.clone(), source };
    let silent = |told: &mut userns::Output| told.read_to_end(&mut Vec::new()).map(drop);
    // Changes nothing that is seen in the box: only what it has of its own is then in question.
    boxes.mark_anew(name)?;
    userns::piped(&box_contents.ids, |_| Ok(drop_copies(&box_contents.files())?), silent)?.map_err(failed)?;
    let found = userns::piped(&box_contents.ids, |out| Ok(write(&box_contents, &other, out)?), read)?
        .map_err(failed)?;
    for path in found.iter().take(MOST_SHOWN) {
        ui.note(&format!("{path} is the box's own, and not the same in both images"));
    }
    if found.len() > MOST_SHOWN {
        ui.note(&format!("and {} more", count(found.len() - MOST_SHOWN, "path")));
    }
    if !found.is_empty() && !standing.force {
        let (paths, locked) = (found.len(), standing.locked);
        return Err(Error::Conflicts { name: name.clone(), paths, locked });
    }
    userns::piped(&box_contents.ids, |_| Ok(take_modes(&box_contents.files(), &other)?), silent)?
        .map_err(failed)?;
    Ok(boxes.rewrite(new)?)
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

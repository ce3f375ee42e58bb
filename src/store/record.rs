//! Small files that appear whole and survive a power cut: written aside, through to the disk, then renamed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::Store;
use super::error::{At, Error};

/// Writes `bytes` as the file `target`, over what is there. When this returns it is on the disk.
pub(super) fn write(store: &Store, target: &Path, bytes: &[u8]) -> Result<(), Error> {
    let (path, mut draft) = draft(&store.staging())?;
    let written = (|| {
        draft.write_all(bytes).and_then(|()| draft.sync_all()).at("write", target)?;
        fs::rename(&path, target).at("write", target)?;
        sync_folder_of(target)
    })();
    if written.is_err() {
        // what can't be removed now is swept later
        let _ = fs::remove_file(&path);
    }
    written
}

/// Removes a file of [`write`]; `false` when there is none.
pub(super) fn remove(target: &Path) -> Result<bool, Error> {
    match fs::remove_file(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        removed => {
            removed.at("remove", target)?;
            sync_folder_of(target)?;
            Ok(true)
        }
    }
}

/// A new file of a name nobody else has.
pub(super) fn draft(staging: &Path) -> Result<(PathBuf, File), Error> {
    let mut number = 0;
    loop {
        let path = staging.join(format!("record-{}-{number}", std::process::id()));
        match File::options().read(true).write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            made => return Ok((path.clone(), made.at("make", &path)?)),
        }
    }
}

fn sync_folder_of(target: &Path) -> Result<(), Error> {
    let folder = target.parent().unwrap_or(Path::new("/"));
    File::open(folder).and_then(|folder| folder.sync_all()).at("write", folder)
}

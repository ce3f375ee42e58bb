//! `devbox save`: images into an archive.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::naming;
use crate::cli::SaveArgs;
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::push::{self, Outgoing, Sent};
use crate::store::Store;
use crate::ui::{Ui, count};

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &SaveArgs) -> Result<ExitCode, Error> {
    let output = args.output.as_deref().filter(|path| *path != Path::new("-"));
    if output.is_none() && ui.writes_terminal() {
        return Err(Error::ArchiveOnTerminal);
    }
    let store = Store::open(&dirs.store())?;
    let found: Vec<_> =
        args.references.iter().map(|name| naming::image(ui, &store, dirs, name)).collect::<Result<_, _>>()?;
    let images: Vec<_> = found
        .iter()
        .map(|(image, name)| Outgoing { image, name: name.as_ref().and_then(|name| name.parse().ok()) })
        .collect();
    let progress = |name: &str| ui.transfer("saving", name);
    let sent = match output {
        Some(path) => {
            let draft = Draft::create(path)?;
            let sent = push::save(&store, dirs, &images, BufWriter::new(&draft.file), &progress)?;
            draft.publish(path)?;
            sent
        }
        None => push::save(&store, dirs, &images, BufWriter::new(ui.bytes()), &progress)?,
    };
    for ((found, _), Sent { manifest_digest, repacked }) in found.iter().zip(&sent) {
        if *repacked > 0 {
            ui.note(&format!(
                "{} packed anew: the manifest is {manifest_digest} instead of {}; diff ids are the same",
                count(*repacked, "layer"),
                found.manifest_digest
            ));
        }
        if output.is_some() {
            ui.line(&manifest_digest.to_string())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The archive beside its place until it is whole, so that what was there stays when something fails.
struct Draft {
    path: PathBuf,
    file: File,
    published: bool,
}

impl Draft {
    fn create(target: &Path) -> Result<Self, Error> {
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".devbox-{}", std::process::id()));
        let path = target.with_file_name(name);
        let failed = |source| Error::Archive { path: target.to_owned(), source };
        if target.is_dir() {
            return Err(failed(std::io::ErrorKind::IsADirectory.into()));
        }
        let file = File::create_new(&path).map_err(failed)?;
        Ok(Self { path, file, published: false })
    }

    fn publish(mut self, target: &Path) -> Result<(), Error> {
        let moved = (&self.file).flush().and_then(|()| fs::rename(&self.path, target));
        moved.map_err(|source| Error::Archive { path: target.to_owned(), source })?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.published {
            // its name tells whose it was
            let _ = fs::remove_file(&self.path);
        }
    }
}

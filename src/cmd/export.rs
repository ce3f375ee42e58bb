//! `devbox export`: a whole box in one archive, for another machine.
//!
//! A tar archive in a zstd frame: `box.json`; `upper/`, what differs from the image, as a layer has it; `home/`, the
//! private home; and `image.tar`, an OCI archive, when it is asked for.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::contents::Contents;
use super::save::Target;
use crate::cli::ExportArgs;
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::mount::Driver;
use crate::push::{self, Outgoing};
use crate::rootfs::changes::{self, Files, Packing, write_layer};
use crate::session::{Boxes, Record};
use crate::store::{Head, Kind, Store, TarWriter, Usage};
use crate::ui::Ui;
use crate::userns;

/// The form this code writes and reads.
pub(super) const VERSION: u32 = 1;
/// As zstd has it; about as fast as a disk.
const LEVEL: i32 = 3;

/// `box.json`.
#[derive(Serialize, Deserialize)]
pub(super) struct About {
    pub(super) version: u32,
    /// Whether owners were given as they are among many ids.
    pub(super) many_ids: bool,
    /// Whether the image is in the archive.
    pub(super) with_image: bool,
    pub(super) record: Record,
}

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &ExportArgs) -> Result<ExitCode, Error> {
    let to_stream = args.file.as_os_str() == "-";
    if to_stream && ui.writes_terminal() {
        return Err(Error::ArchiveOnTerminal);
    }
    let boxes = Boxes::new(dirs);
    let contents = Contents::of(dirs, &boxes, &args.name)?;
    let _lock = boxes.lock_stopped(&args.name)?;
    if contents.record.base.is_some() && !args.with_image {
        return Err(Error::ExportSetup { name: args.name.clone() });
    }
    let image = if args.with_image { Some(image(ui, dirs, &contents.record)?) } else { None };
    let about = About {
        version: VERSION,
        many_ids: contents.files().many_ids,
        with_image: image.is_some(),
        record: contents.record.clone(),
    };
    let mut usage = Usage::of(&contents.upper)?;
    usage.add(&contents.folder.join("home"))?;
    let total = usage.bytes();
    let pack = |out: File| Ok(pack(&contents, &about, out)?);
    let send = |tar: &mut userns::Output, out: &mut dyn Write| -> Result<(), Error> {
        let working = ui.working(&format!("exporting {}", args.name), total);
        let failed = |source| Error::Archive { path: args.file.clone(), source };
        let mut zstd = zstd::Encoder::new(out, LEVEL).map_err(failed)?;
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = match tar.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) => return Err(failed(error)),
            };
            zstd.write_all(&buffer[..count]).map_err(failed)?;
            working.advance(count as u64);
        }
        if let Some(image) = &image {
            let size = image.metadata().map_err(failed)?.len();
            let head = head(b"image.tar", Kind::File(size), 0o600);
            TarWriter::new(&mut zstd).file(&head, image).map_err(failed)?;
        }
        TarWriter::new(&mut zstd).finish().map_err(failed)?;
        zstd.finish().and_then(Write::flush).map_err(failed)
    };
    if to_stream {
        userns::piped(&contents.ids, pack, |tar| send(tar, &mut BufWriter::new(ui.bytes())))??;
    } else {
        let target = Target::open(&args.file)?;
        userns::piped(&contents.ids, pack, |tar| send(tar, &mut BufWriter::new(target.file())))??;
        target.publish()?;
        ui.line(&args.file.display().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The image of a box as an OCI archive, in a file without a name.
fn image(ui: &Ui, dirs: &Dirs, record: &Record) -> Result<File, Error> {
    let store = Store::open(&dirs.store())?;
    let below = || Error::NoImageBelow { name: record.name.clone(), image: record.image.clone() };
    let manifest = record.manifest.ok_or_else(below)?;
    let image = store.image(&manifest)?.ok_or_else(|| Error::LayersGone { name: record.name.clone() })?;
    let mut file = store.spool(io::empty())?;
    let outgoing = Outgoing { image: &image, name: record.image.parse().ok() };
    push::save(&store, dirs, &[outgoing], BufWriter::new(&file), &|name| ui.transfer("packing", name))?;
    io::Seek::rewind(&mut file).map_err(|source| Error::Archive { path: dirs.store(), source })?;
    Ok(file)
}

/// All but the image and the archive's end.
fn pack(contents: &Contents, about: &About, out: File) -> Result<(), changes::Error> {
    let taker = |error: io::Error| changes::Error::Taker(error.into());
    let mut tar = TarWriter::new(BufWriter::with_capacity(256 << 10, out));
    let text = serde_json::to_vec(about).map_err(|error| changes::Error::Taker(error.into()))?;
    tar.file(&head(b"box.json", Kind::File(text.len() as u64), 0o600), &text[..]).map_err(taker)?;
    let mode = |path: &Path| {
        use std::os::unix::fs::MetadataExt;
        path.metadata().map_or(0o755, |found| found.mode() & 0o7777)
    };
    tar.entry(&head(b"upper", Kind::Folder, mode(&contents.upper))).map_err(taker)?;
    let prefixed = |prefix: &[u8]| Packing { latest: None, prefix: prefix.to_vec() };
    write_layer(&contents.files(), &mut tar, &prefixed(b"upper/"))?;
    let home = contents.folder.join("home");
    if home.is_dir() {
        tar.entry(&head(b"home", Kind::Folder, mode(&home))).map_err(taker)?;
        let files = Files {
            upper: &home,
            lowers: &[],
            driver: Driver::Copy,
            account: Default::default(),
            ..contents.files()
        };
        write_layer(&files, &mut tar, &prefixed(b"home/"))?;
    }
    tar.into_inner().flush().map_err(taker)
}

fn head(path: &[u8], kind: Kind, mode: u32) -> Head<'_> {
    Head { path, kind, mode, owner: (0, 0), modified: 0, target: b"", xattrs: &[] }
}

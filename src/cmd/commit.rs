//! `devbox commit`: an image of a box.

use std::io::{BufReader, BufWriter};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::contents::Contents;
use super::tag::new_name;
use crate::cli::{CommitArgs, Format};
use crate::dirs::{self, Dirs};
use crate::error::{Error, ExitCode};
use crate::oci::commit::{Changes, rfc3339};
use crate::oci::digest::Digest;
use crate::push::{self, Committed, Compression};
use crate::rootfs::changes::{self, Packing, write_layer};
use crate::session::{Boxes, Record};
use crate::store::{Image, Store, TarWriter, Usage};
use crate::ui::{Ui, size};
use crate::userns;

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Answer {
    reference: String,
    digest: Digest,
    diff_id: Digest,
    /// Bytes of the new layer, as it is and compressed.
    bytes: u64,
    compressed: u64,
}

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &CommitArgs) -> Result<ExitCode, Error> {
    let reference = new_name(&args.reference)?.to_string();
    let epoch = source_date_epoch()?;
    let changes = changes_of(args)?;
    let boxes = Boxes::new(dirs);
    // nothing is written to it meanwhile
    let _lock = boxes.lock_stopped(&args.name)?;
    let store = Store::open(&dirs.store())?;
    let base = base(&store, &boxes.require(&args.name)?)?;
    let layer = Layer {
        base: &base,
        changes: &changes,
        reference: &reference,
        latest: epoch,
        compression: Compression::Gzip,
    };
    let committed = layer.of(ui, dirs, &store, &args.name)?;
    let answer = Answer {
        reference,
        digest: committed.manifest_digest,
        diff_id: committed.diff_id,
        bytes: committed.tar_bytes,
        compressed: committed.packed_bytes,
    };
    match args.format {
        Format::Json => ui.json(&answer)?,
        Format::Table => {
            ui.line(&answer.digest.to_string())?;
            ui.detail(&format!("a layer of {}, {} compressed", size(answer.bytes), size(answer.compressed)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A layer to be made of a box.
pub(super) struct Layer<'a> {
    /// The image it goes over.
    pub(super) base: &'a Image,
    pub(super) changes: &'a Changes,
    /// What the new image is to be called.
    pub(super) reference: &'a str,
    /// No file is to be newer than that, in seconds since the epoch.
    pub(super) latest: Option<i64>,
    pub(super) compression: Compression,
}

impl Layer<'_> {
    /// Makes it of the box `name`, which does not run, and whose lock the caller holds.
    pub(super) fn of(&self, ui: &Ui, dirs: &Dirs, store: &Store, name: &str) -> Result<Committed, Error> {
        let contents = Contents::of(dirs, &Boxes::new(dirs), name)?;
        let total = Usage::of(&contents.upper)?.bytes();
        let packing = Packing { latest: self.latest, prefix: Vec::new() };
        let work = |out| {
            let mut tar = TarWriter::new(BufWriter::with_capacity(256 << 10, out));
            write_layer(&contents.files(), &mut tar, &packing)?;
            tar.finish().map(drop).map_err(|error| changes::Error::Taker(error.into()))?;
            Ok(())
        };
        let Self { base, changes, reference, compression, .. } = self;
        Ok(userns::piped(&contents.ids, work, |tar| {
            let working = ui.working(&format!("committing {name}"), total);
            let tar = BufReader::with_capacity(256 << 10, tar);
            push::commit(store, base, tar, changes, reference, *compression, &|bytes| working.advance(bytes))
        })??)
    }
}

/// Now, or when reproducible builds say it is, as a configuration has it.
pub(super) fn created() -> Result<String, Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    Ok(rfc3339(source_date_epoch()?.unwrap_or(now)))
}

/// The image a box was made from, as the store has it.
fn base(store: &Store, record: &Record) -> Result<Image, Error> {
    let Some(manifest) = record.manifest else {
        return Err(Error::NoImageBelow { name: record.name.clone(), image: record.image.clone() });
    };
    store.image(&manifest)?.ok_or_else(|| Error::LayersGone { name: record.name.clone() })
}

fn changes_of(args: &CommitArgs) -> Result<Changes, Error> {
    let pair = |text: &String, what| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Error::NotAPair { what, text: text.clone() }),
    };
    for line in &args.env {
        pair(line, "--env")?;
    }
    Ok(Changes {
        env: args.env.clone(),
        entrypoint: args.entrypoint.as_deref().map(words),
        cmd: args.cmd.as_deref().map(words),
        user: args.user.clone(),
        working_dir: args.workdir.clone(),
        labels: args.label.iter().map(|text| pair(text, "--label")).collect::<Result<_, _>>()?,
        author: args.author.clone(),
        comment: args.message.clone(),
        created: created()?,
    })
}

/// A command as a Dockerfile has it: a list in JSON, or a line for the shell.
fn words(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_else(|_| ["/bin/sh", "-c", text].map(str::to_owned).into())
}

/// The time that reproducible builds agree on, in seconds since the epoch.
fn source_date_epoch() -> Result<Option<i64>, Error> {
    let Some(text) = dirs::variable("SOURCE_DATE_EPOCH").filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let seconds = text.to_str().and_then(|text| text.parse().ok()).filter(|seconds| *seconds >= 0);
    seconds.map(Some).ok_or_else(|| Error::BadEpoch(text.to_string_lossy().into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_lists_or_lines() {
        assert_eq!(words("[\"a\", \"b c\"]"), ["a", "b c"]);
        assert_eq!(words("a [b] c"), ["/bin/sh", "-c", "a [b] c"]);
        assert_eq!(words("[1]"), ["/bin/sh", "-c", "[1]"]);
        assert!(words("[]").is_empty());
    }
}

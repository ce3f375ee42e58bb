//! `devbox diff`: what a box holds beyond its image.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};

use serde::{Deserialize, Serialize};

use super::contents::Contents;
use super::here;
use crate::cli::{DiffArgs, Format};
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::plan::Isolation;
use crate::rootfs::changes::{What, walk};
use crate::rootfs::project::{self, Project};
use crate::session::Boxes;
use crate::ui::{Table, Ui, count, size};
use crate::userns;

/// One change, as `--format json` prints it.
#[derive(Serialize, Deserialize)]
struct Line {
    what: What,
    /// Absolute; bytes that are no text are replaced.
    path: String,
    /// Bytes of a regular file as it is now.
    size: Option<u64>,
}

/// A line of the project or of the image.
#[derive(Serialize)]
#[serde(untagged)]
enum Either {
    Project(super::project::Line),
    Image(Line),
}

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &DiffArgs) -> Result<ExitCode, Error> {
    let record = here::record(ui, dirs, args.name.as_deref())?;
    let boxes = Boxes::new(dirs);
    let project = match record.isolation {
        Isolation::Dev => None,
        Isolation::Untrusted => {
            // an apply that was cut short is finished with it
            if let Some(_lock) = boxes.try_lock(&record.name)? {
                boxes.finish_apply(&record.name)?;
            }
            Project::of(&boxes.folder(&record.name)?)?
        }
    };
    if args.patch {
        let project = project.ok_or_else(|| Error::NoProject { name: record.name.clone() })?;
        return patch(ui, &project);
    }
    let edits = project.as_ref().map(project::list).transpose()?.unwrap_or_default();
    let lines = lines(dirs, &boxes, &record.name)?;
    match args.format {
        Format::Json => {
            let edits = edits.iter().map(super::project::Line::from).map(Either::Project);
            ui.json(&edits.chain(lines.into_iter().map(Either::Image)).collect::<Vec<_>>())?;
        }
        Format::Table if ui.is_quiet() => {
            edits.iter().try_for_each(|edit| ui.line(&edit.shown()))?;
            lines.iter().try_for_each(|line| ui.line(&line.path))?;
        }
        Format::Table => {
            let mut table = Table::bare();
            edits.iter().for_each(|edit| super::project::add(&mut table, edit));
            ui.table(&table)?;
            if let Some(project) = project.filter(|_| !edits.is_empty() && !args.no_patch) {
                patch(ui, &project)?;
            }
            list(ui, &lines)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What differs in the text of the project.
fn patch(ui: &Ui, project: &Project) -> Result<ExitCode, Error> {
    if let Some(written) = project::patch(project, |text| ui.patch(BufReader::new(text)))? {
        written?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What the box changed in its image.
fn list(ui: &Ui, lines: &[Line]) -> Result<(), Error> {
    let mut table = Table::bare();
    for line in lines {
        let letter = match line.what {
            What::Added => "A",
            What::Deleted => "D",
            _ => "C",
        };
        let bytes = line.size.map(size).unwrap_or_default();
        table.row([letter.to_owned(), bytes, line.path.clone()]);
    }
    ui.table(&table)?;
    let of = |what| lines.iter().filter(|line| line.what == what).count();
    ui.detail(&format!(
        "{} added, {} changed, {} deleted; {} in {}",
        of(What::Added),
        of(What::Changed),
        of(What::Deleted),
        size(lines.iter().filter_map(|line| line.size).sum()),
        count(lines.iter().filter(|line| line.size.is_some()).count(), "file")
    ));
    Ok(())
}

fn lines(dirs: &Dirs, boxes: &Boxes, name: &str) -> Result<Vec<Line>, Error> {
    let contents = Contents::of(dirs, boxes, name)?;
    userns::piped(&contents.ids, |out| Ok(write(&contents, out)?), read)?
        .map_err(|source| Error::Box { path: contents.folder.clone(), source })
}

/// The changes, a line of JSON each: the far end of the pipe is another process of ours.
fn write(contents: &Contents, out: File) -> Result<(), crate::rootfs::changes::Error> {
    let mut out = BufWriter::new(out);
    walk(&contents.files(), &mut |change| {
        if change.what == What::Kept {
            return Ok(());
        }
        let file = change.entry.filter(|entry| entry.stat.st_mode & libc::S_IFMT == libc::S_IFREG);
        let line = Line {
            what: change.what,
            path: format!("/{}", String::from_utf8_lossy(change.path)),
            size: file.map(|entry| {
                entry.content.as_ref().map_or(entry.stat.st_size as u64, |text| text.len() as u64)
            }),
        };
        serde_json::to_writer(&mut out, &line)?;
        Ok(out.write_all(b"\n")?)
    })?;
    out.flush().map_err(|error| crate::rootfs::changes::Error::Taker(error.into()))
}

fn read(changes: &mut userns::Output) -> io::Result<Vec<Line>> {
    let lines = serde_json::Deserializer::from_reader(BufReader::new(changes));
    Ok(lines.into_iter().collect::<Result<_, _>>()?)
}

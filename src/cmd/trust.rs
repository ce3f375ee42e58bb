//! `devbox trust` and `untrust`: consent to what a project's file wants beyond its folder. It is asked for once, and
//! again when the wishes grow.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Planned, planned, reference::Doubt};
use crate::cli::{Format, PlanFlags, TrustArgs, UntrustArgs};
use crate::dirs::{self, Dirs};
use crate::error::{Error, ExitCode};
use crate::plan::Isolation;
use crate::plan::trust::Wish;
use crate::probe;
use crate::profile::PROJECT_FILE;
use crate::sys::fd;
use crate::trusted::Trusted;
use crate::ui::{Table, Ui, age, count};

/// The wishes of one project file.
pub(super) struct Wishes {
    /// The file; none when no project's was read.
    pub(super) file: Option<PathBuf>,
    pub(super) all: Vec<Wish>,
    /// Of the box they were found for, as they depend on it.
    pub(super) isolation: Isolation,
}

impl Wishes {
    /// Lets pass what was accepted before or is now.
    pub(super) fn require(&self, ui: &Ui, dirs: &Dirs) -> Result<(), Error> {
        let Some(file) = self.file.as_deref().filter(|_| !self.all.is_empty()) else { return Ok(()) };
        let trusted = Trusted::of(dirs);
        let pending = trusted.pending(file, &self.all);
        if pending.is_empty() {
            return Ok(());
        }
        let shown = file.display().to_string();
        let more = match self.all.len() - pending.len() {
            0 => "its own folder".to_owned(),
            before => format!("its own folder and the {} accepted before", count(before, "wish")),
        };
        let wishes = pending.iter().map(|wish| format!("\n  {wish}\n    {}", wish.why));
        let question =
            format!("{} asks for more than {more}:{}", shown.escape_debug(), wishes.collect::<String>());
        match ui.confirm(&format!("{question}\nAllow that from now on?")) {
            Some(true) => Ok(trusted.accept(file, &pending)?),
            Some(false) => Err(Error::Declined { file: shown }),
            None => {
                let reaches = pending.iter().map(|wish| format!("{wish} ({})", wish.why)).collect::<Vec<_>>();
                let untrusted = self.isolation == Isolation::Untrusted;
                Err(Error::NotAccepted { file: shown, reaches: reaches.join(", "), untrusted })
            }
        }
    }
}

/// Lets pass what is accepted now, for the archive `shown`, which wants `reaches`.
pub(super) fn require_once(ui: &Ui, shown: &str, reaches: &[String]) -> Result<(), Error> {
    if reaches.is_empty() {
        return Ok(());
    }
    let question = format!("the box of {} {}\nMake it?", shown.escape_debug(), reaches.join(", "));
    match ui.confirm(&question) {
        Some(true) => Ok(()),
        Some(false) => Err(Error::Declined { file: shown.to_owned() }),
        None => Err(Error::ArchiveNotAccepted { file: shown.to_owned(), reaches: reaches.join(", ") }),
    }
}

#[derive(Serialize)]
struct Shown<'a> {
    file: String,
    wishes: &'a [Wish],
}

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &TrustArgs) -> Result<ExitCode, Error> {
    if args.list {
        return list(ui, dirs, args.format);
    }
    let flags = PlanFlags { untrusted: args.untrusted, ..PlanFlags::default() };
    let planned = planned(ui, dirs, None, flags, Doubt::Refuse)?;
    planned.permitted()?;
    let Planned { wishes, .. } = planned;
    let Some(file) = &wishes.file else { return Err(Error::NoProjectFile) };
    wishes.require(ui, dirs)?;
    let file = file.display().to_string();
    match args.format {
        Format::Json => ui.json(&Shown { file, wishes: &wishes.all })?,
        Format::Table => {
            let mut table = Table::new(["ACCEPTED", "WHY IT MATTERS"]);
            for wish in &wishes.all {
                table.row([wish.text.clone(), wish.why.to_owned()]);
            }
            match wishes.all.is_empty() {
                true => ui.note(&format!("`{file}` wants nothing beyond its own folder")),
                false if ui.is_quiet() => {}
                false => ui.table(&table)?,
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(ui: &Ui, dirs: &Dirs, format: Format) -> Result<ExitCode, Error> {
    let records = Trusted::of(dirs).list()?;
    match format {
        Format::Json => ui.json(&records)?,
        Format::Table if ui.is_quiet() => records.iter().try_for_each(|record| ui.line(&record.file))?,
        Format::Table => {
            let mut table = Table::new(["PROJECT FILE", "ACCEPTED", "WHEN"]);
            for record in records {
                for wish in record.accepted {
                    table.row([record.file.clone(), wish.text, age(wish.when)]);
                }
            }
            ui.table(&table)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn take_back(ui: &Ui, dirs: &Dirs, args: &UntrustArgs) -> Result<ExitCode, Error> {
    let trusted = Trusted::of(dirs);
    if args.all {
        trusted.forget_all()?.iter().try_for_each(|file| ui.line(file))?;
        return Ok(ExitCode::SUCCESS);
    }
    let cwd = dirs::current().map_err(probe::Error::CurrentFolder)?;
    let candidates = match &args.file {
        Some(path) => named(&cwd.join(path)),
        None => nearest(&cwd, &trusted),
    };
    for file in &candidates {
        if trusted.forget(file)? {
            ui.line(&file.display().to_string())?;
            return Ok(ExitCode::SUCCESS);
        }
    }
    match candidates.first() {
        Some(file) => Err(Error::NotTrusted { file: file.display().to_string() }),
        None => Err(Error::NoProjectFile),
    }
}

/// The project files `path` may stand for: of a project that is gone, too.
fn named(path: &Path) -> Vec<PathBuf> {
    let mut candidates = Vec::new();
    for file in [path.to_owned(), path.join(PROJECT_FILE)] {
        let real = file.parent().and_then(|folder| fd::real_path(folder).ok());
        candidates.extend(real.zip(file.file_name()).map(|(folder, name)| folder.join(name)));
        candidates.push(file);
    }
    if path.is_dir() {
        candidates.rotate_left(2);
    }
    candidates
}

/// The project file someone who stands in `cwd` means, which may be gone.
fn nearest(cwd: &Path, trusted: &Trusted) -> Vec<PathBuf> {
    let files = cwd.ancestors().map(|folder| folder.join(PROJECT_FILE));
    files.into_iter().find(|file| file.exists() || trusted.load(file).is_some()).into_iter().collect()
}

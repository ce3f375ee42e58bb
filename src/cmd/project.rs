//! What an untrusted box wrote over its project: shown after its sessions, listed, and done with as flags say.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use serde::Serialize;

use super::here;
use crate::cli::AfterFlags;
use crate::dirs::{self, Dirs};
use crate::error::{Error, ExitCode};
use crate::plan::{Isolation, Plan};
use crate::rootfs::project::{self, Applied, Chosen, Edit, Kind, LeftOut, Progress, Project};
use crate::session::Boxes;
use crate::ui::{Table, Ui, count, size};

/// Bytes from which on it is shown how far an apply is.
const WORTH_SHOWING: u64 = 32 << 20;
/// Lines of a summary.
const LINES: usize = 20;

/// The box `given`, or the untrusted one of the folder the caller stands in, and its project.
pub(super) fn of(ui: &Ui, dirs: &Dirs, given: Option<&str>) -> Result<(String, PathBuf), Error> {
    let record = here::record(ui, dirs, given)?;
    Ok((record.name.clone(), Boxes::new(dirs).folder(&record.name)?))
}

/// The project of the box in `folder`.
pub(super) fn require(name: &str, folder: &Path) -> Result<Project, Error> {
    Project::of(folder)?.ok_or_else(|| Error::NoProject { name: name.to_owned() })
}

/// A path of the command line, relative to the project.
pub(super) fn relative(project: &Path, cwd: &Path, path: &Path) -> Result<Vec<u8>, Error> {
    let base = if cwd.starts_with(project) { cwd } else { project };
    let refused = || Error::NotInTheProject { path: path.to_owned(), project: project.to_owned() };
    let mut whole = PathBuf::new();
    for component in base.join(path).components() {
        match component {
            Component::ParentDir => drop(whole.pop()),
            Component::CurDir => {}
            component => whole.push(component),
        }
    }
    let below = whole.strip_prefix(project).map_err(|_| refused())?;
    Ok(below.as_os_str().as_bytes().to_vec())
}

/// Those paths of a command line.
pub(super) fn chosen(project: &Project, paths: &[PathBuf], force: bool) -> Result<Chosen, Error> {
    let cwd = dirs::current().map_err(Error::Input)?;
    let paths = paths.iter().map(|path| relative(&project.folder, &cwd, path));
    Ok(Chosen { paths: paths.collect::<Result<_, _>>()?, force })
}

/// One edit, as `--format json` prints it.
#[derive(Serialize)]
pub(super) struct Line {
    what: Kind,
    /// Relative to the project; bytes that are no text are replaced.
    path: String,
    /// Bytes of a regular file as it is now.
    size: Option<u64>,
    /// Why it is applied only when it is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    needs_naming: Option<String>,
    /// Why it is never applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    never: Option<String>,
}

impl From<&Edit> for Line {
    fn from(edit: &Edit) -> Self {
        Self {
            what: edit.kind,
            path: edit.shown(),
            size: edit.size,
            needs_naming: edit.apart.as_ref().map(|(_, why)| why.clone()),
            never: edit.unfit.clone(),
        }
    }
}

/// The letter for what became of a path.
pub(super) fn letter(kind: Kind) -> String {
    let letter = match kind {
        Kind::Added => "A",
        Kind::Changed => "C",
        Kind::Mode => "M",
        Kind::Deleted => "D",
    };
    letter.to_owned()
}

/// Adds a line of an edit, with what is to be said about it.
pub(super) fn add(table: &mut Table, edit: &Edit) {
    let remark = match (&edit.unfit, &edit.apart) {
        (Some(why), _) => format!("stays in the box: {why}"),
        (None, Some((_, why))) => format!("to be named: {why}"),
        (None, None) if edit.set_id => "without its set-id bits".to_owned(),
        (None, None) => String::new(),
    };
    table.row([letter(edit.kind), edit.size.map(size).unwrap_or_default(), edit.shown(), remark]);
}

/// The same for one that was applied.
pub(super) fn add_applied(table: &mut Table, edit: &Edit) {
    add(table, &Edit { apart: None, ..edit.clone() });
}

/// `3 added, 1 deleted; 12 KiB`.
pub(super) fn totals(edits: &[Edit]) -> String {
    let of = |kind, word| {
        let count = edits.iter().filter(|edit| edit.kind == kind).count();
        (count > 0).then(|| format!("{count} {word}"))
    };
    let words: Vec<String> = [
        of(Kind::Added, "added"),
        of(Kind::Changed, "changed"),
        of(Kind::Mode, "with another mode"),
        of(Kind::Deleted, "deleted"),
    ]
    .into_iter()
    .flatten()
    .collect();
    let bytes = edits.iter().filter_map(|edit| edit.size).sum();
    format!("{}; {}", words.join(", "), size(bytes))
}

/// The edits in few lines: what is in a new folder is counted with it.
fn short(edits: &[Edit]) -> Table {
    let mut table = Table::bare();
    let (mut rows, mut left) = (0, 0);
    let mut at = 0;
    while let Some(edit) = edits.get(at) {
        at += 1;
        let mut shown = edit.clone();
        if edit.is_folder && edit.kind == Kind::Added && edit.apart.is_none() {
            let inside = edits[at..].iter().take_while(|inner| {
                inner.path.strip_prefix(&edit.path[..]).is_some_and(|rest| rest.starts_with(b"/"))
            });
            // what needs a word of its own keeps its line
            let plain: Vec<&Edit> =
                inside.take_while(|inner| inner.apart.is_none() && inner.unfit.is_none()).collect();
            at += plain.len();
            shown.size = (!plain.is_empty()).then(|| plain.iter().filter_map(|inner| inner.size).sum());
            if !plain.is_empty() && rows < LINES {
                rows += 1;
                let files = count(plain.len(), "path");
                let bytes = shown.size.map(size).unwrap_or_default();
                table.row([letter(shown.kind), bytes, shown.shown(), format!("{files} in it")]);
                continue;
            }
        }
        if rows < LINES {
            rows += 1;
            add(&mut table, &shown);
        } else {
            left += 1;
        }
    }
    if left > 0 {
        table.row([String::new(), String::new(), format!("and {left} more"), String::new()]);
    }
    table
}

/// What is done with a project when the command has ended.
pub(super) struct After {
    apply: bool,
    discard: bool,
    /// Folders of the host, each with paths relative to the project.
    out: Vec<(PathBuf, Vec<Vec<u8>>)>,
}

impl After {
    /// Reads the flags, so that a mistake in them is told before anything runs.
    pub(super) fn read(flags: &AfterFlags, plan: &Plan, cwd: &Path) -> Result<Self, Error> {
        let flag = [("--apply", flags.apply), ("--discard", flags.discard), ("--out", !flags.out.is_empty())]
            .into_iter()
            .find_map(|(flag, given)| given.then_some(flag));
        let project = plan.project.as_deref().filter(|_| plan.isolation == Isolation::Untrusted);
        let mut out = Vec::new();
        match (flag, project) {
            (Some(flag), None) => return Err(Error::OnlyUntrusted { flag }),
            (_, None) => {}
            (_, Some(project)) => {
                for text in &flags.out {
                    let mut words = text.split(':');
                    let folder = cwd.join(words.next().unwrap_or_default());
                    let paths: Vec<_> = words.filter(|word| !word.is_empty()).collect();
                    if paths.is_empty() {
                        return Err(Error::OutWhat(text.trim_end_matches(':').to_owned()));
                    }
                    let paths = paths.iter().map(|path| relative(project, cwd, Path::new(path)));
                    out.push((folder, paths.collect::<Result<_, _>>()?));
                }
            }
        }
        Ok(Self { apply: flags.apply, discard: flags.discard, out })
    }

    /// Does it, and says what of the project stands changed in the box then.
    pub(super) fn carry_out(
        &self,
        ui: &Ui,
        boxes: &Boxes,
        name: &str,
        ephemeral: bool,
        code: ExitCode,
    ) -> Result<ExitCode, Error> {
        let Some(project) = Project::of(&boxes.folder(name)?)? else { return Ok(code) };
        let ended_well = code == ExitCode::SUCCESS;
        if !ended_well && (self.apply || !self.out.is_empty()) {
            let code = u8::from(code);
            ui.warning(&format!("nothing is applied or copied out, for the command ended with {code}"));
        }
        if ended_well && !self.out.is_empty() {
            // nothing is written in the box meanwhile
            let _lock = boxes.lock_stopped(name)?;
            for (folder, paths) in &self.out {
                tell_left_out(ui, &project::take_out(&project, paths, folder)?);
            }
        }
        if self.apply && ended_well && !project::is_unchanged(&project) {
            let _lock = boxes.lock_stopped(name)?;
            let applied = settled(ui, name, apply(ui, &project, &Chosen::default())?)?;
            if !applied.done.is_empty() {
                let shown = project.folder.display();
                ui.note(&format!("applied to {shown}: {}", totals(&applied.done)));
                ui.aside(&short(&applied.done));
            }
        }
        if self.discard {
            let _lock = boxes.lock_stopped(name)?;
            let dropped = project::discard(&project, &Chosen::default())?;
            if !dropped.done.is_empty() {
                ui.note(&format!("dropped: {}", totals(&dropped.done)));
            }
            return Ok(code);
        }
        let edits = match project::list(&project) {
            Ok(edits) => edits,
            // the command did what it did
            Err(error) => {
                ui.warning(&error.to_string());
                return Ok(code);
            }
        };
        if !edits.is_empty() {
            project.remember(&edits)?;
            summary(ui, name, &project, &edits, ephemeral);
        }
        Ok(code)
    }
}

/// Applies, and shows how far it is when that takes a while.
pub(super) fn apply(ui: &Ui, project: &Project, chosen: &Chosen) -> Result<Applied, Error> {
    let mut working = None;
    let applied = project::apply(project, chosen, |progress| match progress {
        Progress::Total(bytes) => working = (bytes >= WORTH_SHOWING).then(|| ui.working("applying", bytes)),
        Progress::Bytes(bytes) => working.iter().for_each(|working| working.advance(bytes)),
    });
    Ok(applied?)
}

fn summary(ui: &Ui, name: &str, project: &Project, edits: &[Edit], ephemeral: bool) {
    let shown = project.folder.display();
    ui.note(&format!("box `{name}` changed {shown} for itself: {}", totals(edits)));
    ui.aside(&short(edits));
    if edits.iter().any(|edit| edit.apart.is_some()) {
        ui.note("what is to be named runs code on your side later, or leads out of the project: `devbox apply PATH`");
    }
    if ephemeral {
        ui.note("it goes with the box; `--apply` and `--out` keep it");
    } else {
        ui.note(&format!(
            "`devbox diff {name}` shows it, `devbox apply -n {name}` takes it over, `devbox discard -n {name}` drops it"
        ));
    }
}

/// What was applied, when it could be.
pub(super) fn settled(ui: &Ui, name: &str, applied: Applied) -> Result<Applied, Error> {
    let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    if let Some(path) = applied.unchanged.first() {
        let path = if path.is_empty() { ".".to_owned() } else { text(path) };
        return Err(Error::NotChanged { name: name.to_owned(), path });
    }
    if !applied.conflicts.is_empty() {
        let mut table = Table::bare();
        for conflict in &applied.conflicts {
            table.row([text(&conflict.path), conflict.why.clone()]);
        }
        ui.aside(&table);
        return Err(Error::ProjectConflicts { name: name.to_owned(), paths: applied.conflicts.len() });
    }
    if let Some((path, above)) = applied.hidden.first() {
        return Err(Error::DiscardBelow { path: text(path), above: text(above) });
    }
    Ok(applied)
}

/// Says what was left in the box, and why.
pub(super) fn tell_left(ui: &Ui, name: &str, left: &[Edit]) {
    if left.is_empty() {
        return;
    }
    ui.note(&format!(
        "left in box `{name}`; what is to be named is applied by `devbox apply -n {name} PATH`"
    ));
    ui.aside(&short(left));
}

/// Says what was not copied out, and why.
pub(super) fn tell_left_out(ui: &Ui, left: &[LeftOut]) {
    if left.is_empty() {
        return;
    }
    ui.note("not copied out; what runs code on your side later is copied when it is named itself");
    let mut table = Table::bare();
    left.iter().take(LINES).for_each(|left| {
        table.row([String::from_utf8_lossy(&left.path).into_owned(), left.why.clone()]);
    });
    if left.len() > LINES {
        table.row([format!("and {} more", left.len() - LINES), String::new()]);
    }
    ui.aside(&table);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_a_command_line() {
        let project = Path::new("/home/me/site");
        let read = |cwd: &str, path: &str| {
            relative(project, Path::new(cwd), Path::new(path))
                .ok()
                .map(|path| String::from_utf8(path).unwrap())
        };
        for (cwd, path, found) in [
            ("/home/me/site", "src/a", Some("src/a")),
            ("/home/me/site/src", "a", Some("src/a")),
            ("/home/me/site/src", "../b", Some("b")),
            ("/home/me/site", ".", Some("")),
            ("/home/me", "src", Some("src")),
            ("/tmp", "/home/me/site/x/", Some("x")),
            ("/home/me/site", "../other", None),
            ("/tmp", "/etc/passwd", None),
            ("/home/me/site2", "../a", None),
        ] {
            assert_eq!(read(cwd, path).as_deref(), found, "{path} in {cwd}");
        }
    }
}

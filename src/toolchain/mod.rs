//! What tools the project in a folder is made with, told from the files at its top, and the profile that brings them.
//!
//! ```text
//! Folder    names at the top, small text files by name      (the only reader)
//!   └─► rust node python go c     each: is it one of mine, which version, what else does it need
//!         └─► Toolchain           a built-in profile, an image's tag, packages, steps, caches, each with its reason
//!               └─► starter       one commented `devbox.toml` of them all
//! ```
//!
//! Every file is a stranger's: it is read to a limit and never through a link, and what is taken from it (versions,
//! names of components) passes a grammar before it stands in a profile.

mod c;
mod folder;
mod go;
mod node;
mod python;
mod rust;
mod starter;
mod version;

use std::os::fd::BorrowedFd;

pub use starter::Starter;

use crate::sys;
use folder::Folder;

/// What the project in a folder needs.
#[derive(Debug, Default)]
pub struct Project {
    /// One for each language, the box's own first.
    toolchains: Vec<Toolchain>,
    /// What could not be used, with the reason.
    ignored: Vec<String>,
}

/// What one language of a project needs.
#[derive(Debug)]
struct Toolchain {
    /// As people call it.
    language: &'static str,
    /// The files it was told by.
    told_by: String,
    /// The built-in profile for it.
    profile: &'static str,
    /// The image's repository, where the profile's own image has versions.
    repository: &'static str,
    /// The image's tag, when the project asks for another than the profile's.
    tag: Option<Chosen>,
    /// Debian's packages of the same, for a box whose image is another language's.
    debian: &'static [&'static str],
    /// Packages beside it.
    packages: Vec<Chosen>,
    /// Steps of set-up; they take the language's own image.
    steps: Vec<Step>,
    /// Variables of sessions.
    env: Vec<(&'static str, &'static str)>,
    /// Further caches: a name, and where it stands in the box.
    caches: Vec<(&'static str, &'static str)>,
    /// What else is worth a comment.
    remarks: Vec<String>,
}

/// Something chosen, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Chosen {
    what: String,
    why: String,
}

/// A command of set-up.
#[derive(Debug)]
struct Step {
    command: String,
    /// Files of the project it sees.
    files: Vec<String>,
    why: String,
}

impl Toolchain {
    fn new(language: &'static str, profile: &'static str, repository: &'static str, told_by: &str) -> Self {
        Self {
            language,
            told_by: told_by.to_owned(),
            profile,
            repository,
            tag: None,
            debian: &[],
            packages: Vec::new(),
            steps: Vec::new(),
            env: Vec::new(),
            caches: Vec::new(),
            remarks: Vec::new(),
        }
    }

    /// Asks for `packages`, each once.
    fn package(&mut self, packages: &[&str], why: &str) {
        for what in packages {
            if !self.packages.iter().any(|package| package.what == *what) {
                self.packages.push(Chosen { what: (*what).to_owned(), why: why.to_owned() });
            }
        }
    }

    fn step(&mut self, command: &str, why: impl Into<String>) {
        self.steps.push(Step { command: command.to_owned(), files: Vec::new(), why: why.into() });
    }
}

/// Looks at the project in `folder`: at the files at its top, and where these tell nothing, at those of the folders in
/// it. Fails when the folder can't be read; a file that can't be is left out and said.
pub fn survey(folder: BorrowedFd<'_>) -> Result<Project, sys::Error> {
    let top = Folder::open(folder, "")?;
    let mut project = Project::default();
    look(&top, &mut project);
    if project.toolchains.is_empty() {
        for below in top.folders() {
            look(&below, &mut project);
        }
    }
    // where several have a say, the one that asks for a version goes first: its image is the box's
    project.toolchains.sort_by_key(|toolchain| toolchain.tag.is_none());
    Ok(project)
}

fn look(folder: &Folder<'_>, project: &mut Project) {
    for find in [rust::find, go::find, node::find, python::find, c::find] {
        if let Some(found) = find(folder)
            && !project.toolchains.iter().any(|known| known.language == found.language)
        {
            project.toolchains.push(found);
        }
    }
    project.ignored.extend(folder.ignored());
}

/// A tag, chosen because `file` asks for it.
fn asked(tag: &impl ToString, file: &str) -> Option<Chosen> {
    let tag = tag.to_string();
    Some(Chosen { why: format!("{file} asks for {tag}"), what: tag })
}

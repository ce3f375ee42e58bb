//! Home, project and the profile's own mounts.

use std::fs::{self, DirBuilder};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::path::{Path, PathBuf};

use crate::mount::{Op, Overlay, c_path};
use crate::plan::{Home, Isolation, Mount, MountMode};

use super::project::{first_seen, is_copied};
use super::{Error, Layout, SSH_AGENT, STATE, STATE_FOLDER, Wanted, bind, tmpfs};

pub(super) fn add(wanted: &Wanted<'_>, layout: &mut Layout) -> Result<(), Error> {
    let home = &wanted.caller.home;
    layout.ops.push(match wanted.plan.home {
        Home::Private => bind(&wanted.folder.join("home"), home, false)?,
        Home::Host => bind(home, home, false)?,
        Home::None => tmpfs(home, "mode=700")?,
    });
    let state = wanted.folder.join(STATE_FOLDER);
    match DirBuilder::new().mode(0o700).create(&state) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made.map_err(|source| Error::File { what: "make", path: state.clone(), source })?,
    }
    layout.ops.push(bind(&state, Path::new(STATE), false)?);
    if let Some(project) = &wanted.plan.project {
        present(project)?;
        layout.ops.push(match wanted.plan.isolation {
            Isolation::Dev => {
                let (from, exact) = wanted.plan.judged_source(project);
                let (from, at) = (c_path(from)?, c_path(project)?);
                Op::Bind { from, at, readonly: false, recursive: true, devices: false, exact }
            }
            Isolation::Untrusted => {
                let kept = kept(wanted.folder, project);
                if is_copied(&kept, wanted.driver) {
                    bind(&kept.join("upper"), project, false)?
                } else {
                    let op = overlay(wanted, project, project)?;
                    first_seen(&kept, project)?;
                    op
                }
            }
        });
    }
    if let Some(socket) = wanted.agent {
        layout.ops.push(bind(socket, Path::new(SSH_AGENT), true)?);
    }
    for mount in &wanted.plan.mounts {
        match operation(wanted, mount) {
            Ok(op) => layout.ops.push(op),
            Err(Error::NoSource(path)) if mount.optional => {
                layout.notes.push(format!(
                    "{} is not there, so {} is not mounted",
                    path.display(),
                    mount.target.display()
                ));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn operation(wanted: &Wanted<'_>, mount: &Mount) -> Result<Op, Error> {
    let source = || mount.source.as_deref().ok_or_else(|| Error::NoSource(mount.target.clone()));
    Ok(match mount.mode {
        MountMode::Ro | MountMode::Rw => {
            let (from, exact) = wanted.plan.judged_source(source()?);
            let devices = present(from)?.file_type().is_char_device() || from.starts_with("/dev");
            let readonly = mount.mode == MountMode::Ro;
            Op::Bind {
                from: c_path(from)?,
                at: c_path(&mount.target)?,
                readonly,
                recursive: true,
                devices,
                exact,
            }
        }
        MountMode::Overlay => overlay(wanted, source()?, &mount.target)?,
        MountMode::Tmpfs => tmpfs(&mount.target, "mode=1777")?,
        MountMode::Cache => {
            // Untrusted code must not prepare what others build from: its caches are the box's own.
            let folder = match wanted.plan.isolation {
                Isolation::Dev => source()?.to_owned(),
                Isolation::Untrusted => kept(wanted.folder, &mount.target).join("upper"),
            };
            make_private(&folder)?;
            bind(&folder, &mount.target, false)?
        }
    })
}

/// Writes are kept in the box, in a folder named after the target so that they are found again.
fn overlay(wanted: &Wanted<'_>, from: &Path, target: &Path) -> Result<Op, Error> {
    let (from, exact) = wanted.plan.judged_source(from);
    let folder = kept(wanted.folder, target);
    let (upper, work) = (folder.join("upper"), folder.join("work"));
    make_private(&upper)?;
    make_private(&work)?;
    // The merged folder has the upper's attributes.
    fs::set_permissions(&upper, present(from)?.permissions()).map_err(|source| Error::File {
        what: "prepare",
        path: upper.clone(),
        source,
    })?;
    let overlay = Overlay {
        base: c"/".into(),
        lowers: vec![c_path(from)?],
        data: None,
        upper: c_path(&upper)?,
        work: c_path(&work)?,
        volatile: wanted.volatile,
    };
    Ok(Op::Overlay { overlay, at: c_path(target)?, exact })
}

/// Where the box in `folder` keeps what is written at `target`.
pub(super) fn kept(folder: &Path, target: &Path) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    target.hash(&mut hasher);
    folder.join("mounts").join(format!("{:016x}", hasher.finish()))
}

/// A source that is there. Links in it are followed when it is taken, on the host.
fn present(path: &Path) -> Result<fs::Metadata, Error> {
    fs::metadata(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::NoSource(path.to_owned()),
        _ => Error::File { what: "look at the mount source", path: path.to_owned(), source },
    })
}

fn make_private(folder: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|source| Error::File {
        what: "make",
        path: folder.to_owned(),
        source,
    })
}

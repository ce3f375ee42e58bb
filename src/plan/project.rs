//! Which folder is the project, and which never can be.

use std::path::{Component, Path, PathBuf};

use super::{Error, Flags, Host};
use crate::profile::Found;
use crate::profile::place::may_hold_a_mount;

/// The project folder, or why there is none although nobody said that there should be none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Project {
    pub(super) folder: Option<PathBuf>,
    pub(super) because: Option<String>,
}

/// `--project`, else the profile's `workdir`, else the folder of `devbox.toml`, else the current one. A folder that
/// is asked for and can't be had is an error; one that merely offers itself is passed over.
pub(super) fn choose(found: &Found, flags: &Flags, host: &Host) -> Result<Project, Error> {
    let asked = flags.project.as_deref();
    if flags.no_project || (flags.image_only && asked.is_none()) {
        return Ok(Project { folder: None, because: None });
    }
    let offered = found.project_dir.as_deref().unwrap_or(&host.cwd);
    let written =
        || found.profile.workdir.as_ref().and_then(|place| place.resolve(&host.home, Some(offered)));
    let asked = asked.map(|folder| host.cwd.join(folder)).or_else(written);
    let folder = without_dots(asked.as_deref().unwrap_or(offered));
    match unfit(&folder, host) {
        None => Ok(Project { folder: Some(folder), because: None }),
        Some(why) if asked.is_some() => Err(Error::Project { path: folder, why }),
        Some(why) => {
            let because = format!("`{}` can't be one: {why}", folder.display().to_string().escape_debug());
            Ok(Project { folder: None, because: Some(because) })
        }
    }
}

/// Whether a home at `home` would stand in the way of what every box needs. Accounts of services have such ones.
pub(super) fn hides_the_system(home: &Path) -> bool {
    const NEEDED: [&str; 11] =
        ["bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "sbin", "usr", "run"];
    let below = home.strip_prefix("/").unwrap_or(home);
    below.as_os_str().is_empty()
        || NEEDED.iter().any(|name| below == Path::new(name))
        || may_hold_a_mount(home).is_err()
}

/// Why `folder` must not be mounted whole into a box, where writes reach it.
pub(super) fn unfit(folder: &Path, host: &Host) -> Option<&'static str> {
    const SYSTEM: [&str; 19] = [
        "bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "media", "mnt", "opt",
        "root", "run", "sbin", "srv", "tmp", "usr", "var",
    ];
    let Ok(below) = folder.strip_prefix("/") else { return Some("it is not absolute") };
    if below.as_os_str().is_empty() {
        return Some("it is the root folder");
    }
    for home in [&host.home, &host.real_home] {
        if folder == home {
            return Some("it is the home folder");
        }
        if home.starts_with(folder) {
            return Some("the home folder is in it");
        }
    }
    if SYSTEM.iter().any(|name| below == Path::new(name)) || may_hold_a_mount(folder).is_err() {
        return Some("it belongs to the system");
    }
    None
}

/// `path` with `.` and `..` worked out by its words. Both come after a folder whose links are followed already.
pub fn without_dots(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut whole, part| {
        match part {
            Component::ParentDir => {
                whole.pop();
            }
            Component::CurDir => {}
            _ => whole.push(part),
        }
        whole
    })
}

//! What the command line may say about a plan; it wins over every profile.

use std::path::{Path, PathBuf};

use super::{Error, mounts};
use crate::limits::Limits;
use crate::profile::place::Place;
use crate::profile::{
    self, BadValue, Driver, Home, Ids, Image, Isolation, Mount, MountMode, Network, Source, User, grammar,
};

/// Flags as typed. Text among them is checked by [`make`](super::make), so the door need not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--name`: the box's.
    pub name: Option<String>,
    /// `--image`.
    pub image: Option<Image>,
    /// No profile, only `--image`: nothing of the host is mounted unless asked.
    pub image_only: bool,
    /// `--platform`.
    pub platform: Option<String>,
    /// `--user`; `--root` is the same as `--user root`.
    pub user: Option<User>,
    /// `--ids`.
    pub ids: Option<Ids>,
    /// `--driver`.
    pub driver: Option<Driver>,
    /// `DEVBOX_DRIVER`: before the profile's, after the flag's.
    pub usual_driver: Option<Driver>,
    /// `--isolation`; `--untrusted` is the same as `--isolation untrusted`.
    pub isolation: Option<Isolation>,
    /// `--home`.
    pub home: Option<Home>,
    /// `--network`.
    pub network: Option<Network>,
    /// `--secret NAME=FILE`.
    pub secrets: Vec<String>,
    /// `--ssh-agent KEY`.
    pub ssh_agent: Vec<String>,
    /// `--allow HOST[:PORT]`.
    pub allow: Vec<String>,
    /// `-p [ADDRESS:]HOST_PORT:BOX_PORT`.
    pub publish: Vec<String>,
    /// `-e NAME=VALUE`, or `-e NAME` for the host's value.
    pub env: Vec<(String, Option<String>)>,
    /// `-v SRC:DST[:ro|rw|overlay]`.
    pub volumes: Vec<String>,
    /// `-w`: working directory in the box.
    pub workdir: Option<PathBuf>,
    /// `--project DIR`, relative to the current folder.
    pub project: Option<PathBuf>,
    /// `--no-project`.
    pub no_project: bool,
    /// `--hostname`.
    pub hostname: Option<String>,
    /// `--shell`.
    pub shell: Option<String>,
    /// Flags that limit something, and `NAME=VALUE`.
    pub limits: Vec<(&'static str, String)>,
    /// `--strict-limits`.
    pub strict_limits: bool,
    /// `--locked`.
    pub locked: bool,
}

/// The text of `flag`, when it is given, checked by `rule`.
pub(super) fn checked(
    flag: &'static str,
    text: Option<&String>,
    rule: impl FnOnce(&str) -> Result<String, BadValue>,
) -> Result<Option<String>, Error> {
    text.map(|text| rule(text)).transpose().map_err(|source| Error::Flag { flag, source })
}

/// What the flags limit.
pub(super) fn limits(flags: &Flags) -> Result<Limits, Error> {
    let mut limits = Limits { strict: flags.strict_limits.then_some(true), ..Limits::default() };
    for (flag, text) in &flags.limits {
        profile::assign(&mut limits, text).map_err(|source| Error::Flag { flag, source })?;
    }
    Ok(limits)
}

/// The mount `-v text` asks for by someone who stands in `cwd`.
pub(super) fn volume(text: &str, cwd: &Path) -> Result<Mount, BadValue> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, mode) = match *parts.as_slice() {
        [source, target] => (source, target, MountMode::Rw),
        [source, target, "ro"] => (source, target, MountMode::Ro),
        [source, target, "rw"] => (source, target, MountMode::Rw),
        [source, target, "overlay"] => (source, target, MountMode::Overlay),
        [_, _, mode] => return Err(BadValue::unknown("mount mode", mode, ["ro", "rw", "overlay"])),
        _ => {
            return Err(BadValue::new(format!("{} is not a volume", grammar::quoted(text)))
                .or("SRC:DST or SRC:DST:MODE, with mode `ro`, `rw` or `overlay`; paths with `:` go into a profile"));
        }
    };
    // elsewhere a bare name is a named volume: taking it for a folder would surprise
    if !source.starts_with(['/', '~', '.']) && !source.starts_with("${") {
        return Err(BadValue::new(format!("{} is not a path", grammar::quoted(source))).or(
            "a folder here begins with `./`; a kept, named one is a mount with mode `cache` in a profile",
        ));
    }
    let source = Source::Host(Place::on_host(source, Some(&Place::absolute(cwd)))?);
    Ok(Mount { source, target: Place::in_box(target)?, mode, optional: false })
}

/// The mount `--secret text` asks for by someone who stands in `cwd`.
pub(super) fn secret(text: &str, cwd: &Path) -> Result<Mount, BadValue> {
    let Some((name, file)) = text.split_once('=') else {
        let wrong = format!("{} has no file", grammar::quoted(text));
        return Err(BadValue::new(wrong).or("NAME=FILE: the file is at /run/secrets/NAME in the box"));
    };
    mounts::secret(&grammar::secret_name(name)?, Place::on_host(file, Some(&Place::absolute(cwd)))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes() {
        let cwd = Path::new("/src");
        for (text, source, target, mode) in [
            ("/a:/b", "/a", "/b", MountMode::Rw),
            ("./a:/b:ro", "/src/a", "/b", MountMode::Ro),
            (".:/b:overlay", "/src", "/b", MountMode::Overlay),
            ("~/a:~/b:rw", "~/a", "~/b", MountMode::Rw),
            ("../a:/b", "/src/../a", "/b", MountMode::Rw),
        ] {
            let source = Source::Host(Place::on_host(source, None).unwrap());
            let expected = Mount { source, target: Place::in_box(target).unwrap(), mode, optional: false };
            assert_eq!(volume(text, cwd), Ok(expected), "{text}");
        }
        for (text, wrong) in [
            ("", "`` is not a volume"),
            ("/a", "`/a` is not a volume"),
            ("/a:/b:ro:x", "`/a:/b:ro:x` is not a volume"),
            ("/a:/b:rx", "unknown mount mode `rx`"),
            ("/a:/b:ro,z", "unknown mount mode `ro,z`"),
            ("name:/b", "`name` is not a path"),
            (":/b", "`` is not a path"),
            ("/a:", "the path is empty"),
            ("/a:b", "`b` is not absolute"),
            ("/a:/b/../c", "`/b/../c` climbs with `..`"),
            ("/a:/proc", "`/proc` can't be a target: the kernel's own files stand there"),
        ] {
            assert_eq!(volume(text, cwd).unwrap_err().to_string(), wrong, "{text}");
        }
    }
}

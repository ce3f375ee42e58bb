//! The flags that change a plan: one set for `enter`, `run` and `plan`.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueHint;
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter, CompletionCandidate};

use super::candidates;
use crate::dirs;
use crate::plan::{Driver, Flags, Home, Ids, Isolation, Network, User};
use crate::profile::place::Place;
use crate::profile::{BadValue, Image, Selector};

const SEES: &str = "What the box sees";
const LIMITS: &str = "What the box may use";
const WHO: &str = "Who you are in it";

/// What the command line changes about the profile.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "What the box is made from")]
pub struct PlanFlags {
    /// Use this profile file instead of looking for one
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub profile: Option<PathBuf>,
    /// Use this image instead of the profile's
    ///
    /// A reference, `host`, or files: oci:DIR[:NAME], oci-archive:FILE[:NAME], docker-archive:FILE[:NAME],
    /// dir:ROOTFS. Without a profile named as well, none is read, and no folder of the host is mounted unless asked
    /// for.
    #[arg(long, value_name = "REF", value_parser = image, add = ArgValueCompleter::new(candidates::images))]
    pub image: Option<Image>,
    /// Platform of the image, for example linux/arm64
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<String>,
    /// Name of the box [default: the profile's, or the project folder's]
    #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(candidates::boxes))]
    pub name: Option<String>,
    /// Refuse to start when anything is not as devbox-lock.toml has it
    #[arg(long)]
    pub locked: bool,
    /// How layers and the box's own files become a root [default: DEVBOX_DRIVER, the profile's, or the box's own]
    #[arg(long, value_name = "auto|overlay|fuse|copy", value_parser = word::<Driver>, add = words(["auto", "overlay", "fuse", "copy"]))]
    pub driver: Option<Driver>,

    /// Confine the box for code you do not trust; the same as --isolation untrusted
    ///
    /// No network, no rights, few system calls. What is written to the project stays in the box.
    #[arg(long, conflicts_with = "isolation", help_heading = SEES)]
    pub untrusted: bool,
    /// How much of the host the box may see [default: the profile's, or dev]
    #[arg(
        long,
        value_name = "dev|untrusted", value_parser = word::<Isolation>, add = words(["dev", "untrusted"]),
        help_heading = SEES
    )]
    pub isolation: Option<Isolation>,
    /// Set a variable, or take it over from the host when no value is given
    #[arg(
        short,
        long = "env",
        value_name = "NAME[=VALUE]",
        value_parser = variable,
        help_heading = SEES
    )]
    pub env: Vec<(String, Option<String>)>,
    /// Mount a file or folder of the host; may be given again
    ///
    /// Modes: rw (default), ro, overlay (writes stay in the box). A SRC in the current folder begins with ./
    #[arg(
        short,
        long = "volume",
        value_name = "SRC:DST[:MODE]",
        value_hint = ValueHint::AnyPath,
        help_heading = SEES
    )]
    pub volumes: Vec<String>,
    /// Working directory in the box
    #[arg(short, long, value_name = "DIR", help_heading = SEES)]
    pub workdir: Option<PathBuf>,
    /// Mount this folder as the project
    #[arg(
        long,
        value_name = "DIR",
        value_hint = ValueHint::DirPath,
        conflicts_with = "no_project",
        help_heading = SEES
    )]
    pub project: Option<PathBuf>,
    /// Mount no project folder
    #[arg(long, help_heading = SEES)]
    pub no_project: bool,
    /// What stands at the home folder: one kept in the box, the host's, or an empty one
    #[arg(
        long,
        value_name = "private|host|none", value_parser = word::<Home>, add = words(["private", "host", "none"]),
        help_heading = SEES
    )]
    pub home: Option<Home>,
    /// Network of the box
    #[arg(
        long,
        value_name = "host|none|private", value_parser = word::<Network>, add = words(["host", "none", "private"]),
        help_heading = SEES
    )]
    pub network: Option<Network>,
    /// Hand in this file, to be read at /run/secrets/NAME; may be given again
    #[arg(long = "secret", value_name = "NAME=FILE", value_hint = ValueHint::AnyPath, help_heading = SEES)]
    pub secrets: Vec<String>,
    /// Let the box sign with this key of your ssh-agent: a fingerprint or a comment, as ssh-add -l lists it
    #[arg(long, value_name = "KEY", help_heading = SEES)]
    pub ssh_agent: Vec<String>,
    /// Let the box connect to this host, and to no other that is not named too; may be given again
    ///
    /// A name, *.DOMAIN for all names below, or an address; without a port, 80 and 443. Implies --network private.
    #[arg(long, value_name = "HOST[:PORT]", help_heading = SEES)]
    pub allow: Vec<String>,
    /// Let this machine reach a port of the box; may be given again
    ///
    /// On 127.0.0.1 unless an address is given.
    #[arg(short, long, value_name = "[ADDRESS:]PORT:BOX_PORT", help_heading = SEES)]
    pub publish: Vec<String>,
    /// Host name in the box
    #[arg(long, value_name = "NAME", help_heading = SEES)]
    pub hostname: Option<String>,

    /// Most memory of all its processes together, for example 4GiB; the same as --limit memory=SIZE
    #[arg(long, value_name = "SIZE", help_heading = LIMITS)]
    pub memory: Option<String>,
    /// Most processors, for example 2 or 0.5; the same as --limit cpus=NUMBER
    #[arg(long, value_name = "NUMBER", help_heading = LIMITS)]
    pub cpus: Option<String>,
    /// Limit memory, cpus, pids, time, files or disk; may be given again
    ///
    /// pids=200 processes, time=30m a session, files=1024 open ones a process, disk=10GiB of the box's own files.
    #[arg(
        long = "limit",
        value_name = "NAME=VALUE", add = words(["memory=", "cpus=", "pids=", "time=", "files=", "disk="]),
        help_heading = LIMITS
    )]
    pub limits: Vec<String>,
    /// Do not start when a limit can't be held exactly
    #[arg(long, help_heading = LIMITS)]
    pub strict_limits: bool,

    /// Be this user in the box: me, root, image (its User), a name or UID[:GID]
    #[arg(long, value_name = "USER", add = words(["me", "root", "image"]), help_heading = WHO)]
    pub user: Option<User>,
    /// Be root in the box; the same as --user root
    #[arg(long, conflicts_with = "user", help_heading = WHO)]
    pub root: bool,
    /// How users map: one id, or all with the help of subordinate ids
    #[arg(
        long,
        value_name = "auto|single|full", value_parser = word::<Ids>, add = words(["auto", "single", "full"]),
        help_heading = WHO
    )]
    pub ids: Option<Ids>,
    /// Preferred shell, a name or a path
    #[arg(long, value_name = "SHELL", help_heading = WHO)]
    pub shell: Option<String>,
}

impl PlanFlags {
    /// Which profile is wanted by someone who named `target`.
    pub fn selector(&self, target: Option<&str>) -> Selector {
        match (&self.profile, target) {
            (Some(file), _) => Selector::File(file.clone()),
            (None, Some(name)) => Selector::Name(name.to_owned()),
            (None, None) if self.image.is_some() => Selector::Nothing,
            (None, None) => Selector::Default,
        }
    }

    /// The flags as the plan takes them, for the profile chosen by `selector`.
    pub fn flags(self, selector: &Selector) -> Flags {
        let limit = |flag, name: &str, value: Option<String>| Some((flag, format!("{name}={}", value?)));
        let named = [limit("--memory", "memory", self.memory), limit("--cpus", "cpus", self.cpus)];
        Flags {
            name: self.name,
            image_only: *selector == Selector::Nothing,
            image: self.image,
            platform: self.platform,
            user: if self.root { Some(User::Root) } else { self.user },
            ids: self.ids,
            driver: self.driver,
            usual_driver: None,
            isolation: if self.untrusted { Some(Isolation::Untrusted) } else { self.isolation },
            home: self.home,
            network: self.network,
            secrets: self.secrets,
            ssh_agent: self.ssh_agent,
            allow: self.allow,
            publish: self.publish,
            env: self.env,
            volumes: self.volumes,
            workdir: self.workdir,
            project: self.project,
            no_project: self.no_project,
            hostname: self.hostname,
            shell: self.shell,
            limits: named
                .into_iter()
                .flatten()
                .chain(self.limits.into_iter().map(|text| ("--limit", text)))
                .collect(),
            strict_limits: self.strict_limits,
            locked: self.locked,
        }
    }
}

/// `NAME=VALUE`, or `NAME` for the host's value. The plan checks the name.
fn variable(text: &str) -> Result<(String, Option<String>), Infallible> {
    Ok(match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    })
}

/// An image, a relative path in it being below the current folder.
pub(super) fn image(text: &str) -> Result<Image, BadValue> {
    let cwd = dirs::current()
        .map_err(|error| BadValue::new(format!("the current folder is not known: {error}")))?;
    Image::read(text, Some(&Place::absolute(&cwd)))
}

/// One of a few words, or what is wrong with it and what may have been meant.
fn word<T: FromStr<Err = BadValue>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|bad: BadValue| match bad.hint() {
        Some(hint) => format!("{bad}; {hint}"),
        None => bad.to_string(),
    })
}

/// Completion to one of a few words; what they may be is the plan's to say.
fn words<const N: usize>(words: [&'static str; N]) -> ArgValueCandidates {
    ArgValueCandidates::new(move || words.map(CompletionCandidate::new).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables() {
        for (text, name, value) in
            [("A=b", "A", Some("b")), ("A", "A", None), ("A=", "A", Some("")), ("A=b=c", "A", Some("b=c"))]
        {
            assert_eq!(variable(text), Ok((name.to_owned(), value.map(str::to_owned))));
        }
    }

    #[test]
    fn the_nearest_wish_chooses_the_profile() {
        let image = Some(Image::Host);
        let file = Some(PathBuf::from("f.toml"));
        for (profile, image, target, selector) in [
            (None, None, None, Selector::Default),
            (None, None, Some("a"), Selector::Name("a".into())),
            (None, image.clone(), None, Selector::Nothing),
            (None, image.clone(), Some("a"), Selector::Name("a".into())),
            (file.clone(), None, Some("a"), Selector::File("f.toml".into())),
            (file, image, None, Selector::File("f.toml".into())),
        ] {
            let flags = PlanFlags { profile, image, ..PlanFlags::default() };
            assert_eq!(flags.selector(target), selector);
            assert_eq!(flags.flags(&selector).image_only, selector == Selector::Nothing);
        }
    }
}

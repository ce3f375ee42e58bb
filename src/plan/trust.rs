//! What a project's own file wants of the host beyond its folder: whoever wrote it may be a stranger, so the one
//! who enters is asked.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::mounts::{NOTHING, SECRETS};
use super::setup::{Setup, Step};
use super::{
    Error, Flags, Home, Host, Image, Isolation, MountMode, Network, Plan, Variable, mounts, project,
};
use crate::oci::digest::Digest;
use crate::profile::{self, Found};

/// One thing a project's file wants beyond its folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Wish {
    /// What kind of thing it is.
    pub kind: Kind,
    /// What the file does, as a sentence without its subject and without control characters.
    pub text: String,
    /// Why that matters, in one clause.
    pub why: &'static str,
    /// Of all that makes it this wish, byte by byte: what was accepted is known again by it.
    pub digest: Digest,
    /// What it reaches on the host, links followed.
    #[serde(skip)]
    pub path: Option<PathBuf>,
}

/// What can be wished for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The caller's home folder.
    Home,
    /// A file or folder outside of the project.
    Mount,
    /// An image in files or folders outside of the project.
    Image,
    /// A way out of an untrusted box.
    Network,
    /// A port of this machine that leads into an untrusted box.
    Port,
    /// A key of the caller's ssh-agent.
    SshAgent,
    /// A variable of the caller's.
    Env,
    /// A file handed in by name.
    Secret,
    /// A set-up for an untrusted box, which is not done in one.
    Setup,
}

impl Kind {
    /// The word for it in records.
    pub fn word(self) -> &'static str {
        match self {
            Self::Home => "home",
            Self::Mount => "mount",
            Self::Image => "image",
            Self::Network => "network",
            Self::Port => "port",
            Self::SshAgent => "ssh-agent",
            Self::Env => "env",
            Self::Secret => "secret",
            Self::Setup => "setup",
        }
    }
}

impl Wish {
    /// A wish of `kind`. `content` is what tells it from others of its kind; none of its parts holds a NUL, for no
    /// path, variable or key does.
    fn new(kind: Kind, text: String, why: &'static str, content: &[&[u8]]) -> Self {
        let parts = [&[kind.word().as_bytes()], content].concat();
        Self { kind, text, why, digest: Digest::of(&parts.join(&0)), path: None }
    }

    fn reaching(self, path: PathBuf) -> Self {
        Self { path: Some(path), ..self }
    }
}

/// What it does.
impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

const READS: &str = "what runs in the box can read it";
const WRITES: &str = "what runs in the box can read and change it";

/// The wishes of the project file `found` that are left in `plan`; none when `found` is no project's.
///
/// What the file takes over by `extends` counts, for it chose that; what flags ask for does not, nor do memory, an empty
/// file and caches, which hold nothing of the host: only what `dev` boxes of the same user left in a cache of that name, and
/// what this one leaves there for them. `real` follows links, and has no answer where nothing stands: a link in
/// the project folder may lead anywhere.
pub fn wishes(
    plan: &Plan,
    found: &Found,
    host: &Host,
    real: &dyn Fn(&Path) -> Option<PathBuf>,
) -> Result<Vec<Wish>, Error> {
    let Some(folder) = &found.project_dir else { return Ok(Vec::new()) };
    let real = |path: &Path| real(path).unwrap_or_else(|| project::without_dots(path));
    let no_flags = Flags::default();
    let chosen = project::choose(found, &no_flags, host).ok().and_then(|chosen| chosen.folder);
    // the file's folder is its own only when it could be mounted whole: nothing in a home is
    let mut own: Vec<PathBuf> =
        project::unfit(folder, host).is_none().then(|| real(folder)).into_iter().collect();
    let mut shown: Vec<(&Path, &Path, MountMode)> = Vec::new();
    if let Some(project) = &plan.project {
        if chosen.as_ref() == Some(project) {
            let trusted = plan.isolation == Isolation::Dev;
            shown.push((project, project, if trusted { MountMode::Rw } else { MountMode::Overlay }));
        } else {
            own.push(real(project));
        }
    }
    let wanted = mounts::collect(&found.profile, &no_flags, host, plan.project.as_deref())?;
    let kept = plan.mounts.iter().filter(|mount| mount.mode != MountMode::Cache && wanted.contains(mount));
    shown.extend(kept.filter_map(|mount| Some((mount.source.as_deref()?, &*mount.target, mount.mode))));

    let text = |path: &Path| path.display().to_string().escape_debug().to_string();
    let bytes = |path: &'_ Path| path.as_os_str().as_bytes().to_owned();
    let mut wishes = Vec::new();
    let image = found.profile.image.as_ref();
    if let Some(path) = plan.image.path()
        && image.and_then(|image| Image::of(image, &host.home, plan.project.as_deref())).as_ref()
            == Some(&plan.image)
        && !own.iter().any(|own| real(path).starts_with(own))
    {
        let path = real(path);
        let (what, why, form) = match plan.image {
            Image::Folder(_) => (format!("shows {} as its root", text(&path)), READS, "folder"),
            _ => {
                let why = "what is in it runs in the box, and can be read there";
                (format!("takes its image from {}", text(&path)), why, "files")
            }
        };
        wishes.push(Wish::new(Kind::Image, what, why, &[form.as_bytes(), &bytes(&path)]).reaching(path));
    }
    if plan.home == Home::Host && found.profile.home == Some(Home::Host) {
        let why =
            "your keys, settings and files are in it, and what runs in the box can read and change them";
        let wish = Wish::new(Kind::Home, "shares your home folder".to_owned(), why, &[]);
        wishes.push(wish.reaching(host.real_home.clone()));
    }
    for (source, target, mode) in shown {
        let source = real(source);
        if own.iter().any(|own| source.starts_with(own)) || source.as_os_str() == NOTHING {
            continue;
        }
        let secret = target.strip_prefix(SECRETS).ok().and_then(Path::to_str);
        let (from, to) = (bytes(&source), bytes(target));
        let wish = match secret.filter(|name| found.profile.secrets.contains_key(*name)) {
            Some(name) => {
                let what = format!("reads {} as its secret {name}", text(&source));
                Wish::new(Kind::Secret, what, READS, &[&from, name.as_bytes()])
            }
            None => {
                let what = format!("mounts {} ({mode}) at {}", text(&source), text(target));
                let why = if mode == MountMode::Rw { WRITES } else { READS };
                Wish::new(Kind::Mount, what, why, &[mode.to_string().as_bytes(), &from, &to])
            }
        };
        wishes.push(wish.reaching(source));
    }
    // to install packages takes a root that an untrusted box does not have
    if plan.isolation == Isolation::Untrusted && !plan.setup.steps.is_empty() {
        let Setup { steps, cache } = &plan.setup;
        let files: Vec<_> = steps.iter().flat_map(|step| &step.files).map(|file| file.judged).collect();
        let image = plan.image.to_string();
        // text, numbers and maps with text for keys: it has a JSON form
        let content = serde_json::to_vec(&(steps, files, &image, cache)).unwrap_or_default();
        let steps: Vec<String> = steps.iter().map(Step::whole).collect();
        let from = cache.as_ref().map(|cache| format!("; results are taken from {}", text(Path::new(cache))));
        wishes.push(Wish::new(
            Kind::Setup,
            format!(
                "sets up {} as root of a `dev` box: {}{}",
                text(Path::new(&image)),
                steps.join("; "),
                from.unwrap_or_default()
            ),
            "these commands run without the walls of an untrusted box, though with nothing of yours in it",
            &[&content],
        ));
    }
    // the usual network of one's own boxes is the host's, beyond which there is nothing
    if plan.isolation == Isolation::Untrusted {
        let asked = &found.profile;
        if plan.network == Network::Private
            && plan.allow.is_empty()
            && asked.network == Some(Network::Private)
        {
            let why = "what runs in the box can send away whatever it can read";
            wishes.push(Wish::new(Kind::Network, "reaches the network".to_owned(), why, &[]));
        }
        let allowed = plan.allow.iter().filter(|entry| asked.allow.contains(entry)).map(ToString::to_string);
        wishes.extend(allowed.map(|entry| {
            let why = "what runs in the box can send there whatever it can read";
            let what = format!("reaches {entry} over the network");
            Wish::new(Kind::Network, what, why, &[entry.as_bytes()])
        }));
        let published = plan.ports.iter().filter(|port| asked.ports.contains(port));
        wishes.extend(published.map(|port| {
            let why = "what runs in the box answers to whoever can reach that";
            let what = format!("listens on {} of this machine", port.host);
            Wish::new(Kind::Port, what, why, &[port.host.to_string().as_bytes()])
        }));
    }
    let keys = plan.ssh_agent.iter().filter(|key| found.profile.ssh_agent.contains(key));
    wishes.extend(keys.map(|key| {
        let what = format!("signs with the key {} of your ssh-agent", key.escape_debug());
        let why = "what runs in the box can log in and sign as you while it runs";
        Wish::new(Kind::SshAgent, what, why, &[key.as_bytes()])
    }));
    let from_host = |name: &&String| found.profile.env.get(*name) == Some(&profile::Variable::FromHost);
    let passed =
        plan.env.iter().filter(|(_, value)| matches!(value, Variable::FromHost(_))).map(|(name, _)| name);
    wishes.extend(passed.filter(from_host).map(|name| {
        let why = "what runs in the box can read its value, which may be a token";
        Wish::new(Kind::Env, format!("passes {name} from your environment"), why, &[name.as_bytes()])
    }));
    Ok(wishes)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::tests::{host, project};
    use super::*;
    use crate::plan::make;

    /// The wishes of a `devbox.toml` of this text.
    pub(crate) fn wishes_of(toml: &str) -> Vec<Wish> {
        all(&project(toml), &Flags::default())
    }

    fn wishes(found: &Found, flags: &Flags) -> Vec<String> {
        all(found, flags).into_iter().map(|wish| wish.text).collect()
    }

    /// The wishes of a project at `/home/me/src/app` in which `link` leads to `/home/me/.ssh`.
    fn all(found: &Found, flags: &Flags) -> Vec<Wish> {
        let lookup = |name: &str| (name != "UNSET").then(|| "s3cret".to_owned());
        let plan = make(found, flags, &host(), &lookup).unwrap();
        let real = |path: &Path| {
            let below = path.strip_prefix("/home/me/src/app/link").ok();
            below.map(|below| Path::new("/home/me/.ssh").components().chain(below.components()).collect())
        };
        super::wishes(&plan, found, &host(), &real).unwrap()
    }

    fn mount(source: &str, mode: &str) -> String {
        format!("[[mounts]]\nsource = \"{source}\"\ntarget = \"/m\"\nmode = \"{mode}\"\noptional = true\n")
    }

    #[test]
    fn what_lies_beyond_the_folder_is_named() {
        let ssh = |mode: &str| vec![format!("mounts /home/me/.ssh ({mode}) at /m")];
        let one = |wish: &str| vec![wish.to_owned()];
        for (toml, expected) in [
            (String::new(), vec![]),
            ("extends = [\"rust-env\"]\n[env]\nA = \"b\"\n".into(), vec![]),
            ("[[mounts]]\ntarget = \"/m\"\nmode = \"tmpfs\"\n".into(), vec![]),
            (mount("data", "rw"), vec![]),
            (mount("${project}/data/../x", "rw"), vec![]),
            (mount("~/src/app", "ro"), vec![]),
            (mount("/dev/null", "ro"), vec![]),
            (mount("/dev/zero", "ro"), one("mounts /dev/zero (ro) at /m")),
            (mount("~/.ssh", "ro"), ssh("ro")),
            (mount("~/.ssh", "overlay"), ssh("overlay")),
            (mount("../../.ssh", "rw"), ssh("rw")),
            (mount("${project}/../../.ssh", "rw"), ssh("rw")),
            (mount("link", "rw"), ssh("rw")),
            (mount("~/src/app2", "rw"), one("mounts /home/me/src/app2 (rw) at /m")),
            (mount("/run/a\\nb", "rw"), one("mounts /run/a\\nb (rw) at /m")),
            ("home = \"host\"\n".into(), one("shares your home folder")),
            ("image = \"oci:img:1\"\n".into(), vec![]),
            ("image = \"dir:link\"\n".into(), one("shows /home/me/.ssh as its root")),
            ("image = \"dir:~\"\n".into(), one("shows /home/me as its root")),
            ("image = \"oci-archive:../x.tar\"\n".into(), one("takes its image from /home/me/src/x.tar")),
            ("workdir = \"sub\"\n".into(), vec![]),
            ("workdir = \"..\"\n".into(), one("mounts /home/me/src (rw) at /home/me/src")),
            ("workdir = \"link\"\n".into(), one("mounts /home/me/.ssh (rw) at /home/me/src/app/link")),
            (
                "[env-from-host]\nnames = [\"TOKEN\", \"UNSET\"]\n".into(),
                one("passes TOKEN from your environment"),
            ),
        ] {
            assert_eq!(wishes(&project(&toml), &Flags::default()), expected, "{toml}");
        }
    }

    #[test]
    fn a_way_out_of_an_untrusted_box_is_named() {
        let private = "mode = \"private\"";
        let list = "allow = [\"a.example\", \"*.b.example:22\"]\nports = [\"8080:80\"]";
        let flags = |network| Flags { network, ..Flags::default() };
        for (isolation, text, flags, expected) in [
            ("untrusted", "mode = \"none\"", flags(None), &[][..]),
            ("untrusted", private, flags(None), &["reaches the network"]),
            ("untrusted", private, flags(Some(Network::None)), &[]),
            ("untrusted", "", Flags { allow: vec!["a.example".into()], ..flags(None) }, &[]),
            (
                "untrusted",
                list,
                flags(None),
                &[
                    "reaches a.example over the network",
                    "reaches *.b.example:22 over the network",
                    "listens on 127.0.0.1:8080 of this machine",
                ],
            ),
            ("dev", list, flags(None), &[]),
            ("dev", private, flags(None), &[]),
        ] {
            let text = format!("image = \"debian\"\nisolation = \"{isolation}\"\n[network]\n{text}\n");
            assert_eq!(wishes(&project(&text), &flags), expected, "{text}");
        }
    }

    #[test]
    fn a_set_up_is_not_as_confined_as_the_box() {
        let text = "image = \"debian\"\n[setup]\npackages = [\"a\", \"b\"]\n\
                    run = [\"c\\u001b\\nd\"]\nenv = { A = \"b\" }\ncache = \"r.example/a\"\n";
        let untrusted = Flags { isolation: Some(Isolation::Untrusted), ..Flags::default() };
        assert!(wishes(&project(text), &Flags::default()).is_empty());
        assert_eq!(
            wishes(&project(text), &untrusted),
            [
                "sets up docker.io/library/debian:latest as root of a `dev` box: packages a b with A=b; `c\\u{1b}\\nd` with A=b; \
                 results are taken from r.example/a"
            ]
        );
    }

    #[test]
    fn consent_to_a_set_up_is_for_all_that_makes_it() {
        use super::super::setup::Content;
        let untrusted = Flags { isolation: Some(Isolation::Untrusted), ..Flags::default() };
        let found =
            project("image = \"debian\"\n[setup]\nrun = [{ command = \"sh ./a.sh\", files = [\"a.sh\"] }]\n");
        let plan = make(&found, &untrusted, &host(), &|_| None).unwrap();
        let wish = |change: &dyn Fn(&mut Plan)| {
            let mut plan = plan.clone();
            plan.setup.steps[0].files[0].judged =
                Some(Content { digest: Digest::of(b"one"), executable: false });
            change(&mut plan);
            super::wishes(&plan, &found, &host(), &|_| None).unwrap().remove(0)
        };
        let as_it_is = wish(&|_| {});
        assert_eq!(as_it_is.digest, wish(&|_| {}).digest);
        let said = format!("`sh ./a.sh` with the file a.sh ({})", &Digest::of(b"one").hex()[..12]);
        assert!(as_it_is.text.ends_with(&said), "{}", as_it_is.text);
        let changes: [&dyn Fn(&mut Plan); 6] = [
            &|plan| plan.setup.steps[0].files[0].judged.as_mut().unwrap().digest = Digest::of(b"two"),
            &|plan| plan.setup.steps[0].files[0].judged.as_mut().unwrap().executable = true,
            &|plan| plan.setup.steps[0].files[0].judged = None,
            &|plan| plan.setup.cache = Some("r.example/a".into()),
            &|plan| plan.image = Image::Registry("docker.io/library/other:1".into()),
            &|plan| drop(plan.setup.steps[0].env.insert("A".into(), "b".into())),
        ];
        for (at, change) in changes.into_iter().enumerate() {
            assert_ne!(wish(change).digest, as_it_is.digest, "{at}");
        }
    }

    #[test]
    fn only_a_projects_file_is_asked_about() {
        let text = "home = \"host\"\n";
        assert!(wishes(&Found { project_dir: None, ..project(text) }, &Flags::default()).is_empty());
        // nothing in a home is its own
        let at_home = Found::in_project("/home/me", &mount(".ssh", "ro"));
        assert_eq!(wishes(&at_home, &Flags::default()), ["mounts /home/me/.ssh (ro) at /m"]);
    }

    #[test]
    fn the_callers_own_words_need_no_consent() {
        let mount_ssh = mount("~/.ssh", "ro");
        let asks = format!("home = \"host\"\n{mount_ssh}[env-from-host]\nnames = [\"TOKEN\"]\n");
        let (plain, asks) = (project(""), project(&asks));
        let narrowed = Flags {
            home: Some(Home::Private),
            volumes: vec!["/srv:/m".into()],
            env: vec![("TOKEN".into(), Some("x".into()))],
            ..Flags::default()
        };
        assert_eq!(wishes(&asks, &Flags::default()).len(), 3);
        assert!(wishes(&asks, &narrowed).is_empty());
        let typed = Flags {
            home: Some(Home::Host),
            volumes: vec!["~/.ssh:/m".into()],
            env: vec![("TOKEN".into(), None)],
            project: Some("/srv/other".into()),
            ..Flags::default()
        };
        assert!(wishes(&plain, &typed).is_empty());
        assert!(wishes(&project(&mount("${project}/x", "rw")), &typed).is_empty());
    }
}

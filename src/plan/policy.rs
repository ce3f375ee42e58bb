//! Whether a plan goes with what the organisation allows on this machine.

use std::fmt;
use std::path::{Path, PathBuf};

use super::mounts::{NOTHING, SECRETS};
use super::trust::{Kind, Wish};
use super::{Error, Flags, Home, Host, Image, MountMode, Network, Plan, Variable, project};
use crate::oci::reference::Reference;
use crate::profile::Found;
use crate::profile::policy::{Forbidden, Policy, Rule};

/// Why something is forbidden, in the organisation's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Reason(String);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is asked for: in words that follow on `the box`, and the place on the host it is about.
type Asked = (String, Option<PathBuf>);

/// What a plan was made from.
#[derive(Debug, Clone, Copy)]
pub struct Made<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Of this profile,
    pub found: &'a Found,
    /// these flags,
    pub flags: &'a Flags,
    /// and this host.
    pub host: &'a Host,
    /// What the project's file wants beyond its folder.
    pub wishes: &'a [Wish],
}

/// Refuses a plan that asks for what `policy` forbids. `real` follows links.
pub fn check(policy: &Policy, made: Made<'_>, real: &dyn Fn(&Path) -> Option<PathBuf>) -> Result<(), Error> {
    let real = |path: &Path| real(path).unwrap_or_else(|| project::without_dots(path));
    if let Image::Registry(name) = &made.plan.image {
        registry(policy, name)?;
    }
    // what comes from there becomes layers, too
    if let Some(cache) = &made.plan.setup.cache {
        registry(policy, cache)?;
    }
    for rule in &policy.rules {
        let excepted = |path: &PathBuf| {
            let places = rule.except.iter().filter_map(|place| place.resolve(&made.host.home, None));
            places.into_iter().any(|place| path.starts_with(real(&place)))
        };
        let asked = if rule.everyone { by_anything(rule, made, &real) } else { by_project(rule, made) };
        let wrong = asked.into_iter().find(|(_, path)| !path.as_ref().is_some_and(excepted));
        if let Some((what, _)) = wrong {
            let who = match (&made.found.project_dir, rule.everyone) {
                (Some(_), false) => {
                    made.found.origins.last().map(|origin| origin.from.escape_debug().to_string())
                }
                _ => None,
            };
            return Err(Error::Forbidden {
                file: policy.file.clone(),
                key: rule.what.word(),
                what: format!("{} {what}", who.as_deref().unwrap_or("the box")),
                everyone: rule.everyone,
                source: rule.reason.clone().or_else(|| policy.reason.clone()).map(Reason),
            });
        }
    }
    Ok(())
}

/// Refuses the image `name`, which a registry has, when `policy` does not allow that registry.
pub fn registry(policy: &Policy, name: &str) -> Result<(), Error> {
    match name.parse::<Reference>() {
        Ok(reference) if policy.admits(&reference) => Ok(()),
        _ => Err(Error::ForbiddenRegistry {
            file: policy.file.clone(),
            image: name.to_owned(),
            allowed: policy.registries.clone().unwrap_or_default(),
            source: policy.reason.clone().map(Reason),
        }),
    }
}

/// What the project's file asks for of what `rule` forbids.
fn by_project(rule: &Rule, made: Made<'_>) -> Vec<Asked> {
    let Made { plan, found, flags, wishes, .. } = made;
    if found.project_dir.is_none() {
        return Vec::new();
    }
    let kinds: &[Kind] = match rule.what {
        Forbidden::Home => &[Kind::Home],
        Forbidden::Mounts => &[Kind::Mount, Kind::Image],
        Forbidden::Env => &[Kind::Env],
        Forbidden::SshAgent => &[Kind::SshAgent],
        Forbidden::Secrets => &[Kind::Secret],
        // in a box of one's own these are no wishes
        Forbidden::Ports => {
            let ports = plan.ports.iter().filter(|port| found.profile.ports.contains(port));
            return ports.map(|port| (format!("publishes {port}"), None)).collect();
        }
        Forbidden::NetworkHost => {
            let asked = plan.network == Network::Host && flags.network != Some(Network::Host);
            return asked.then(host_network).into_iter().collect();
        }
    };
    let asked = wishes.iter().filter(|wish| kinds.contains(&wish.kind));
    asked.map(|wish| (wish.text.clone(), wish.path.clone())).collect()
}

/// What the plan has of what `rule` forbids, whoever asked for it.
fn by_anything(rule: &Rule, made: Made<'_>, real: &dyn Fn(&Path) -> PathBuf) -> Vec<Asked> {
    let Made { plan, found, host, .. } = made;
    match rule.what {
        Forbidden::Home if plan.home == Home::Host => {
            vec![("shares your home folder".to_owned(), None)]
        }
        Forbidden::Home => Vec::new(),
        Forbidden::Mounts | Forbidden::Secrets => {
            let file = found.project_dir.as_deref().filter(|folder| project::unfit(folder, host).is_none());
            let own: Vec<PathBuf> = plan.project.as_deref().into_iter().chain(file).map(real).collect();
            let mounts = plan.mounts.iter().filter(|mount| mount.mode != MountMode::Cache);
            let mounts = mounts
                .filter(|mount| mount.target.starts_with(SECRETS) == (rule.what == Forbidden::Secrets))
                .filter_map(|mount| Some(("mounts", mount.source.as_deref()?)));
            let image = plan.image.path().filter(|_| rule.what == Forbidden::Mounts);
            let places = mounts.chain(image.map(|path| ("is made from", path)));
            places
                .map(|(verb, path)| (verb, real(path)))
                .filter(|(_, path)| {
                    path.as_os_str() != NOTHING && !own.iter().any(|own| path.starts_with(own))
                })
                .map(|(verb, path)| {
                    (format!("{verb} {}", path.display().to_string().escape_debug()), Some(path))
                })
                .collect()
        }
        Forbidden::Env => {
            let passed = plan.env.iter().filter(|(_, value)| matches!(value, Variable::FromHost(_)));
            passed.map(|(name, _)| (format!("gets {name} from your environment"), None)).collect()
        }
        Forbidden::SshAgent => {
            let keys = plan.ssh_agent.iter();
            keys.map(|key| (format!("signs with the key {}", key.escape_debug()), None)).collect()
        }
        Forbidden::Ports => plan.ports.iter().map(|port| (format!("publishes {port}"), None)).collect(),
        Forbidden::NetworkHost => (plan.network == Network::Host).then(host_network).into_iter().collect(),
    }
}

fn host_network() -> Asked {
    ("has the network of this machine".to_owned(), None)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{host, project};
    use super::*;
    use crate::plan::{make, trust};
    use std::error::Error as _;

    /// What is said of a plan of the project file `toml` and `flags` under `policy`.
    fn refusal(policy: &str, found: &Found, flags: &Flags) -> Option<String> {
        let policy = Policy::of(policy);
        let host = host();
        let plan = make(found, flags, &host, &|_| Some("s3cret".to_owned())).unwrap();
        let real = |_: &Path| None;
        let wishes = trust::wishes(&plan, found, &host, &real).unwrap();
        let made = Made { plan: &plan, found, flags, host: &host, wishes: &wishes };
        let error = check(&policy, made, &real).err()?;
        assert!(error.hint().is_some());
        let why = error.source().map(|why| format!(": {why}")).unwrap_or_default();
        Some(format!("{error}{why}"))
    }

    const ALL: &str = "home = \"host\"\nssh-agent = [\"key\"]\n[env-from-host]\nnames = [\"TOKEN\"]\n[secrets]\nnpm = \"~/.npmrc\"\n\
                       [network]\nmode = \"private\"\nports = [\"8080:80\"]\n[[mounts]]\nsource = \"~/.cfg\"\ntarget = \"/m\"\n";

    #[test]
    fn each_kind_is_forbidden_by_itself() {
        let file = "`policy.toml` forbids by `forbid.";
        for (what, said) in [
            ("home", "shares your home folder"),
            ("mounts", "mounts /home/me/.cfg (rw) at /m"),
            ("env", "passes TOKEN from your environment"),
            ("ssh-agent", "signs with the key key of your ssh-agent"),
            ("secrets", "reads /home/me/.npmrc as its secret npm"),
            ("ports", "publishes 127.0.0.1:8080:80"),
        ] {
            let forbid = format!("[forbid]\n{what} = true\n");
            let expected = format!("{file}{what}` that /home/me/src/app/devbox.toml {said}");
            assert_eq!(refusal(&forbid, &project(ALL), &Flags::default()), Some(expected));
            assert_eq!(refusal(&forbid, &project(""), &Flags::default()), None, "{what}");
            assert_eq!(
                refusal(&format!("[forbid]\n{what} = false\n"), &project(ALL), &Flags::default()),
                None
            );
        }
        let forbid = "reason = \"ask us\"\n[forbid]\nnetwork-host = true\n";
        let expected = format!(
            "{file}network-host` that /home/me/src/app/devbox.toml has the network of this machine: ask us"
        );
        assert_eq!(refusal(forbid, &project(""), &Flags::default()), Some(expected));
        assert_eq!(refusal(forbid, &project(ALL), &Flags::default()), None);
    }

    #[test]
    fn flags_are_forbidden_where_everyone_is_meant() {
        let flags = Flags {
            home: Some(Home::Host),
            ssh_agent: vec!["key".into()],
            env: vec![("TOKEN".into(), None)],
            secrets: vec!["npm=/home/me/.npmrc".into()],
            volumes: vec!["/srv/a:/m".into()],
            publish: vec!["8080:80".into()],
            ..Flags::default()
        };
        let built_in = Found::built_in("debian");
        for (what, said) in [
            ("home", "shares your home folder"),
            ("mounts", "mounts /srv/a"),
            ("env", "gets TOKEN from your environment"),
            ("ssh-agent", "signs with the key key"),
            ("secrets", "mounts /home/me/.npmrc"),
            ("ports", "publishes 127.0.0.1:8080:80"),
            ("network-host", "has the network of this machine"),
        ] {
            let flags = match what {
                "network-host" => Flags { network: Some(Network::Host), ..Flags::default() },
                _ => flags.clone(),
            };
            for found in [&project(""), &built_in] {
                let everyone = format!("[forbid.{what}]\neveryone = true\nreason = \"no\"\n");
                let expected = format!("`policy.toml` forbids by `forbid.{what}` that the box {said}: no");
                assert_eq!(refusal(&everyone, found, &flags), Some(expected));
                assert_eq!(refusal(&format!("[forbid]\n{what} = true\n"), found, &flags), None, "{what}");
            }
        }
        assert_eq!(
            refusal("[forbid.mounts]\neveryone = true\n", &Found::built_in("rust-env"), &Flags::default()),
            None
        );
        // a project's own folder is nobody's business
        let own = Flags { volumes: vec!["/home/me/src/app/x:/m".into()], ..Flags::default() };
        assert_eq!(refusal("[forbid.mounts]\neveryone = true\n", &project(""), &own), None);
    }

    #[test]
    fn exceptions_are_whole_folders() {
        for (except, refused) in
            [("~/.cfg", false), ("~", false), ("/home/me", false), ("~/.cf", true), ("/srv", true)]
        {
            for everyone in [true, false] {
                let policy = format!("[forbid.mounts]\neveryone = {everyone}\nexcept = [\"{except}\"]\n");
                let said = refusal(&policy, &project(ALL), &Flags::default());
                assert_eq!(said.is_some(), refused, "{except}: {said:?}");
            }
        }
    }

    #[test]
    fn images_come_from_allowed_registries() {
        let policy = "registries = [\"r.example\"]\n";
        let image = |name: &str| project(&format!("image = \"{name}\"\n"));
        assert_eq!(refusal(policy, &image("r.example/a:1"), &Flags::default()), None);
        assert_eq!(refusal(policy, &image("host"), &Flags::default()), None);
        let said = refusal(policy, &image("rust:1"), &Flags::default()).unwrap();
        assert!(said.contains("`registries`") && said.contains("docker.io/library/rust:1"), "{said}");
        let cache =
            project("image = \"r.example/a:1\"\n[setup]\nrun = [\"a\"]\ncache = \"other.example/a\"\n");
        assert!(
            refusal(policy, &cache, &Flags::default()).is_some_and(|said| said.contains("other.example/a"))
        );
        let flags = Flags { image: Some("debian".parse().unwrap()), ..Flags::default() };
        assert!(refusal(policy, &image("r.example/a:1"), &flags).is_some());
    }
}

//! What a step finds around it: the plan of its box.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::ids;
use crate::dirs;
use crate::limits::{Limit, Limits};
use crate::plan::setup::{CACHE, FOLDER, Setup, Step};
use crate::plan::{Home, Host, Isolation, Mount, MountMode, NOTHING, Plan, User, Variable};
use crate::profile::Action;

/// The cache of what package managers download.
const PACKAGES: &str = "setup-packages";
/// The variables that name proxies.
const PROXIES: [&str; 10] = [
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
];

/// What a step's box is made by: the image's, as root, with nothing of the host but caches, its files, and the network that
/// the profile gives the box.
pub(super) fn plan(of: &Plan, name: &str, step: &Step, files: PathBuf, host: &Host) -> Plan {
    let mut mounts =
        vec![Mount { source: Some(files), target: FOLDER.into(), mode: MountMode::Ro, optional: false }];
    // what a stranger's steps download is not to be what others install
    if of.isolation == Isolation::Dev {
        let cache = |source: PathBuf, target: PathBuf| Mount {
            source: Some(source),
            target,
            mode: MountMode::Cache,
            optional: false,
        };
        // what no other step needs, no other step can change
        if matches!(step.action, Action::Packages(_)) {
            mounts.push(cache(host.cache.join("caches").join(PACKAGES), CACHE.into()));
        }
        let is_cache = |mount: &&Mount| mount.mode == MountMode::Cache;
        for mount in of.mounts.iter().filter(is_cache) {
            let Some(source) = mount.source.clone() else { continue };
            // the home of the one who runs the step is root's
            let target = match mount.target.strip_prefix(&host.home) {
                Ok(below) => PathBuf::from("/root").join(below),
                Err(_) => mount.target.clone(),
            };
            // what the profile hides of it
            let hidden = of.mounts.iter().filter_map(|hiding| {
                let nothing = hiding.source.clone().filter(|source| source.as_os_str() == NOTHING)?;
                let target = target.join(hiding.target.strip_prefix(&mount.target).ok()?);
                Some(Mount { source: Some(nothing), target, ..hiding.clone() })
            });
            mounts.push(cache(source, target.clone()));
            mounts.extend(hidden);
        }
    }
    let mut limits = Limits { strict: of.limits.strict, ..Limits::default() };
    limits.amounts.extend(
        of.limits
            .amounts
            .iter()
            .filter(|(limit, _)| !matches!(limit, Limit::Time | Limit::Disk))
            .map(|(limit, amount)| (*limit, *amount)),
    );
    Plan {
        name: name.to_owned(),
        image: of.image.clone(),
        platform: of.platform.clone(),
        user: User::Root,
        ids: ids(of),
        driver: of.driver,
        isolation: Isolation::Dev,
        home: Home::None,
        project: None,
        no_project_because: None,
        workdir: Some(FOLDER.into()),
        shell: of.shell.clone(),
        hostname: "setup".to_owned(),
        env: environment(of, step, dirs::variables(PROXIES)),
        mounts,
        network: of.network,
        limits,
        allow: of.allow.clone(),
        ports: Vec::new(),
        ssh_agent: Vec::new(),
        profiles: of.profiles.clone(),
        setup: Setup::default(),
        pin: None,
        unpinned_because: None,
        locked: false,
        judged: BTreeMap::new(),
    }
}

/// The variables of a step: its own, and those of `proxies`, the caller's, without which downloads fail where there are any.
/// They are in no key; strangers' steps, which could tell them on, and those whose way out is a gate do not get them.
fn environment(of: &Plan, step: &Step, mut proxies: BTreeMap<String, String>) -> BTreeMap<String, Variable> {
    let mut env: BTreeMap<String, Variable> = BTreeMap::new();
    if gets_proxies(of) {
        proxies.retain(|name, value| !is_withheld(of, name, value));
        env.extend(proxies.into_iter().map(|(name, value)| (name, Variable::FromHost(value))));
    }
    env.extend(step.env.iter().map(|(name, value)| (name.clone(), Variable::Literal(value.clone()))));
    env
}

/// The names of the caller's proxies that steps do not get for the password in them.
pub(super) fn withheld(of: &Plan) -> Vec<String> {
    let mut proxies = dirs::variables(PROXIES);
    proxies.retain(|name, value| gets_proxies(of) && is_withheld(of, name, value));
    proxies.into_keys().collect()
}

fn gets_proxies(of: &Plan) -> bool {
    of.isolation == Isolation::Dev && of.allow.is_empty()
}

/// Whether a proxy has a user or password in it, and nobody said that the box gets it. Nothing else in one has an `@`.
fn is_withheld(of: &Plan, name: &str, value: &str) -> bool {
    value.contains('@') && !matches!(of.env.get(name), Some(Variable::FromHost(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{host, project};
    use crate::plan::{Flags, make};

    const STEPS: &str = "extends = [\"rust-env\"]\n[setup]\npackages = [\"a\"]\nrun = [\"b\"]\n";

    fn of(toml: &str) -> Plan {
        make(&project(toml), &Flags::default(), &host(), &|_| Some("http://me:s3cret@proxy:1".into()))
            .unwrap()
    }

    #[test]
    fn passwords_of_proxies_are_not_handed_out_unasked() {
        let proxies = || {
            let of = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
            let all = [
                ("http_proxy", "http://proxy:1"),
                ("HTTPS_PROXY", "http://me:s3cret@proxy:1"),
                ("ALL_PROXY", "me@proxy:1"),
                ("no_proxy", "localhost,.example"),
            ];
            all.map(of).into_iter().collect::<BTreeMap<_, _>>()
        };
        let names = |plan: &Plan| {
            let env = environment(plan, &plan.setup.steps[1], proxies());
            env.into_keys().collect::<Vec<_>>()
        };
        let plan = of(STEPS);
        assert_eq!(names(&plan), ["http_proxy", "no_proxy"]);
        let named = of(&format!("{STEPS}[env-from-host]\nnames = [\"HTTPS_PROXY\"]\n"));
        assert_eq!(names(&named), ["HTTPS_PROXY", "http_proxy", "no_proxy"]);
        // the profile's own word for another value is none for this one
        let other = of(&format!("{STEPS}[env]\nHTTPS_PROXY = \"http://other:1\"\n"));
        assert_eq!(names(&other), ["http_proxy", "no_proxy"]);
        assert_eq!(names(&Plan { isolation: Isolation::Untrusted, ..named }), [""; 0]);
    }

    #[test]
    fn a_step_gets_the_caches_it_needs_and_not_what_is_hidden_in_them() {
        let plan = of(STEPS);
        let mounts =
            |at: usize| super::plan(&plan, "s", &plan.setup.steps[at], "/files".into(), &host()).mounts;
        let targets = |at: usize| {
            let targets = mounts(at).into_iter().map(|mount| mount.target.display().to_string());
            targets.collect::<Vec<_>>()
        };
        let cargo = "/var/cache/cargo";
        let hidden = ["config", "config.toml", "credentials", "credentials.toml"];
        let hidden = hidden.map(|name| format!("{cargo}/{name}"));
        let expected = [vec![FOLDER.to_owned(), cargo.to_owned()], hidden.to_vec()].concat();
        assert_eq!(targets(1), expected);
        assert!(mounts(1)[2..].iter().all(|mount| mount.mode == MountMode::Ro));
        assert!(targets(0).contains(&CACHE.to_owned()));
    }
}

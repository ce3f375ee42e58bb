//! What a step finds around it: the plan of its box.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::ids;
use crate::dirs;
use crate::limits::{Limit, Limits};
use crate::plan::setup::{CACHE, FOLDER, Setup, Step};
use crate::plan::{Home, Host, Isolation, Mount, MountMode, Plan, User, Variable};

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
pub(super) fn plan(of: &Plan, name: &str, at: usize, files: PathBuf, host: &Host) -> Plan {
    let step = &of.setup.steps[at];
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
        mounts.push(cache(host.cache.join("caches").join(PACKAGES), CACHE.into()));
        for mount in of.mounts.iter().filter(|mount| mount.mode == MountMode::Cache) {
            let Some(source) = mount.source.clone() else { continue };
            // the home of the one who runs the step is root's
            let target = match mount.target.strip_prefix(&host.home) {
                Ok(below) => PathBuf::from("/root").join(below),
                Err(_) => mount.target.clone(),
            };
            mounts.push(cache(source, target));
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
        env: environment(of, step),
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
    }
}

/// The variables of a step: its own, and the caller's proxies, without which downloads fail where there are any. They are in
/// no key; strangers' steps, which could tell them on, and those whose way out is a gate do not get them.
fn environment(of: &Plan, step: &Step) -> BTreeMap<String, Variable> {
    let mut env: BTreeMap<String, Variable> = BTreeMap::new();
    if of.isolation == Isolation::Dev && of.allow.is_empty() {
        let proxies = dirs::variables(PROXIES).into_iter();
        env.extend(proxies.map(|(name, value)| (name, Variable::FromHost(value))));
    }
    env.extend(step.env.iter().map(|(name, value)| (name.clone(), Variable::Literal(value.clone()))));
    env
}

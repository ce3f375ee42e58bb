//! How a plan is made: flags over profile over defaults, checked against each other.

use std::collections::BTreeMap;

use super::flags::{self, checked};
use super::pin::pin;
use super::{
    Driver, Error, Flags, Home, Host, Ids, Image, Plan, User, Variable, mounts, network, project, setup,
    untrusted,
};
use crate::oci::reference::Reference;
use crate::profile::{self, BadValue, Found, grammar};

/// Plans what `found` and `flags` ask for on `host`. `lookup` gives a variable of the host's environment; it is
/// asked only for the names that profile and flags name.
pub fn make(
    found: &Found,
    flags: &Flags,
    host: &Host,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Plan, Error> {
    let profile = &found.profile;
    if project::hides_the_system(&host.home) {
        return Err(Error::Home(host.home.clone()));
    }
    let project = project::choose(found, flags, host)?;
    let image = match flags.image.as_ref().or(profile.image.as_ref()) {
        Some(image) => canonical(
            Image::of(image, &host.home, project.folder.as_deref()).ok_or(Error::NoProject("the image"))?,
        ),
        None => Image::Host,
    };
    let isolation = flags.isolation.or(profile.isolation).unwrap_or_default();
    let platform = checked("--platform", flags.platform.as_ref(), grammar::platform)?
        .or_else(|| profile.platform.clone())
        .unwrap_or_else(|| host.platform.clone());
    let ids = flags.ids.or(profile.ids).unwrap_or(Ids::Auto);
    let user = who(&image, ids, flags.user.clone().or_else(|| profile.user.clone()))?;
    if image == Image::Host && architecture(&platform) != architecture(&host.platform) {
        let what = format!("platform `{platform}`");
        return Err(Error::OnHost { what, why: "its programs are this machine's" });
    }
    let name = match checked("--name", flags.name.as_ref(), grammar::box_name)? {
        Some(name) => name,
        None => {
            untrusted::name(isolation, profile.name.clone().unwrap_or_else(|| default_name(found, &image)))
        }
    };
    let hostname = checked("--hostname", flags.hostname.as_ref(), grammar::host_name)?
        .or_else(|| profile.hostname.clone())
        .unwrap_or_else(|| name.replace(['_', '.'], "-").trim_end_matches('-').to_owned());
    if let Some(workdir) = flags.workdir.as_ref().filter(|workdir| !workdir.is_absolute()) {
        let wrong = format!("{} is not absolute", grammar::quoted(&workdir.to_string_lossy()));
        let source = BadValue::new(wrong).or("a path in the box begins with `/`");
        return Err(Error::Flag { flag: "-w", source });
    }
    let reach = network::choose(profile, flags, isolation)?;
    let setup = setup::resolve(&profile.setup, host, project.folder.as_deref())?;
    if !setup.steps.is_empty() && matches!(image, Image::Host | Image::Folder(_)) {
        return Err(Error::NoSetup { image: image.to_string() });
    }
    let (pin, unpinned_because) = match pin(found, flags, &image, &platform) {
        Ok(pin) => (Some(pin), None),
        Err(drift) if flags.locked => return Err(Error::Drift(drift)),
        Err(drift) => (None, found.lock.is_some().then(|| drift.to_string())),
    };
    let plan = Plan {
        name,
        platform,
        user,
        ids,
        driver: driver(&image, flags, profile.driver)?,
        home: flags.home.or(profile.home).unwrap_or(Home::Private),
        mounts: mounts::collect(profile, flags, host, project.folder.as_deref())?,
        project: project.folder,
        no_project_because: project.because,
        workdir: flags.workdir.clone(),
        shell: checked("--shell", flags.shell.as_ref(), grammar::shell)?.or_else(|| profile.shell.clone()),
        hostname,
        env: variables(found, flags, lookup)?,
        network: reach.network,
        allow: reach.allow,
        ports: reach.ports,
        limits: flags::limits(flags)?.over(profile.limits.clone()).over(untrusted::limits(isolation)),
        ssh_agent: keys(profile, flags)?,
        profiles: found.origins.clone(),
        setup,
        pin,
        unpinned_because,
        locked: flags.locked,
        judged: BTreeMap::new(),
        image,
        isolation,
    };
    untrusted::check(&plan)?;
    Ok(plan)
}

/// Who sessions run as: checked against image and ids, `me` when nobody says, root where there is no `me`.
fn who(image: &Image, ids: Ids, user: Option<User>) -> Result<User, Error> {
    if *image == Image::Host {
        const UNOWNED: &str = "the host's system files have no owner in the box";
        if ids == Ids::Full {
            return Err(Error::OnHost { what: "ids `full`".to_owned(), why: UNOWNED });
        }
        return match user {
            None | Some(User::Me) => Ok(User::Me),
            Some(user) => Err(Error::OnHost { what: format!("user `{user}`"), why: UNOWNED }),
        };
    }
    match (ids, user) {
        (Ids::Full, Some(User::Me)) => Err(Error::FullAsMe),
        (Ids::Full, user) => Ok(user.unwrap_or(User::Root)),
        (Ids::Auto | Ids::Single, user) => Ok(user.unwrap_or(User::Me)),
    }
}

/// How layers become a root; there are none over the host's own.
fn driver(image: &Image, flags: &Flags, profile: Option<Driver>) -> Result<Driver, Error> {
    let own = flags.driver.or(profile).filter(|driver| *driver != Driver::Auto);
    match (image, own) {
        (Image::Host, Some(driver)) => Err(Error::OnHost {
            what: format!("driver `{driver}`"),
            why: "its root is the host's own, shown read-only, and no layers",
        }),
        (Image::Host, None) => Ok(Driver::Auto),
        _ => Ok(flags.driver.or(flags.usual_driver).or(profile).unwrap_or(Driver::Auto)),
    }
}

/// The image with its name in full; a short name that nobody gave another meaning is one of docker.io.
fn canonical(image: Image) -> Image {
    match image {
        Image::Registry(name) => match name.parse::<Reference>() {
            Ok(reference) => Image::Registry(reference.to_string()),
            Err(_) => Image::Registry(name),
        },
        image => image,
    }
}

/// The box's name when nobody gives one: the profile's, the project folder's, or the image's.
fn default_name(found: &Found, image: &Image) -> String {
    let folder = || found.project_dir.as_ref()?.file_name().map(|name| name.to_string_lossy().into_owned());
    let repository = || match image {
        Image::Registry(reference) => {
            let reference: Reference = reference.parse().ok()?;
            reference.repository.rsplit('/').next().map(str::to_owned)
        }
        // `app.tar` and `app` alike
        Image::Files(source) => Some(source.path.file_stem()?.to_string_lossy().into_owned()),
        Image::Folder(path) => Some(path.file_name()?.to_string_lossy().into_owned()),
        Image::Host => None,
    };
    let wanted = found.name.clone().or_else(folder).or_else(repository).unwrap_or_default();
    let plain =
        |letter: char| if letter.is_ascii_alphanumeric() || "_.-".contains(letter) { letter } else { '-' };
    let name: String =
        wanted.chars().map(plain).skip_while(|letter| !letter.is_ascii_alphanumeric()).take(64).collect();
    if name.is_empty() { "box".to_owned() } else { name }
}

/// The keys that profile and flags name, each once.
fn keys(profile: &profile::Profile, flags: &Flags) -> Result<Vec<String>, Error> {
    let mut keys: Vec<String> = Vec::new();
    let flagged = flags.ssh_agent.iter().map(|key| grammar::agent_key(key));
    for key in profile.ssh_agent.iter().cloned().map(Ok).chain(flagged) {
        let key = key.map_err(|source| Error::Flag { flag: "--ssh-agent", source })?;
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    Ok(keys)
}

fn variables(
    found: &Found,
    flags: &Flags,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, Variable>, Error> {
    let mut env = BTreeMap::new();
    for (name, variable) in &found.profile.env {
        let value = match variable {
            profile::Variable::Literal(value) => Some(Variable::Literal(value.clone())),
            profile::Variable::FromHost => lookup(name).map(Variable::FromHost),
        };
        env.extend(value.map(|value| (name.clone(), value)));
    }
    for (name, value) in &flags.env {
        let bad = |source| Error::Flag { flag: "-e", source };
        let name = grammar::variable_name(name).map_err(bad)?;
        let value = match value {
            Some(value) if value.contains('\0') => return Err(bad(BadValue::new("a value can't hold NUL"))),
            Some(value) => Some(Variable::Literal(value.clone())),
            None => lookup(&name).map(Variable::FromHost),
        };
        env.extend(value.map(|value| (name, value)));
    }
    Ok(env)
}

/// A platform without its variant.
fn architecture(platform: &str) -> Option<&str> {
    platform.split('/').nth(1)
}

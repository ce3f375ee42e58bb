//! Profiles exactly as users write them: the keys there are and the values they take.

use std::collections::BTreeMap;

use toml::Spanned;

use super::document::{Document, Item, Section};
use super::error::Error;
use super::grammar::{self, BadValue};
use super::place::Place;
use super::value::{Image, MountMode, Network};
use super::{Mount, Profile, Source, Variable, amount, setup};
use crate::limits::{Limit, Limits};
use crate::network::{Allow, Publish};

/// One file, read: what it says itself, and the profiles it begins with.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) profile: Profile,
    /// Names, in order, each with its place in the text.
    pub(super) extends: Vec<Spanned<String>>,
}

/// Reads a profile. Relative paths in it are below `folder`.
pub(super) fn read(document: &Document<'_>, folder: Option<&Place>) -> Result<Written, Error> {
    let mut top = document.parse()?;
    let extends = top.strings("extends", grammar::profile_name)?;
    let image = top.value("image", |text| Image::read(text, folder))?;
    let platform = top.value("platform", grammar::platform)?;
    let name = top.value("name", grammar::box_name)?;
    let user = top.value("user", str::parse)?;
    let ids = top.value("ids", str::parse)?;
    let driver = top.value("driver", str::parse)?;
    let isolation = top.value("isolation", str::parse)?;
    let home = top.value("home", str::parse)?;
    let workdir = top.value("workdir", |text| Place::on_host(text, Some(&Place::project())))?;
    let shell = top.value("shell", grammar::shell)?;
    let hostname = top.value("hostname", grammar::host_name)?;
    let mut env = BTreeMap::new();
    literal_variables(document, top.section("env")?, &mut env)?;
    host_variables(document, top.section("env-from-host")?, &mut env)?;
    let mounts = match top.take("mounts") {
        Some(item) => {
            let items = document.array("mounts", item)?.into_iter();
            items.map(|item| mount(document, item, folder)).collect::<Result<_, _>>()?
        }
        None => Vec::new(),
    };
    let (network, allow, ports) = network(document, top.section("network")?)?;
    let ssh_agent = plain(top.strings("ssh-agent", grammar::agent_key)?);
    let secrets = secrets(document, top.section("secrets")?, folder)?;
    let limits = top.section("limits")?.map(limits).transpose()?.unwrap_or_default();
    let setup = setup::read(document, top.section("setup")?, folder)?;
    top.finish()?;
    let profile = Profile {
        image,
        platform,
        name,
        user,
        ids,
        driver,
        isolation,
        home,
        workdir,
        shell,
        hostname,
        env,
        mounts,
        network,
        limits,
        allow,
        ports,
        secrets,
        ssh_agent,
        setup,
    };
    Ok(Written { profile, extends })
}

fn limits(mut section: Section<'_>) -> Result<Limits, Error> {
    let mut limits = Limits::default();
    for limit in Limit::ALL {
        let read = |text: &str| amount::amount(limit, text);
        let amount = match limit {
            Limit::Memory | Limit::Disk | Limit::Time => section.value(limit.word(), read)?,
            Limit::Cpus | Limit::Pids | Limit::Files => section.number(limit.word(), read)?,
        };
        limits.amounts.extend(amount.map(|amount| (limit, amount)));
    }
    limits.strict = section.boolean("strict")?.map(Spanned::into_inner);
    section.finish()?;
    Ok(limits)
}

fn secrets<'t>(
    document: &Document<'t>,
    section: Option<Section<'t>>,
    folder: Option<&Place>,
) -> Result<BTreeMap<String, Place>, Error> {
    let mut secrets = BTreeMap::new();
    for (key, item) in section.into_iter().flat_map(Section::entries) {
        let mistake = |wrong: BadValue| document.mistake(key.span(), &wrong);
        let name = grammar::secret_name(key.get_ref()).map_err(mistake)?;
        let file = document.string(&name, item)?;
        secrets.insert(name, Place::on_host(&file, folder).map_err(mistake)?);
    }
    Ok(secrets)
}

fn literal_variables<'t>(
    document: &Document<'t>,
    section: Option<Section<'t>>,
    env: &mut BTreeMap<String, Variable>,
) -> Result<(), Error> {
    for (key, item) in section.into_iter().flat_map(Section::entries) {
        let name =
            grammar::variable_name(key.get_ref()).map_err(|wrong| document.mistake(key.span(), &wrong))?;
        let value = document.string(&name, item)?.into_owned();
        env.insert(name, Variable::Literal(value));
    }
    Ok(())
}

fn host_variables<'t>(
    document: &Document<'t>,
    section: Option<Section<'t>>,
    env: &mut BTreeMap<String, Variable>,
) -> Result<(), Error> {
    let Some(mut section) = section else { return Ok(()) };
    for name in section.strings("names", host_variable)? {
        let span = name.span();
        let name = name.into_inner();
        if let Some(Variable::Literal(_)) = env.insert(name.clone(), Variable::FromHost) {
            let wrong = BadValue::new(format!("`{name}` has a value in [env] already"));
            return Err(document.mistake(span, &wrong.or("keep one of the two")));
        }
    }
    section.finish()
}

fn host_variable(text: &str) -> Result<String, BadValue> {
    match text.split_once('=') {
        Some((name, _)) if grammar::variable_name(name).is_ok() => {
            Err(BadValue::new("[env-from-host] takes names, never values")
                .or(format!("literal values go to [env]; here write \"{name}\"")))
        }
        _ => grammar::variable_name(text),
    }
}

type Reach = (Option<Network>, Vec<Allow>, Vec<Publish>);

/// `[network]`. Who names hosts to allow wants a network of the box's own.
fn network<'t>(document: &'t Document<'t>, section: Option<Section<'t>>) -> Result<Reach, Error> {
    let Some(mut section) = section else { return Ok(Reach::default()) };
    let mode = section.value("mode", str::parse)?;
    let allow = section.strings("allow", grammar::allow)?;
    let ports = section.strings("ports", grammar::publish)?;
    section.finish()?;
    let refuse = |span, what, hint| Err(document.mistake(span, &BadValue::new(what).or(hint)));
    match (mode, allow.first(), ports.first()) {
        (Some(mode @ (Network::Host | Network::None)), Some(first), _) => {
            let why = if mode == Network::Host { "which leads everywhere" } else { "which leads nowhere" };
            let what = format!("`allow` does not go with network mode `{mode}`, {why}");
            return refuse(first.span(), what, "use `mode = \"private\"`, or leave `mode` out");
        }
        (Some(Network::Host), _, Some(first)) => {
            let what = "`ports` does not go with network mode `host`: what listens there is in reach already"
                .to_owned();
            return refuse(first.span(), what, "use `mode = \"private\"` or `mode = \"none\"`");
        }
        _ => {}
    }
    let mode = if allow.is_empty() { mode } else { Some(Network::Private) };
    Ok((mode, plain(allow), plain(ports)))
}

/// Values without their places.
fn plain<T>(items: Vec<Spanned<T>>) -> Vec<T> {
    items.into_iter().map(Spanned::into_inner).collect()
}

fn mount<'t>(document: &'t Document<'t>, item: Item<'t>, folder: Option<&Place>) -> Result<Mount, Error> {
    let span = item.span();
    let mut table = document.table("mounts", item)?;
    let mode = table.value("mode", str::parse)?.unwrap_or(MountMode::Rw);
    let source = table.value("source", |text| match mode {
        MountMode::Tmpfs => Err(BadValue::new("a tmpfs has no source").or("take the line out")),
        MountMode::Cache => grammar::cache_name(text).map(Source::Cache),
        MountMode::Ro | MountMode::Rw | MountMode::Overlay => Place::on_host(text, folder).map(Source::Host),
    })?;
    let target = table.value("target", Place::in_box)?;
    let optional = table.boolean("optional")?;
    table.finish()?;
    let refuse = |span, what: &str, hint: &str| Err(document.mistake(span, &BadValue::new(what).or(hint)));
    let Some(target) = target else {
        return refuse(span, "the mount has no `target`", "where it stands in the box: target = \"/path\"");
    };
    let source = match (source, mode) {
        (Some(source), _) => source,
        (None, MountMode::Tmpfs) => Source::Memory,
        (None, MountMode::Cache) => {
            return refuse(span, "the cache has no `source`", "name it: source = \"cargo\"");
        }
        (None, _) => return refuse(span, "the mount has no `source`", "what it shows: source = \"/path\""),
    };
    let optional = match (optional, &source) {
        (Some(flag), Source::Memory | Source::Cache(_)) => {
            let why = format!("`optional` means nothing with mode `{mode}`");
            return refuse(flag.span(), &why, "it is for sources that may be missing");
        }
        (flag, _) => flag.is_some_and(Spanned::into_inner),
    };
    Ok(Mount { source, target, mode, optional })
}

#[cfg(test)]
mod tests;

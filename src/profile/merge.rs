//! How a profile begins with others: `extends` left to right, the file itself last, each profile once.

use super::document::Document;
use super::error::Error;
use super::grammar::BadValue;
use super::load::{Layer, Places, Text};
use super::{Found, Network, Origin, Place, Profile, schema};

/// Longest chain of profiles that extend each other.
const MAX_DEPTH: usize = 16;

/// Reads `text` and all it extends, and merges them.
pub(super) fn merge(places: &Places, text: Text) -> Result<Found, Error> {
    let mut found = Found::default();
    for (text, profile) in layers(places, text)? {
        found.profile = over(found.profile, profile);
        found.origins.push(text.origin);
    }
    Ok(found)
}

/// Reads `text` and all it extends, bases first.
pub(super) fn layers(places: &Places, text: Text) -> Result<Vec<(Text, Profile)>, Error> {
    let mut line = Line { places, chain: Vec::new(), done: Vec::new() };
    line.add(text)?;
    Ok(line.done)
}

/// `base` with what `top` says.
pub(super) fn over(base: Profile, top: Profile) -> Profile {
    let mut env = base.env;
    env.extend(top.env);
    let mut mounts = base.mounts;
    mounts.extend(top.mounts);
    let (mut allow, mut ports) = Network::left_of(top.network, base.allow, base.ports);
    let mut secrets = base.secrets;
    secrets.extend(top.secrets);
    let mut ssh_agent = base.ssh_agent;
    ssh_agent.extend(top.ssh_agent);
    allow.extend(top.allow);
    ports.extend(top.ports);
    Profile {
        image: top.image.or(base.image),
        platform: top.platform.or(base.platform),
        // two projects on the same base are two boxes
        name: top.name,
        user: top.user.or(base.user),
        ids: top.ids.or(base.ids),
        driver: top.driver.or(base.driver),
        isolation: top.isolation.or(base.isolation),
        home: top.home.or(base.home),
        workdir: top.workdir.or(base.workdir),
        shell: top.shell.or(base.shell),
        hostname: top.hostname.or(base.hostname),
        env,
        mounts,
        network: top.network.or(base.network),
        limits: top.limits.over(base.limits),
        allow,
        ports,
        secrets,
        ssh_agent,
        setup: base.setup.and_then(top.setup),
    }
}

/// Profiles being put in line, bases first.
struct Line<'p> {
    places: &'p Places,
    /// From the file asked for to the one being read.
    chain: Vec<Origin>,
    /// Each once: a base two profiles share must not undo what the first of them says.
    done: Vec<(Text, Profile)>,
}

impl Line<'_> {
    fn add(&mut self, text: Text) -> Result<(), Error> {
        let document = Document { file: &text.shown, text: &text.text };
        let written = schema::read(&document, text.folder.as_deref().map(Place::absolute).as_ref())?;
        self.chain.push(text.origin.clone());
        for name in &written.extends {
            let refuse = |wrong| Err(document.mistake(name.span(), &wrong));
            let name = name.get_ref();
            // its own name means the one it hides
            let top = if *name == text.origin.name { text.below } else { Some(Layer::Personal) };
            let base = match top {
                Some(top) => self.places.named(name, top)?,
                None => None,
            };
            let Some(base) = base else {
                let wrong = BadValue::new(format!("no profile `{name}`"));
                let hint = match self.places.near(name).filter(|near| near != name) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "`devbox profiles` lists those there are".to_owned(),
                };
                return refuse(wrong.or(hint));
            };
            if let Some(start) = self.chain.iter().position(|origin| *origin == base.origin) {
                let names: Vec<&str> =
                    self.chain[start..].iter().map(|origin| origin.name.as_str()).collect();
                let wrong = format!("profiles extend each other: `{}` → `{name}`", names.join("` → `"));
                return refuse(BadValue::new(wrong).or("take one `extends` out"));
            }
            if self.chain.len() == MAX_DEPTH {
                let wrong = format!("more than {MAX_DEPTH} profiles extend one another in a row");
                return refuse(BadValue::new(wrong));
            }
            if !self.done.iter().any(|(text, _)| text.origin == base.origin) {
                self.add(base)?;
            }
        }
        self.chain.pop();
        self.done.push((text, written.profile));
        Ok(())
    }
}

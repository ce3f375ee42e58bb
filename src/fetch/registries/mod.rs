//! Where a registry's images really are: containers' `registries.conf`, version 2 (containers-registries.conf(5)).
//! Names stay as users know them; only the places they are fetched from change.

mod read;
mod short;

use std::collections::BTreeMap;

use serde::Deserialize;

use super::error::Fault;
use crate::oci::reference::Reference;

pub use short::{Mode, Short};

/// What all files together say.
#[derive(Debug, Clone, Default)]
pub struct Registries {
    search: Vec<String>,
    mode: Mode,
    tables: Vec<Table>,
    aliases: BTreeMap<String, String>,
    helpers: Option<Vec<String>>,
}

/// What is said about all names with one prefix.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Table {
    prefix: String,
    location: String,
    insecure: Option<bool>,
    blocked: bool,
    mirror: Vec<Mirror>,
    mirror_by_digest_only: bool,
}

/// Another place of the same images.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Mirror {
    location: String,
    insecure: bool,
    pull_from_mirror: Option<Which>,
}

/// What a mirror is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Which {
    All,
    DigestOnly,
    TagOnly,
}

/// A place to fetch from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Registry and repository there.
    pub(super) reference: Reference,
    /// `None` when nothing is said about it.
    pub(super) insecure: Option<bool>,
}

impl Registries {
    /// Where `reference` is to be fetched, in order; the last place is the registry itself.
    pub(super) fn places(&self, reference: &Reference) -> Result<Vec<Place>, Fault> {
        let name = reference.to_string();
        let best = self.tables.iter().filter_map(|table| Some((matching(&table.prefix, &name)?, table)));
        // what is equally long may be a `*` for more or for less; of equals the first counts
        let best = best.rev().max_by_key(|(length, table)| (*length, table.prefix.len()));
        let Some((length, table)) = best else {
            return Ok(vec![Place { reference: reference.clone(), insecure: None }]);
        };
        if table.blocked {
            return Err(Fault::Blocked(table.prefix.clone()));
        }
        let moved = |location: &str| {
            if location.is_empty() {
                return Ok(reference.clone());
            }
            let text = format!("{location}{}", &name[length..]);
            Reference::located(&text).map_err(|bad| Fault::Settings {
                place: "registries.conf".into(),
                why: format!("for `{name}`, {bad}"),
            })
        };
        let mut places = Vec::new();
        for mirror in table.mirror.iter().filter(|mirror| table.takes(mirror, reference.digest.is_some())) {
            places.push(Place { reference: moved(&mirror.location)?, insecure: Some(mirror.insecure) });
        }
        places.push(Place { reference: moved(&table.location)?, insecure: table.insecure });
        Ok(places)
    }

    /// Programs and files to ask for credentials, in order; `None` when that is not said.
    pub(super) fn helpers(&self) -> Option<&[String]> {
        self.helpers.as_deref()
    }
}

impl Table {
    fn takes(&self, mirror: &Mirror, by_digest: bool) -> bool {
        match mirror.pull_from_mirror {
            _ if self.mirror_by_digest_only => by_digest,
            None | Some(Which::All) => true,
            Some(Which::DigestOnly) => by_digest,
            Some(Which::TagOnly) => !by_digest,
        }
    }
}

/// How much of `name` the prefix covers: it ends where a part of the name does. `*.example.com` covers the host with
/// whatever stands before.
fn matching(prefix: &str, name: &str) -> Option<usize> {
    let ends = |length: usize, at: &[char]| name[length..].is_empty() || name[length..].starts_with(at);
    match prefix.strip_prefix('*') {
        Some(domain) => {
            let host = name.split('/').next().unwrap_or(name);
            let without_port = host.split(':').next().unwrap_or(host);
            let covers = |host: &str| host.ends_with(domain) && host.len() > domain.len();
            (covers(host) || covers(without_port)).then_some(host.len())
        }
        None => {
            // the port belongs to the host: `example.com` is not `example.com:5000`
            let at: &[char] = if prefix.contains('/') { &['/', ':', '@'] } else { &['/'] };
            (name.starts_with(prefix) && ends(prefix.len(), at)).then_some(prefix.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `place` for each place of `reference`, with `!` when insecure and `+` when said to be secure.
    fn places(conf: &str, reference: &str) -> Result<String, String> {
        let registries = Registries::of_texts(&[conf]).unwrap();
        let places = registries.places(&reference.parse().unwrap()).map_err(|fault| fault.to_string())?;
        let shown = places.iter().map(|place| {
            let mark = match place.insecure {
                Some(true) => "!",
                Some(false) => "+",
                None => "",
            };
            format!("{}{mark}", place.reference)
        });
        Ok(shown.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn the_longest_prefix_counts() {
        let conf = r#"
            [[registry]]
            location = "h.example"
            [[registry]]
            prefix = "h.example/a"
            location = "other.example:5000/b"
            insecure = true
            [[registry]]
            prefix = "h.example/a/deep"
            blocked = true
            location = "x.example"
            [[registry]]
            prefix = "h.example/one:1"
            location = "pinned.example/two:2"
            [[registry]]
            prefix = "*.wild.example"
            insecure = true
            [[registry]]
            prefix = "*.very.wild.example"
            location = "tame.example/w"
            [[registry]]
            prefix = "docker.io/library"
            location = "127.0.0.1:5000/hub"
            insecure = false
        "#;
        for (reference, expected) in [
            ("h.example/x:1", "h.example/x:1"),
            ("h.example/a:1", "other.example:5000/b:1!"),
            ("h.example/a/c:1", "other.example:5000/b/c:1!"),
            ("h.example/ab:1", "h.example/ab:1"),
            ("h.example:5000/a:1", "h.example:5000/a:1"),
            ("h.example/one:1", "pinned.example/two:2"),
            ("h.example/one:11", "h.example/one:11"),
            ("a.wild.example/x:1", "a.wild.example/x:1!"),
            ("a.b.wild.example:5000/x:1", "a.b.wild.example:5000/x:1!"),
            ("wild.example/x:1", "wild.example/x:1"),
            ("evilwild.example/x:1", "evilwild.example/x:1"),
            ("h.example/a.wild.example/x:1", "h.example/a.wild.example/x:1"),
            ("b.very.wild.example/x:1", "tame.example/w/x:1"),
            ("b.very.wild.example:99/x:1", "tame.example/w/x:1"),
            ("debian", "127.0.0.1:5000/hub/debian:latest+"),
            ("me/debian", "docker.io/me/debian:latest"),
        ] {
            assert_eq!(places(conf, reference).as_deref(), Ok(expected), "{reference}");
        }
        let refused = places(conf, "h.example/a/deep/er:1").unwrap_err();
        assert_eq!(refused, "`h.example/a/deep` is blocked by registries.conf");
    }

    #[test]
    fn mirrors_come_first_in_their_order() {
        let conf = r#"
            [[registry]]
            location = "h.example"
            mirror = [
                { location = "one.example:1", insecure = true },
                { location = "two.example/m", pull-from-mirror = "digest-only" },
                { location = "three.example", pull-from-mirror = "tag-only" },
                { location = "four.example", pull-from-mirror = "all" },
            ]
            [[registry]]
            prefix = "d.example"
            location = "d.example"
            mirror-by-digest-only = true
            [[registry.mirror]]
            location = "m.example"
        "#;
        let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for (name, expected) in [
            ("h.example/a:1", "one.example:1/a:1! three.example/a:1+ four.example/a:1+ h.example/a:1"),
            ("h.example/a@D", "one.example:1/a@D! two.example/m/a@D+ four.example/a@D+ h.example/a@D"),
            ("d.example/a:1", "d.example/a:1"),
            ("d.example/a@D", "m.example/a@D+ d.example/a@D"),
        ] {
            let found = places(conf, &name.replace("@D", &format!("@{digest}"))).unwrap();
            assert_eq!(found.replace(digest, "D"), expected);
        }
    }

    #[test]
    fn a_place_is_a_whole_name() {
        // no host in front: elsewhere this would be another image of docker.io
        let conf = "[[registry]]\nprefix = \"h.example\"\nlocation = \"mirror\"";
        assert!(places(conf, "h.example/a").unwrap_err().contains("registries.conf"));
    }
}

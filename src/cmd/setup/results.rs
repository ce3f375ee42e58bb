//! Results of steps, as images of the store, and on whose word each is what its key says.

use serde_json::{Map, Value};

use super::step;
use crate::error::Error;
use crate::oci::config::ImageConfig;
use crate::oci::digest::Digest;
use crate::plan::Plan;
use crate::store::{Image, RESULTS, Store};

/// On whose word a result, and with it all that was done over it, is what its key says. What a cache gave counts for those
/// who name that cache, and for nobody else: another project's is not to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word<'a> {
    /// It was done on this machine.
    Own,
    /// This cache's.
    Cache(&'a str),
}

/// Whose results `plan` takes, the best first.
pub(super) fn words(plan: &Plan) -> Vec<Word<'_>> {
    let cache = plan.setup.cache.as_deref().map(Word::Cache);
    std::iter::once(Word::Own).chain(cache).collect()
}

/// Whether a result of this key that `plan` takes is here.
pub(in crate::cmd) fn is_here(store: &Store, plan: &Plan, key: &Digest) -> Result<bool, Error> {
    Ok(taken(store, plan, key)?.is_some())
}

/// The result of this key that `plan` takes, when it is here.
pub(super) fn taken(store: &Store, plan: &Plan, key: &Digest) -> Result<Option<Image>, Error> {
    for word in words(plan) {
        if let Some(image) = here(store, &name_of(key, word))? {
            return Ok(Some(image));
        }
    }
    Ok(None)
}

/// The layers `image` has above those of `base`; none when it does not stand on it, or says something else than that of how
/// it is to be run.
pub(in crate::cmd) fn own_layers(base: &Image, image: &Image) -> Option<Vec<Digest>> {
    let layers = |image: &Image| ImageConfig::parse(&image.config).ok().map(|config| config.diff_ids);
    let (below, all) = (layers(base)?, layers(image)?);
    let same = without_layers(&base.config)? == without_layers(&image.config)?;
    all.strip_prefix(below.as_slice()).filter(|_| same).map(<[Digest]>::to_vec)
}

/// A configuration without what a step changes in it (`oci::commit::with_layer`).
fn without_layers(config: &[u8]) -> Option<Value> {
    let mut config: Value = serde_json::from_slice(config).ok()?;
    let top = config.as_object_mut()?;
    for key in ["created", "history", "rootfs", "container", "container_config", "id", "parent"] {
        top.remove(key);
    }
    if let Some(Value::Object(config)) = top.get_mut("config") {
        if let Some(labels) = config.get_mut("Labels").and_then(Value::as_object_mut) {
            labels.remove(step::LABEL);
        }
        let empty = |labels: &Value| labels.as_object().is_none_or(Map::is_empty);
        if config.get("Labels").is_some_and(empty) {
            config.remove("Labels");
        }
    }
    let empty = |config: &Value| config.as_object().is_none_or(Map::is_empty);
    if top.get("config").is_some_and(empty) {
        top.remove("config");
    }
    Some(config)
}

/// The result of this name, when the name was given here and it is whole.
pub(super) fn here(store: &Store, name: &str) -> Result<Option<Image>, Error> {
    // one that was pulled by this name is somebody else's
    if !store.is_own_ref(name)? {
        return Ok(None);
    }
    let Some(manifest) = store.resolve(name)? else { return Ok(None) };
    let image = store.image(&manifest)?;
    Ok(image.filter(|image| image.layers.iter().all(|layer| store.has_layer(layer))))
}

/// Lets `name` stand for `image`.
pub(super) fn name(store: &Store, name: &str, image: &Image) -> Result<(), Error> {
    let hold = store.hold(&mut |_| {})?;
    Ok(store.set_own_ref(&hold, name, &image.manifest_digest)?)
}

/// What the result of this key is called on this machine.
pub(super) fn name_of(key: &Digest, word: Word<'_>) -> String {
    match word {
        Word::Own => format!("{RESULTS}:{}", key.hex()),
        Word::Cache(cache) => {
            format!("{RESULTS}:{}-{}", key.hex(), &Digest::of(cache.as_bytes()).hex()[..32])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::commit::{Changes, with_layer};

    #[test]
    fn a_step_changes_layers_and_nothing_else() {
        let labels = vec![(step::LABEL.to_owned(), "k".to_owned())];
        let changes =
            Changes { labels, comment: Some("c".into()), created: "t".into(), ..Changes::default() };
        for config in [
            r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#,
            r#"{"os":"linux","rootfs":{"type":"layers","diff_ids":[]},"config":{"Labels":{"a":"b"},"Env":["A=b"]},"container":"x"}"#,
            r#"{"os":"linux","rootfs":{"type":"layers","diff_ids":[]},"config":{"Labels":null},"history":[{}]}"#,
        ] {
            let above = with_layer(config.as_bytes(), &Digest::of(b"a"), &changes).unwrap();
            assert_eq!(without_layers(config.as_bytes()), without_layers(&above), "{config}");
            let env = Changes { env: vec!["A=c".into()], ..changes.clone() };
            let other = with_layer(config.as_bytes(), &Digest::of(b"a"), &env).unwrap();
            assert_ne!(without_layers(config.as_bytes()), without_layers(&other), "{config}");
        }
        assert_eq!(without_layers(b"[]"), None);
    }
}

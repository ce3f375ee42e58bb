//! JSON from registries, read so that no other reader could see another document in the same bytes.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Why bytes are not the JSON document we expect.
#[derive(Debug, thiserror::Error)]
pub enum NotJson {
    /// More bytes than such a document may have.
    #[error("it has {size} bytes, more than the limit of {limit}")]
    TooLarge {
        /// What it has.
        size: usize,
        /// What it may have.
        limit: usize,
    },
    /// Not JSON, nested too deep, a key given twice, a value missing or of the wrong type.
    #[error("it is not valid JSON of its kind")]
    Invalid(#[from] serde_json::Error),
}

/// Parses a document of at most `limit` bytes. Refuses a key given twice at any depth, because readers differ in
/// which of the two they take, and (by `serde_json`) more than 127 levels.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, NotJson> {
    if bytes.len() > limit {
        return Err(NotJson::TooLarge { size: bytes.len(), limit });
    }
    serde_json::from_slice::<Unambiguous>(bytes)?;
    Ok(serde_json::from_slice(bytes)?)
}

/// Any value whose objects have no key twice; keeps nothing of it.
struct Unambiguous;

impl<'de> serde::Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Unambiguous {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if keys.contains(&key) {
                return Err(A::Error::custom(format_args!("key `{}` is given twice", key.escape_debug())));
            }
            keys.insert(key);
            map.next_value::<Self>()?;
        }
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_meaning_or_none() {
        let parse = |text: &str| parse::<serde_json::Value>(text.as_bytes(), 1 << 20);
        assert!(parse(r#"{"a":{"b":[1,-1,0.5,"x",null,true]},"b":{"b":1}}"#).is_ok());
        let nested = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        for bad in ["", "{", r#"{"a":1,"a":1}"#, r#"[{"x":{"a":1,"\u0061":2}}]"#, "{} {}", &nested] {
            assert!(matches!(parse(bad), Err(NotJson::Invalid(_))), "{bad:.40}");
        }
        assert!(matches!(parse(&" ".repeat(2 << 20)), Err(NotJson::TooLarge { .. })));
    }
}

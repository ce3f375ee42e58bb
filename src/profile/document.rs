//! A profile's text as typed sections: every key is asked for by name, and what nobody asked for is a mistake.
//!
//! The walk goes over the parser's own spanned tree instead of derived `Deserialize`s: serde gives unknown keys
//! and wrong types as prose, we need them as a place, a word and the words there are.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Error, Mistake};
use super::grammar::{BadValue, quoted};

/// A file's text and the name it is shown by.
pub(super) struct Document<'t> {
    pub(super) file: &'t str,
    pub(super) text: &'t str,
}

/// A table being read, key by key.
pub(super) struct Section<'t> {
    document: &'t Document<'t>,
    table: DeTable<'t>,
    /// The keys asked for, which are those there are.
    known: Vec<&'static str>,
}

/// A value and its place.
pub(super) type Item<'t> = Spanned<DeValue<'t>>;

impl<'t> Document<'t> {
    /// The top of the document.
    pub(super) fn parse(&'t self) -> Result<Section<'t>, Error> {
        let table = DeTable::parse(self.text).map_err(|wrong| {
            // end of text is where a parser is when it does not say
            let span = wrong.span().unwrap_or(self.text.len()..self.text.len());
            self.mistake(span, &BadValue::new(format!("not TOML: {}", wrong.message())))
        })?;
        Ok(Section { document: self, table: table.into_inner(), known: Vec::new() })
    }

    /// `wrong`, at `span`.
    pub(super) fn mistake(&self, span: Range<usize>, wrong: &BadValue) -> Error {
        Error::Mistake(Box::new(Mistake::new(self.file, self.text, span, wrong)))
    }

    /// The table `item` must be.
    pub(super) fn table(&'t self, key: &str, item: Item<'t>) -> Result<Section<'t>, Error> {
        let span = item.span();
        match item.into_inner() {
            DeValue::Table(table) => Ok(Section { document: self, table, known: Vec::new() }),
            other => Err(self.wrong_type(key, "a table", span, &other)),
        }
    }

    /// The items of the array `item` must be.
    pub(super) fn array(&self, key: &str, item: Item<'t>) -> Result<Vec<Item<'t>>, Error> {
        let span = item.span();
        match item.into_inner() {
            DeValue::Array(array) => Ok(array.into_iter().collect()),
            other => Err(self.wrong_type(key, "an array", span, &other)),
        }
    }

    /// The string `item` must be. One with a NUL is refused: no path, variable or argument can hold it.
    pub(super) fn string(&self, key: &str, item: Item<'t>) -> Result<Cow<'t, str>, Error> {
        let span = item.span();
        match item.into_inner() {
            DeValue::String(text) if text.contains('\0') => {
                Err(self.mistake(span, &BadValue::new(format!("{} holds a NUL character", quoted(key)))))
            }
            DeValue::String(text) => Ok(text),
            other => Err(self.wrong_type(key, "a string", span, &other)),
        }
    }

    /// `key` is of another type than `wanted`.
    pub(super) fn wrong_type(
        &self,
        key: &str,
        wanted: &str,
        span: Range<usize>,
        found: &DeValue<'_>,
    ) -> Error {
        let (kind, scalar) = match found {
            DeValue::String(_) => ("a string", false),
            DeValue::Integer(_) => ("an integer", true),
            DeValue::Float(_) => ("a float", true),
            DeValue::Boolean(_) => ("a boolean", true),
            DeValue::Datetime(_) => ("a date", true),
            DeValue::Array(_) => ("an array", false),
            DeValue::Table(_) => ("a table", false),
        };
        let wrong = BadValue::new(format!("{} wants {wanted}, not {kind}", quoted(key)));
        let written = self.text.get(span.clone()).unwrap_or_default();
        self.mistake(
            span,
            &match wanted {
                "a string" if scalar => wrong.or(format!("write it in quotes: \"{written}\"")),
                "an array" if kind == "a string" => wrong.or("write it in brackets: `[…]`"),
                "a number" if kind == "a string" => wrong.or("write it without quotes"),
                _ => wrong,
            },
        )
    }
}

impl<'t> Section<'t> {
    /// The value of `key`, when it is written.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Item<'t>> {
        self.known.push(key);
        self.table.remove(key)
    }

    /// The string at `key`, read by `read`.
    pub(super) fn value<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, BadValue>,
    ) -> Result<Option<T>, Error> {
        let Some(item) = self.take(key) else { return Ok(None) };
        let span = item.span();
        let text = self.document.string(key, item)?;
        read(&text).map(Some).map_err(|wrong| self.document.mistake(span, &wrong))
    }

    /// The number at `key`, read by `read` as it is written.
    pub(super) fn number<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, BadValue>,
    ) -> Result<Option<T>, Error> {
        let Some(item) = self.take(key) else { return Ok(None) };
        let text = match item.get_ref() {
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.as_str().to_owned(),
            other => return Err(self.document.wrong_type(key, "a number", item.span(), other)),
        };
        read(&text).map(Some).map_err(|wrong| self.document.mistake(item.span(), &wrong))
    }

    /// The boolean at `key`, and its place.
    pub(super) fn boolean(&mut self, key: &'static str) -> Result<Option<Spanned<bool>>, Error> {
        let Some(item) = self.take(key) else { return Ok(None) };
        match item.get_ref() {
            DeValue::Boolean(value) => Ok(Some(Spanned::new(item.span(), *value))),
            other => Err(self.document.wrong_type(key, "`true` or `false`", item.span(), other)),
        }
    }

    /// The strings at `key`, each read by `read`, with their places; none when the key is missing.
    pub(super) fn strings<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&str) -> Result<T, BadValue>,
    ) -> Result<Vec<Spanned<T>>, Error> {
        let Some(item) = self.take(key) else { return Ok(Vec::new()) };
        let items = self.document.array(key, item)?.into_iter();
        items
            .map(|item| {
                let span = item.span();
                let text = self.document.string(key, item)?;
                match read(&text) {
                    Ok(value) => Ok(Spanned::new(span, value)),
                    Err(wrong) => Err(self.document.mistake(span, &wrong)),
                }
            })
            .collect()
    }

    /// The table at `key`.
    pub(super) fn section(&mut self, key: &'static str) -> Result<Option<Section<'t>>, Error> {
        self.take(key).map(|item| self.document.table(key, item)).transpose()
    }

    /// All that is left, for a table whose keys are the user's own.
    pub(super) fn entries(self) -> impl Iterator<Item = (Spanned<Cow<'t, str>>, Item<'t>)> {
        self.table.into_iter()
    }

    /// Refuses the first key, in the order of the text, that nobody asked for.
    pub(super) fn finish(self) -> Result<(), Error> {
        match self.table.keys().min_by_key(|key| key.span().start) {
            Some(key) => {
                let known = self.known.iter().copied();
                Err(self.document.mistake(key.span(), &BadValue::unknown("key", key.get_ref(), known)))
            }
            None => Ok(()),
        }
    }
}

//! `--filter KEY=VALUE` of the verbs that list: values of one key are alternatives, keys must all hold.

use crate::error::{Error, Result};

/// How several values of one key are taken together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Several {
    /// One of them is enough.
    Any,
    /// Every one must hold, as with labels in most of Docker's lists.
    All,
}

/// A key of a verb's filters.
pub(super) trait Key: Copy + PartialEq + 'static {
    /// The verb, for messages.
    const VERB: &'static str;
    /// The keys by name, in the order of the alphabet.
    const KEYS: &'static [(&'static str, Self)];

    /// How several values of this key are taken together.
    fn several(self) -> Several;

    /// Whether the key can have the value at all.
    ///
    /// # Errors
    /// What may be written in its place, or nothing.
    fn check(self, value: &str) -> Result<(), &'static str>;
}

/// The filters of one call.
#[derive(Debug)]
pub(super) struct Filters<K>(Vec<(K, String)>);

impl<K: Key> Filters<K> {
    /// Reads `key=value` texts.
    ///
    /// # Errors
    /// A text without `=`, a key that the verb does not have, a value that the key cannot have.
    pub(super) fn parse(texts: &[String]) -> Result<Self> {
        texts.iter().map(|text| one(text)).collect::<Result<_>>().map(Self)
    }

    /// Whether something was asked of a key.
    pub(super) fn names(&self, key: K) -> bool {
        self.0.iter().any(|(named, _)| *named == key)
    }

    /// Whether what `holds` is asked about passes.
    pub(super) fn take(&self, holds: impl Fn(K, &str) -> bool) -> bool {
        K::KEYS.iter().filter(|(_, key)| self.names(*key)).all(|(_, key)| {
            let mut values = self.0.iter().filter(|(named, _)| named == key);
            match key.several() {
                Several::Any => values.any(|(_, value)| holds(*key, value)),
                Several::All => values.all(|(_, value)| holds(*key, value)),
            }
        })
    }
}

fn one<K: Key>(text: &str) -> Result<(K, String)> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| Error::refused(format!("invalid filter {text:?}"), "write KEY=VALUE"))?;
    let (name, value) = (name.trim().to_lowercase(), value.trim());
    let known = K::KEYS.iter().find(|(known, _)| *known == name);
    let key = known.map(|(_, key)| *key).ok_or_else(|| {
        let names: Vec<&str> = K::KEYS.iter().map(|(name, _)| *name).collect();
        Error::refused(
            format!("invalid filter '{name}'"),
            format!("filters of {}: {}", K::VERB, names.join(", ")),
        )
    })?;
    key.check(value)
        .map_err(|hint| Error::refused(format!("invalid filter value: {value:?}"), hint))?;
    Ok((key, value.to_owned()))
}

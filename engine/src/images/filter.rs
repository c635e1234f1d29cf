//! The filters of `images` and `image prune`.

use jiff::Timestamp;
use store::Store;

use super::find;
use super::list::{self, Summary};
use crate::error::{Error, Result};

/// Filters as `--filter key=value` gives them. Values of one key are alternatives, but for
/// `label`, all of which must hold.
#[derive(Clone, Debug, Default)]
pub struct Filters {
    dangling: Option<bool>,
    labels: Vec<String>,
    labels_not: Vec<String>,
    before: Vec<String>,
    since: Vec<String>,
    references: Vec<String>,
    until: Option<Timestamp>,
}

impl Filters {
    /// Reads `key=value` texts. `now` is what durations in `until` count from.
    pub fn parse(texts: &[String], now: Timestamp) -> Result<Self> {
        let mut filters = Self::default();
        for text in texts {
            let (key, value) = text.split_once('=').ok_or_else(|| {
                Error::Invalid(format!("invalid filter {text:?}: expected key=value"))
            })?;
            filters.add(key.trim(), value.trim(), now)?;
        }
        Ok(filters)
    }

    /// The filter that takes every row of a repository or matching reference.
    pub fn with_reference(mut self, pattern: &str) -> Self {
        self.references.push(pattern.to_owned());
        self
    }

    /// Whether `dangling` was said.
    pub fn dangling(&self) -> Option<bool> {
        self.dangling
    }

    fn add(&mut self, key: &str, value: &str, now: Timestamp) -> Result<()> {
        let value_error = || Error::Invalid(format!("invalid filter '{key}={value}'"));
        match key {
            "dangling" => self.dangling = Some(parse_bool(value).ok_or_else(value_error)?),
            "label" => self.labels.push(value.to_owned()),
            "label!" => self.labels_not.push(value.to_owned()),
            "before" => self.before.push(value.to_owned()),
            "since" => self.since.push(value.to_owned()),
            "reference" => self.references.push(value.to_owned()),
            "until" => self.until = Some(parse_until(value, now).ok_or_else(value_error)?),
            _ => return Err(Error::Invalid(format!("invalid filter '{key}'"))),
        }
        Ok(())
    }

    /// The rows that pass.
    pub fn apply(&self, store: &Store, rows: Vec<Summary>) -> Result<Vec<Summary>> {
        let times = |names: &[String]| -> Result<Vec<Option<Timestamp>>> {
            names.iter().map(|name| created_of(store, name)).collect()
        };
        let (before, since) = (times(&self.before)?, times(&self.since)?);
        Ok(rows
            .into_iter()
            .filter(|row| {
                self.dangling.is_none_or(|wanted| wanted == row.reference.is_none())
                    && self.labels.iter().all(|label| has_label(row, label))
                    && !self.labels_not.iter().any(|label| has_label(row, label))
                    && before.iter().all(|time| row.created < *time)
                    && since.iter().all(|time| row.created > *time)
                    && self.until.is_none_or(|time| row.created.is_none_or(|made| made < time))
                    && (self.references.is_empty()
                        || self.references.iter().any(|pattern| matches_reference(row, pattern)))
            })
            .collect())
    }
}

fn created_of(store: &Store, name: &str) -> Result<Option<Timestamp>> {
    let found = find::find(store, name)?;
    match found.target() {
        Some(target) => Ok(list::created(&find::open(store, target, None)?)),
        None => Ok(None),
    }
}

fn has_label(row: &Summary, wanted: &str) -> bool {
    let (key, value) = match wanted.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (wanted, None),
    };
    row.labels.iter().any(|(k, v)| k == key && value.is_none_or(|value| value == v))
}

/// Docker matches a pattern against the familiar name with and without tag, and `*` never
/// crosses a slash. A plain name means all its tags.
fn matches_reference(row: &Summary, pattern: &str) -> bool {
    let Some(reference) = &row.reference else { return false };
    let (familiar, repository) = (reference.familiar(), reference.familiar_repository());
    let full = (reference.to_string(), reference.repository().to_string());
    [&familiar, &repository, &full.0, &full.1].into_iter().any(|name| glob(pattern, name))
}

/// Go's `path.Match`: `*`, `?`, `[class]` and `\`, none of which matches a slash.
pub(crate) fn glob(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    glob_at(&pattern, &name)
}

fn glob_at(pattern: &[char], name: &[char]) -> bool {
    match (pattern, name) {
        ([], _) => name.is_empty(),
        (['*', rest @ ..], _) => {
            let reach = name.iter().position(|c| *c == '/').unwrap_or(name.len());
            (0..=reach).any(|skip| glob_at(rest, &name[skip..]))
        }
        (['?', rest @ ..], [c, tail @ ..]) => *c != '/' && glob_at(rest, tail),
        (['[', ..], [c, tail @ ..]) => match class(&pattern[1..], *c) {
            Some((true, rest)) => glob_at(rest, tail),
            _ => false,
        },
        (['\\', p, rest @ ..] | [p, rest @ ..], [c, tail @ ..]) => p == c && glob_at(rest, tail),
        _ => false,
    }
}

/// Whether `c` is in the class that begins here, and what follows the class.
fn class(mut pattern: &[char], c: char) -> Option<(bool, &[char])> {
    let negated = matches!(pattern.first(), Some('^'));
    if negated {
        pattern = &pattern[1..];
    }
    let mut inside = false;
    loop {
        match pattern {
            [']', rest @ ..] => return Some((inside != negated && c != '/', rest)),
            [low, '-', high, rest @ ..] if *high != ']' => {
                inside |= (*low..=*high).contains(&c);
                pattern = rest;
            }
            [one, rest @ ..] => {
                inside |= *one == c;
                pattern = rest;
            }
            [] => return None,
        }
    }
}

fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A time, or a Go duration back from now: `24h`, `1h30m`.
fn parse_until(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    if let Ok(seconds) = text.parse::<i64>() {
        return Timestamp::from_second(seconds).ok();
    }
    if let Ok(date) = text.parse::<jiff::civil::Date>() {
        return date.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    }
    let duration: jiff::SignedDuration = text.parse().ok()?;
    now.checked_sub(duration).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: B06-19
    #[test]
    fn a_star_does_not_cross_a_slash() {
        let table = [
            ("*:latest", "alpine:latest", true),
            ("*:latest", "portainer/portainer-ce:latest", false),
            ("*/*:latest", "portainer/portainer-ce:latest", true),
            ("alp?ne", "alpine", true),
            ("[a-c]*", "busybox", true),
            ("[^a-c]*", "busybox", false),
            ("a\\*", "a*", true),
            ("[a", "a", false),
            ("", "", true),
        ];
        for (pattern, name, expected) in table {
            assert_eq!(glob(pattern, name), expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn until_takes_times_dates_and_durations() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().expect("time");
        for text in ["2026-01-01T00:00:00Z", "2026-01-01", "24h", "1767225600"] {
            let parsed = parse_until(text, now).map(|time| time.to_string());
            assert_eq!(parsed.as_deref(), Some("2026-01-01T00:00:00Z"), "{text}");
        }
        assert_eq!(parse_until("soon", now), None);
    }

    #[test]
    fn an_unknown_filter_is_refused() {
        let error = Filters::parse(&["colour=red".to_owned()], Timestamp::UNIX_EPOCH);
        assert_eq!(error.expect_err("unknown").to_string(), "invalid filter 'colour'");
        assert!(Filters::parse(&["dangling=maybe".to_owned()], Timestamp::UNIX_EPOCH).is_err());
    }
}

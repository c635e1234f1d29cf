//! `ps --filter`: values of one key are alternatives, but for `label`; keys must all hold.

use engine::runtime::{Container, HealthStatus};
use regex::Regex;

use super::list_filter::{self, Several};
use crate::error::Result;

/// The filters of one `ps`.
#[derive(Debug)]
pub(crate) struct Filters(list_filter::Filters<Key>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Ancestor,
    Before,
    Exited,
    Health,
    Id,
    Label,
    Name,
    Network,
    Since,
    Status,
}

const STATUSES: [&str; 7] =
    ["created", "running", "paused", "restarting", "removing", "exited", "dead"];

impl list_filter::Key for Key {
    const VERB: &'static str = "ps";
    const KEYS: &'static [(&'static str, Self)] = &[
        ("ancestor", Self::Ancestor),
        ("before", Self::Before),
        ("exited", Self::Exited),
        ("health", Self::Health),
        ("id", Self::Id),
        ("label", Self::Label),
        ("name", Self::Name),
        ("network", Self::Network),
        ("since", Self::Since),
        ("status", Self::Status),
    ];

    fn several(self) -> Several {
        if self == Self::Label { Several::All } else { Several::Any }
    }

    fn check(self, value: &str) -> Result<(), &'static str> {
        let good = match self {
            Self::Status => STATUSES.contains(&value),
            Self::Exited => value.parse::<i32>().is_ok(),
            Self::Health => ["starting", "healthy", "unhealthy", "none"].contains(&value),
            Self::Name => Regex::new(value).is_ok(),
            _ => true,
        };
        if good { Ok(()) } else { Err("") }
    }
}

impl Filters {
    /// Reads `key=value` texts.
    pub(crate) fn parse(texts: &[String]) -> Result<Self> {
        list_filter::Filters::parse(texts).map(Self)
    }

    /// Whether a state was asked for, so that all containers are looked at.
    pub(crate) fn names_a_state(&self) -> bool {
        self.0.names(Key::Status) || self.0.names(Key::Exited)
    }

    /// The containers that pass.
    pub(crate) fn apply(&self, containers: Vec<Container>) -> Vec<Container> {
        let keep: Vec<bool> = containers.iter().map(|c| self.takes(c, &containers)).collect();
        containers
            .into_iter()
            .zip(keep)
            .filter(|(_, keep)| *keep)
            .map(|(container, _)| container)
            .collect()
    }

    fn takes(&self, container: &Container, all: &[Container]) -> bool {
        self.0.take(|key, value| holds(key, value, container, all))
    }
}

fn holds(key: Key, value: &str, container: &Container, all: &[Container]) -> bool {
    let record = &container.record;
    let named = |c: &&Container| c.record.name == value || c.record.id.as_str().starts_with(value);
    match key {
        Key::Ancestor => is_ancestor(value, &record.image, &record.image_id),
        Key::Before => {
            all.iter().find(named).is_some_and(|other| record.created < other.record.created)
        }
        Key::Since => {
            all.iter().find(named).is_some_and(|other| record.created > other.record.created)
        }
        Key::Exited => {
            !container.state.status.is_live() && value.parse() == Ok(container.state.exit_code)
        }
        Key::Health => health_word(container) == value,
        Key::Id => record.id.as_str().starts_with(value),
        Key::Label => match value.split_once('=') {
            Some((name, value)) => record.labels.get(name).is_some_and(|found| found == value),
            None => record.labels.contains_key(value),
        },
        // Docker's names have a slash in front, and its users know that.
        Key::Name => Regex::new(value).is_ok_and(|name| {
            name.is_match(&record.name) || name.is_match(&format!("/{}", record.name))
        }),
        Key::Network => {
            record.options.network.to_string() == value
                || record.options.endpoints.iter().any(|endpoint| endpoint.network == value)
        }
        Key::Status => container.state.status.as_str() == value,
    }
}

fn health_word(container: &Container) -> &'static str {
    match container.state.health.as_ref().map(|health| health.status) {
        None => "none",
        Some(HealthStatus::Starting) => "starting",
        Some(HealthStatus::Healthy) => "healthy",
        Some(HealthStatus::Unhealthy) => "unhealthy",
    }
}

fn is_ancestor(value: &str, image: &str, image_id: &str) -> bool {
    let parsed = |text: &str| {
        text.parse::<engine::oci::Reference>().ok().map(engine::oci::Reference::or_latest)
    };
    let id = image_id.split_once(':').map_or(image_id, |(_, hex)| hex);
    let wanted = value
        .split_once(':')
        .filter(|(algorithm, _)| *algorithm == "sha256")
        .map_or(value, |(_, hex)| hex);
    let same_name = parsed(value).is_some_and(|wanted| parsed(image) == Some(wanted));
    same_name || (wanted.len() >= 12 && id.starts_with(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_and_impossible_values_are_refused() {
        for text in ["colour=blue", "status=happy", "exited=x", "name=(", "plain"] {
            assert!(Filters::parse(&[text.to_owned()]).is_err(), "{text}");
        }
        for text in [
            "status=exited",
            "exited=137",
            "name=^/?web$",
            "label=a",
            "label=a=b",
            "ancestor=busybox",
        ] {
            assert!(Filters::parse(&[text.to_owned()]).is_ok(), "{text}");
        }
    }

    #[test]
    fn an_ancestor_is_named_in_any_of_its_forms() {
        let id = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        for value in ["busybox", "busybox:latest", "docker.io/library/busybox", "0123456789ab", id]
        {
            assert!(is_ancestor(value, "busybox", id), "{value}");
        }
        for value in ["alpine", "busybox:1", "0123", "fedcba987654"] {
            assert!(!is_ancestor(value, "busybox", id), "{value}");
        }
    }
}

use std::io;

use engine::runtime::{Event, EventKind, EventQuery};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Session;
use super::list_filter::{self, Filters, Several};
use super::logs::moment;
use crate::error::Result;
use crate::template::{ExecOptions, Functions, MissingKey, Template};

/// Get real time events of containers, images, networks and volumes
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "filter")]
    filter: Vec<String>,
    #[arg(long, value_name = "string", help = super::FORMAT_OBJECT_HELP)]
    format: Option<String>,
    /// Show all events created since timestamp
    #[arg(long, value_name = "string")]
    since: Option<String>,
    /// Stream events until this timestamp
    #[arg(long, value_name = "string")]
    until: Option<String>,
}

impl Args {
    /// Prints what happened in the window asked for, then what happens, until it is ended.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let now = Timestamp::now();
        let filters = Filters::<Key>::parse(&self.filter)?;
        let until = self.until.as_deref().map(|text| moment(text, now)).transpose()?;
        let query = EventQuery {
            // Without a window only what comes is shown, as with a daemon that was just asked.
            since: Some(match &self.since {
                Some(text) => moment(text, now)?,
                None => now,
            }),
            until,
            follow: true,
        };
        let format = match self.format.as_deref() {
            None => Shown::Text,
            Some("json") => Shown::Json,
            Some(text) => Shown::Template(Template::parse(text)?),
        };
        let mut failed = None;
        let read = session.runtime()?.journal().read(&query, &mut |event| {
            if !filters.take(|key, value| holds(key, value, &event)) {
                return Ok(());
            }
            format.line(&event).and_then(|line| session.ui.line(line)).map_err(|error| {
                failed = Some(error);
                io::ErrorKind::Other.into()
            })
        });
        match failed {
            Some(error) => Err(error),
            None => Ok(read?),
        }
    }
}

enum Shown {
    Text,
    Json,
    Template(Template),
}

impl Shown {
    fn line(&self, event: &Event) -> Result<String> {
        match self {
            Self::Text => Ok(text(event)),
            Self::Json => Ok(document(event).to_string()),
            Self::Template(template) => {
                let options = ExecOptions {
                    functions: Functions::Values,
                    missing_key: MissingKey::Entry,
                    type_name: "",
                };
                Ok(template.execute(&document(event), &options)?)
            }
        }
    }
}

/// `2026-11-21T12:00:00.000000000Z container start ID (image=busybox, name=web)`.
fn text(event: &Event) -> String {
    let zone = jiff::tz::TimeZone::system();
    let time = event.time.to_zoned(zone).strftime("%Y-%m-%dT%H:%M:%S.%9f%:z").to_string();
    let time = time.replace("+00:00", "Z");
    let mut line = format!("{time} {} {} {}", event.kind, event.action, event.id);
    if !event.attributes.is_empty() {
        let pairs: Vec<String> = event.attributes.iter().map(|(k, v)| format!("{k}={v}")).collect();
        line.push_str(&format!(" ({})", pairs.join(", ")));
    }
    line
}

/// What the Engine API sends of an event.
fn document(event: &Event) -> Value {
    let mut document = serde_json::Map::new();
    // Old fields that Docker still fills, for containers and images only.
    if event.kind == EventKind::Container || event.kind == EventKind::Image {
        document.insert("status".into(), json!(event.action));
        document.insert("id".into(), json!(event.id));
        if let Some(image) = event.attributes.get("image") {
            document.insert("from".into(), json!(image));
        }
    }
    document.insert("Type".into(), json!(event.kind.as_str()));
    document.insert("Action".into(), json!(event.action));
    document.insert("Actor".into(), json!({ "ID": event.id, "Attributes": event.attributes }));
    document.insert("scope".into(), json!("local"));
    document.insert("time".into(), json!(event.time.as_second()));
    let nanos = i64::try_from(event.time.as_nanosecond()).unwrap_or(i64::MAX);
    document.insert("timeNano".into(), json!(nanos));
    Value::Object(document)
}

/// What `--filter` may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Container,
    Event,
    Image,
    Label,
    Network,
    Scope,
    Type,
    Volume,
}

impl list_filter::Key for Key {
    const VERB: &'static str = "events";
    const KEYS: &'static [(&'static str, Self)] = &[
        ("container", Self::Container),
        ("event", Self::Event),
        ("image", Self::Image),
        ("label", Self::Label),
        ("network", Self::Network),
        ("scope", Self::Scope),
        ("type", Self::Type),
        ("volume", Self::Volume),
    ];

    fn several(self) -> Several {
        Several::Any
    }

    fn check(self, value: &str) -> Result<(), &'static str> {
        match self == Self::Type && !EventKind::ALL.iter().any(|kind| kind.as_str() == value) {
            true => Err("types are container, image, network and volume"),
            false => Ok(()),
        }
    }
}

fn holds(key: Key, value: &str, event: &Event) -> bool {
    let attribute = |name: &str| event.attributes.get(name).map(String::as_str);
    let is = |kind: EventKind, others: &[&str]| {
        event.kind == kind
            && (event.id == value
                || (value.len() >= 4 && event.id.starts_with(value))
                || attribute("name") == Some(value))
            || others.iter().any(|name| event.kind != kind && attribute(name) == Some(value))
    };
    match key {
        Key::Container => is(EventKind::Container, &["container"]),
        Key::Network => is(EventKind::Network, &[]),
        Key::Volume => is(EventKind::Volume, &[]),
        Key::Image => match event.kind {
            EventKind::Image => is(EventKind::Image, &[]) || same_repository(&event.id, value),
            _ => attribute("image")
                .is_some_and(|image| image == value || same_repository(image, value)),
        },
        // `exec_start: sh` is asked for by its first word, `health_status: healthy` also whole.
        Key::Event => event.action == value || event.action.split(':').next() == Some(value),
        Key::Label => match value.split_once('=') {
            Some((name, wanted)) => attribute(name) == Some(wanted),
            None => attribute(value).is_some(),
        },
        Key::Scope => value == "local",
        Key::Type => event.kind.as_str() == value,
    }
}

/// `busybox` means every tag of it.
fn same_repository(image: &str, wanted: &str) -> bool {
    image.strip_prefix(wanted).is_some_and(|rest| rest.starts_with(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventKind, action: &str, id: &str, attributes: &[(&str, &str)]) -> Event {
        Event {
            time: "2026-11-21T12:00:00.5Z".parse().unwrap(),
            kind,
            action: action.to_owned(),
            id: id.to_owned(),
            attributes: attributes
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        }
    }

    /// Covers: RUN-32
    #[test]
    fn values_of_a_key_are_alternatives_and_keys_must_all_hold() {
        let start = event(
            EventKind::Container,
            "start",
            "abcdef012345",
            &[("image", "busybox:1"), ("name", "web"), ("tier", "front")],
        );
        let exec = event(EventKind::Container, "exec_start: sh", "abcdef012345", &[]);
        for (filters, event, taken) in [
            (vec!["event=start", "event=die"], &start, true),
            (vec!["event=die"], &start, false),
            (vec!["event=start", "container=other"], &start, false),
            (vec!["container=web", "image=busybox"], &start, true),
            (vec!["container=abcdef"], &start, true),
            (vec!["label=tier=front", "type=container"], &start, true),
            (vec!["label=tier=back"], &start, false),
            (vec!["type=image"], &start, false),
            (vec!["event=exec_start"], &exec, true),
        ] {
            let texts: Vec<String> = filters.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(
                Filters::<Key>::parse(&texts).unwrap().take(|key, value| holds(key, value, event)),
                taken,
                "{filters:?}"
            );
        }
        for bad in ["colour=red", "type=daemonset", "plain"] {
            assert!(Filters::<Key>::parse(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_event_reads_as_dockers() {
        let die =
            event(EventKind::Container, "die", "ab", &[("exitCode", "3"), ("image", "busybox")]);
        let line = text(&die);
        assert!(line.ends_with(" container die ab (exitCode=3, image=busybox)"), "{line}");
        assert_eq!(
            document(&die).to_string(),
            "{\"status\":\"die\",\"id\":\"ab\",\"from\":\"busybox\",\"Type\":\"container\",\"Action\":\"die\",\
             \"Actor\":{\"ID\":\"ab\",\"Attributes\":{\"exitCode\":\"3\",\"image\":\"busybox\"}},\"scope\":\"local\",\
             \"time\":1795262400,\"timeNano\":1795262400500000000}"
        );
    }
}

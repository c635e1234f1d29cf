use engine::network_types::Network;
use jiff::Timestamp;

use super::super::{FORMAT_HELP, Session};
use crate::error::{Error, Result};
use crate::format::{Format, Listing, Row, stamp};

/// List networks
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Provide filter values (e.g. "driver=bridge")
    #[arg(short, long, value_name = "filter")]
    filter: Vec<String>,
    #[arg(long, value_name = "string", help = FORMAT_HELP)]
    format: Option<String>,
    /// Do not truncate the output
    #[arg(long)]
    no_trunc: bool,
    /// Only display network IDs
    #[arg(short, long)]
    quiet: bool,
}

const LISTING: Listing = Listing {
    type_name: "*network.networkContext",
    titles: &[
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("CreatedAt", "CREATED AT"),
    ],
};

const COLUMNS: &str = "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}";

impl Args {
    /// Prints the networks by name.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let networks = session.engine()?.networks();
        let filters = Filters::parse(&self.filter)?;
        let connected: Vec<String> = match filters.asks_for_use() {
            false => Vec::new(),
            true => networks.connections()?.into_values().flatten().map(|(name, _)| name).collect(),
        };
        let mut found = networks.list()?;
        found.retain(|network| filters.take(network, &connected));
        found.sort_by(|a, b| a.name.cmp(&b.name));
        let rows = found.iter().map(|network| self.row(network)).collect();
        let format = match &self.format {
            None if self.quiet => Format::field("ID"),
            format => Format::parse(format.as_deref(), COLUMNS),
        };
        session.ui.print(&LISTING.render(&format, rows)?)
    }

    fn row(&self, network: &Network) -> Row {
        let id = if self.no_trunc { network.id.as_str() } else { network.id.short() };
        let created = network.created.parse::<Timestamp>().map(stamp).unwrap_or_default();
        let labels = network.labels.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        Row::default()
            .with("ID", id)
            .with("Name", network.name.as_str())
            .with("Driver", network.driver.as_str())
            .with("Scope", network.scope())
            .with("IPv4", "true")
            .with("IPv6", network.enable_ipv6.to_string())
            .with("Internal", network.internal.to_string())
            .with("CreatedAt", created)
            .with_labels(labels)
    }
}

/// `--filter`: values of a key are alternatives but for labels, keys must all hold.
struct Filters(Vec<(Key, String)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Dangling,
    Driver,
    Id,
    Label,
    Name,
    Scope,
    Type,
}

const KEYS: [(&str, Key); 7] = [
    ("dangling", Key::Dangling),
    ("driver", Key::Driver),
    ("id", Key::Id),
    ("label", Key::Label),
    ("name", Key::Name),
    ("scope", Key::Scope),
    ("type", Key::Type),
];

impl Filters {
    fn parse(texts: &[String]) -> Result<Self> {
        let one = |text: &String| {
            let refused = || {
                let names: Vec<&str> = KEYS.iter().map(|(name, _)| *name).collect();
                Error::refused(
                    format!("invalid filter {text:?}"),
                    format!("filters of network ls: {}", names.join(", ")),
                )
            };
            let (key, value) = text.split_once('=').ok_or_else(refused)?;
            let key = KEYS.iter().find(|(name, _)| *name == key.trim()).ok_or_else(refused)?.1;
            let value = value.trim().to_owned();
            let good = match key {
                Key::Dangling => ["true", "false", "1", "0"].contains(&value.as_str()),
                Key::Type => ["custom", "builtin"].contains(&value.as_str()),
                Key::Scope => ["local", "swarm", "global"].contains(&value.as_str()),
                _ => true,
            };
            if good { Ok((key, value)) } else { Err(refused()) }
        };
        texts.iter().map(one).collect::<Result<_>>().map(Self)
    }

    fn asks_for_use(&self) -> bool {
        self.0.iter().any(|(key, _)| *key == Key::Dangling)
    }

    fn take(&self, network: &Network, connected: &[String]) -> bool {
        KEYS.iter().all(|(_, key)| {
            let mut values = self.0.iter().filter(|(k, _)| k == key).map(|(_, v)| v).peekable();
            if values.peek().is_none() {
                return true;
            }
            let holds = |value: &String| holds(*key, value, network, connected);
            if *key == Key::Label { values.all(holds) } else { values.any(holds) }
        })
    }
}

fn holds(key: Key, value: &str, network: &Network, connected: &[String]) -> bool {
    match key {
        Key::Dangling => {
            let dangling = !network.is_predefined() && !connected.contains(&network.name);
            dangling == matches!(value, "true" | "1")
        }
        Key::Driver => network.driver == value,
        Key::Id => network.id.as_str().starts_with(value),
        Key::Label => match value.split_once('=') {
            Some((key, value)) => network.labels.get(key).is_some_and(|found| found == value),
            None => network.labels.contains_key(value),
        },
        Key::Name => network.name.contains(value),
        Key::Scope => network.scope() == value,
        Key::Type => network.is_predefined() == (value == "builtin"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(name: &str, driver: &str) -> Network {
        serde_json::from_value(serde_json::json!({
            "id": "ab".repeat(32), "name": name, "driver": driver, "options": {}, "pools": [],
            "ipam_driver": "default", "ipam_options": {}, "internal": false, "attachable": false,
            "enable_ipv6": false, "labels": {"tier": "back"}, "created": "2026-11-21T12:00:00Z",
        }))
        .unwrap()
    }

    /// Covers: B11-11, N0-05
    #[test]
    fn the_columns_are_dockers_and_ids_are_short() {
        let args = Args { filter: Vec::new(), format: None, no_trunc: false, quiet: false };
        let rows =
            vec![args.row(&network("bridge", "bridge")), args.row(&network("lan", "macvlan"))];
        assert_eq!(
            LISTING.render(&Format::parse(None, COLUMNS), rows).unwrap(),
            "NETWORK ID     NAME      DRIVER    SCOPE\n\
             abababababab   bridge    bridge    local\n\
             abababababab   lan       macvlan   local\n"
        );
    }

    #[test]
    fn filters_take_what_they_name() {
        let takes = |filters: &[&str], name: &str| {
            let texts: Vec<String> = filters.iter().map(|text| (*text).to_owned()).collect();
            Filters::parse(&texts).unwrap().take(&network(name, "bridge"), &["used".to_owned()])
        };
        for (filters, name, taken) in [
            (&["driver=bridge", "driver=macvlan"][..], "net", true),
            (&["driver=macvlan"], "net", false),
            (&["name=ne"], "net", true),
            (&["type=builtin"], "bridge", true),
            (&["type=custom"], "bridge", false),
            (&["dangling=true"], "net", true),
            (&["dangling=true"], "used", false),
            (&["dangling=true"], "bridge", false),
            (&["label=tier", "label=tier=back"], "net", true),
            (&["label=tier", "label=zone"], "net", false),
            (&["id=abab", "scope=local"], "net", true),
        ] {
            assert_eq!(takes(filters, name), taken, "{filters:?} {name}");
        }
        for bad in ["colour=red", "type=x", "dangling=perhaps", "plain"] {
            assert!(Filters::parse(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}

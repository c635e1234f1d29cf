use engine::network_types::Network;
use jiff::Timestamp;

use super::super::list_filter::{self, Filters, Several};
use super::super::{FORMAT_HELP, Session};
use crate::error::Result;
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
        let filters = Filters::<Key>::parse(&self.filter)?;
        let connected: Vec<String> = match filters.names(Key::Dangling) {
            false => Vec::new(),
            true => networks.connections()?.into_values().flatten().map(|(name, _)| name).collect(),
        };
        let mut found = networks.list()?;
        found.retain(|network| filters.take(|key, value| holds(key, value, network, &connected)));
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

/// What `--filter` may ask.
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

impl list_filter::Key for Key {
    const VERB: &'static str = "network ls";
    const KEYS: &'static [(&'static str, Self)] = &[
        ("dangling", Self::Dangling),
        ("driver", Self::Driver),
        ("id", Self::Id),
        ("label", Self::Label),
        ("name", Self::Name),
        ("scope", Self::Scope),
        ("type", Self::Type),
    ];

    fn several(self) -> Several {
        if self == Self::Label { Several::All } else { Several::Any }
    }

    fn check(self, value: &str) -> Result<(), &'static str> {
        let may_be: (&[&str], &str) = match self {
            Self::Dangling => (&["true", "false", "1", "0"], "it is true or false"),
            Self::Type => (&["custom", "builtin"], "types are custom and builtin"),
            Self::Scope => (&["local", "swarm", "global"], "scopes are local, swarm and global"),
            _ => return Ok(()),
        };
        if may_be.0.contains(&value) { Ok(()) } else { Err(may_be.1) }
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
            let (network, used) = (network(name, "bridge"), ["used".to_owned()]);
            let filters = Filters::<Key>::parse(&texts).unwrap();
            filters.take(|key, value| holds(key, value, &network, &used))
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
            assert!(Filters::<Key>::parse(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}

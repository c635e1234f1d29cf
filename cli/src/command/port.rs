use engine::runtime::ExposedPort;

use super::Session;
use crate::error::{Error, Result};

/// List port mappings or a specific mapping for the container
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_name = "CONTAINER", required = true)]
    container: String,
    #[arg(value_name = "[PRIVATE_PORT[/PROTO]]")]
    port: Option<String>,
}

impl Args {
    /// Prints what of the host leads to which port of the container.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let engine = session.engine()?;
        let container = engine.containers().get(&self.container)?;
        let connections = engine.networks().connections()?;
        let mut bindings: Vec<_> = connections
            .get(container.record.id.as_str())
            .into_iter()
            .flatten()
            .flat_map(|(_, endpoint)| endpoint.ports.iter().copied())
            .collect();
        bindings.sort();
        let Some(text) = &self.port else {
            return bindings.iter().try_for_each(|binding| session.ui.line(binding));
        };
        let wanted: ExposedPort = text
            .parse()
            .map_err(|()| Error::refused(format!("invalid port {text:?}"), "write 80 or 53/udp"))?;
        let mut found = false;
        for binding in bindings {
            let protocol = binding.protocol.to_string();
            if (binding.container_port, protocol.as_str())
                == (wanted.number, wanted.protocol.as_str())
            {
                found = true;
                session.ui.line(std::net::SocketAddr::new(binding.host_ip, binding.host_port))?;
            }
        }
        match found {
            true => Ok(()),
            false => Err(Error::refused(
                format!("Error: No public port '{wanted}' published for {}", self.container),
                "",
            )),
        }
    }
}

use engine::runtime::{Signal, StopTimeout};

use super::Session;
use crate::error::Result;

/// Stop one or more running containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Signal to send to the container
    #[arg(short, long, value_name = "string")]
    signal: Option<String>,
    /// Seconds to wait before killing the container
    #[arg(short, long, visible_alias = "time", value_name = "int", allow_negative_numbers = true)]
    timeout: Option<i64>,
    #[arg(value_name = "CONTAINER [CONTAINER...]", required = true)]
    containers: Vec<String>,
}

impl Args {
    /// Prints each container's name as it was given.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let timeout = timeout(self.timeout);
        let signal = self.signal.as_deref().map(signal).transpose()?;
        let containers = session.runtime()?;
        super::for_each(&self.containers, |container| {
            containers.stop(&containers.resolve(container)?, timeout, signal)?;
            session.ui.line(container)
        })
    }
}

/// What `-t` means: a negative number waits for ever.
pub(crate) fn timeout(seconds: Option<i64>) -> StopTimeout {
    match seconds.map(u64::try_from) {
        None => StopTimeout::OfContainer,
        Some(Ok(seconds)) => StopTimeout::Seconds(seconds),
        Some(Err(_)) => StopTimeout::Never,
    }
}

/// A signal by name or number.
pub(crate) fn signal(text: &str) -> Result<Signal> {
    Ok(text.parse().map_err(engine::Error::from)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: RUN-21
    #[test]
    fn a_negative_time_waits_for_ever() {
        assert_eq!(timeout(None), StopTimeout::OfContainer);
        assert_eq!(timeout(Some(0)), StopTimeout::Seconds(0));
        assert_eq!(timeout(Some(-1)), StopTimeout::Never);
    }
}

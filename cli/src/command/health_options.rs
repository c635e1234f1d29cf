//! `--health-*` of `run` and `create`.

use engine::oci::Healthcheck;

use super::logs::duration;
use crate::error::{Error, Result};

/// How health is checked.
#[derive(Debug, clap::Args)]
pub(crate) struct HealthOptions {
    /// Command to run to check health
    #[arg(long, value_name = "string")]
    health_cmd: Option<String>,
    /// Time between running the check (ms|s|m|h)
    #[arg(long, value_name = "duration")]
    health_interval: Option<String>,
    /// Consecutive failures needed to report unhealthy
    #[arg(long, value_name = "int")]
    health_retries: Option<u32>,
    /// Time between running the check during the start period (ms|s|m|h)
    #[arg(long, value_name = "duration")]
    health_start_interval: Option<String>,
    /// Start period for the container to initialize before starting health-retries countdown (ms|s|m|h)
    #[arg(long, value_name = "duration")]
    health_start_period: Option<String>,
    /// Maximum time to allow one check to run (ms|s|m|h)
    #[arg(long, value_name = "duration")]
    health_timeout: Option<String>,
    /// Disable any container-specified HEALTHCHECK
    #[arg(long)]
    no_healthcheck: bool,
}

impl HealthOptions {
    /// The check; empty parts are the image's.
    pub(crate) fn check(&self) -> Result<Healthcheck> {
        let times = [
            &self.health_cmd,
            &self.health_interval,
            &self.health_start_interval,
            &self.health_start_period,
            &self.health_timeout,
        ];
        let any = self.health_retries.is_some() || times.iter().any(|text| text.is_some());
        if self.no_healthcheck && any {
            return Err(Error::refused("--no-healthcheck conflicts with --health-* options", ""));
        }
        let test = match (&self.health_cmd, self.no_healthcheck) {
            (_, true) => vec!["NONE".to_owned()],
            (Some(command), false) if !command.is_empty() => {
                vec!["CMD-SHELL".to_owned(), command.clone()]
            }
            _ => Vec::new(),
        };
        Ok(Healthcheck {
            test,
            interval: nanoseconds("--health-interval", &self.health_interval)?,
            timeout: nanoseconds("--health-timeout", &self.health_timeout)?,
            start_period: nanoseconds("--health-start-period", &self.health_start_period)?,
            start_interval: nanoseconds("--health-start-interval", &self.health_start_interval)?,
            retries: self.health_retries.map_or(0, i64::from),
        })
    }
}

fn nanoseconds(flag: &str, text: &Option<String>) -> Result<i64> {
    let Some(text) = text else { return Ok(0) };
    match duration(text) {
        Some(seconds) if seconds == 0.0 || (0.001..1e9).contains(&seconds) => {
            Ok((seconds * 1e9).round() as i64)
        }
        _ => Err(Error::refused(
            format!("invalid argument {text:?} for {flag:?} flag: not a duration of at least 1ms"),
            "write 30s, 1m30s or 500ms",
        )),
    }
}

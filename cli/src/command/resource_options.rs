//! The limits that `run`, `create` and `update` share.

use engine::runtime::Resources;

use crate::error::{Error, Result};
use crate::format::parse_bytes;

/// Limits of a container.
#[derive(Debug, clap::Args)]
pub(crate) struct ResourceOptions {
    /// Block IO (relative weight), between 10 and 1000, or 0 to disable
    #[arg(long, value_name = "uint16")]
    blkio_weight: Option<u16>,
    /// Limit CPU CFS (Completely Fair Scheduler) period
    #[arg(long, value_name = "int")]
    cpu_period: Option<u64>,
    /// Limit CPU CFS (Completely Fair Scheduler) quota
    #[arg(long, value_name = "int", allow_negative_numbers = true)]
    cpu_quota: Option<i64>,
    /// Limit CPU real-time period in microseconds
    #[arg(long, value_name = "int")]
    cpu_rt_period: Option<u64>,
    /// Limit CPU real-time runtime in microseconds
    #[arg(long, value_name = "int", allow_negative_numbers = true)]
    cpu_rt_runtime: Option<i64>,
    /// CPU shares (relative weight)
    #[arg(short, long, value_name = "int")]
    cpu_shares: Option<u64>,
    /// Number of CPUs
    #[arg(long, value_name = "decimal")]
    cpus: Option<f64>,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "string")]
    cpuset_cpus: Option<String>,
    /// MEMs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "string")]
    cpuset_mems: Option<String>,
    /// Memory limit
    #[arg(short, long, value_name = "bytes")]
    memory: Option<String>,
    /// Memory soft limit
    #[arg(long, value_name = "bytes")]
    memory_reservation: Option<String>,
    /// Swap limit equal to memory plus swap: '-1' to enable unlimited swap
    #[arg(long, value_name = "bytes", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// Tune container pids limit (set -1 for unlimited)
    #[arg(long, value_name = "int", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
}

impl ResourceOptions {
    /// What the limits mean to the runtime; those not said stay as they are.
    pub(crate) fn resources(&self) -> Result<Resources> {
        Ok(Resources {
            memory: limit("-m, --memory", &self.memory)?,
            memory_swap: match self.memory_swap.as_deref() {
                Some("-1") => Some(-1),
                _ => limit("--memory-swap", &self.memory_swap)?,
            },
            memory_reservation: limit("--memory-reservation", &self.memory_reservation)?,
            nano_cpus: self.cpus.map(nano_cpus).transpose()?,
            cpu_shares: self.cpu_shares,
            cpu_period: self.cpu_period,
            cpu_quota: self.cpu_quota,
            cpu_realtime_period: self.cpu_rt_period,
            cpu_realtime_runtime: self.cpu_rt_runtime,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            pids: self.pids_limit,
            blkio_weight: self.blkio_weight,
            ..Resources::default()
        })
    }
}

fn limit(option: &str, text: &Option<String>) -> Result<Option<i64>> {
    let read = |text: &String| Ok(i64::try_from(bytes(option, text)?).unwrap_or(i64::MAX));
    text.as_ref().map(read).transpose()
}

fn nano_cpus(cpus: f64) -> Result<i64> {
    if cpus > 0.0 && cpus < 1e6 {
        return Ok((cpus * 1e9).round() as i64);
    }
    Err(Error::refused(
        format!("invalid argument \"{cpus}\" for \"--cpus\" flag: not a number of CPUs"),
        "",
    ))
}

/// A size with Docker's suffixes.
pub(crate) fn bytes(option: &str, text: &str) -> Result<u64> {
    parse_bytes(text).map_err(|reason| {
        Error::refused(format!("invalid argument {text:?} for {option:?} flag: {reason}"), "")
    })
}

use std::collections::HashMap;
use std::time::Duration;

use engine::runtime::{Container, Runtime, Usage};

use super::{FORMAT_HELP, Session};
use crate::error::Result;
use crate::format::{Format, Listing, Row, binary_size, decimal_size, short_id};

/// Display a live stream of container(s) resource usage statistics
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    all: bool,
    #[arg(long, value_name = "string", help = FORMAT_HELP)]
    format: Option<String>,
    /// Disable streaming stats and only pull the first result
    #[arg(long)]
    no_stream: bool,
    /// Do not truncate output
    #[arg(long)]
    no_trunc: bool,
    #[arg(value_name = "[CONTAINER...]")]
    containers: Vec<String>,
}

const LISTING: Listing = Listing {
    type_name: "*container.statsContext",
    titles: &[
        ("ID", "CONTAINER ID"),
        ("Container", "CONTAINER"),
        ("Name", "NAME"),
        ("CPUPerc", "CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("NetIO", "NET I/O"),
        ("BlockIO", "BLOCK I/O"),
        ("PIDs", "PIDS"),
    ],
};

const COLUMNS: &str = "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";
/// Time between two samples: processor time needs a difference.
const INTERVAL: Duration = Duration::from_secs(1);

impl Args {
    /// Prints a table once, or again and again.
    pub(crate) fn run(self, session: &Session) -> Result<()> {
        let runtime = session.runtime()?;
        let format = Format::parse(self.format.as_deref(), COLUMNS);
        let mut before = self.samples(&runtime)?;
        loop {
            std::thread::sleep(INTERVAL);
            let now = self.samples(&runtime)?;
            let earlier: HashMap<String, Usage> = before
                .drain(..)
                .filter_map(|(c, usage)| Some((c.record.id.to_string(), usage?)))
                .collect();
            let row = |(container, usage): &(Container, Option<Usage>)| {
                self.row(container, usage.as_ref(), earlier.get(container.record.id.as_str()))
            };
            let text = LISTING.render(&format, now.iter().map(row).collect())?;
            if self.no_stream {
                return session.ui.print(&text);
            }
            // Home and clear, as Docker does on a terminal; elsewhere tables follow each other.
            let clear = if session.ui.stdout_terminal { "\x1b[H\x1b[2J" } else { "" };
            session.ui.print(&format!("{clear}{text}"))?;
            before = now;
        }
    }

    fn samples(&self, runtime: &Runtime) -> Result<Vec<(Container, Option<Usage>)>> {
        let mut containers = Vec::new();
        if self.containers.is_empty() {
            containers = runtime.list()?;
            containers.retain(|container| self.all || container.state.status.is_live());
        }
        for name in &self.containers {
            containers.push(runtime.get(&runtime.resolve(name)?)?);
        }
        // One that ends between the list and the sample has no numbers, like one that never ran.
        let sample = |container: Container| {
            let usage = runtime.usage(&container.record.id).ok();
            (container, usage)
        };
        Ok(containers.into_iter().map(sample).collect())
    }

    fn row(&self, container: &Container, usage: Option<&Usage>, before: Option<&Usage>) -> Row {
        let id = container.record.id.to_string();
        let id = if self.no_trunc { id.as_str() } else { short_id(&id) };
        let row = Row::default()
            .with("ID", id)
            .with("Container", id)
            .with("Name", container.record.name.as_str());
        let Some(usage) = usage else {
            return row
                .with("CPUPerc", "--")
                .with("MemUsage", "-- / --")
                .with("MemPerc", "--")
                .with("NetIO", "--")
                .with("BlockIO", "--")
                .with("PIDs", "--");
        };
        let (received, sent) =
            usage.network.iter().fold((0, 0), |(r, s), (_, rx, tx)| (r + rx, s + tx));
        row.with("CPUPerc", format!("{:.2}%", cpu_percent(usage, before)))
            .with(
                "MemUsage",
                format!("{} / {}", binary_size(usage.memory), binary_size(usage.memory_limit)),
            )
            .with("MemPerc", format!("{:.2}%", share(usage.memory, usage.memory_limit)))
            .with("NetIO", format!("{} / {}", decimal_size(received), decimal_size(sent)))
            .with(
                "BlockIO",
                format!(
                    "{} / {}",
                    decimal_size(usage.block_read),
                    decimal_size(usage.block_written)
                ),
            )
            .with("PIDs", usage.pids.to_string())
    }
}

/// The share of all processors' time since the last sample, 100 for one whole processor.
fn cpu_percent(now: &Usage, before: Option<&Usage>) -> f64 {
    let Some(before) = before else { return 0.0 };
    let used = now.cpu_total.saturating_sub(before.cpu_total);
    let passed = now.cpu_system.saturating_sub(before.cpu_system);
    if passed == 0 {
        return 0.0;
    }
    used as f64 / passed as f64 * f64::from(now.cpus_online) * 100.0
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: RUN-41
    #[test]
    fn processor_share_is_a_difference_and_the_first_sample_has_none() {
        let sample = |cpu_total, cpu_system| Usage {
            cpu_total,
            cpu_system,
            cpus_online: 2,
            ..Usage::default()
        };
        assert_eq!(cpu_percent(&sample(500, 2000), None), 0.0);
        assert_eq!(cpu_percent(&sample(500, 2000), Some(&sample(0, 1000))), 100.0);
        assert_eq!(cpu_percent(&sample(500, 1000), Some(&sample(0, 1000))), 0.0);
    }
}

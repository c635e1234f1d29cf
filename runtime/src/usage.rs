//! What a running container uses: its processes (`top`) and counters (`stats`).

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::cgroup::{self, Cgroup};
use crate::clock;
use crate::error::{Error, Result};
use crate::request::{ProcessTable, Usage};
use crate::spec::CgroupLayout;
use crate::sys;

/// The processes of a group as the host's `ps` shows them, by default `-ef`.
pub(crate) fn top(cgroup: &Cgroup, ps_args: &[String]) -> Result<ProcessTable> {
    let pids: BTreeSet<i32> = cgroup.pids().into_iter().collect();
    let default = ["-ef".to_owned()];
    let args = if ps_args.is_empty() { &default[..] } else { ps_args };
    let output = Command::new("ps").args(args).output().map_err(Error::file("run", "ps"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(Error::invalid("ps options", args.join(" "), text.trim().to_owned()));
    }
    select(&String::from_utf8_lossy(&output.stdout), &pids).ok_or_else(|| {
        Error::invalid("ps options", args.join(" "), "Couldn't find PID field in ps output")
    })
}

/// Rows of these processes. The last column takes the rest of its line.
fn select(text: &str, pids: &BTreeSet<i32>) -> Option<ProcessTable> {
    let mut lines = text.lines();
    let titles: Vec<String> = lines.next()?.split_whitespace().map(str::to_owned).collect();
    let pid_at = titles.iter().position(|title| title == "PID")?;
    let rows = lines
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let pid: i32 = words.get(pid_at)?.parse().ok()?;
            if !pids.contains(&pid) || words.len() < titles.len() {
                return None;
            }
            let (single, last) = words.split_at(titles.len() - 1);
            Some(single.iter().map(|word| (*word).to_owned()).chain([last.join(" ")]).collect())
        })
        .collect();
    Some(ProcessTable { titles, rows })
}

/// Counters of a group and of the network namespace of its first process.
pub(crate) fn sample(cgroup: &Cgroup, pid: i32) -> Usage {
    let (block_read, block_written) = block_bytes(cgroup);
    let (memory, memory_limit) = memory(cgroup);
    Usage {
        read_at: Some(clock::now()),
        cpu_total: cpu_total(cgroup),
        cpu_system: cpu_system(),
        cpus_online: std::thread::available_parallelism()
            .map_or(1, |count| u32::try_from(count.get()).unwrap_or(1)),
        memory,
        memory_limit: memory_limit.min(host_memory()),
        network: fs::read_to_string(format!("/proc/{pid}/net/dev"))
            .map(|text| devices(&text))
            .unwrap_or_default(),
        block_read,
        block_written,
        pids: cgroup
            .read("pids", "pids.current")
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0),
    }
}

fn cpu_total(cgroup: &Cgroup) -> u64 {
    match cgroup::layout() {
        CgroupLayout::V1 => number(cgroup.read("cpuacct", "cpuacct.usage")),
        CgroupLayout::V2 => {
            field(&cgroup.read("", "cpu.stat").unwrap_or_default(), "usage_usec") * 1000
        }
    }
}

/// The first line of `/proc/stat`: ticks of all processors in all states but the guests', which are counted twice.
fn cpu_system() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: u64 = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .take(8)
        .filter_map(|word| word.parse::<u64>().ok())
        .sum();
    ticks.saturating_mul(1_000_000_000 / sys::clock_ticks_per_second())
}

/// Use without the file pages that nobody has used for long, as `docker stats` shows it, and the limit.
fn memory(cgroup: &Cgroup) -> (u64, u64) {
    let stat = cgroup.read("memory", "memory.stat").unwrap_or_default();
    match cgroup::layout() {
        CgroupLayout::V1 => {
            let used = number(cgroup.read("memory", "memory.usage_in_bytes"));
            let limit = number(cgroup.read("memory", "memory.limit_in_bytes"));
            (used.saturating_sub(field(&stat, "total_inactive_file")), limit)
        }
        CgroupLayout::V2 => {
            let used = number(cgroup.read("", "memory.current"));
            let limit = cgroup
                .read("", "memory.max")
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(u64::MAX);
            (used.saturating_sub(field(&stat, "inactive_file")), limit)
        }
    }
}

fn host_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|word| word.parse::<u64>().ok())
        .map_or(u64::MAX, |kib| kib << 10)
}

fn block_bytes(cgroup: &Cgroup) -> (u64, u64) {
    match cgroup::layout() {
        CgroupLayout::V1 => {
            let text = cgroup.read("blkio", "blkio.throttle.io_service_bytes").unwrap_or_default();
            let total = |kind: &str| -> u64 {
                text.lines()
                    .filter_map(|line| line.split_once(&format!(" {kind} ")))
                    .filter_map(|(_, value)| value.trim().parse::<u64>().ok())
                    .sum()
            };
            (total("Read"), total("Write"))
        }
        CgroupLayout::V2 => {
            let text = cgroup.read("", "io.stat").unwrap_or_default();
            let total = |key: &str| -> u64 {
                text.split_whitespace()
                    .filter_map(|word| word.strip_prefix(key))
                    .filter_map(|value| value.parse::<u64>().ok())
                    .sum()
            };
            (total("rbytes="), total("wbytes="))
        }
    }
}

/// Name, received and sent bytes of each device but the loopback.
fn devices(text: &str) -> Vec<(String, u64, u64)> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .filter_map(|(name, counters)| {
            let numbers: Vec<u64> =
                counters.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            Some((name.trim().to_owned(), *numbers.first()?, *numbers.get(8)?))
        })
        .filter(|(name, _, _)| name != "lo")
        .collect()
}

fn number(text: Option<String>) -> u64 {
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ps_output_is_reduced_to_the_containers_processes() {
        let text = "UID          PID    PPID  C STIME TTY          TIME CMD\nroot           1       0  0 10:00 ?        00:00:01 /sbin/init\nroot          42       1  0 10:01 ?        00:00:00 sleep 1d  x\n";
        let table = select(text, &BTreeSet::from([42])).unwrap();
        assert_eq!(table.titles[1], "PID");
        assert_eq!(table.rows, [["root", "42", "1", "0", "10:01", "?", "00:00:00", "sleep 1d x"]]);
        assert!(select("A B\n1 2\n", &BTreeSet::new()).is_none());
    }

    #[test]
    fn network_counters_leave_the_loopback_out() {
        let text = "Inter-|   Receive  | Transmit\n face |bytes packets\n    lo: 10 1 0 0 0 0 0 0 10 1 0 0 0 0 0 0\n  eth0: 500 4 0 0 0 0 0 0 700 5 0 0 0 0 0 0\n";
        assert_eq!(devices(text), [("eth0".to_owned(), 500, 700)]);
    }
}

//! Figures as text: medians, ratios, and the page that keeps them.

use std::fs;
use std::path::Path;

use super::Measured;
use crate::shell::{Context, Result};

/// A markdown table. The first tool is Wherry; the last column is Wherry's time over the tool's, the median of the rounds.
pub(super) fn table(measured: &[Measured]) -> String {
    let mut text =
        String::from("| tool | median, seconds [min - max] | wherry / tool |\n|---|---|---|\n");
    let ours = measured.first().and_then(|first| first.outcome.as_ref().ok());
    for tool in measured {
        let row = match &tool.outcome {
            Ok(seconds) if !seconds.is_empty() => {
                let ratio =
                    ours.map_or("-".to_owned(), |ours| format!("{:.2}", ratio(ours, seconds)));
                format!("| {} | {} | {ratio} |\n", tool.name, spread(seconds))
            }
            Ok(_) => format!("| {} | not run | - |\n", tool.name),
            Err(reason) => {
                format!("| {} | failed: {} | - |\n", tool.name, reason.replace('|', "/"))
            }
        };
        text.push_str(&row);
    }
    text
}

fn spread(seconds: &[f64]) -> String {
    let low = seconds.iter().copied().fold(f64::INFINITY, f64::min);
    let high = seconds.iter().copied().fold(0.0, f64::max);
    format!("{:.3} [{low:.3} - {high:.3}]", median(seconds))
}

/// The median of the ratios round by round: a busy second of the machine falls on both sides.
fn ratio(ours: &[f64], theirs: &[f64]) -> f64 {
    let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a / b).collect();
    median(&ratios)
}

/// The middle one, or the middle of the middle two.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

const INTRODUCTION: &str = "# Benchmarks

Each section is written by `cargo xtask bench AREA`, which measures Wherry and its peers in one run: the tools take turns,
all of them on one freshly made ext4 in a loop device. Compare within a table; the ratio column is the figure to quote.
";

/// Replaces the section of an area in the page, or adds it.
pub(super) fn write_section(page: &Path, area: &str, section: &str) -> Result<()> {
    let old = fs::read_to_string(page).unwrap_or_else(|_| INTRODUCTION.to_owned());
    fs::write(page, replace_section(&old, area, section))
        .context(format_args!("write {}", page.display()))
}

fn replace_section(page: &str, area: &str, section: &str) -> String {
    let heading = format!("## {area}\n");
    let start = page.find(&heading).unwrap_or(page.len());
    let end = page[start..]
        .match_indices("\n## ")
        .map(|(at, _)| start + at + 1)
        .find(|at| *at > start)
        .unwrap_or(page.len());
    let before = page[..start].trim_end();
    let after = page[end..].trim();
    let mut text = format!("{before}\n\n{heading}\n{}\n", section.trim());
    if !after.is_empty() {
        text.push_str(&format!("\n{after}\n"));
    }
    text
}

/// What the figures depend on: processors, memory, kernel, load.
pub(super) fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let meminfo = read("/proc/meminfo");
    let memory = meminfo
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok()
        })
        .map_or(0, |kib| kib / (1 << 20));
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg").split_whitespace().next().unwrap_or("?").to_owned();
    format!("{processors} processors, {memory} GiB, Linux {}, load average {load}", kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_numbers_of_rounds() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn the_table_gives_ratios_by_round_and_the_reason_of_a_failure() {
        let measured = [
            Measured { name: "wherry".into(), outcome: Ok(vec![1.0, 2.0, 3.0]) },
            Measured { name: "peer".into(), outcome: Ok(vec![2.0, 8.0, 6.0]) },
            Measured { name: "broken".into(), outcome: Err("exit status: 1: no | luck".into()) },
        ];
        let text = table(&measured);
        assert!(text.contains("| wherry | 2.000 [1.000 - 3.000] | 1.00 |"), "{text}");
        assert!(text.contains("| peer | 6.000 [2.000 - 8.000] | 0.50 |"), "{text}");
        assert!(text.contains("| broken | failed: exit status: 1: no / luck | - |"), "{text}");
    }

    #[test]
    fn a_section_is_replaced_in_its_place() {
        let page = "# B\n\nwords\n\n## build\n\nold\n\n## run\n\nkept\n";
        assert_eq!(
            replace_section(page, "build", "new"),
            "# B\n\nwords\n\n## build\n\nnew\n\n## run\n\nkept\n"
        );
        assert_eq!(replace_section(page, "pull", "new"), format!("{page}\n## pull\n\nnew\n"));
        assert_eq!(
            replace_section(page, "run", "new"),
            "# B\n\nwords\n\n## build\n\nold\n\n## run\n\nnew\n"
        );
    }
}

//! `cargo xtask test`: everything that the tests need, then all of them, then what was skipped and why.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::shell::{self, Context, Failure, Result};
use crate::{apt, images};

/// Where tests write a line for each skip: the test, a tab, the reason.
pub const SKIP_LOG: &str = "WHERRY_TEST_SKIPS";

/// How many tests passed and failed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    passed: usize,
    failed: usize,
}

/// Installs, builds, tests and reports; `args` go to the test runner.
pub fn main(root: &Path, args: &[String]) -> Result<()> {
    apt::ensure(root, &[apt::NEEDED, apt::TESTS])?;
    let build = ["build", "--package", "cli", "--bin", "wherry"];
    shell::run(&mut shell::command(root, "cargo", &build))?;
    for base in images::Base::ALL {
        if let Err(failure) = images::ensure(root, base) {
            eprintln!("no {}: {failure}", base.name());
        }
    }
    let log = shell::target_dir(root).join("test-skips.txt");
    fs::write(&log, "").context("empty the list of skips")?;
    let tally = run_tests(root, args, &log)?;
    let skips = fs::read_to_string(&log).context("read the list of skips")?;
    print!("{}", describe_skips(&skips));
    println!(
        "test result: {}. {} passed; {} failed; {} skipped",
        if tally.failed == 0 { "ok" } else { "FAILED" },
        tally.passed,
        tally.failed,
        skips.lines().count()
    );
    if tally.failed == 0 {
        Ok(())
    } else {
        Err(Failure::new(format!("{} tests failed", tally.failed)))
    }
}

/// With cargo-nextest where it is installed (it stops a test that hangs), with cargo's own runner where not.
fn run_tests(root: &Path, args: &[String], log: &Path) -> Result<Tally> {
    let nextest = shell::has_program("cargo-nextest");
    let run: &[&str] = match nextest {
        true => &["nextest", "run", "--workspace", "--no-fail-fast", "--status-level=slow"],
        false => &["test", "--workspace", "--no-fail-fast"],
    };
    let mut tally = stream(shell::command(root, "cargo", run).args(args), log)?;
    if nextest && args.is_empty() {
        let documentation = ["test", "--workspace", "--doc", "--quiet"];
        let more = stream(&mut shell::command(root, "cargo", &documentation), log)?;
        tally = Tally { passed: tally.passed + more.passed, failed: tally.failed + more.failed };
    }
    Ok(tally)
}

/// Runs a test command, showing its output and reading the numbers from it.
fn stream(command: &mut Command, log: &Path) -> Result<Tally> {
    let shown = shell::describe(command);
    // Both outputs go through one pipe: the runners disagree about where the summary belongs.
    let (reader, writer) = std::io::pipe().context("make a pipe")?;
    let second = writer.try_clone().context("share the pipe")?;
    let mut child = command
        .env(SKIP_LOG, log)
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(second)
        .spawn()
        .context(format_args!("start {shown}"))?;
    // The command keeps its ends of the pipe until it is told to let go of them.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut tally = Tally::default();
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.context("read the output of the tests")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        let more = read_summary(&line);
        tally = Tally { passed: tally.passed + more.passed, failed: tally.failed + more.failed };
    }
    let status = child.wait().context(format_args!("wait for {shown}"))?;
    if status.success() || tally.failed > 0 {
        return Ok(tally);
    }
    Err(Failure::new(format!("{shown}: {status}")))
}

/// The numbers of a summary line of either runner; any other line counts nothing.
fn read_summary(line: &str) -> Tally {
    // cargo-nextest repeats the output of a failed test, indented: its own summary counts, not that.
    if !line.starts_with("test result:") && !line.trim_start().starts_with("Summary [") {
        return Tally::default();
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |labels: &[&str]| {
        let pair =
            words.windows(2).find(|pair| labels.contains(&pair[1].trim_end_matches([';', ','])));
        pair.and_then(|pair| pair[0].parse().ok()).unwrap_or(0)
    };
    let timed_out = if line.contains("timed out") {
        let pair = words.windows(3).find(|w| w[1] == "timed" && w[2].starts_with("out"));
        pair.and_then(|w| w[0].parse().ok()).unwrap_or(0)
    } else {
        0
    };
    Tally { passed: number(&["passed"]), failed: number(&["failed"]) + timed_out }
}

fn describe_skips(log: &str) -> String {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for line in log.lines() {
        *reasons.entry(line.split_once('\t').map_or(line, |(_, reason)| reason)).or_default() += 1;
    }
    reasons.iter().map(|(reason, count)| format!("skipped {count}: {reason}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summaries_of_both_runners_are_read() {
        let rows = [
            (
                "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s",
                12,
                0,
            ),
            (
                "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
                3,
                2,
            ),
            ("     Summary [   0.5s] 10 tests run: 9 passed (1 slow), 1 failed, 0 skipped", 9, 1),
            (
                "     Summary [  60.0s] 4 tests run: 2 passed, 1 failed, 1 timed out, 0 skipped",
                2,
                2,
            ),
            ("     Summary [   0.1s] 1 test run: 1 passed, 0 skipped", 1, 0),
            (
                "    test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 7 filtered out",
                0,
                0,
            ),
            ("test a ... ok", 0, 0),
        ];
        for (line, passed, failed) in rows {
            assert_eq!(read_summary(line), Tally { passed, failed }, "{line}");
        }
    }

    #[test]
    fn skips_are_counted_by_reason() {
        let log = "a\tno skopeo\nb\tno root\nc\tno skopeo\n";
        assert_eq!(describe_skips(log), "skipped 1: no root\nskipped 2: no skopeo\n");
    }

    #[test]
    fn a_failing_runner_without_a_summary_is_an_error() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let mut broken =
            shell::command(dir.path(), "sh", &["-c", "echo could not compile; exit 101"]);
        assert!(stream(&mut broken, &dir.path().join("log")).is_err());
        let mut failed = shell::command(
            dir.path(),
            "sh",
            &["-c", "echo 'test result: FAILED. 1 passed; 1 failed;'; exit 101"],
        );
        let tally =
            stream(&mut failed, &dir.path().join("log")).expect("failed tests are a result");
        assert_eq!(tally, Tally { passed: 1, failed: 1 });
    }
}

//! Why a path differs: the two contents held against what the two sandboxes did not have in common.

use std::fmt;

use jiff::Timestamp;
use regex::bytes::Regex;

use super::Sandbox;
use super::tree::Change;

/// Seconds that a clock may be read before or after a build, as tools round.
const SLACK_SECONDS: i64 = 2;
/// How much of a difference is looked at around its place.
const WINDOW: usize = 64;

/// What is not the same, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Only one of the builds made the path.
    MadeOnce,
    /// It is another kind of thing.
    Kind,
    /// Its permission bits.
    Mode(u32, u32),
    /// Its owner.
    Owner((u32, u32), (u32, u32)),
    /// A link that points elsewhere.
    Link(String, String),
    /// Its extended attributes.
    Attributes,
    /// Its own time, which was set to something older than `SOURCE_DATE_EPOCH`.
    FileTime,
    /// The content holds the time of the build.
    Clock(&'static str),
    /// The content holds the name of the sandbox's host.
    HostName,
    /// The content holds the number of processors.
    Processors,
    /// The same lines stand in another order.
    Order,
    /// Nothing that is known of the sandboxes explains it.
    Random,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::MadeOnce => f.write_str("only one of the builds made it (a name from the clock or at random?)"),
            Cause::Kind => f.write_str("once a file, once something else"),
            Cause::Mode(a, b) => write!(f, "mode {a:o} and {b:o}"),
            Cause::Owner(a, b) => write!(f, "owner {}:{} and {}:{}", a.0, a.1, b.0, b.1),
            Cause::Link(a, b) => write!(f, "a link to {a} and to {b}"),
            Cause::Attributes => f.write_str("other extended attributes"),
            Cause::FileTime => f.write_str("its time was set by the step, and differs"),
            Cause::Clock(how) => write!(f, "it holds the time of the build ({how}); use SOURCE_DATE_EPOCH"),
            Cause::HostName => f.write_str("it holds the name of the host"),
            Cause::Processors => f.write_str("it holds the number of processors"),
            Cause::Order => f.write_str("the same lines in another order (listing of a folder, or parallel work); sort them"),
            Cause::Random => f.write_str("its content differs without a known cause (random numbers, process ids, addresses)"),
        }
    }
}

/// The cause of a change.
pub(super) fn of(change: &Change, first: &Sandbox, second: &Sandbox) -> Cause {
    match change {
        Change::Presence { .. } => Cause::MadeOnce,
        Change::Kind => Cause::Kind,
        Change::Mode(a, b) => Cause::Mode(*a, *b),
        Change::Owner(a, b) => Cause::Owner(*a, *b),
        Change::Link(a, b) => Cause::Link(a.clone(), b.clone()),
        Change::Attributes => Cause::Attributes,
        Change::Time(..) => Cause::FileTime,
        Change::Content(a, b) => of_content(a, b, first, second),
    }
}

fn of_content(a: &[u8], b: &[u8], first: &Sandbox, second: &Sandbox) -> Cause {
    let names = [&first.hostname, &second.hostname].map(|name| name.as_bytes());
    if contains(a, names[0]) && contains(b, names[1]) && names[0] != names[1] {
        return Cause::HostName;
    }
    if let Some(how) = binary_clock(a, b) {
        return Cause::Clock(how);
    }
    let at = a.iter().zip(b).position(|(x, y)| x != y).unwrap_or(a.len().min(b.len()));
    let (near, far) = (window(a, at), window(b, at));
    for (how, found) in [("seconds since 1970", seconds as Clock), ("a date", date as Clock)] {
        if found(near, first) && found(far, second) {
            return Cause::Clock(how);
        }
    }
    if is_count(near, at, first)
        && is_count(far, at, second)
        && first.processors != second.processors
    {
        return Cause::Processors;
    }
    match sorted(a) == sorted(b) {
        true => Cause::Order,
        false => Cause::Random,
    }
}

type Clock = fn(&[u8], &Sandbox) -> bool;

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && bytes.windows(part.len()).any(|window| window == part)
}

/// The bytes around a place; a line's beginning says what kind of text it is.
fn window(bytes: &[u8], at: usize) -> &[u8] {
    &bytes[at.saturating_sub(WINDOW).min(bytes.len())..(at + WINDOW).min(bytes.len())]
}

/// Formats that hold a time at a fixed place, and nothing else that differs there.
fn binary_clock(a: &[u8], b: &[u8]) -> Option<&'static str> {
    let same_but = |from: usize, to: usize| {
        a.len() == b.len() && a.len() >= to && a[..from] == b[..from] && a[from..to] != b[from..to]
    };
    if a.starts_with(&[0x1f, 0x8b]) && same_but(4, 8) {
        return Some("in the header of gzip: gzip -n");
    }
    // CPython: magic, flags of PEP 552, then the source's time.
    if a.len() > 16 && a[2..4] == *b"\r\n" && same_but(8, 12) {
        return Some("in compiled Python");
    }
    (a.starts_with(b"!<arch>\n") && same_but(24, 36)).then_some("in an archive of ar: ar D")
}

fn seconds(text: &[u8], sandbox: &Sandbox) -> bool {
    let (from, to) = span(sandbox);
    numbers(text).any(|number| (from..=to).contains(&number))
}

/// The run of decimal numbers in a text that fit a time.
fn numbers(text: &[u8]) -> impl Iterator<Item = i64> + '_ {
    text.split(|byte| !byte.is_ascii_digit())
        .filter(|digits| (10..=19).contains(&digits.len()))
        .filter_map(|digits| std::str::from_utf8(&digits[..10]).ok()?.parse().ok())
}

fn span(sandbox: &Sandbox) -> (i64, i64) {
    let (from, to) = (sandbox.started.as_second(), sandbox.finished.as_second());
    (from - SLACK_SECONDS, to + SLACK_SECONDS)
}

/// A time of day of the build, in any zone: hours may differ, minutes and seconds do not (but for a few half-hour
/// zones).
fn date(text: &[u8], sandbox: &Sandbox) -> bool {
    let Ok(clock) = Regex::new(r"\d\d:?([0-5]\d):?([0-5]\d)") else { return false };
    let (from, to) = span(sandbox);
    let moments: Vec<String> = (from..=to.min(from + 3600))
        .filter_map(|second| Timestamp::from_second(second).ok())
        .map(|moment| moment.strftime("%M%S").to_string())
        .collect();
    clock.captures_iter(text).any(|found| {
        let shown = [&found[1], &found[2]].concat();
        moments.iter().any(|moment| moment.as_bytes() == shown)
    })
}

/// Whether the number at a place is how many processors there were.
fn is_count(near: &[u8], at: usize, sandbox: &Sandbox) -> bool {
    let Some(count) = sandbox.processors else { return false };
    let at = at.min(WINDOW).min(near.len());
    let digit = |byte: &&u8| byte.is_ascii_digit();
    let before = near[..at].iter().rev().take_while(digit).count();
    let after = near[at..].iter().take_while(digit).count();
    near[at - before..at + after] == *count.to_string().as_bytes()
}

fn sorted(bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    lines.sort_unstable();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sandbox(hostname: &str, processors: usize, started: &str) -> Sandbox {
        let started: Timestamp = started.parse().unwrap();
        Sandbox {
            hostname: hostname.to_owned(),
            processors: Some(processors),
            started,
            finished: Timestamp::from_second(started.as_second() + 3).unwrap(),
        }
    }

    #[test]
    fn the_cause_of_a_difference_is_named() {
        let first = sandbox("first-host", 2, "2026-03-01T10:11:12Z");
        let second = sandbox("second-host", 1, "2026-03-01T10:11:47Z");
        let text = |a: &str, b: &str| {
            let change = Change::Content(a.as_bytes().to_vec(), b.as_bytes().to_vec());
            of(&change, &first, &second)
        };
        let seconds = first.started.as_second();
        let clock = |cause: Cause| matches!(cause, Cause::Clock(_));
        assert!(clock(text("Sun Mar  1 11:11:13 CET 2026\n", "Sun Mar  1 11:11:48 CET 2026\n")));
        assert!(clock(text("2026-03-01T101114Z", "2026-03-01T101149Z")));
        assert!(clock(text(&format!("t={}\n", seconds + 1), &format!("t={}\n", seconds + 36))));
        assert!(clock(text(
            &format!("t={}123456789\n", seconds + 1),
            &format!("t={}987654321\n", seconds + 36)
        )));
        assert_eq!(text("built on first-host\n", "built on second-host\n"), Cause::HostName);
        assert_eq!(text("jobs 2\n", "jobs 1\n"), Cause::Processors);
        assert_eq!(text("a\nb\nc\n", "c\na\nb\n"), Cause::Order);
        assert_eq!(text("31337\n", "4711\n"), Cause::Random);
        assert_eq!(text("12\n", "13\n"), Cause::Random);
        let gzip = |time: u8| [0x1f, 0x8b, 8, 0, time, 1, 2, 3, 0, 3, 9, 9].to_vec();
        assert!(clock(of(&Change::Content(gzip(1), gzip(2)), &first, &second)));
    }
}

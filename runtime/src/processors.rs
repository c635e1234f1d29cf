//! The processors of this machine, and whether a container may ask for as many.

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::options::Resources;

const NANOS_PER_CPU: i64 = 1_000_000_000;
/// The kernel's own bound is below it: a list that names more is not read.
const PROCESSORS_MOST: u32 = 65_536;

/// Refuses more processors than there are, and processors that are not there. The kernel would take the first silently.
///
/// # Errors
/// `--cpus` and `--cpuset-cpus` that cannot be had, in Docker's words.
pub(crate) fn check(limits: &Resources) -> Result<()> {
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    // A machine that does not say which it has is asked no further.
    match set(online.trim()) {
        Some(present) if !present.is_empty() => check_against(limits, online.trim(), &present),
        _ => Ok(()),
    }
}

fn check_against(limits: &Resources, online: &str, present: &BTreeSet<u32>) -> Result<()> {
    let count = i64::try_from(present.len()).unwrap_or(i64::MAX);
    if let Some(nanos) =
        limits.nano_cpus.filter(|nanos| *nanos > count.saturating_mul(NANOS_PER_CPU))
    {
        return Err(Error::invalid(
            "--cpus",
            format!("{}", nanos / NANOS_PER_CPU),
            format!(
                "Range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available"
            ),
        ));
    }
    let Some(wanted) = limits.cpuset_cpus.as_deref().filter(|list| !list.is_empty()) else {
        return Ok(());
    };
    match set(wanted) {
        None => Err(Error::invalid("--cpuset-cpus", wanted, "write a list such as 0-3 or 0,1")),
        Some(list) if list.is_subset(present) => Ok(()),
        Some(_) => Err(Error::invalid(
            "--cpuset-cpus",
            wanted,
            format!("Requested CPUs are not available - requested {wanted}, available: {online}"),
        )),
    }
}

/// A list in the kernel's form: `0-3,7`.
fn set(list: &str) -> Option<BTreeSet<u32>> {
    let mut set = BTreeSet::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<u32>().ok().filter(|n| *n < PROCESSORS_MOST);
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return None;
        }
        set.extend(first..=last);
    }
    Some(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_does_not_have_is_refused_in_dockers_words() {
        let said = |nano_cpus: Option<i64>, cpuset: &str| {
            let limits = Resources {
                nano_cpus,
                cpuset_cpus: Some(cpuset.to_owned()),
                ..Resources::default()
            };
            let outcome = check_against(&limits, "0-1", &set("0-1").unwrap());
            outcome.map_err(|error| error.to_string()).err()
        };
        for (nano_cpus, cpuset, words) in [
            (Some(2_000_000_000), "0-1", None),
            (None, "", None),
            (None, "1", None),
            (
                Some(2_000_000_001),
                "",
                Some("Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available"),
            ),
            (None, "99", Some("Requested CPUs are not available - requested 99, available: 0-1")),
            (None, "0-2", Some("requested 0-2, available: 0-1")),
            (None, "1-0", Some("write a list")),
            (None, "0-4294967295", Some("write a list")),
            (None, "zero", Some("write a list")),
        ] {
            let said = said(nano_cpus, cpuset);
            let fits = match (&said, words) {
                (Some(text), Some(words)) => text.contains(words),
                (said, words) => said.is_none() && words.is_none(),
            };
            assert!(fits, "{nano_cpus:?} {cpuset:?}: {said:?}");
        }
    }

    #[test]
    fn this_machine_has_its_first_processor() {
        let limits = Resources { cpuset_cpus: Some("0".to_owned()), ..Resources::default() };
        assert!(check(&limits).is_ok());
    }
}

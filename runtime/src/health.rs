//! Health checks: the settings of image and user merged, and the ladder from `starting` to `healthy` and `unhealthy`.
//!
//! No clock and no processes here: the monitor runs the probes and hands their results in.

use std::time::Duration;

use jiff::Timestamp;
use oci::Healthcheck;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_START_INTERVAL: Duration = Duration::from_secs(5);
const DEFAULT_RETRIES: u32 = 3;
/// Docker refuses shorter times: a check would do nothing but start processes.
const SHORTEST: Duration = Duration::from_millis(1);
/// Results kept.
const KEPT_RESULTS: usize = 5;
/// Bytes of output kept of each.
pub(crate) const OUTPUT_BYTES: usize = 4096;

/// A check to be run, everything decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HealthPlan {
    pub(crate) command: Vec<String>,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) start_period: Duration,
    pub(crate) start_interval: Duration,
    pub(crate) retries: u32,
}

impl HealthPlan {
    /// The user's settings over the image's; `None` where there is no check or it was taken away.
    ///
    /// # Errors
    /// A time below a millisecond, a negative number, or a form of test that is not known.
    pub(crate) fn merge(
        image: Option<&Healthcheck>,
        user: &Healthcheck,
        shell: &[String],
    ) -> Result<Option<Self>> {
        let none = Healthcheck::default();
        let image = image.unwrap_or(&none);
        let test = if user.test.is_empty() { &image.test } else { &user.test };
        let command = match test.split_first().map(|(form, rest)| (form.as_str(), rest)) {
            None | Some(("NONE", _)) => return Ok(None),
            Some(("CMD", [])) | Some(("CMD-SHELL", [])) => return Ok(None),
            Some(("CMD", command)) => command.to_vec(),
            Some(("CMD-SHELL", script)) => {
                shell.iter().cloned().chain([script.join(" ")]).collect()
            }
            Some((form, _)) => {
                return Err(Error::invalid("health check", form, "use NONE, CMD or CMD-SHELL"));
            }
        };
        let time =
            |name: &'static str, user: i64, image: i64, default: Duration| match (user, image) {
                (0, 0) => Ok(default),
                (0, nanos) | (nanos, _) => u64::try_from(nanos)
                    .ok()
                    .map(Duration::from_nanos)
                    .filter(|time| *time >= SHORTEST)
                    .ok_or_else(|| {
                        Error::invalid(name, format!("{nanos}ns"), "cannot be less than 1ms")
                    }),
            };
        let retries = if user.retries == 0 { image.retries } else { user.retries };
        Ok(Some(Self {
            command,
            interval: time("--health-interval", user.interval, image.interval, DEFAULT_INTERVAL)?,
            timeout: time("--health-timeout", user.timeout, image.timeout, DEFAULT_TIMEOUT)?,
            start_period: time(
                "--health-start-period",
                user.start_period,
                image.start_period,
                Duration::ZERO,
            )?,
            start_interval: time(
                "--health-start-interval",
                user.start_interval,
                image.start_interval,
                DEFAULT_START_INTERVAL,
            )?,
            retries: match retries {
                0 => DEFAULT_RETRIES,
                _ => u32::try_from(retries).map_err(|_| {
                    Error::invalid("--health-retries", retries.to_string(), "cannot be negative")
                })?,
            },
        }))
    }

    /// Time to the next probe of a container that has run for `age`.
    pub(crate) fn pause(&self, state: &HealthState, age: Duration) -> Duration {
        if state.status == HealthStatus::Starting && age < self.start_period {
            self.start_interval
        } else {
            self.interval
        }
    }
}

/// Docker's words for how a container feels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// No probe has succeeded, and not enough have failed.
    Starting,
    /// The last probe succeeded, or too few have failed since.
    Healthy,
    /// As many probes in a row as it takes have failed.
    Unhealthy,
}

impl HealthStatus {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// What is known of a container's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthState {
    /// How it feels.
    pub status: HealthStatus,
    /// Failures in a row that counted.
    pub failing_streak: u32,
    /// The last five results, the oldest first.
    pub log: Vec<ProbeResult>,
}

/// How one probe went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeResult {
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// The command's code; -1 when it took too long or could not be run.
    pub exit_code: i32,
    /// The beginning of what it said.
    pub output: String,
}

impl HealthState {
    /// Before the first probe.
    pub(crate) fn starting() -> Self {
        Self { status: HealthStatus::Starting, failing_streak: 0, log: Vec::new() }
    }

    /// One step on the ladder. A failure in the start period does not count as long as nothing has succeeded.
    pub(crate) fn step(mut self, plan: &HealthPlan, result: ProbeResult, age: Duration) -> Self {
        let forgiven = self.status == HealthStatus::Starting && age < plan.start_period;
        if result.exit_code == 0 {
            self.status = HealthStatus::Healthy;
            self.failing_streak = 0;
        } else if !forgiven {
            self.failing_streak += 1;
            if self.failing_streak >= plan.retries {
                self.status = HealthStatus::Unhealthy;
            }
        }
        self.log.push(result);
        let surplus = self.log.len().saturating_sub(KEPT_RESULTS);
        self.log.drain(..surplus);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(test: &[&str]) -> Healthcheck {
        Healthcheck {
            test: test.iter().map(|word| (*word).to_owned()).collect(),
            ..Healthcheck::default()
        }
    }

    fn shell() -> Vec<String> {
        vec!["/bin/sh".into(), "-c".into()]
    }

    fn result(exit_code: i32) -> ProbeResult {
        ProbeResult {
            start: Timestamp::UNIX_EPOCH,
            end: Timestamp::UNIX_EPOCH,
            exit_code,
            output: String::new(),
        }
    }

    /// Covers: RUN-31
    #[test]
    fn settings_merge_with_dockers_defaults() {
        let image = check(&["CMD-SHELL", "curl -f localhost"]);
        let plan =
            HealthPlan::merge(Some(&image), &Healthcheck::default(), &shell()).unwrap().unwrap();
        assert_eq!(plan.command, ["/bin/sh", "-c", "curl -f localhost"]);
        assert_eq!((plan.interval.as_secs(), plan.timeout.as_secs(), plan.retries), (30, 30, 3));
        assert_eq!((plan.start_period.as_secs(), plan.start_interval.as_secs()), (0, 5));
        let user = Healthcheck { interval: 2_000_000_000, retries: 7, ..check(&["CMD", "true"]) };
        let plan = HealthPlan::merge(Some(&image), &user, &shell()).unwrap().unwrap();
        assert_eq!(
            (plan.command, plan.interval.as_secs(), plan.retries),
            (vec!["true".to_owned()], 2, 7)
        );
        assert_eq!(HealthPlan::merge(Some(&image), &check(&["NONE"]), &shell()).unwrap(), None);
        assert_eq!(HealthPlan::merge(None, &Healthcheck::default(), &shell()).unwrap(), None);
        assert!(
            HealthPlan::merge(Some(&check(&["SHELL", "x"])), &Healthcheck::default(), &shell())
                .is_err()
        );
        let hasty = Healthcheck { interval: 10, ..Healthcheck::default() };
        assert!(HealthPlan::merge(Some(&image), &hasty, &shell()).is_err());
    }

    /// Covers: RUN-31
    #[test]
    fn the_ladder_forgives_failures_of_the_start_period_until_a_success() {
        let user = Healthcheck { start_period: 10_000_000_000, retries: 2, ..check(&["CMD", "x"]) };
        let plan = HealthPlan::merge(None, &user, &shell()).unwrap().unwrap();
        const EARLY: Duration = Duration::from_secs(1);
        const LATE: Duration = Duration::from_secs(11);
        let walk = |steps: &[(i32, Duration)]| {
            steps.iter().fold(HealthState::starting(), |state, (code, age)| {
                state.step(&plan, result(*code), *age)
            })
        };
        type Case = (&'static [(i32, Duration)], HealthStatus, u32);
        let table: &[Case] = &[
            (&[(1, EARLY), (1, EARLY), (1, EARLY)], HealthStatus::Starting, 0),
            (&[(1, EARLY), (1, LATE)], HealthStatus::Starting, 1),
            (&[(1, LATE), (1, LATE)], HealthStatus::Unhealthy, 2),
            (&[(0, EARLY), (1, EARLY)], HealthStatus::Healthy, 1),
            (&[(0, EARLY), (1, EARLY), (1, EARLY)], HealthStatus::Unhealthy, 2),
            (&[(1, LATE), (1, LATE), (0, LATE)], HealthStatus::Healthy, 0),
        ];
        for (steps, status, streak) in table {
            let state = walk(steps);
            assert_eq!((state.status, state.failing_streak), (*status, *streak), "{steps:?}");
        }
        assert_eq!(plan.pause(&walk(&[(1, EARLY)]), EARLY), plan.start_interval);
        assert_eq!(plan.pause(&walk(&[(0, EARLY)]), EARLY), plan.interval);
        assert_eq!(walk(&[(1, LATE); 9]).log.len(), 5);
    }
}

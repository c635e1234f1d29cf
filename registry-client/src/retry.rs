//! When to try again: the wait after a failure, and what a registry asks for.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

use crate::config::RetryPolicy;
use crate::error::{ConnectionFailure, Problem};
use crate::limits::WAIT_ASKED_MAX;

/// Tries of a host that cannot even be connected to: a wrong port should not take long to say.
const CONNECT_TRIES_MAX: u32 = 3;

/// What to do after the failure of try number `tries`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Try again after this wait.
    Wait(Duration),
    /// Give up with the failure.
    GiveUp,
    /// Give up: the registry asks for a longer wait than the policy allows.
    TooLong(Duration),
}

/// Decides. `random` gives the jitter: half of each wait of our own choice is random, so that
/// clients that failed together do not come back together.
pub(crate) fn next(policy: &RetryPolicy, problem: &Problem, tries: u32, random: u64) -> Next {
    // Both say that no retry of ours will wait long enough.
    if matches!(problem, Problem::QuotaFloor { .. } | Problem::RateLimited { .. }) {
        return Next::GiveUp;
    }
    if !problem.is_temporary() || tries >= tries_max(policy, problem) {
        return Next::GiveUp;
    }
    match asked_wait(problem) {
        Some(asked) if asked > policy.retry_after_max => Next::TooLong(asked),
        Some(asked) => Next::Wait(asked),
        None => Next::Wait(backoff(policy, tries, random)),
    }
}

fn tries_max(policy: &RetryPolicy, problem: &Problem) -> u32 {
    match problem {
        Problem::Connection { failure: ConnectionFailure::Connect { .. } } => {
            policy.tries_max.min(CONNECT_TRIES_MAX)
        }
        _ => policy.tries_max,
    }
}

/// The wait that the other side asked for.
pub(crate) fn asked_wait(problem: &Problem) -> Option<Duration> {
    match problem {
        Problem::Status { answer } => answer.retry_after,
        Problem::Auth(crate::auth::AuthError::TokenServer { retry_after, .. }) => *retry_after,
        _ => None,
    }
}

/// Whether a failure says that the host wants to be asked less, by everybody.
pub(crate) fn holds_all(problem: &Problem) -> bool {
    asked_wait(problem).is_some()
        || problem.status() == Some(http::StatusCode::TOO_MANY_REQUESTS)
        || matches!(problem, Problem::Connection { failure: ConnectionFailure::Overloaded { .. } })
}

/// Doubling waits, capped, of which the second half is random.
pub(crate) fn backoff(policy: &RetryPolicy, tries: u32, random: u64) -> Duration {
    let doubled = policy.base.saturating_mul(1 << tries.saturating_sub(1).min(20));
    let whole = doubled.min(policy.wait_max);
    let half = whole / 2;
    let jitter = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).max(1);
    half + Duration::from_nanos(random % jitter)
}

/// A number that differs between calls and processes. Not for secrets.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Reads `Retry-After` in both forms (RFC 9110 section 10.2.3). A date is taken against the
/// server's own `Date`, so no clock of ours can be wrong; without one it says nothing.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds).min(WAIT_ASKED_MAX));
    }
    let then = httpdate::parse_http_date(text).ok()?;
    let now = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    Some(then.duration_since(now).unwrap_or_default().min(WAIT_ASKED_MAX))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::error::ErrorAnswer;

    fn status(code: u16, retry_after: Option<u64>) -> Problem {
        Problem::Status {
            answer: Box::new(ErrorAnswer {
                status: StatusCode::from_u16(code).expect("valid"),
                details: Vec::new(),
                request: String::new(),
                retry_after: retry_after.map(Duration::from_secs),
            }),
        }
    }

    /// Covers: DST-25
    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let table = [
            (Some("7"), None, Some(7)),
            (Some(" 7 "), None, Some(7)),
            (
                Some("Wed, 21 Oct 2026 07:28:30 GMT"),
                Some("Wed, 21 Oct 2026 07:28:00 GMT"),
                Some(30),
            ),
            (Some("Wed, 21 Oct 2026 07:27:00 GMT"), Some("Wed, 21 Oct 2026 07:28:00 GMT"), Some(0)),
            (Some("Wed, 21 Oct 2026 07:28:30 GMT"), None, None),
            (Some("18446744073709551615"), None, Some(WAIT_ASKED_MAX.as_secs())),
            (Some("soon"), None, None),
            (Some("-1"), None, None),
            (None, None, None),
        ];
        for (after, date, seconds) in table {
            let mut headers = HeaderMap::new();
            after.map(|text| headers.insert(RETRY_AFTER, text.parse().expect("valid")));
            date.map(|text| headers.insert(DATE, text.parse().expect("valid")));
            assert_eq!(
                retry_after(&headers),
                seconds.map(Duration::from_secs),
                "{after:?} {date:?}"
            );
        }
    }

    /// Covers: DST-25
    #[test]
    fn the_registrys_wish_beats_our_own_wait() {
        let policy = RetryPolicy::default();
        assert_eq!(next(&policy, &status(429, Some(9)), 1, 0), Next::Wait(Duration::from_secs(9)));
        assert_eq!(
            next(&policy, &status(429, Some(3600)), 1, 0),
            Next::TooLong(Duration::from_secs(3600))
        );
        assert_eq!(next(&policy, &status(404, Some(9)), 1, 0), Next::GiveUp);
        assert_eq!(next(&policy, &status(503, None), policy.tries_max, 0), Next::GiveUp);
    }

    #[test]
    fn waits_double_stay_under_the_cap_and_are_half_random() {
        let policy = RetryPolicy::default();
        for tries in 1..40 {
            let least = backoff(&policy, tries, 0);
            let most = backoff(&policy, tries, u64::MAX);
            assert!(least <= most && most <= policy.wait_max, "{tries}: {least:?} {most:?}");
        }
        assert_eq!(backoff(&policy, 1, 0), policy.base / 2);
        assert_eq!(backoff(&policy, 2, 0), policy.base);
        assert_ne!(random(), random());
    }

    #[test]
    fn an_unreachable_host_is_given_up_early() {
        let refused = Problem::Connection {
            failure: ConnectionFailure::Connect { host: "h".into(), reason: "refused".into() },
        };
        let policy = RetryPolicy::default();
        assert!(matches!(next(&policy, &refused, 2, 0), Next::Wait(_)));
        assert_eq!(next(&policy, &refused, 3, 0), Next::GiveUp);
    }
}

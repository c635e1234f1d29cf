//! The one place of this crate that reads a clock: timeouts, log lines, token expiry, upload age.

use std::fs::Metadata;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A point of monotonic time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment(Instant);

impl Moment {
    /// This instant.
    pub(crate) fn now() -> Self {
        Self(Instant::now())
    }

    /// How long ago it was.
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Seconds since 1970, for token lifetimes.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// The wall clock as an RFC 3339 text.
pub(crate) fn timestamp() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// How long ago a file was last written; zero when its time lies ahead.
pub(crate) fn age(metadata: &Metadata) -> Duration {
    metadata.modified().ok().and_then(|at| at.elapsed().ok()).unwrap_or_default()
}

/// The wall clock some time ago.
pub(crate) fn ago(duration: Duration) -> SystemTime {
    SystemTime::now().checked_sub(duration).unwrap_or(UNIX_EPOCH)
}

//! The one place of this package that reads clocks: log entries, states and time-outs need the time of day and a steady clock.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// The time of day.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// A moment from which waiting is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    /// A moment `after` from now; `None` never comes.
    pub(crate) fn after(after: Option<Duration>) -> Self {
        Self(after.and_then(|after| Instant::now().checked_add(after)))
    }

    /// What is left, `None` when there is no end, zero when it has come.
    pub(crate) fn remaining(&self) -> Option<Duration> {
        self.0.map(|end| end.saturating_duration_since(Instant::now()))
    }

    /// Whether the moment has come.
    pub(crate) fn has_come(&self) -> bool {
        self.remaining().is_some_and(|left| left.is_zero())
    }
}

/// A running stop-watch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts to measure.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

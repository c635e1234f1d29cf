//! The clock for the builder.

/// The system's clock.
pub(crate) struct SystemClock;

impl builder::ports::Clock for SystemClock {
    fn now(&self) -> jiff::Timestamp {
        crate::clock::now()
    }
}

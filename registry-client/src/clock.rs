//! The only place of this crate that knows time: monotonic, for deadlines and token life.

use std::time::{Duration, Instant};

use async_trait::async_trait;

/// Monotonic time and waiting, so that tests need neither.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Time since some fixed moment.
    fn now(&self) -> Duration;

    /// Waits before something is done again.
    async fn sleep(&self, wait: Duration);

    /// Completes when work that begins now is overdue.
    async fn overdue(&self, after: Duration);
}

/// The machine's monotonic clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    async fn sleep(&self, wait: Duration) {
        tokio::time::sleep(wait).await;
    }

    async fn overdue(&self, after: Duration) {
        tokio::time::sleep(after).await;
    }
}

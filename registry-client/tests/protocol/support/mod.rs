//! Doubles: a registry that misbehaves, a proxy that cuts, a clock that does not wait.

pub(crate) mod proxy;
pub(crate) mod registry;
mod uploads;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use registry_client::{
    Client, ClientConfig, Clock, Keychain, Progress, Repository, RetryPolicy, TransferEvent,
};

pub(crate) use registry::{Fault, FaultKind, TestRegistry};

/// A clock on which waits take no time and are written down.
#[derive(Default)]
pub(crate) struct ManualClock {
    now: Mutex<Duration>,
    waits: Mutex<Vec<Duration>>,
}

impl ManualClock {
    pub(crate) fn advance(&self, by: Duration) {
        *self.now.lock().expect("lock") += by;
    }

    pub(crate) fn waits(&self) -> Vec<Duration> {
        self.waits.lock().expect("lock").clone()
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Duration {
        *self.now.lock().expect("lock")
    }

    async fn sleep(&self, wait: Duration) {
        self.waits.lock().expect("lock").push(wait);
        self.advance(wait);
        tokio::task::yield_now().await;
    }

    async fn overdue(&self, _: Duration) {
        std::future::pending().await
    }
}

/// A client whose waits take no time, with the clock.
pub(crate) fn client_with(keychain: Arc<dyn Keychain>) -> (Client, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    let config = ClientConfig {
        keychain,
        clock: clock.clone(),
        retry: RetryPolicy::default(),
        ..ClientConfig::default()
    };
    (Client::new(config).expect("settings are good"), clock)
}

pub(crate) fn client() -> (Client, Arc<ManualClock>) {
    client_with(Arc::new(registry_client::Anonymous))
}

/// The repository `path` of the registry at `host`.
pub(crate) fn repository(client: &Client, host: &str, path: &str) -> Repository {
    client.repository(&name(host, path))
}

pub(crate) fn name(host: &str, path: &str) -> oci::Repository {
    format!("{host}/{path}").parse().expect("a name")
}

/// Bytes that no compression and no chance makes equal.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// Writes down what it is told.
#[derive(Default)]
pub(crate) struct Recorder(Mutex<Vec<TransferEvent>>);

impl Recorder {
    pub(crate) fn events(&self) -> Vec<TransferEvent> {
        self.0.lock().expect("lock").clone()
    }
}

impl Progress for Recorder {
    fn event(&self, _: &oci::Descriptor, event: TransferEvent) {
        self.0.lock().expect("lock").push(event);
    }
}

//! How many requests a registry gets at a time, and when it may be asked again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::Clock;
use crate::config::BudgetConfig;

/// Which budget a request is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// A blob in either direction.
    Blob,
    /// Anything small.
    Document,
}

/// A place in a lane; it is given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    _place: Option<OwnedSemaphorePermit>,
}

impl Permit {
    /// A place for what asks no host.
    pub(crate) fn free() -> Self {
        Self { _place: None }
    }
}

/// The budgets of all hosts of one client.
pub(crate) struct Budgets {
    config: BudgetConfig,
    hosts: Mutex<HashMap<String, Arc<HostBudget>>>,
}

struct HostBudget {
    blobs: Arc<Semaphore>,
    documents: Arc<Semaphore>,
    not_before: Mutex<Duration>,
}

impl Budgets {
    pub(crate) fn new(config: BudgetConfig) -> Self {
        Self { config, hosts: Mutex::default() }
    }

    /// Waits for a place, and for the end of a pause that the host asked for.
    pub(crate) async fn admit(&self, host: &str, lane: Lane, clock: &dyn Clock) -> Permit {
        let budget = self.host(host);
        let lane = match lane {
            Lane::Blob => budget.blobs.clone(),
            Lane::Document => budget.documents.clone(),
        };
        // The semaphores are never closed; a closed one would only mean no limit.
        let place = lane.acquire_owned().await.ok();
        loop {
            let not_before = *budget.not_before.lock().unwrap_or_else(PoisonError::into_inner);
            match not_before.checked_sub(clock.now()).filter(|wait| !wait.is_zero()) {
                Some(wait) => clock.sleep(wait).await,
                None => return Permit { _place: place },
            }
        }
    }

    /// Nobody asks this host again before `until`.
    pub(crate) fn hold(&self, host: &str, until: Duration) {
        let budget = self.host(host);
        let mut not_before = budget.not_before.lock().unwrap_or_else(PoisonError::into_inner);
        *not_before = until.max(*not_before);
    }

    fn host(&self, host: &str) -> Arc<HostBudget> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let budget = hosts.entry(host.to_owned()).or_insert_with(|| {
            Arc::new(HostBudget {
                blobs: Arc::new(Semaphore::new(self.config.blobs.max(1))),
                documents: Arc::new(Semaphore::new(self.config.documents.max(1))),
                not_before: Mutex::default(),
            })
        });
        budget.clone()
    }
}

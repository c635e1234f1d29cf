//! How many requests a registry gets at a time, when it may be asked again, and how much of its
//! quota is left.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::Clock;
use crate::config::BudgetConfig;
use crate::error::Problem;
use crate::limits::WAIT_ASKED_MAX;

/// Which budget a request is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// A blob in either direction.
    Blob,
    /// Anything small.
    Document,
}

/// Who waits for a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// Somebody does.
    #[default]
    Interactive,
    /// Nobody does: a sync, a cache that is filled.
    Background,
}

/// What a registry says of its pull quota (`ratelimit-limit: 100;w=21600`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Pulls in one window.
    pub limit: Option<u64>,
    /// Pulls left in this window.
    pub remaining: u64,
    /// The length of the window.
    pub window: Option<Duration>,
}

/// Whose budget it is: registries count by account.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BudgetKey {
    /// The host.
    pub host: String,
    /// The account; nothing for anonymous requests.
    pub account: Option<String>,
}

/// The port that shares what is known of registries' patience among the processes of a machine.
/// Called before and after every request: it must be quick and may forget.
pub trait BudgetLedger: Send + Sync {
    /// How long nobody may ask, as another process was told.
    fn pause(&self, key: &BudgetKey) -> Option<Duration>;

    /// The registry asked to be left alone this long from now.
    fn note_pause(&self, key: &BudgetKey, wait: Duration);

    /// What another process was told last of the quota, as far as it still holds.
    fn quota(&self, key: &BudgetKey) -> Option<Quota>;

    /// The registry told its quota.
    fn note_quota(&self, key: &BudgetKey, quota: &Quota);
}

/// Shares nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLedger;

impl BudgetLedger for NoLedger {
    fn pause(&self, _: &BudgetKey) -> Option<Duration> {
        None
    }

    fn note_pause(&self, _: &BudgetKey, _: Duration) {}

    fn quota(&self, _: &BudgetKey) -> Option<Quota> {
        None
    }

    fn note_quota(&self, _: &BudgetKey, _: &Quota) {}
}

/// A place in a lane; it is given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    _places: Vec<OwnedSemaphorePermit>,
}

impl Permit {
    /// A place for what asks no host.
    pub(crate) fn free() -> Self {
        Self { _places: Vec::new() }
    }
}

/// The budgets of all hosts of one client.
pub(crate) struct Budgets {
    config: BudgetConfig,
    ledger: Arc<dyn BudgetLedger>,
    hosts: Mutex<HashMap<BudgetKey, Arc<HostBudget>>>,
}

struct HostBudget {
    blobs: Arc<Semaphore>,
    documents: Arc<Semaphore>,
    background: Arc<Semaphore>,
    not_before: Mutex<Duration>,
    quota: Mutex<Option<Quota>>,
}

impl Budgets {
    pub(crate) fn new(config: BudgetConfig, ledger: Arc<dyn BudgetLedger>) -> Self {
        Self { config, ledger, hosts: Mutex::default() }
    }

    /// Waits for a place, and for the end of a pause that the host asked for; a pause longer than
    /// `wait_max` is an error at once, for this and for all that come while it lasts. Background work is
    /// refused where the rest of the quota is to be left to others.
    pub(crate) async fn admit(
        &self,
        key: &BudgetKey,
        lane: Lane,
        priority: Priority,
        wait_max: Duration,
        clock: &dyn Clock,
    ) -> Result<Permit, Problem> {
        let budget = self.host(key);
        if priority == Priority::Background {
            self.check_floor(key, &budget)?;
        }
        let lane = match lane {
            Lane::Blob => &budget.blobs,
            Lane::Document => &budget.documents,
        };
        let mut places = Vec::new();
        if priority == Priority::Background {
            // The semaphores are never closed; a closed one would only mean no limit.
            places.extend(budget.background.clone().acquire_owned().await.ok());
        }
        places.extend(lane.clone().acquire_owned().await.ok());
        loop {
            let not_before = *lock(&budget.not_before);
            let own = not_before.checked_sub(clock.now()).filter(|wait| !wait.is_zero());
            match own.max(self.ledger.pause(key)) {
                Some(wait) if wait > wait_max => return Err(Problem::RateLimited { wait }),
                Some(wait) if !wait.is_zero() => clock.sleep(wait).await,
                _ => return Ok(Permit { _places: places }),
            }
        }
    }

    fn check_floor(&self, key: &BudgetKey, budget: &HostBudget) -> Result<(), Problem> {
        let own = *lock(&budget.quota);
        match own.or_else(|| self.ledger.quota(key)) {
            Some(quota) if quota.remaining <= self.config.quota_floor => {
                Err(Problem::QuotaFloor { remaining: quota.remaining, window: quota.window })
            }
            _ => Ok(()),
        }
    }

    /// Nobody asks this host again before `wait` is over.
    pub(crate) fn hold(&self, key: &BudgetKey, wait: Duration, clock: &dyn Clock) {
        let budget = self.host(key);
        let until = clock.now().saturating_add(wait);
        let mut not_before = lock(&budget.not_before);
        *not_before = until.max(*not_before);
        self.ledger.note_pause(key, wait);
    }

    /// Takes in what an answer says of the quota.
    pub(crate) fn note(&self, key: &BudgetKey, headers: &HeaderMap) {
        if let Some(quota) = parse_quota(headers) {
            *lock(&self.host(key).quota) = Some(quota);
            self.ledger.note_quota(key, &quota);
        }
    }

    /// What is known of the quotas at a host, by account.
    pub(crate) fn quotas(&self, host: &str) -> Vec<(Option<String>, Quota)> {
        let hosts = lock(&self.hosts);
        let mut known = hosts
            .iter()
            .filter(|(key, _)| key.host == host)
            .filter_map(|(key, budget)| Some((key.account.clone(), (*lock(&budget.quota))?)))
            .collect::<Vec<_>>();
        known.sort_by(|a, b| a.0.cmp(&b.0));
        known
    }

    fn host(&self, key: &BudgetKey) -> Arc<HostBudget> {
        let mut hosts = lock(&self.hosts);
        let budget = hosts.entry(key.clone()).or_insert_with(|| {
            let places = |count: usize| Arc::new(Semaphore::new(count.max(1)));
            Arc::new(HostBudget {
                blobs: places(self.config.blobs),
                documents: places(self.config.documents),
                background: places(self.config.background),
                not_before: Mutex::default(),
                quota: Mutex::default(),
            })
        });
        budget.clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the quota headers of Docker Hub and of those who copied them.
fn parse_quota(headers: &HeaderMap) -> Option<Quota> {
    let read = |name: &str| {
        let other = format!("x-{name}");
        let text = headers.get(name).or_else(|| headers.get(other.as_str()))?.to_str().ok()?;
        let (count, rest) = text.split_once(';').unwrap_or((text, ""));
        let window = rest.trim().strip_prefix("w=").and_then(|w| w.trim().parse::<u64>().ok());
        let window = window.map(|seconds| Duration::from_secs(seconds).min(WAIT_ASKED_MAX));
        Some((count.trim().parse::<u64>().ok()?, window))
    };
    let (remaining, window) = read("ratelimit-remaining")?;
    let limit = read("ratelimit-limit");
    let window = window.or_else(|| limit.and_then(|(_, window)| window));
    Some(Quota { limit: limit.map(|(limit, _)| limit), remaining, window })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: DST-25
    #[test]
    fn quota_headers_are_read_in_the_forms_that_exist() {
        let hour = Some(Duration::from_secs(21600));
        let table = [
            (
                vec![("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "76;w=21600")],
                Some((Some(100), 76, hour)),
            ),
            (
                vec![("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "76")],
                Some((Some(100), 76, hour)),
            ),
            (vec![("x-ratelimit-remaining", "0")], Some((None, 0, None))),
            (vec![("ratelimit-limit", "100")], None),
            (vec![("ratelimit-remaining", "many")], None),
        ];
        for (given, expected) in table {
            let mut headers = HeaderMap::new();
            for (name, value) in &given {
                headers.insert(*name, value.parse().expect("valid"));
            }
            let found = parse_quota(&headers).map(|q| (q.limit, q.remaining, q.window));
            assert_eq!(found, expected, "{given:?}");
        }
    }
}

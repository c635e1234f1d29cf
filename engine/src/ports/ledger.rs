//! What registries said of their patience, in files that all processes of an installation share.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use oci::Digest;
use registry_client::{BudgetKey, BudgetLedger, Quota};
use serde::{Deserialize, Serialize};

use crate::clock;

/// A pause that is longer is not believed: a file could say anything.
const PAUSE_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long a quota without a window is believed.
const QUOTA_AGE: Duration = Duration::from_secs(3600);

/// One file for each registry and account.
pub(crate) struct FileLedger {
    folder: PathBuf,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Page {
    /// Milliseconds since 1970 before which nobody asks.
    #[serde(default)]
    not_before: i64,
    quota: Option<QuotaLine>,
}

#[derive(Debug, Serialize, Deserialize)]
struct QuotaLine {
    limit: Option<u64>,
    remaining: u64,
    window_seconds: Option<u64>,
    noted: i64,
}

impl FileLedger {
    /// A ledger in this folder, which is made when a registry first says something.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn path(&self, key: &BudgetKey) -> PathBuf {
        let text = format!("{}\n{}", key.host, key.account.as_deref().unwrap_or_default());
        self.folder.join(format!("{}.json", Digest::sha256(text.as_bytes()).hex()))
    }

    /// What stands there; nothing where it cannot be read, which only means that we ask.
    fn page(&self, key: &BudgetKey) -> Page {
        let bytes = fs::read(self.path(key)).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    fn change(&self, key: &BudgetKey, change: impl FnOnce(&mut Page)) {
        let mut page = self.page(key);
        change(&mut page);
        if let Err(error) = write(&self.path(key), &page) {
            tracing::debug!("a registry's words are not shared: {error}");
        }
    }
}

/// Two writers at once may lose one of two words; the registry says it again.
fn write(path: &Path, page: &Page) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)?;
    let staged =
        path.with_extension(format!("{}-{:?}", std::process::id(), std::thread::current().id()));
    fs::File::create(&staged)?.write_all(&serde_json::to_vec(page)?)?;
    fs::rename(&staged, path)
}

fn now() -> i64 {
    clock::now().as_millisecond()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl BudgetLedger for FileLedger {
    fn pause(&self, key: &BudgetKey) -> Option<Duration> {
        let left = self.page(key).not_before.saturating_sub(now());
        let left = Duration::from_millis(u64::try_from(left).ok()?);
        (!left.is_zero()).then(|| left.min(PAUSE_MAX))
    }

    fn note_pause(&self, key: &BudgetKey, wait: Duration) {
        let until = now().saturating_add(millis(wait.min(PAUSE_MAX)));
        self.change(key, |page| page.not_before = page.not_before.max(until));
    }

    fn quota(&self, key: &BudgetKey) -> Option<Quota> {
        let line = self.page(key).quota?;
        let window = line.window_seconds.map(Duration::from_secs);
        let ends = line.noted.saturating_add(millis(window.unwrap_or(QUOTA_AGE)));
        (now() < ends).then_some(Quota { limit: line.limit, remaining: line.remaining, window })
    }

    fn note_quota(&self, key: &BudgetKey, quota: &Quota) {
        let line = QuotaLine {
            limit: quota.limit,
            remaining: quota.remaining,
            window_seconds: quota.window.map(|window| window.as_secs()),
            noted: now(),
        };
        self.change(key, |page| page.quota = Some(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(host: &str, account: Option<&str>) -> BudgetKey {
        BudgetKey { host: host.to_owned(), account: account.map(str::to_owned) }
    }

    /// Covers: DST-25
    #[test]
    fn what_one_process_was_told_another_one_knows_until_it_is_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let (one, other) = (
            FileLedger::new(folder.path().join("registries")),
            FileLedger::new(folder.path().join("registries")),
        );
        let pilot = key("r.example", Some("pilot"));
        assert_eq!(other.pause(&pilot), None);
        one.note_pause(&pilot, Duration::from_secs(30));
        one.note_pause(&pilot, Duration::from_secs(5));
        let left = other.pause(&pilot).expect("a pause");
        assert!(left > Duration::from_secs(20) && left <= Duration::from_secs(30), "{left:?}");
        assert_eq!(other.pause(&key("r.example", None)), None, "other accounts may ask");
        one.note_pause(&key("s.example", None), Duration::ZERO);
        assert_eq!(other.pause(&key("s.example", None)), None, "it is over");
    }

    #[test]
    fn a_quota_holds_for_its_window_and_a_damaged_file_says_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = FileLedger::new(folder.path().to_path_buf());
        let anonymous = key("r.example", None);
        let quota = |window| Quota { limit: Some(100), remaining: 3, window };
        ledger.note_quota(&anonymous, &quota(Some(Duration::from_secs(600))));
        assert_eq!(ledger.quota(&anonymous), Some(quota(Some(Duration::from_secs(600)))));
        ledger.note_quota(&anonymous, &quota(Some(Duration::ZERO)));
        assert_eq!(ledger.quota(&anonymous), None);
        fs::write(ledger.path(&anonymous), b"{\"not_before\": \"soon\"").expect("damaged");
        assert_eq!(ledger.pause(&anonymous), None);
        ledger.note_pause(&anonymous, Duration::from_secs(5));
        assert!(ledger.pause(&anonymous).is_some());
    }
}

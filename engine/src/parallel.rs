//! Several things at once, until the first of them fails.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};

/// Does `work` to each index below `count`, at most `at_once` of them at a time, on this thread
/// and helpers. After a failure nothing new is begun; the first failure is the answer.
pub(crate) fn each(
    count: usize,
    at_once: usize,
    work: impl Fn(usize) -> Result<()> + Sync,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let first_error: Mutex<Option<Error>> = Mutex::new(None);
    let run = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return;
            }
            if let Err(error) = work(index) {
                next.store(count, Ordering::Relaxed);
                let mut first = first_error.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert(error);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..at_once.min(count) {
            scope.spawn(run);
        }
        run();
    });
    let first = first_error.into_inner().unwrap_or_else(PoisonError::into_inner);
    first.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_is_worked_on_once() {
        let seen = Mutex::new(Vec::new());
        each(100, 4, |index| {
            seen.lock().expect("lock").push(index);
            Ok(())
        })
        .expect("none fails");
        let mut seen = seen.into_inner().expect("lock");
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn the_first_failure_is_the_answer_and_nothing_new_begins() {
        let started = AtomicUsize::new(0);
        let failed = each(1_000_000, 2, |index| {
            started.fetch_add(1, Ordering::Relaxed);
            if index == 3 { Err(Error::Invalid("third".to_owned())) } else { Ok(()) }
        });
        assert_eq!(failed.expect_err("one fails").to_string(), "third");
        assert!(started.into_inner() < 1_000_000);
    }
}

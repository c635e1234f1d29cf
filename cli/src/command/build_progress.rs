//! From what the builder tells to lines, and from signals to the builder.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use engine::builder::Cancel;
use engine::builder::ports::{Event, EventKind, Progress};
use tokio::signal::unix::{self, SignalKind};

use crate::error::{Error, Result};
use crate::ui::{BuildProgress, ProgressMode, VertexEvent};

/// The lines of one build.
pub(crate) struct Board(BuildProgress);

impl Board {
    /// A board that draws in `mode`.
    pub(crate) fn new(mode: ProgressMode) -> Self {
        Self(BuildProgress::new(mode))
    }

    /// Draws the last state.
    pub(crate) fn finish(self) {
        self.0.finish();
    }
}

impl Progress for Board {
    fn event(&self, event: Event<'_>) {
        let kind = match event.kind {
            EventKind::Started => VertexEvent::Started,
            EventKind::Cached => VertexEvent::Cached,
            EventKind::Log(_, bytes) => VertexEvent::Output(bytes.to_vec()),
            EventKind::Status { text, seconds } => VertexEvent::Detail(detail(text, seconds)),
            EventKind::Finished => VertexEvent::Done,
            EventKind::Failed(error) => {
                VertexEvent::Failed(error.lines().next().unwrap_or_default().to_owned())
            }
        };
        self.0.event(event.vertex.id, event.vertex.name, kind);
    }
}

/// A line below a step; one that is over ends in `done`, as BuildKit has it.
fn detail(text: &str, seconds: Option<f64>) -> String {
    match seconds {
        None => text.to_owned(),
        Some(seconds) if seconds < 0.05 => format!("{text} done"),
        Some(seconds) => format!("{text} {seconds:.1}s done"),
    }
}

/// The status of what a signal ended is this and its number.
const BY_SIGNAL: u8 = 128;
const SIGINT: u8 = 2;
const SIGTERM: u8 = 15;

/// Waits for signals.
pub(crate) struct Watch {
    over: Arc<AtomicBool>,
    signal: Arc<AtomicU8>,
}

impl Watch {
    /// From here on there is nothing to wait for: a signal ends the process.
    pub(crate) fn forget(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// There is something again that must not be left half-made.
    pub(crate) fn resume(&self) {
        self.over.store(false, Ordering::SeqCst);
    }

    /// The exit status, where a signal ended the build.
    pub(crate) fn status(&self) -> Option<u8> {
        match self.signal.load(Ordering::SeqCst) {
            0 => None,
            number => Some(BY_SIGNAL + number),
        }
    }
}

/// The first SIGINT or SIGTERM ends the running steps and stops the build, so that nothing half-made stays; the second
/// ends this process at once.
pub(crate) fn stop_on_signal(cancel: &Cancel) -> Result<Watch> {
    let over = Arc::new(AtomicBool::new(false));
    let signal = Arc::new(AtomicU8::new(0));
    let failed = |source| Error::File {
        act: "wait for signals in",
        path: "this process".to_owned(),
        source,
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    // From here on the signals are this thread's, before any step runs.
    let guard = runtime.enter();
    let mut interrupt = unix::signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = unix::signal(SignalKind::terminate()).map_err(failed)?;
    drop(guard);
    let (cancel, seen, is_over) = (cancel.clone(), Arc::clone(&signal), Arc::clone(&over));
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                let number = tokio::select! {
                    _ = interrupt.recv() => SIGINT,
                    _ = terminate.recv() => SIGTERM,
                };
                if seen.swap(number, Ordering::SeqCst) != 0 || is_over.load(Ordering::SeqCst) {
                    std::process::exit(i32::from(BY_SIGNAL + number));
                }
                cancel.cancel();
            }
        });
    });
    Ok(Watch { over, signal })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_says_so() {
        assert_eq!(detail("exporting layers", None), "exporting layers");
        assert_eq!(
            detail("naming to docker.io/library/a:1", Some(0.0)),
            "naming to docker.io/library/a:1 done"
        );
        assert_eq!(detail("exporting layers", Some(1.25)), "exporting layers 1.2s done");
    }
}

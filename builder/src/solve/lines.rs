//! The lines of the progress display, numbered as they appear.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;

use crate::ports::{Clock, Event, EventKind, LogStream, Progress, VertexRef};

/// Hands out lines.
pub(super) struct Lines<'a> {
    progress: &'a dyn Progress,
    clock: &'a dyn Clock,
    next: AtomicUsize,
}

/// One line.
pub(super) struct Line<'a> {
    lines: &'a Lines<'a>,
    pub(super) id: usize,
    name: String,
    since: Timestamp,
    ended: Cell<bool>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(progress: &'a dyn Progress, clock: &'a dyn Clock) -> Self {
        Lines { progress, clock, next: AtomicUsize::new(1) }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Starts a line.
    pub(super) fn start(&'a self, name: &str) -> Line<'a> {
        let line = Line {
            lines: self,
            id: self.next.fetch_add(1, Ordering::Relaxed),
            name: name.to_owned(),
            since: self.now(),
            ended: Cell::new(false),
        };
        line.send(EventKind::Started);
        line
    }
}

impl Line<'_> {
    fn send(&self, kind: EventKind<'_>) {
        let vertex = VertexRef { id: self.id, name: &self.name };
        self.lines.progress.event(Event { vertex, at: self.lines.now(), kind });
    }

    /// Ends the line: what is cached is not done once more.
    pub(super) fn cached(&self) {
        self.ended.set(true);
        self.send(EventKind::Cached);
    }

    pub(super) fn log(&self, stream: LogStream, bytes: &[u8]) {
        self.send(EventKind::Log(stream, bytes));
    }

    pub(super) fn status(&self, text: &str, seconds: Option<f64>) {
        self.send(EventKind::Status { text, seconds });
    }

    pub(super) fn finished(&self) {
        if !self.ended.replace(true) {
            self.send(EventKind::Finished);
        }
    }

    pub(super) fn failed(&self, error: &str) {
        self.send(EventKind::Failed(error));
    }

    /// Milliseconds since the line started.
    pub(super) fn elapsed_ms(&self) -> u64 {
        (self.lines.now().as_millisecond() - self.since.as_millisecond()).max(0).unsigned_abs()
    }
}

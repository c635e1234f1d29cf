//! From what the builder tells to lines, and from Ctrl-C to the builder.

use engine::builder::Cancel;
use engine::builder::ports::{Event, EventKind, Progress};
use tokio::sync::oneshot;

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

/// Exit status of what Ctrl-C ended: 128 and SIGINT.
const INTERRUPTED: i32 = 130;

/// Waits for signals until it is told to forget them.
pub(crate) struct Watch(oneshot::Sender<()>);

impl Watch {
    /// The build is over.
    pub(crate) fn forget(self) {
        // The thread is gone when the process is about to end anyway.
        drop(self.0);
    }
}

/// The first Ctrl-C stops the build between two steps, so that nothing half-made stays; the second ends at once.
pub(crate) fn stop_on_signal(cancel: &Cancel) -> Result<Watch> {
    let (sender, mut over) = oneshot::channel();
    let cancel = cancel.clone();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|source| {
            Error::File { act: "wait for signals in", path: "this process".to_owned(), source }
        })?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            for second in [false, true] {
                tokio::select! {
                    _ = &mut over => return,
                    pressed = tokio::signal::ctrl_c() => match (pressed, second) {
                        (Ok(()), false) => cancel.cancel(),
                        (Ok(()), true) => std::process::exit(INTERRUPTED),
                        (Err(_), _) => return,
                    },
                }
            }
        });
    });
    Ok(Watch(sender))
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

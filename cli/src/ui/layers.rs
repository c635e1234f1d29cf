//! Progress of a pull or push: a bar per layer on a terminal, a plain line per change elsewhere.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::Mutex;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Ui, Verbosity};
use crate::format::decimal_size_precise;

/// How a layer is doing, in Docker's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LayerStatus {
    /// It will be fetched.
    PullingFsLayer,
    /// Bytes arrive.
    Downloading {
        /// So far.
        bytes: u64,
    },
    /// It is being unpacked.
    Extracting,
    /// It is ready.
    PullComplete,
    /// It was here before.
    AlreadyExists,
    /// It will be sent.
    Preparing,
    /// Bytes leave.
    Pushing {
        /// So far.
        bytes: u64,
    },
    /// The registry has it.
    Pushed,
    /// The registry had it.
    LayerAlreadyExists,
    /// The registry took it from another of its repositories.
    MountedFrom(String),
}

impl LayerStatus {
    fn words(&self) -> String {
        match self {
            Self::PullingFsLayer => "Pulling fs layer".to_owned(),
            Self::Downloading { .. } => "Downloading".to_owned(),
            Self::Extracting => "Extracting".to_owned(),
            Self::PullComplete => "Pull complete".to_owned(),
            Self::AlreadyExists => "Already exists".to_owned(),
            Self::Preparing => "Preparing".to_owned(),
            Self::Pushing { .. } => "Pushing".to_owned(),
            Self::Pushed => "Pushed".to_owned(),
            Self::LayerAlreadyExists => "Layer already exists".to_owned(),
            Self::MountedFrom(repository) => format!("Mounted from {repository}"),
        }
    }

    /// Whether nothing follows.
    fn is_last(&self) -> bool {
        matches!(
            self,
            Self::PullComplete
                | Self::AlreadyExists
                | Self::Pushed
                | Self::LayerAlreadyExists
                | Self::MountedFrom(_)
        )
    }

    fn bytes(&self) -> Option<u64> {
        match self {
            Self::Downloading { bytes } | Self::Pushing { bytes } => Some(*bytes),
            _ => None,
        }
    }

    /// Whether it is worth a line of its own where lines cannot be redrawn.
    fn is_news(&self) -> bool {
        self.bytes().is_none() && *self != Self::Extracting
    }
}

/// Redraws of the bars in a second: enough to look alive, few enough to cost nothing.
const DRAWS_PER_SECOND: u8 = 15;

/// Where news goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Lines of one pull or push.
pub(crate) struct LayerBoard {
    mode: Mode,
}

enum Mode {
    Quiet,
    Plain(Stream, Mutex<HashMap<String, LayerStatus>>),
    Live { stream: Stream, bars: MultiProgress, layers: Mutex<HashMap<String, ProgressBar>> },
}

impl LayerBoard {
    /// A board for this kind of output.
    pub(crate) fn new(ui: Ui, verbosity: Verbosity, stream: Stream) -> Self {
        let (terminal, target) = match stream {
            Stream::Stdout => {
                (ui.stdout_terminal, ProgressDrawTarget::stdout_with_hz(DRAWS_PER_SECOND))
            }
            Stream::Stderr => {
                (ui.stderr_terminal, ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND))
            }
        };
        let mode = match verbosity {
            Verbosity::Quiet => Mode::Quiet,
            Verbosity::Normal if terminal => Mode::Live {
                stream,
                bars: MultiProgress::with_draw_target(target),
                layers: Mutex::default(),
            },
            Verbosity::Normal => Mode::Plain(stream, Mutex::default()),
        };
        Self { mode }
    }

    /// A line that stays, such as `latest: Pulling from library/redis`.
    pub(crate) fn line(&self, text: &str) {
        match &self.mode {
            Mode::Quiet => {}
            Mode::Plain(stream, _) => plain_line(*stream, text),
            Mode::Live { bars, stream, .. } => {
                if bars.println(text).is_err() {
                    plain_line(*stream, text);
                }
            }
        }
    }

    /// The layer with this short id changed.
    pub(crate) fn layer(&self, id: &str, total: u64, status: LayerStatus) {
        match &self.mode {
            Mode::Quiet => {}
            Mode::Plain(stream, seen) => {
                let Ok(mut seen) = seen.lock() else { return };
                if !status.is_news() || seen.get(id) == Some(&status) {
                    return;
                }
                plain_line(*stream, &format!("{id}: {}", status.words()));
                seen.insert(id.to_owned(), status);
            }
            Mode::Live { bars, layers, .. } => {
                let Ok(mut layers) = layers.lock() else { return };
                let bar = layers.entry(id.to_owned()).or_insert_with(|| new_bar(bars, id));
                draw(bar, total, &status);
            }
        }
    }

    /// Leaves the layers' lines as they are and starts afresh for the next image.
    pub(crate) fn settle(&self) {
        match &self.mode {
            Mode::Quiet => {}
            Mode::Plain(_, seen) => {
                if let Ok(mut seen) = seen.lock() {
                    seen.clear();
                }
            }
            Mode::Live { layers, .. } => {
                if let Ok(mut layers) = layers.lock() {
                    layers.drain().for_each(|(_, bar)| bar.abandon());
                }
            }
        }
    }
}

fn plain_line(stream: Stream, text: &str) {
    // A reader that went away is noticed when the result is printed.
    let _unheard = match stream {
        Stream::Stdout => writeln!(std::io::stdout().lock(), "{text}"),
        Stream::Stderr => writeln!(std::io::stderr().lock(), "{text}"),
    };
}

fn new_bar(bars: &MultiProgress, id: &str) -> ProgressBar {
    let bar = bars.add(ProgressBar::new(0));
    if let Ok(style) = ProgressStyle::with_template("{prefix}: {msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(id.to_owned());
    bar
}

fn draw(bar: &ProgressBar, total: u64, status: &LayerStatus) {
    match status.bytes() {
        Some(bytes) => bar.set_message(format!("{} {}", status.words(), gauge(bytes, total))),
        None => bar.set_message(status.words()),
    }
    if status.is_last() {
        bar.abandon();
    }
}

/// Docker's bar: `[=====>     ]  1.2MB/3.4MB`.
fn gauge(bytes: u64, total: u64) -> String {
    const WIDTH: u64 = 50;
    if total == 0 {
        return decimal_size_precise(bytes);
    }
    let filled = usize::try_from(bytes.min(total).saturating_mul(WIDTH) / total).unwrap_or(0);
    let head = if filled < 50 { ">" } else { "" };
    let bar = format!("{}{head}", "=".repeat(filled));
    format!("[{bar:<50}]  {}/{}", decimal_size_precise(bytes), decimal_size_precise(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gauge_fills_from_left_to_right() {
        assert_eq!(gauge(0, 1000), format!("[>{}]  0B/1kB", " ".repeat(49)));
        assert_eq!(gauge(500, 1000), format!("[{}>{}]  500B/1kB", "=".repeat(25), " ".repeat(24)));
        assert_eq!(gauge(1000, 1000), format!("[{}]  1kB/1kB", "=".repeat(50)));
        assert_eq!(gauge(5, 0), "5B");
    }

    #[test]
    fn only_changes_of_kind_are_news_for_a_log() {
        assert!(!LayerStatus::Downloading { bytes: 3 }.is_news());
        assert!(!LayerStatus::Extracting.is_news());
        for status in
            [LayerStatus::PullingFsLayer, LayerStatus::PullComplete, LayerStatus::AlreadyExists]
        {
            assert!(status.is_news(), "{status:?}");
        }
    }
}

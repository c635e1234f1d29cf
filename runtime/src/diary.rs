//! Why `libcontainer` failed. Between its processes it passes only the last sentence of an error ("failed to prepare rootfs");
//! the cause is logged by the process that met it. What is logged there as an error is written into a pipe, and the first of
//! it is the cause.

use std::fmt::{self, Write as _};
use std::os::fd::OwnedFd;
use std::sync::Mutex;

use rustix::pipe::PipeFlags;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

use crate::error::{Error, Result};
use crate::limits;

/// The pipe of the start that goes on now. A process of this kind has one thread, and makes one container or one process at a time;
/// those that it forks write, it reads.
static PIPE: Mutex<Option<(OwnedFd, OwnedFd)>> = Mutex::new(None);

/// Starts an empty diary.
pub(crate) fn begin() -> Result<()> {
    let pipe = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
        .map_err(|error| Error::system("make a pipe")(error.into()))?;
    *locked() = Some(pipe);
    // A process that has a subscriber already (a test) keeps it, and its failures keep the library's own words.
    let _ = tracing::subscriber::set_global_default(Listener);
    Ok(())
}

/// The cause of the failure, if one was written; the diary is closed.
pub(crate) fn cause() -> Option<String> {
    let (read_end, _) = locked().take()?;
    let mut bytes = vec![0; limits::ERROR_BYTES];
    let length = rustix::io::read(&read_end, &mut bytes).ok()?;
    bytes.truncate(length);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.lines().next().filter(|line| !line.is_empty()).map(in_dockers_words)
}

/// Closes the diary of a start that went well.
pub(crate) fn end() {
    *locked() = None;
}

fn locked() -> std::sync::MutexGuard<'static, Option<(OwnedFd, OwnedFd)>> {
    PIPE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

struct Listener;

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR && metadata.target().starts_with("libc")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        if let Some((_, write_end)) = &*locked() {
            // A line that does not fit is lost: the first one, which counts, always fits.
            let _ = rustix::io::write(write_end, line.text().as_bytes());
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// An event on one line: the message, what it is about, and its error.
#[derive(Default)]
struct Line {
    message: String,
    objects: String,
    error: String,
}

impl Line {
    fn text(&self) -> String {
        let separator = if self.error.is_empty() { "" } else { ": " };
        let Self { message, objects, error } = self;
        format!("{message}{objects}{separator}{error}").replace('\n', " ") + "\n"
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            "err" | "e" => write!(self.error, "{value:?}"),
            _ => write!(self.objects, " {value:?}"),
        };
    }
}

/// The library's words for a mount that failed show the whole of its data; Docker names the two places.
fn in_dockers_words(line: &str) -> String {
    let quoted = |key: &str| {
        let rest = line.split_once(key)?.1.trim_start_matches("Some(").strip_prefix('"')?;
        Some(rest.split('"').next()?.to_owned())
    };
    let mount = line.strip_prefix("failed to mount Mount {");
    let (Some(rest), Some(target), Some(source)) =
        (mount, quoted("destination: "), quoted("source: "))
    else {
        return line.to_owned();
    };
    let reason = rest.rsplit_once("}: ").map_or(rest, |(_, reason)| reason);
    let text = format!("error mounting {source:?} to rootfs at {target:?}: {reason}");
    let kinds = ["ENOTDIR", "EEXIST", "ot a directory", "File exists", "EISDIR", "s a directory"];
    match kinds.iter().any(|kind| reason.contains(kind)) {
        true => format!(
            "{text}: Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type"
        ),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_that_failed_is_told_by_its_two_places() {
        let table = [
            (
                r#"failed to mount Mount { destination: "/etc", typ: Some("bind"), source: Some("/etc/passwd"), options: Some(["rbind"]), uid_mappings: None }: ENOTDIR: Not a directory"#,
                r#"error mounting "/etc/passwd" to rootfs at "/etc": ENOTDIR: Not a directory: Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type"#,
            ),
            (
                r#"failed to mount Mount { destination: "/x", typ: Some("tmpfs"), source: Some("tmpfs") }: EINVAL: Invalid argument"#,
                r#"error mounting "tmpfs" to rootfs at "/x": EINVAL: Invalid argument"#,
            ),
            (
                "failed to set sysctl a=b: Invalid argument",
                "failed to set sysctl a=b: Invalid argument",
            ),
        ];
        for (line, words) in table {
            assert_eq!(in_dockers_words(line), words);
        }
    }
}

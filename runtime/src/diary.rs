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
    in_dockers_words(&String::from_utf8_lossy(&bytes))
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

/// What is said of errors by their names, which is all that the library logs of some.
const ERRORS: [(&str, &str); 12] = [
    ("EACCES", "permission denied"),
    ("EBUSY", "device or resource busy"),
    ("EEXIST", "file exists"),
    ("EINVAL", "invalid argument"),
    ("ELOOP", "too many levels of symbolic links"),
    ("ENAMETOOLONG", "file name too long"),
    ("ENODEV", "no such device"),
    ("ENOENT", "no such file or directory"),
    ("ENOSPC", "no space left on device"),
    ("ENOTDIR", "not a directory"),
    ("EPERM", "operation not permitted"),
    ("EROFS", "read-only file system"),
];

/// The cause out of what was logged; nothing where the library's own error tells more than its log.
fn in_dockers_words(diary: &str) -> Option<String> {
    let first = diary.lines().next().filter(|line| !line.is_empty())?;
    if first.starts_with("failed to apply cgroup") {
        return None;
    }
    Some(match failed_mount(first) {
        Some(mount) => mount.words(diary),
        None => match errno(first) {
            Some((shown, words)) => first.replace(shown, words),
            None => first.to_owned(),
        },
    })
}

/// The first error that is shown by its name, and the words for it.
fn errno(text: &str) -> Option<(&str, &'static str)> {
    let start = text.find("Nix(")?;
    let shown = &text[start..start + text[start..].find(')')? + 1];
    let name = shown.trim_start_matches("Nix(").trim_end_matches(')');
    ERRORS.iter().find(|(known, _)| *known == name).map(|(_, words)| (shown, *words))
}

/// A mount that failed: its two places, and what is said of it.
struct FailedMount<'t> {
    source: &'t str,
    target: &'t str,
    reason: &'t str,
}

/// The library shows the whole of a mount's data; Docker names the two places.
fn failed_mount(line: &str) -> Option<FailedMount<'_>> {
    let data = line.strip_prefix("failed to mount Mount {")?;
    let quoted = |key: &str| {
        let rest = data.split_once(key)?.1.trim_start_matches("Some(").strip_prefix('"')?;
        rest.split('"').next()
    };
    let reason = data.rsplit_once(" }: ").map_or("", |(_, reason)| reason);
    Some(FailedMount { source: quoted("source: ")?, target: quoted("destination: ")?, reason })
}

impl FailedMount<'_> {
    fn words(&self, diary: &str) -> String {
        let Self { source, target, reason } = self;
        // A call that failed is logged by whoever asked for the mount, on a later line.
        let reason = match (*reason, errno(diary)) {
            ("syscall", Some((_, words))) => words,
            (reason, _) if reason.contains("O_DIRECTORY") => "not a directory",
            (reason, _) => reason,
        };
        let text = format!("error mounting {source:?} to rootfs at {target:?}: {reason}");
        match reason {
            // The kernel's word for a file that is to be mounted on a folder.
            "not a directory" | "invalid argument" => format!(
                "{text}: Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type"
            ),
            _ => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_in_dockers_words() {
        const KIND: &str = "Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type";
        let mount = |target: &str, source: &str| {
            format!(
                r#"failed to mount Mount {{ destination: "{target}", typ: Some("bind"), source: Some("{source}"), options: Some(["rbind"]), uid_mappings: None }}"#
            )
        };
        let table = [
            (
                mount("/etc", "/f")
                    + ": syscall\nfailed to prepare rootfs: Mount(Syscall(Nix(ENOTDIR)))\n",
                Some(format!(
                    r#"error mounting "/f" to rootfs at "/etc": not a directory: {KIND}"#
                )),
            ),
            (
                mount("/etc/passwd", "/d") + ": cannot re-open [12] with O_DIRECTORY\n",
                Some(format!(
                    r#"error mounting "/d" to rootfs at "/etc/passwd": not a directory: {KIND}"#
                )),
            ),
            (
                mount("/x", "/d")
                    + ": syscall\nfailed to prepare rootfs: Mount(Syscall(Nix(EPERM)))\n",
                Some(
                    r#"error mounting "/d" to rootfs at "/x": operation not permitted"#.to_owned(),
                ),
            ),
            (
                "failed to set hostname \"x\": Nix(EINVAL)\n".to_owned(),
                Some("failed to set hostname \"x\": invalid argument".to_owned()),
            ),
            (
                "failed to set sysctl a=b: Invalid argument\nmore\n".to_owned(),
                Some("failed to set sysctl a=b: Invalid argument".to_owned()),
            ),
            ("failed to apply cgroup Pid(1): V1(Write)\n".to_owned(), None),
            (String::new(), None),
        ];
        for (diary, words) in table {
            assert_eq!(in_dockers_words(&diary), words, "{diary}");
        }
    }
}

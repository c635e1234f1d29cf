//! The journal of what happened: one line of JSON an event, in two files of bounded size, written by every process that acts and
//! read by `events`.
//!
//! A journal never stands in the way of an act: what cannot be written is lost, not the act.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::error::{Error, Result};
use crate::limits;
use crate::record::Record;
use crate::runtime::watch::{Awaited, StateWatch};
use crate::state;

/// What kind of object an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A network.
    Network,
    /// A volume.
    Volume,
}

impl EventKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Container, Self::Image, Self::Network, Self::Volume];

    /// Docker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Network => "network",
            Self::Volume => "volume",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub time: Timestamp,
    /// To what kind of object.
    pub kind: EventKind,
    /// What: `start`, `die`, `pull`.
    pub action: String,
    /// To which object: a container's or network's id, a volume's or image's name.
    pub id: String,
    /// What else is known, such as `name`, `image` and `exitCode`.
    pub attributes: BTreeMap<String, String>,
}

/// Which events are read.
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    /// Not those before.
    pub since: Option<Timestamp>,
    /// Not those after; when it has come, a reader that follows ends.
    pub until: Option<Timestamp>,
    /// Whether what happens from now on is waited for.
    pub follow: bool,
}

/// The journal of one root.
#[derive(Debug, Clone)]
pub struct Journal {
    dir: PathBuf,
}

const CURRENT: &str = "events.jsonl";
const PREVIOUS: &str = "events.1.jsonl";

impl Journal {
    /// In this folder, which is made when the first event is written.
    pub fn in_folder(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Notes what happened just now.
    pub fn note(&self, kind: EventKind, action: &str, id: &str, attributes: &[(&str, &str)]) {
        let attributes = attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let event = Event {
            time: clock::now(),
            kind,
            action: action.to_owned(),
            id: id.to_owned(),
            attributes: attributes.collect(),
        };
        self.append(&event);
    }

    /// Notes what happened to a container, with its name, image and labels.
    pub(crate) fn container(&self, record: &Record, action: &str, more: &[(&str, &str)]) {
        let mut attributes = record.labels.clone();
        attributes.insert("image".to_owned(), record.image.clone());
        attributes.insert("name".to_owned(), record.name.clone());
        attributes.extend(more.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        self.append(&Event {
            time: clock::now(),
            kind: EventKind::Container,
            action: action.to_owned(),
            id: record.id.to_string(),
            attributes,
        });
    }

    fn append(&self, event: &Event) {
        if let Err(error) = self.try_append(event) {
            tracing::warn!("note the event {} {}: {error}", event.kind, event.action);
        }
    }

    fn try_append(&self, event: &Event) -> Result<()> {
        state::make_private_dir(&self.dir)?;
        let path = self.dir.join(CURRENT);
        let act = || Error::file("write", &path);
        let mut line = serde_json::to_vec(event).map_err(|error| act()(error.into()))?;
        line.push(b'\n');
        let lock = self.lock()?;
        let mut file = open_to_append(&path).map_err(act())?;
        let length = file.metadata().map_err(act())?.len();
        if length > 0 && length + line.len() as u64 > limits::EVENTS_FILE_BYTES {
            fs::rename(&path, self.dir.join(PREVIOUS)).map_err(act())?;
            file = open_to_append(&path).map_err(act())?;
        }
        let written = file.write_all(&line).map_err(act());
        drop(lock);
        written
    }

    /// Writers take turns, so that none writes into a file that another has just put away.
    fn lock(&self) -> Result<File> {
        let path = self.dir.join("events.lock");
        let file = open_to_append(&path).map_err(Error::file("open", &path))?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)
            .map_err(|error| Error::file("lock", &path)(error.into()))?;
        Ok(file)
    }

    /// Gives the events of a query to `each` in their order, until it says that it wants no more.
    ///
    /// # Errors
    /// The journal cannot be read, or `each` fails.
    pub fn read(
        &self,
        query: &EventQuery,
        each: &mut dyn FnMut(Event) -> io::Result<()>,
    ) -> Result<()> {
        state::make_private_dir(&self.dir)?;
        let watch = StateWatch::on(&self.dir, Awaited::Log)?;
        let path = self.dir.join(CURRENT);
        if let Some(mut previous) = Lines::open(&self.dir.join(PREVIOUS))? {
            previous.give(query, each)?;
        }
        let mut current = Lines::open(&path)?;
        loop {
            if let Some(lines) = &mut current {
                lines.give(query, each)?;
            }
            if current.as_ref().is_none_or(|lines| lines.was_put_away(&path)) {
                // What was written before it was put away has been read above, or is read here before the new file.
                if let Some(lines) = &mut current {
                    lines.give(query, each)?;
                }
                current = Lines::open(&path)?;
                if let Some(lines) = &mut current {
                    lines.give(query, each)?;
                }
            }
            let left = query.until.map(|until| until.duration_since(clock::now()));
            if !query.follow || left.is_some_and(|left| !left.is_positive()) {
                return Ok(());
            }
            let patience = left.and_then(|left| Duration::try_from(left).ok());
            watch.wait(patience.unwrap_or(Duration::MAX).min(LONGEST_WAIT));
        }
    }
}

/// A wait is broken off now and then: a clock that was set must not keep `--until` waiting for ever.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

fn open_to_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// One file of the journal, read as far as it goes, and further when it has grown.
struct Lines {
    reader: BufReader<File>,
    inode: u64,
    partial: Vec<u8>,
    path: PathBuf,
}

impl Lines {
    fn open(path: &Path) -> Result<Option<Self>> {
        let act = || Error::file("read", path);
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(act()(error)),
        };
        let inode = file.metadata().map_err(act())?.ino();
        Ok(Some(Self {
            reader: BufReader::new(file),
            inode,
            partial: Vec::new(),
            path: path.to_owned(),
        }))
    }

    fn was_put_away(&self, path: &Path) -> bool {
        fs::metadata(path).map_or(true, |metadata| metadata.ino() != self.inode)
    }

    fn give(
        &mut self,
        query: &EventQuery,
        each: &mut dyn FnMut(Event) -> io::Result<()>,
    ) -> Result<()> {
        loop {
            self.reader
                .read_until(b'\n', &mut self.partial)
                .map_err(Error::file("read", &self.path))?;
            if self.partial.last() != Some(&b'\n') {
                return Ok(());
            }
            // A line that a full disk cut in two is no event, and the next one is.
            if let Ok(event) = serde_json::from_slice::<Event>(&self.partial)
                && query.since.is_none_or(|since| event.time >= since)
                && query.until.is_none_or(|until| event.time <= until)
            {
                each(event).map_err(Error::system("write the events"))?;
            }
            self.partial.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actions(journal: &Journal, query: &EventQuery) -> Vec<String> {
        let mut actions = Vec::new();
        journal
            .read(query, &mut |event| {
                actions.push(event.action);
                Ok(())
            })
            .unwrap();
        actions
    }

    /// Covers: RUN-32
    #[test]
    fn events_are_read_in_their_order_and_window() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::in_folder(dir.path().join("events"));
        assert!(actions(&journal, &EventQuery::default()).is_empty());
        journal.note(EventKind::Container, "die", "c1", &[("exitCode", "3")]);
        let between = clock::now();
        journal.note(EventKind::Container, "stop", "c1", &[]);
        assert_eq!(actions(&journal, &EventQuery::default()), ["die", "stop"]);
        let late = EventQuery { since: Some(between), ..EventQuery::default() };
        assert_eq!(actions(&journal, &late), ["stop"]);
        let early = EventQuery { until: Some(between), follow: true, ..EventQuery::default() };
        assert_eq!(actions(&journal, &early), ["die"], "the end of the window ends the wait");
    }

    #[test]
    fn the_journal_is_bounded_and_a_broken_line_hides_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::in_folder(dir.path());
        let long = "x".repeat(64 << 10);
        let rounds = 3 * limits::EVENTS_FILE_BYTES / (64 << 10);
        for _ in 0..rounds {
            journal.note(EventKind::Volume, "create", &long, &[]);
        }
        journal.note(EventKind::Volume, "destroy", "v", &[]);
        let bytes: u64 = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert!(bytes <= 2 * limits::EVENTS_FILE_BYTES, "{bytes}");
        fs::OpenOptions::new()
            .append(true)
            .open(dir.path().join(CURRENT))
            .unwrap()
            .write_all(b"{\"time\":\n")
            .unwrap();
        journal.note(EventKind::Volume, "create", "v", &[]);
        let all = actions(&journal, &EventQuery::default());
        assert_eq!(all[all.len() - 2..], ["destroy", "create"]);
    }

    #[test]
    fn a_follower_sees_what_comes_also_over_a_change_of_files() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::in_folder(dir.path());
        journal.note(EventKind::Image, "pull", "first", &[]);
        let follower = std::thread::spawn({
            let journal = journal.clone();
            move || {
                let mut seen = Vec::new();
                let query = EventQuery { follow: true, ..EventQuery::default() };
                let _ = journal.read(&query, &mut |event| {
                    seen.push(event.id.clone());
                    if event.id == "last" { Err(io::ErrorKind::Other.into()) } else { Ok(()) }
                });
                seen.len()
            }
        });
        let long = "y".repeat(1 << 20);
        for _ in 0..6 {
            journal.note(EventKind::Image, "tag", &long, &[]);
        }
        journal.note(EventKind::Image, "tag", "last", &[]);
        assert!(follower.join().unwrap() >= 2);
    }
}

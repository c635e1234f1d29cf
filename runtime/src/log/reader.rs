//! Reading a log: a window of time, a number of lines from the end, and following.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::{json_file, local, rotate};
use crate::error::{Error, Result};
use crate::options::LogDriverName;
use crate::request::{LogEntry, LogQuery};

/// How often a followed log is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(20);

/// Gives the entries a query asks for. `is_live` tells whether more can come.
pub(crate) fn read(
    driver: LogDriverName,
    path: &Path,
    query: &LogQuery,
    is_live: &dyn Fn() -> bool,
    each: &mut dyn FnMut(LogEntry) -> io::Result<()>,
) -> Result<()> {
    let mut tail = VecDeque::new();
    let mut current = None;
    for file in rotate::files(path) {
        match Follower::open(driver, &file) {
            Ok(follower) => current = Some(follower),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::file("read the log", &file)(error)),
        }
        let Some(follower) = &mut current else { continue };
        follower
            .entries(query, &mut |entry| match query.tail {
                None => each(entry),
                Some(count) => {
                    tail.push_back(entry);
                    if tail.len() > count {
                        tail.pop_front();
                    }
                    Ok(())
                }
            })
            .map_err(Error::file("read the log", &file))?;
    }
    for entry in tail {
        each(entry).map_err(Error::system("write the log entries"))?;
    }
    if query.follow {
        follow(driver, path, current, query, is_live, each)
            .map_err(Error::file("follow the log", path))?;
    }
    Ok(())
}

fn follow(
    driver: LogDriverName,
    path: &Path,
    mut current: Option<Follower>,
    query: &LogQuery,
    is_live: &dyn Fn() -> bool,
    each: &mut dyn FnMut(LogEntry) -> io::Result<()>,
) -> io::Result<()> {
    loop {
        // Asked before reading: what was written before the container ended is then surely read below.
        let live = is_live();
        if let Some(follower) = &mut current {
            follower.entries(query, each)?;
        }
        if current.as_ref().is_none_or(|follower| follower.was_rotated(path)) {
            match Follower::open(driver, path) {
                Ok(mut next) => {
                    next.entries(query, each)?;
                    current = Some(next);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if !live {
            return Ok(());
        }
        std::thread::sleep(FOLLOW_INTERVAL);
    }
}

/// One log file, read as far as it goes, and further when it has grown.
struct Follower {
    driver: LogDriverName,
    reader: BufReader<File>,
    inode: u64,
    partial: Vec<u8>,
}

impl Follower {
    fn open(driver: LogDriverName, path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let inode = file.metadata()?.ino();
        Ok(Self {
            driver,
            reader: BufReader::with_capacity(64 << 10, file),
            inode,
            partial: Vec::new(),
        })
    }

    fn was_rotated(&self, path: &Path) -> bool {
        std::fs::metadata(path).is_ok_and(|metadata| metadata.ino() != self.inode)
    }

    /// Gives the complete entries from here on that lie in the query's window.
    fn entries(
        &mut self,
        query: &LogQuery,
        each: &mut dyn FnMut(LogEntry) -> io::Result<()>,
    ) -> io::Result<()> {
        while let Some(entry) = self.next()? {
            if query.since.is_none_or(|since| entry.time >= since)
                && query.until.is_none_or(|until| entry.time <= until)
            {
                each(entry)?;
            }
        }
        Ok(())
    }

    fn next(&mut self) -> io::Result<Option<LogEntry>> {
        match self.driver {
            LogDriverName::JsonFile => json_file::read_line(&mut self.reader, &mut self.partial),
            LogDriverName::Local | LogDriverName::Syslog | LogDriverName::Journald => {
                local::read_frame(&mut self.reader, &mut self.partial)
            }
            LogDriverName::None => Ok(None),
        }
    }
}

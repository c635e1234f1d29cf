//! Where a container's output goes: one trait, one file per driver, and the splitter that makes entries out of bytes.

pub(crate) mod json_file;
mod local;
mod reader;
mod remote;
mod rotate;

use std::io;
use std::path::Path;

use jiff::Timestamp;

pub(crate) use reader::read;
pub(crate) use remote::{Origin, check as check_remote};

use crate::error::Result;
use crate::limits;
use crate::options::{LogDriverName, LogOptions};
use crate::request::OutputStream;

/// Keeps the lines of one container. Entries are appended in order and are safe from a crash of this process after `flush`.
pub(crate) trait LogDriver: std::fmt::Debug {
    /// Takes one line, with its newline, or a piece of a longer one, without.
    fn append(&mut self, stream: OutputStream, time: Timestamp, line: &[u8]) -> io::Result<()>;

    /// Hands everything that was appended to the kernel.
    fn flush(&mut self) -> io::Result<()>;
}

/// The driver of a container.
pub(crate) fn open(
    options: &LogOptions,
    file: &Path,
    origin: &Origin<'_>,
) -> Result<Box<dyn LogDriver>> {
    match options.driver() {
        LogDriverName::JsonFile => Ok(Box::new(json_file::JsonFile::open(file, options)?)),
        LogDriverName::Local => Ok(Box::new(local::Local::open(file, options)?)),
        LogDriverName::Syslog => Ok(Box::new(remote::Remote::syslog(file, options, origin)?)),
        LogDriverName::Journald => Ok(Box::new(remote::Remote::journald(file, options, origin)?)),
        LogDriverName::None => Ok(Box::new(Nothing)),
    }
}

/// `none`.
#[derive(Debug)]
struct Nothing;

impl LogDriver for Nothing {
    fn append(&mut self, _: OutputStream, _: Timestamp, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Cuts a stream of bytes into lines, and lines that are too long into pieces.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    pending: Vec<u8>,
}

impl Splitter {
    /// Takes bytes as they come and gives each line that is complete.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = limits::LOG_LINE_BYTES - self.pending.len();
            let window = &bytes[..bytes.len().min(room)];
            let (taken, complete) = match window.iter().position(|byte| *byte == b'\n') {
                Some(newline) => (newline + 1, true),
                None => (window.len(), window.len() == room),
            };
            let (piece, rest) = bytes.split_at(taken);
            bytes = rest;
            if !complete {
                self.pending.extend_from_slice(piece);
            } else if self.pending.is_empty() {
                each(piece)?;
            } else {
                self.pending.extend_from_slice(piece);
                each(&self.pending)?;
                self.pending.clear();
            }
        }
        Ok(())
    }

    /// Gives what is left without a newline.
    pub(crate) fn finish(
        &mut self,
        mut each: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        if !self.pending.is_empty() {
            each(&self.pending)?;
            self.pending.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

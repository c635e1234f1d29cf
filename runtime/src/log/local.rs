//! The `local` driver: binary frames that keep every byte, rotated by size. The format is this program's own
//! (`docs/format/container-log.md`); nobody but `logs` is meant to read it.

use std::io::{self, BufRead};
use std::path::Path;

use jiff::Timestamp;

use super::LogDriver;
use super::rotate::BoundedFile;
use crate::error::{Error, Result};
use crate::limits;
use crate::options::LogOptions;
use crate::request::{LogEntry, OutputStream};

/// Stream, seconds, nanoseconds, length.
const HEADER: usize = 1 + 8 + 4 + 4;

/// Writes frames of a fixed header and the bytes of a line.
#[derive(Debug)]
pub(super) struct Local(BoundedFile);

impl Local {
    pub(super) fn open(path: &Path, options: &LogOptions) -> Result<Self> {
        BoundedFile::open(path, options).map(Self).map_err(Error::file("open the log", path))
    }
}

impl LogDriver for Local {
    fn append(&mut self, stream: OutputStream, time: Timestamp, line: &[u8]) -> io::Result<()> {
        self.0.append(|buffer| {
            buffer.push(match stream {
                OutputStream::Stdout => 1,
                OutputStream::Stderr => 2,
            });
            buffer.extend_from_slice(&time.as_second().to_be_bytes());
            buffer.extend_from_slice(&time.subsec_nanosecond().to_be_bytes());
            buffer.extend_from_slice(&u32::try_from(line.len()).unwrap_or(0).to_be_bytes());
            buffer.extend_from_slice(line);
            Ok(())
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Reads one frame; `None` when it is not all there yet. What was read stays in `partial` till then.
pub(super) fn read_frame(
    reader: &mut impl BufRead,
    partial: &mut Vec<u8>,
) -> io::Result<Option<LogEntry>> {
    if !fill(reader, partial, HEADER)? {
        return Ok(None);
    }
    let number = |at: usize| {
        u32::from_be_bytes([partial[at], partial[at + 1], partial[at + 2], partial[at + 3]])
    };
    let (high, low) = (number(1), number(5));
    let seconds = i64::from_be_bytes((u64::from(high) << 32 | u64::from(low)).to_be_bytes());
    let nanoseconds = i32::from_be_bytes(number(9).to_be_bytes());
    let length = number(13) as usize;
    let stream = match partial[0] {
        1 => OutputStream::Stdout,
        2 => OutputStream::Stderr,
        _ => return Err(damaged()),
    };
    if length > limits::LOG_LINE_BYTES {
        return Err(damaged());
    }
    if !fill(reader, partial, HEADER + length)? {
        return Ok(None);
    }
    let time = Timestamp::new(seconds, nanoseconds).map_err(|_| damaged())?;
    let line = partial[HEADER..].to_vec();
    partial.clear();
    Ok(Some(LogEntry { time, stream, line }))
}

fn fill(reader: &mut impl BufRead, partial: &mut Vec<u8>, wanted: usize) -> io::Result<bool> {
    while partial.len() < wanted {
        let available = reader.fill_buf()?;
        if available.is_empty() {
            return Ok(false);
        }
        let taken = available.len().min(wanted - partial.len());
        partial.extend_from_slice(&available[..taken]);
        reader.consume(taken);
    }
    Ok(true)
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the log file is damaged")
}

//! The `json-file` driver: Docker's format, one object per line, rotated by size.

use std::io::{self, BufRead, Write};
use std::path::Path;

use jiff::Timestamp;
use serde::Deserialize;

use super::LogDriver;
use super::rotate::BoundedFile;
use crate::error::{Error, Result};
use crate::options::LogOptions;
use crate::request::{LogEntry, OutputStream};

/// Writes one object per line.
#[derive(Debug)]
pub(super) struct JsonFile(BoundedFile);

impl JsonFile {
    pub(super) fn open(path: &Path, options: &LogOptions) -> Result<Self> {
        BoundedFile::open(path, options).map(Self).map_err(Error::file("open the log", path))
    }
}

impl LogDriver for JsonFile {
    fn append(&mut self, stream: OutputStream, time: Timestamp, line: &[u8]) -> io::Result<()> {
        self.0.append(|buffer| {
            buffer.extend_from_slice(b"{\"log\":");
            write_json_string(buffer, line);
            writeln!(buffer, ",\"stream\":\"{stream}\",\"time\":\"{}\"}}", DockerTime(time))
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Reads one object; `None` when its line is not all there yet. A line that cannot be read is passed over.
pub(super) fn read_line(
    reader: &mut impl BufRead,
    partial: &mut Vec<u8>,
) -> io::Result<Option<LogEntry>> {
    loop {
        let count = reader.read_until(b'\n', partial)?;
        if count == 0 || partial.last() != Some(&b'\n') {
            return Ok(None);
        }
        let entry = parse(partial);
        partial.clear();
        if entry.is_some() {
            return Ok(entry);
        }
    }
}

#[derive(Deserialize)]
struct Line {
    log: String,
    stream: String,
    time: Timestamp,
}

fn parse(line: &[u8]) -> Option<LogEntry> {
    let line: Line = serde_json::from_slice(line).ok()?;
    let stream = match line.stream.as_str() {
        "stdout" => OutputStream::Stdout,
        "stderr" => OutputStream::Stderr,
        _ => return None,
    };
    Some(LogEntry { time: line.time, stream, line: line.log.into_bytes() })
}

/// `2006-01-02T15:04:05.999999999Z`, without trailing zeros, as Go writes it.
pub(crate) struct DockerTime(pub(crate) Timestamp);

impl std::fmt::Display for DockerTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A JSON string of bytes that may not be UTF-8: what is not becomes U+FFFD, as in Docker.
fn write_json_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for chunk in bytes.utf8_chunks() {
        write_escaped(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    out.push(b'"');
}

fn write_escaped(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut start = 0;
    for (place, byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            b'<' => b"\\u003c",
            b'>' => b"\\u003e",
            b'&' => b"\\u0026",
            0..0x20 | 0x7f => b"",
            _ => continue,
        };
        out.extend_from_slice(&bytes[start..place]);
        start = place + 1;
        if escape.is_empty() {
            let _ = write!(out, "\\u{byte:04x}");
        } else {
            out.extend_from_slice(escape);
        }
    }
    out.extend_from_slice(&bytes[start..]);
}

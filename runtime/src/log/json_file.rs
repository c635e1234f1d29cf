//! The `json-file` driver: Docker's format, one object per line, rotated by size.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::LogDriver;
use crate::error::{Error, Result};
use crate::options::LogOptions;
use crate::request::OutputStream;

/// Writes `<file>`, keeps older ones as `<file>.1`, `<file>.2` and so on.
#[derive(Debug)]
pub(super) struct JsonFile {
    path: PathBuf,
    file: File,
    size: u64,
    buffer: Vec<u8>,
    max_size: u64,
    max_files: u32,
}

impl JsonFile {
    pub(super) fn open(path: &Path, options: &LogOptions) -> Result<Self> {
        let file = append_to(path).map_err(Error::file("open the log", path))?;
        let size = file.metadata().map_err(Error::file("open the log", path))?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            size,
            buffer: Vec::new(),
            max_size: options.max_size(),
            max_files: options.max_files(),
        })
    }

    fn rotate(&mut self) -> io::Result<()> {
        if self.max_files <= 1 {
            self.file.set_len(0)?;
        } else {
            for number in (1..self.max_files - 1).rev() {
                rename_if_there(&numbered(&self.path, number), &numbered(&self.path, number + 1))?;
            }
            rename_if_there(&self.path, &numbered(&self.path, 1))?;
            self.file = append_to(&self.path)?;
        }
        self.size = 0;
        Ok(())
    }
}

impl LogDriver for JsonFile {
    fn append(&mut self, stream: OutputStream, time: Timestamp, line: &[u8]) -> io::Result<()> {
        let before = self.buffer.len();
        self.buffer.extend_from_slice(b"{\"log\":");
        write_json_string(&mut self.buffer, line);
        write!(self.buffer, ",\"stream\":\"{stream}\",\"time\":\"{}\"}}", DockerTime(time))?;
        self.buffer.push(b'\n');
        if self.size + self.buffer.len() as u64 > self.max_size {
            let last = self.buffer.split_off(before);
            self.flush()?;
            if self.size > 0 {
                self.rotate()?;
            }
            self.buffer = last;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = self.file.write_all(&self.buffer);
        self.size += self.buffer.len() as u64;
        self.buffer.clear();
        written
    }
}

/// The files of a log that are there, the oldest first.
pub(super) fn files(path: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        (1..).map(|number| numbered(path, number)).take_while(|file| file.exists()).collect();
    files.reverse();
    files.push(path.to_owned());
    files
}

/// `2006-01-02T15:04:05.999999999Z`, without trailing zeros, as Go writes it.
pub(crate) struct DockerTime(pub(crate) Timestamp);

impl std::fmt::Display for DockerTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
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

//! Files of a bounded size: `<file>`, and the older ones as `<file>.1`, `<file>.2` and so on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::options::LogOptions;

/// A log's current file, and what is written next.
#[derive(Debug)]
pub(super) struct BoundedFile {
    file: File,
    rotation: Rotation,
    buffer: Vec<u8>,
}

impl BoundedFile {
    /// Opens the current file for appending.
    pub(super) fn open(path: &Path, options: &LogOptions) -> io::Result<Self> {
        let file = append_to(path)?;
        let size = file.metadata()?.len();
        let rotation = Rotation {
            path: path.to_owned(),
            size,
            max_size: options.max_size(),
            max_files: options.max_files(),
        };
        Ok(Self { file, rotation, buffer: Vec::new() })
    }

    /// Takes one entry, which is never parted by the end of a file.
    pub(super) fn append(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        let before = self.buffer.len();
        write(&mut self.buffer)?;
        if self.rotation.is_due(self.buffer.len()) {
            let last = self.buffer.split_off(before);
            self.flush()?;
            self.rotation.rotate(&mut self.file)?;
            self.buffer = last;
        }
        Ok(())
    }

    /// Writes what was taken.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let written = self.file.write_all(&self.buffer);
        self.rotation.wrote(self.buffer.len());
        self.buffer.clear();
        written
    }
}

/// When to begin a new file, and how many to keep.
#[derive(Debug)]
struct Rotation {
    path: PathBuf,
    size: u64,
    max_size: u64,
    max_files: u32,
}

impl Rotation {
    /// Whether so many further bytes would make the file too long.
    fn is_due(&self, bytes: usize) -> bool {
        self.size.saturating_add(bytes as u64) > self.max_size
    }

    /// So many bytes were written.
    fn wrote(&mut self, bytes: usize) {
        self.size += bytes as u64;
    }

    /// Begins a new file; an empty one is not worth it.
    fn rotate(&mut self, file: &mut File) -> io::Result<()> {
        if self.size == 0 {
            return Ok(());
        }
        if self.max_files <= 1 {
            file.set_len(0)?;
        } else {
            for number in (1..self.max_files - 1).rev() {
                rename_if_there(&numbered(&self.path, number), &numbered(&self.path, number + 1))?;
            }
            rename_if_there(&self.path, &numbered(&self.path, 1))?;
            *file = append_to(&self.path)?;
        }
        self.size = 0;
        Ok(())
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

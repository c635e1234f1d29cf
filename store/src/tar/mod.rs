//! Tar archives: an own streaming reader, because a layer is hostile input and every
//! disagreement between readers is an attack, and a canonical writer, because equal trees
//! must give equal digests.
//!
//! Where the formats leave room the reader does what Go's `archive/tar` does, since that is
//! what makes and reads nearly every layer there is.

mod header;
mod pax;
mod reader;
mod sparse;
mod writer;

use std::io;

pub use header::BLOCK_BYTES;
pub use reader::{EntryData, Reader};
pub use sparse::Segment;
pub use writer::Writer;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A block device.
    BlockDevice {
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
    /// A character device.
    CharDevice {
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
    /// A regular file.
    File,
    /// Another name of an earlier entry.
    HardLink,
    /// A symbolic link.
    Symlink,
}

/// A point in time as tar has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds after that.
    pub nanos: u32,
}

/// One entry of an archive, with everything that extension headers said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The path as written: not checked, not normalised.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// The target of a link.
    pub link: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// When it was last changed.
    pub mtime: Time,
    /// The length of the file's content, holes included.
    pub size: u64,
    /// Extended attributes, sorted by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where data lies in a sparse file.
    pub sparse: Option<Vec<Segment>>,
}

impl Entry {
    /// An entry of this kind and path with nothing else set.
    pub fn new(kind: Kind, path: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.into(),
            kind,
            link: Vec::new(),
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: Time::default(),
            size: 0,
            xattrs: Vec::new(),
            sparse: None,
        }
    }
}

/// Why bytes are not a tar archive, or one that is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TarError {
    /// The archive breaks the format, or leaves room for two readings.
    #[error("invalid tar at byte {offset}: {reason}")]
    Invalid {
        /// Where.
        offset: u64,
        /// What.
        reason: &'static str,
    },
    /// The stream under the archive failed.
    #[error("{0}")]
    Io(io::Error),
    /// A part is over its limit.
    #[error("tar at byte {offset}: {what} is over the limit of {limit}")]
    TooLarge {
        /// Where.
        offset: u64,
        /// What.
        what: &'static str,
        /// How much is accepted.
        limit: u64,
    },
    /// The archive ends inside an entry.
    #[error("truncated tar: it ends at byte {offset} inside an entry")]
    Truncated {
        /// Where.
        offset: u64,
    },
    /// An entry of a type that layers cannot have.
    #[error("tar at byte {offset}: entry type {typeflag:?} is not supported")]
    Unsupported {
        /// Where.
        offset: u64,
        /// Its type flag.
        typeflag: char,
    },
}

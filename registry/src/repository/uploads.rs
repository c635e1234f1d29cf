//! `_uploads/<id>/`: what an unfinished upload has received (`data`) and how it is hashed
//! (`upload.json`). The length of `data` is the offset, so it is right after any crash.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use oci::Algorithm;
use serde::{Deserialize, Serialize};

use super::{Repositories, entries, read_small, remove_tree};
use crate::clock;
use crate::name::RepositoryName;

/// The identity of an upload session: a random UUID (distribution-spec 1.1, "POST then PUT").
/// It cannot be guessed, so it is also the right to go on with the upload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct UploadId(Box<str>);

impl UploadId {
    /// A new one.
    pub(crate) fn random() -> io::Result<Self> {
        let mut bytes = [0u8; 16];
        getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
        // RFC 9562, version 4 and its variant.
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
        Ok(Self(parts.join("-").into()))
    }

    /// The id as written.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name that nothing else has.
pub(super) fn random_name() -> io::Result<String> {
    Ok(UploadId::random()?.0.into_string())
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no upload id.
#[derive(Debug)]
pub(crate) struct NotAnUploadId;

impl FromStr for UploadId {
    type Err = NotAnUploadId;

    fn from_str(text: &str) -> Result<Self, NotAnUploadId> {
        let shape = |(at, byte): (usize, u8)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        };
        if text.len() == 36 && text.bytes().enumerate().all(shape) {
            Ok(Self(text.into()))
        } else {
            Err(NotAnUploadId)
        }
    }
}

/// The lasting part of an upload session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SessionRecord {
    /// The algorithm that the bytes are hashed with as they pass.
    pub(crate) algorithm: String,
}

impl SessionRecord {
    /// A session that hashes with `algorithm`.
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        Self { algorithm: algorithm.to_string() }
    }

    /// The algorithm; SHA-256 where the file says something unknown, which costs one more pass.
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm.parse().unwrap_or(Algorithm::Sha256)
    }
}

impl Repositories {
    /// Makes an empty session and opens its data file.
    pub(crate) fn create_upload(
        &self,
        name: &RepositoryName,
        id: &UploadId,
        record: &SessionRecord,
    ) -> io::Result<File> {
        let folder = self.upload_folder(name, id);
        fs::create_dir_all(&folder)?;
        // Not flushed: a session that a loss of power takes is started again by its client.
        fs::write(folder.join("upload.json"), serde_json::to_string(record)?)?;
        File::options().read(true).write(true).create_new(true).open(folder.join("data"))
    }

    /// Finds a session of an earlier request or process.
    pub(crate) fn open_upload(
        &self,
        name: &RepositoryName,
        id: &UploadId,
    ) -> io::Result<Option<(SessionRecord, File)>> {
        let folder = self.upload_folder(name, id);
        let Some(text) = read_small(&folder.join("upload.json"))? else { return Ok(None) };
        let Ok(record) = serde_json::from_str(&text) else { return Ok(None) };
        match File::options().read(true).write(true).open(folder.join("data")) {
            Ok(data) => Ok(Some((record, data))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where the received bytes are.
    pub(crate) fn upload_data(&self, name: &RepositoryName, id: &UploadId) -> PathBuf {
        self.upload_folder(name, id).join("data")
    }

    /// Removes a session with what it received.
    pub(crate) fn remove_upload(&self, name: &RepositoryName, id: &UploadId) -> io::Result<()> {
        self.ask()?;
        remove_tree(&self.upload_folder(name, id))
    }

    /// The sessions of a repository with the seconds since their last write.
    pub(crate) fn uploads(&self, name: &RepositoryName) -> io::Result<Vec<(UploadId, u64)>> {
        let folder = self.of(name).join("_uploads");
        let mut found = Vec::new();
        for entry in entries(&folder)? {
            let path = folder.join(&entry);
            let metadata = fs::metadata(path.join("data")).or_else(|_| fs::metadata(&path));
            if let (Ok(id), Ok(metadata)) = (entry.parse(), metadata) {
                found.push((id, clock::age(&metadata).as_secs()));
            }
        }
        Ok(found)
    }

    /// Every repository name that has an `_uploads` folder, complete or not.
    pub(crate) fn upload_holders(&self) -> io::Result<Vec<RepositoryName>> {
        self.holders_of(&["_uploads"])
    }

    fn upload_folder(&self, name: &RepositoryName, id: &UploadId) -> PathBuf {
        self.of(name).join("_uploads").join(id.as_str())
    }
}

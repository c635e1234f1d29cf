//! Contexts that come from somewhere else: a stream with an archive or a Dockerfile, unpacked into a temporary folder.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use store::Store;

use crate::cache::CacheIndex;
use crate::cache::session::Session;
use crate::error::{Error, Result};
use crate::limits;
use crate::tree::{Destination, Owner, Root, Stream, WriteOptions, open_stream};

/// Temporary folders of the build cache: gone when this is dropped, and swept by the next build where the process died.
#[derive(Debug)]
pub struct Scratch(Session);

impl Scratch {
    /// A place for temporary folders on the disk of a store.
    pub fn begin(store: &Store, now: Timestamp) -> Result<Scratch> {
        let index = CacheIndex::open(&store.root())?;
        Ok(Scratch(Session::begin(&index, store.snapshots().as_ref(), now)?))
    }

    /// A new empty folder.
    pub fn folder(&self) -> Result<PathBuf> {
        let path = self.0.temporary();
        match std::fs::create_dir(&path) {
            Ok(()) => Ok(path),
            Err(source) => Err(Error::Context { act: "create", path, source }),
        }
    }
}

/// What a stream held.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// An archive, which is unpacked now.
    Folder,
    /// A Dockerfile.
    Dockerfile(String),
}

/// Reads a stream: an archive, compressed or not, is unpacked into the empty folder `into`; anything else is a Dockerfile.
pub fn receive(stream: impl Read + Send + 'static, name: &str, into: &Path) -> Result<Received> {
    let failed = |act| {
        let path = PathBuf::from(name);
        move |source| Error::Context { act, path, source }
    };
    match open_stream(Box::new(stream)).map_err(failed("read"))? {
        Stream::Archive(archive) => {
            let root = Root::open(into).map_err(failed("unpack"))?;
            let mut destination = Destination::new(&root, WriteOptions::default());
            destination.unpack(archive, "/").map_err(failed("unpack"))?;
            destination.finish().map_err(failed("unpack"))?;
            Ok(Received::Folder)
        }
        Stream::Plain(plain) => {
            let mut bytes = Vec::new();
            let limit = limits::DOCKERFILE_BYTES;
            plain.take(limit + 1).read_to_end(&mut bytes).map_err(failed("read"))?;
            if bytes.len() as u64 > limit {
                return Err(failed("read")(io::ErrorKind::FileTooLarge.into()));
            }
            let text = String::from_utf8(bytes).map_err(|_| {
                let reason = "neither an archive nor the text of a Dockerfile";
                failed("read")(io::Error::new(io::ErrorKind::InvalidData, reason))
            })?;
            Ok(Received::Dockerfile(text))
        }
    }
}

/// Unpacks an archive that was made here over what a folder holds; everything belongs to `owner`.
pub fn unpack_over(
    archive: impl Read + Send + 'static,
    into: &Path,
    owner: (u32, u32),
) -> Result<()> {
    let failed = |source| Error::Context { act: "write into", path: into.to_owned(), source };
    let root = Root::open(into).map_err(failed)?;
    let options = WriteOptions {
        owner: Some(Owner { uid: owner.0, gid: owner.1 }),
        ..WriteOptions::default()
    };
    let mut destination = Destination::new(&root, options);
    destination.unpack(Box::new(io::BufReader::new(archive)), "/").map_err(failed)?;
    destination.finish().map_err(failed)
}

/// A file of a folder that somebody else made: links lead nowhere outside it. `None` where there is none.
pub fn read_inside(folder: &Path, name: &Path) -> Result<Option<String>> {
    let path = || folder.join(name);
    let root = Root::open(folder).map_err(|source| Error::Context {
        act: "open",
        path: path(),
        source,
    })?;
    root.read_text(name, limits::DOCKERFILE_BYTES).map_err(|source| Error::Context {
        act: "read",
        path: path(),
        source,
    })
}

/// A folder below a folder that somebody else made; links lead nowhere outside it.
pub fn folder_inside(folder: &Path, name: &Path) -> Result<PathBuf> {
    let failed = |source| Error::Context { act: "open", path: folder.join(name), source };
    let root = Root::open(folder).map_err(failed)?;
    let inner = root.resolve(name).map_err(failed)?;
    match root.stat(&inner).map_err(failed)? {
        Some(stat) if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir() => {
            Ok(folder.join(inner))
        }
        Some(_) => Err(failed(io::ErrorKind::NotADirectory.into())),
        None => Err(failed(io::ErrorKind::NotFound.into())),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn archive() -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(13);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append_data(&mut header, "sub/Dockerfile", &b"FROM scratch\n"[..]).unwrap();
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        link.set_cksum();
        tar.append_link(&mut link, "out", "/../../../etc").unwrap();
        tar.into_inner().unwrap()
    }

    /// Covers: BLD-72
    #[test]
    fn an_archive_is_told_by_its_content_however_it_is_compressed() {
        let gzip = |bytes: &[u8]| {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        };
        let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
        for bytes in [archive(), gzip(&archive()), zstd(&archive())] {
            let folder = tempfile::tempdir().unwrap();
            let got = receive(io::Cursor::new(bytes), "-", folder.path()).unwrap();
            assert_eq!(got, Received::Folder);
            let inner = folder_inside(folder.path(), Path::new("sub")).unwrap();
            let text = read_inside(&inner, Path::new("Dockerfile")).unwrap();
            assert_eq!(text.as_deref(), Some("FROM scratch\n"));
        }
        let folder = tempfile::tempdir().unwrap();
        let text = "FROM scratch\nLABEL a=b\n".repeat(100);
        let got = receive(io::Cursor::new(text.clone()), "-", folder.path()).unwrap();
        assert_eq!(got, Received::Dockerfile(text));
        let short = receive(io::Cursor::new("FROM a"), "-", folder.path()).unwrap();
        assert_eq!(short, Received::Dockerfile("FROM a".to_owned()));
        for bad in [gzip(b"FROM scratch\n"), vec![0xff; 1000]] {
            assert!(receive(io::Cursor::new(bad), "-", folder.path()).is_err());
        }
    }

    #[test]
    fn links_of_a_foreign_context_lead_nowhere_outside() {
        let folder = tempfile::tempdir().unwrap();
        receive(io::Cursor::new(archive()), "-", folder.path()).unwrap();
        assert_eq!(read_inside(folder.path(), Path::new("out/passwd")).unwrap(), None);
        assert_eq!(read_inside(folder.path(), Path::new("../../etc/passwd")).unwrap(), None);
        assert!(folder_inside(folder.path(), Path::new("out")).is_err());
        assert!(folder_inside(folder.path(), Path::new("sub/Dockerfile")).is_err());
    }
}

//! Where things are on disk (`docs/format/store.md`).

use std::path::{Path, PathBuf};

use oci::{Algorithm, Digest};

use crate::disk::Disk;
use crate::error::{Error, Result, at};
use crate::layer::LayerId;

/// The format that this version writes, and the only one it reads.
pub const FORMAT: &str = "wherry-store 1";

/// What an OCI image layout says of itself (image-layout.md).
const OCI_LAYOUT: &str = "{\"imageLayoutVersion\":\"1.0.0\"}";

const EMPTY_INDEX: &str = "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[]}";

/// The paths under one root.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Opens or creates the layout under `root`.
    pub(crate) fn open(root: &Path, disk: &Disk) -> Result<Self> {
        let layout = Self { root: root.to_path_buf() };
        match std::fs::read_to_string(layout.format_file()) {
            Ok(text) if text.trim_end() == FORMAT => Ok(layout),
            Ok(text) => Err(Error::Format {
                path: layout.format_file(),
                found: text.trim_end().chars().take(80).collect(),
                known: FORMAT,
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                layout.create(disk)?;
                Ok(layout)
            }
            Err(error) => Err(Error::io("read", &layout.format_file(), error)),
        }
    }

    /// The format file is written last: a crash before leaves a root that is created again.
    fn create(&self, disk: &Disk) -> Result<()> {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            disk.create_dir_all(&self.blobs(algorithm))?;
            disk.create_dir_all(&self.dead_blobs(algorithm))?;
            disk.create_dir_all(&self.layers(algorithm))?;
            disk.create_dir_all(&self.dead_layers(algorithm))?;
        }
        for dir in ["ingest", "leases", "locks", "records", "snapshots", "staging"] {
            disk.create_dir_all(&self.root.join(dir))?;
        }
        for (file, text) in [("oci-layout", OCI_LAYOUT), ("index.json", EMPTY_INDEX)] {
            let path = self.root.join(file);
            if !path.try_exists().map_err(at("read", &path))? {
                disk.replace(&path, text.as_bytes())?;
            }
        }
        disk.replace(&self.format_file(), format!("{FORMAT}\n").as_bytes())
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    fn format_file(&self) -> PathBuf {
        self.root.join("format")
    }

    pub(crate) fn names_file(&self) -> PathBuf {
        self.root.join("index.json")
    }

    /// What the last change of the names wrote, once more.
    pub(crate) fn names_backup(&self) -> PathBuf {
        self.root.join("index.json.backup")
    }

    pub(crate) fn blobs(&self, algorithm: Algorithm) -> PathBuf {
        self.root.join("blobs").join(algorithm.as_str())
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs(digest.algorithm()).join(digest.hex())
    }

    pub(crate) fn dead_blobs(&self, algorithm: Algorithm) -> PathBuf {
        self.root.join("tombstones/blobs").join(algorithm.as_str())
    }

    pub(crate) fn dead_blob(&self, digest: &Digest) -> PathBuf {
        self.dead_blobs(digest.algorithm()).join(digest.hex())
    }

    pub(crate) fn layers(&self, algorithm: Algorithm) -> PathBuf {
        self.root.join("layers").join(algorithm.as_str())
    }

    pub(crate) fn layer(&self, id: &LayerId) -> PathBuf {
        self.layers(id.digest().algorithm()).join(id.digest().hex())
    }

    pub(crate) fn dead_layers(&self, algorithm: Algorithm) -> PathBuf {
        self.root.join("tombstones/layers").join(algorithm.as_str())
    }

    pub(crate) fn dead_layer(&self, id: &LayerId) -> PathBuf {
        self.dead_layers(id.digest().algorithm()).join(id.digest().hex())
    }

    pub(crate) fn ingest(&self) -> PathBuf {
        self.root.join("ingest")
    }

    pub(crate) fn partial(&self, digest: &Digest) -> PathBuf {
        self.ingest().join(format!("{}-{}.part", digest.algorithm(), digest.hex()))
    }

    pub(crate) fn leases(&self) -> PathBuf {
        self.root.join("leases")
    }

    pub(crate) fn lock(&self, name: &str) -> PathBuf {
        self.root.join("locks").join(name)
    }

    pub(crate) fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    pub(crate) fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    /// What is known of an uncompressed layer: its length, and the blobs that hold it.
    pub(crate) fn diff_record(&self, diff_id: &Digest) -> PathBuf {
        let name = format!("diff-{}-{}.json", diff_id.algorithm(), diff_id.hex());
        self.records().join(name)
    }

    pub(crate) fn records(&self) -> PathBuf {
        self.root.join("records")
    }
}

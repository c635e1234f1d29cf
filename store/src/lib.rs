//! The store: content-addressed blobs, names, leases, layers and snapshots on disk.
//!
//! The root is a valid OCI image layout. State is files that a person can read; changes are
//! atomic renames; locks are `flock`s held by live processes, so many processes work on one
//! root and a crash frees what they held. The store knows no network and no clock: times are
//! arguments.

mod archive;
mod check;
mod content;
mod disk;
mod error;
mod gc;
mod image;
mod layer;
mod layout;
mod lease;
pub mod limits;
mod lock;
mod names;
mod restore;
mod snapshot;
mod staging;
pub mod tar;
mod volume;

use std::path::{Path, PathBuf};

pub use archive::{Archives, Directory, Loaded, SaveFormat, Saved};
pub use check::{Finding, Problem, Refetch, Report, Usage};
pub use content::{Blob, Content, Ingest, IngestStart, Writer};
pub use disk::{Disk, Fault};
pub use error::{Error, ErrorKind, LayerError, Result};
pub use gc::{Collected, Collection, Roots};
pub use image::{Freed, FreedLayer, HistoryLine, Image, Images, Variant};
pub use layer::{
    Dialect, Diff, DiffOptions, DiffRecord, Found, GZIP_LEVEL, Layer, LayerBlob, LayerId,
    LayerRecord, Layers, Stack, Unpack, ZSTD_LEVEL, detect,
};
pub use layout::FORMAT;
pub use lease::{Held, Item, Lease};
pub use names::{Displaced, Name, Named, Names};
pub use snapshot::{
    Access, Changes, Driver, Mounts, Native, Overlay, Persistence, SnapshotKey, SnapshotRecord,
    Snapshotter, unmount,
};
pub use volume::{Volume, VolumeName, VolumeRecord, Volumes};

use layout::Layout;

/// A store under one root. Cheap to clone; every clone is the same store.
#[derive(Clone, Debug)]
pub struct Store {
    content: Content,
}

impl Store {
    /// Opens the store under `root`, creating it where it is not.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        Self::open_on(root, Disk::default())
    }

    /// Opens the store on a disk that may fail on cue.
    pub fn open_on(root: impl AsRef<Path>, disk: Disk) -> Result<Self> {
        let root = std::path::absolute(root.as_ref()).map_err(error::at("open", root.as_ref()))?;
        let layout = Layout::open(&root, &disk)?;
        Ok(Self { content: Content::new(layout, disk) })
    }

    /// The root directory.
    pub fn root(&self) -> PathBuf {
        self.layout().root().to_path_buf()
    }

    /// The blobs.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// The names.
    pub fn names(&self) -> Names {
        Names::new(self.content.clone())
    }

    /// A lease for a running operation; `purpose` is shown to who looks into the folder.
    pub fn lease(&self, purpose: &str) -> Result<Lease> {
        Lease::create(self.layout(), self.disk(), purpose)
    }

    /// The unpacked layers.
    pub fn layers(&self) -> Layers {
        Layers::new(self.content.clone())
    }

    /// The images, for reading.
    pub fn images(&self) -> Images {
        Images::new(self.content.clone(), self.layers())
    }

    /// Image archives and layouts, for `save` and `load`.
    pub fn archives(&self) -> Archives {
        Archives::new(self.clone())
    }

    /// The volumes.
    pub fn volumes(&self) -> Volumes {
        Volumes::new(self.layers())
    }

    /// The snapshots, by the best driver that this system has.
    pub fn snapshots(&self) -> Box<dyn Snapshotter> {
        self.snapshots_by(Driver::Detect)
    }

    /// The snapshots by a given driver.
    pub fn snapshots_by(&self, driver: Driver) -> Box<dyn Snapshotter> {
        snapshot::open(driver, self.layers())
    }

    fn layout(&self) -> &Layout {
        self.content.layout()
    }

    fn disk(&self) -> &Disk {
        self.content.disk()
    }
}

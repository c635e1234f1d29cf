//! Leases: what running processes hold against the collector.
//!
//! A lease is a file that its owner keeps `flock`ed, with one line per thing held. The end of
//! the process, however it ends, frees it.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use oci::Digest;

use crate::disk::Disk;
use crate::error::{Error, Result, at};
use crate::layer::LayerId;
use crate::layout::Layout;
use crate::limits::RECORD_BYTES_MAX;
use crate::lock;

/// Something that a lease, a snapshot or a name keeps alive.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Item {
    /// A blob.
    Blob(Digest),
    /// An unpacked layer.
    Layer(LayerId),
}

/// A lease. Hold first, then look whether the thing is there: in that order the collector
/// cannot come between.
#[derive(Debug)]
pub struct Lease {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    items: BTreeSet<Item>,
}

impl Lease {
    pub(crate) fn create(layout: &Layout, disk: &Disk, purpose: &str) -> Result<Self> {
        let purpose: String =
            purpose.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(32).collect();
        loop {
            let name = format!("{purpose}-{}", crate::staging::unique());
            let hidden = layout.leases().join(format!(".{name}"));
            let path = layout.leases().join(name);
            disk.ask("create", &path)?;
            let mut options = OpenOptions::new();
            options.read(true).append(true).create_new(true);
            let file = match options.open(&hidden) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                other => other.map_err(at("create", &hidden))?,
            };
            // Locked before it is visible; a collector that took it for a leftover unlinked it.
            if lock::try_lock(&file).map_err(at("lock", &hidden))?
                && disk.rename_if_there(&hidden, &path)?
                && lock::is_at(&file, &path).map_err(at("read", &path))?
            {
                let state = Mutex::new(State { file, items: BTreeSet::new() });
                return Ok(Self { path, state });
            }
        }
    }

    /// Keeps a blob, and what it names if it is a manifest.
    pub fn hold(&self, digest: &Digest) -> Result<()> {
        self.hold_item(Item::Blob(digest.clone()))
    }

    /// Keeps an unpacked layer and those below it.
    pub fn hold_layer(&self, id: &LayerId) -> Result<()> {
        self.hold_item(Item::Layer(id.clone()))
    }

    fn hold_item(&self, item: Item) -> Result<()> {
        let line = match &item {
            Item::Blob(digest) => format!("blob {digest}\n"),
            Item::Layer(id) => format!("layer {id}\n"),
        };
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if state.items.contains(&item) {
            return Ok(());
        }
        state.file.write_all(line.as_bytes()).map_err(at("write", &self.path))?;
        state.items.insert(item);
        Ok(())
    }
}

/// Keeps what was just made from the collector until whoever gets it holds it in a lease of
/// their own: drop it after that.
#[derive(Clone, Debug, Default)]
pub struct Held {
    _lease: Option<Arc<Lease>>,
}

impl Held {
    pub(crate) fn by(lease: Arc<Lease>) -> Self {
        Self { _lease: Some(lease) }
    }
}

/// Who holds a thing does not make it another thing.
impl PartialEq for Held {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Held {}

impl Drop for Lease {
    fn drop(&mut self) {
        // Unlinked or only unlocked, the lease is over.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What live leases hold. Those of dead processes are removed.
pub(crate) fn held(layout: &Layout, disk: &Disk) -> Result<BTreeSet<Item>> {
    let mut items = BTreeSet::new();
    let dir = layout.leases();
    for entry in std::fs::read_dir(&dir).map_err(at("list", &dir))? {
        let path = entry.map_err(at("list", &dir))?.path();
        let file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.map_err(at("open", &path))?,
        };
        if lock::try_lock(&file).map_err(at("lock", &path))? {
            // Nobody else holds it, so nobody lives who made it.
            disk.remove_file_if_there(&path)?;
        } else {
            read_items(file, &path, &mut items)?;
        }
    }
    Ok(items)
}

/// A last line without its end belongs to a hold that has not returned yet.
fn read_items(file: File, path: &Path, items: &mut BTreeSet<Item>) -> Result<()> {
    let mut text = String::new();
    file.take(RECORD_BYTES_MAX).read_to_string(&mut text).map_err(at("read", path))?;
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    for line in text[..whole].lines() {
        let item = parse(line)
            .ok_or_else(|| Error::Record { path: path.to_path_buf(), reason: line.to_owned() })?;
        items.insert(item);
    }
    Ok(())
}

fn parse(line: &str) -> Option<Item> {
    let (kind, digest) = line.split_once(' ')?;
    let digest: Digest = digest.parse().ok()?;
    match kind {
        "blob" => Some(Item::Blob(digest)),
        "layer" => Some(Item::Layer(LayerId::from(digest))),
        _ => None,
    }
}

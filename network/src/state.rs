//! The records on disk, under one lock (`docs/format/network.md`).

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::door::Door;
use crate::error::{Error, Result, at};
use crate::id::NetworkId;
use crate::limits;
use crate::record::{Endpoint, Network, Places};

/// The format of both kinds of record.
const FORMAT: u32 = 1;

/// A record with the number of its format.
#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    format: u32,
    #[serde(flatten)]
    content: T,
}

/// The endpoints of one network, as written.
#[derive(Default, Serialize, Deserialize)]
struct EndpointFile {
    endpoints: Vec<Endpoint>,
}

/// The folders of the records.
#[derive(Clone, Debug)]
pub(crate) struct State {
    definitions: PathBuf,
    run: PathBuf,
    door: Door,
}

impl State {
    pub(crate) fn new(places: &Places, door: Door) -> Self {
        Self {
            definitions: places.root.join("networks"),
            run: places.run_root.join("networks"),
            door,
        }
    }

    /// Waits for the lock on everything; makes the folders where they are not.
    pub(crate) fn lock(&self) -> Result<Locked<'_>> {
        for folder in [&self.definitions, &self.run] {
            self.ask("create directory", folder)?;
            fs::create_dir_all(folder).map_err(at("create directory", folder))?;
        }
        let path = self.run.join("lock");
        let file = open_file(&path)?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Locked { state: self, _lock: file }),
                Err(Errno::INTR) => {}
                Err(error) => return Err(at("lock", &path)(error)),
            }
        }
    }

    /// All definitions, by name.
    pub(crate) fn networks(&self) -> Result<Vec<Network>> {
        let mut all: Vec<Network> = Vec::new();
        for path in records(&self.definitions)? {
            all.extend(read::<Network>(&path)?);
            if all.len() > limits::NETWORKS_MAX {
                let limit = limits::NETWORKS_MAX as u64;
                return Err(Error::Limit { what: "networks", limit });
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// The endpoints of one network.
    pub(crate) fn endpoints(&self, network: &NetworkId) -> Result<Vec<Endpoint>> {
        let file = read::<EndpointFile>(&self.endpoint_file(network))?;
        Ok(file.unwrap_or_default().endpoints)
    }

    /// The endpoints of all networks that have some.
    pub(crate) fn all_endpoints(&self) -> Result<BTreeMap<NetworkId, Vec<Endpoint>>> {
        let mut all = BTreeMap::new();
        for path in records(&self.run)? {
            let id = path.file_stem().and_then(|stem| stem.to_str()).and_then(|id| id.parse().ok());
            if let (Some(id), Some(file)) = (id, read::<EndpointFile>(&path)?) {
                all.insert(id, file.endpoints);
            }
        }
        Ok(all)
    }

    /// The file whose number changes with every change of an endpoint.
    pub(crate) fn generation(&self) -> Result<Generation> {
        self.ask("create directory", &self.run)?;
        fs::create_dir_all(&self.run).map_err(at("create directory", &self.run))?;
        let path = self.run.join("generation");
        Ok(Generation { file: open_file(&path)?, path })
    }

    pub(crate) fn door(&self) -> &Door {
        &self.door
    }

    fn definition_file(&self, id: &NetworkId) -> PathBuf {
        self.definitions.join(format!("{id}.json"))
    }

    fn endpoint_file(&self, id: &NetworkId) -> PathBuf {
        self.run.join(format!("{id}.json"))
    }

    fn ask(&self, act: &'static str, path: &Path) -> Result<()> {
        self.door.ask(act, &path.to_string_lossy()).map_err(at(act, path))
    }

    fn write<T: Serialize>(&self, path: &Path, content: &T, durable: Durable) -> Result<()> {
        let record = Versioned { format: FORMAT, content };
        let mut bytes = serde_json::to_vec_pretty(&record).map_err(|error| Error::Record {
            path: path.to_path_buf(),
            reason: error.to_string(),
        })?;
        bytes.push(b'\n');
        let new = path.with_extension("new");
        self.ask("write", &new)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new).map_err(at("create", &new))?;
        file.write_all(&bytes).map_err(at("write", &new))?;
        if durable == Durable::AcrossPowerCuts {
            self.ask("sync", &new)?;
            file.sync_data().map_err(at("sync", &new))?;
        }
        self.ask("rename", path)?;
        fs::rename(&new, path).map_err(at("rename", path))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.ask("remove", path)?;
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(at("remove", path)),
        }
    }
}

/// What a written record must survive.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Durable {
    /// The end of the writer.
    UntilReboot,
    /// The end of the machine's power.
    AcrossPowerCuts,
}

/// The state while its lock is held: only so can it be changed.
#[derive(Debug)]
pub(crate) struct Locked<'a> {
    state: &'a State,
    _lock: File,
}

impl Locked<'_> {
    /// Removes what writers that died in the middle left.
    pub(crate) fn sweep(&self) -> Result<()> {
        for folder in [&self.state.definitions, &self.state.run] {
            for path in files_of(folder, "new")? {
                self.state.remove(&path)?;
            }
        }
        Ok(())
    }

    pub(crate) fn put_network(&self, network: &Network) -> Result<()> {
        let path = self.state.definition_file(&network.id);
        self.state.write(&path, network, Durable::AcrossPowerCuts)
    }

    pub(crate) fn remove_network(&self, id: &NetworkId) -> Result<()> {
        self.state.remove(&self.state.endpoint_file(id))?;
        self.state.remove(&self.state.definition_file(id))
    }

    /// Replaces the endpoints of a network; the last one takes the file with it.
    pub(crate) fn put_endpoints(&self, id: &NetworkId, endpoints: Vec<Endpoint>) -> Result<()> {
        let path = self.state.endpoint_file(id);
        // Opened first: behind the rename nothing may fail that would call the change undone.
        let generation = self.state.generation()?;
        if endpoints.is_empty() {
            self.state.remove(&path)?;
        } else {
            self.state.write(&path, &EndpointFile { endpoints }, Durable::UntilReboot)?;
        }
        generation.advance()
    }
}

/// A number that changes with every change of an endpoint: a reader that sees the number of its last look has
/// nothing new to read.
#[derive(Debug)]
pub(crate) struct Generation {
    file: File,
    path: PathBuf,
}

impl Generation {
    /// The number now.
    pub(crate) fn read(&self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        match self.file.read_at(&mut bytes, 0)? {
            8 => Ok(u64::from_le_bytes(bytes)),
            _ => Ok(0),
        }
    }

    fn advance(&self) -> Result<()> {
        let next = self.read().map_err(at("read", &self.path))?.wrapping_add(1);
        self.file.write_all_at(&next.to_le_bytes(), 0).map_err(at("write", &self.path))
    }
}

fn open_file(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.open(path).map_err(at("open", path))
}

fn records(folder: &Path) -> Result<Vec<PathBuf>> {
    files_of(folder, "json")
}

/// The files of a folder with an extension; none where there is no folder.
fn files_of(folder: &Path, wanted: &str) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(at("read", folder))?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(at("read", folder))?.path();
        if path.extension().is_some_and(|extension| extension == wanted) {
            paths.push(path);
        }
    }
    Ok(paths)
}

/// Reads a record; `None` where there is none.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(at("open", path))?,
    };
    let mut bytes = Vec::new();
    file.take(limits::RECORD_BYTES_MAX).read_to_end(&mut bytes).map_err(at("read", path))?;
    let damaged = |reason: String| Error::Record { path: path.to_path_buf(), reason };
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let Format { format } =
        serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    if format != FORMAT {
        return Err(Error::Format { path: path.to_path_buf(), found: format, known: FORMAT });
    }
    let record: Versioned<T> =
        serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    Ok(Some(record.content))
}

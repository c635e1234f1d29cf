//! The state folder: one folder per container, a folder of names, atomic files, and a lock that a live monitor holds.
//!
//! ```text
//! STATE/containers/<id>/record.json   what it is; written by create and rename
//! STATE/containers/<id>/state.json    how it is; written by whoever holds `lock`
//! STATE/containers/<id>/lock          flock'd by the monitor for as long as it lives
//! STATE/containers/<id>/<id>-json.log its output
//! STATE/names/<name>                  holds the id
//! RUN/containers/<id>/                bundle, sockets; gone after a reboot
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::events::Journal;
use crate::id::{self, ContainerId};
use crate::limits;
use crate::options::LogDriverName;
use crate::record::{Record, State};

/// The folders of one runtime.
#[derive(Debug, Clone)]
pub(crate) struct StateDir {
    state: PathBuf,
    run: PathBuf,
}

/// The lock of a container, held until dropped (or until the process that inherited it ends).
#[derive(Debug)]
pub(crate) struct ContainerLock(File);

impl ContainerLock {
    /// The open lock file, to be handed to the monitor.
    pub(crate) fn into_file(self) -> File {
        self.0
    }

    /// A lock taken by another process that handed over its open file.
    pub(crate) fn inherited(file: File) -> Self {
        Self(file)
    }
}

impl StateDir {
    /// Makes the folders where they are missing.
    pub(crate) fn open(state: PathBuf, run: PathBuf) -> Result<Self> {
        for dir in [
            state.join("containers"),
            state.join("names"),
            run.join("containers"),
            run.join("steps"),
        ] {
            make_private_dir(&dir)?;
        }
        Ok(Self { state, run })
    }

    /// The same folders, known to exist.
    pub(crate) fn existing(state: PathBuf, run: PathBuf) -> Self {
        Self { state, run }
    }

    pub(crate) fn state_root(&self) -> &Path {
        &self.state
    }

    pub(crate) fn run_root(&self) -> &Path {
        &self.run
    }

    /// Folder of what outlives a reboot.
    pub(crate) fn container(&self, id: &ContainerId) -> PathBuf {
        self.state.join("containers").join(id.as_str())
    }

    /// Folder of what a reboot clears.
    pub(crate) fn run(&self, id: &ContainerId) -> PathBuf {
        self.run.join("containers").join(id.as_str())
    }

    /// The container's output.
    pub(crate) fn log_file(&self, id: &ContainerId, driver: LogDriverName) -> PathBuf {
        let name = match driver {
            LogDriverName::JsonFile | LogDriverName::None => format!("{id}-json.log"),
            LogDriverName::Local | LogDriverName::Syslog | LogDriverName::Journald => {
                "local.log".to_owned()
            }
        };
        self.container(id).join(name)
    }

    /// Where the monitor listens.
    pub(crate) fn socket(&self, id: &ContainerId) -> PathBuf {
        self.run(id).join("attach.sock")
    }

    /// The lowest layer under every root file system.
    pub(crate) fn stubs(&self) -> PathBuf {
        self.run.join("stubs")
    }

    /// What happened to containers, and to all else of the root.
    pub(crate) fn journal(&self) -> Journal {
        Journal::in_folder(self.state.join("events"))
    }

    /// Where a build step has its files.
    pub(crate) fn step(&self, id: &str) -> PathBuf {
        self.run.join("steps").join(id)
    }

    /// Where compiled seccomp filters are kept.
    pub(crate) fn seccomp_cache(&self) -> PathBuf {
        self.state.join("seccomp")
    }

    pub(crate) fn record(&self, id: &ContainerId) -> Result<Record> {
        read_json(&self.container(id).join("record.json")).map_err(|error| missing(error, id))
    }

    pub(crate) fn write_record(&self, record: &Record) -> Result<()> {
        write_json(&self.container(&record.id).join("record.json"), record)
    }

    pub(crate) fn state(&self, id: &ContainerId) -> Result<State> {
        read_json(&self.container(id).join("state.json")).map_err(|error| missing(error, id))
    }

    /// Only for the holder of the container's lock. On a full disk the old file is written over in place: that a container has
    /// ended must not be lost for want of a block.
    pub(crate) fn write_state(
        &self,
        id: &ContainerId,
        state: &State,
        _lock: &ContainerLock,
    ) -> Result<()> {
        let path = self.container(id).join("state.json");
        match write_json(&path, state) {
            Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::StorageFull => {
                let bytes = serde_json::to_vec(state)
                    .map_err(|error| Error::file("write", &path)(error.into()))?;
                write_in_place(&path, &bytes).map_err(Error::file("write", &path))
            }
            other => other,
        }
    }

    /// Makes the folder of a new container complete with lock, record and state, visible by one rename.
    pub(crate) fn insert(&self, record: &Record) -> Result<()> {
        let target = self.container(&record.id);
        let staging = self.state.join("containers").join(format!(".new-{}", record.id));
        make_private_dir(&staging)?;
        let filled = write_json(&staging.join("record.json"), record)
            .and_then(|()| write_json(&staging.join("state.json"), &State::created()))
            .and_then(|()| create_file(&staging.join("lock")))
            .and_then(|()| fs::rename(&staging, &target).map_err(Error::file("create", &target)));
        if filled.is_err() {
            let _ = fs::remove_dir_all(&staging);
        }
        filled
    }

    /// Removes both folders of a container.
    pub(crate) fn delete(&self, id: &ContainerId) -> Result<()> {
        remove_tree(&self.run(id))?;
        remove_tree(&self.container(id))
    }

    /// Ids of all containers, in no order.
    pub(crate) fn ids(&self) -> Result<Vec<ContainerId>> {
        let dir = self.state.join("containers");
        let mut ids = Vec::new();
        for entry in fs::read_dir(&dir).map_err(Error::file("list", &dir))? {
            let entry = entry.map_err(Error::file("list", &dir))?;
            if let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                ids.push(id);
            }
        }
        Ok(ids)
    }

    /// Docker's order: a whole id, then a name, then a prefix of an id.
    pub(crate) fn resolve(&self, reference: &str) -> Result<ContainerId> {
        if let Ok(id) = reference.parse::<ContainerId>()
            && self.container(&id).is_dir()
        {
            return Ok(id);
        }
        let name = reference.strip_prefix('/').unwrap_or(reference);
        if let Some(id) = self.named(name)? {
            return Ok(id);
        }
        let not_found = || Error::NoSuchContainer { reference: reference.to_owned() };
        if reference.is_empty() || !reference.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(not_found());
        }
        let mut matches = self.ids()?.into_iter().filter(|id| id.as_str().starts_with(reference));
        match (matches.next(), matches.next()) {
            (Some(id), None) => Ok(id),
            (Some(_), Some(_)) => Err(Error::AmbiguousPrefix { prefix: reference.to_owned() }),
            (None, _) => Err(not_found()),
        }
    }

    /// Who has the name; a name whose container is gone belongs to nobody.
    pub(crate) fn named(&self, name: &str) -> Result<Option<ContainerId>> {
        if id::check_name(name).is_err() {
            return Ok(None);
        }
        let path = self.state.join("names").join(name);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file("read", &path)(error)),
        };
        Ok(text.trim().parse::<ContainerId>().ok().filter(|id| self.container(id).is_dir()))
    }

    /// Gives a name to a container; the caller holds [`Self::naming`].
    pub(crate) fn take_name(
        &self,
        name: &str,
        id: &ContainerId,
        _naming: &NamingLock,
    ) -> Result<()> {
        id::check_name(name)?;
        if let Some(owner) = self.named(name)?
            && owner != *id
        {
            return Err(Error::NameInUse { name: name.to_owned(), id: owner.to_string() });
        }
        write_atomically(&self.state.join("names").join(name), id.as_str().as_bytes())
    }

    /// Frees a name if it is the container's.
    pub(crate) fn free_name(
        &self,
        name: &str,
        id: &ContainerId,
        _naming: &NamingLock,
    ) -> Result<()> {
        let path = self.state.join("names").join(name);
        match fs::read_to_string(&path) {
            Ok(owner) if owner.trim() == id.as_str() => remove_file(&path),
            _ => Ok(()),
        }
    }

    /// Names are given and freed by one process at a time.
    pub(crate) fn naming(&self) -> Result<NamingLock> {
        let path = self.state.join("names.lock");
        let file = open_lock(&path)?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)
            .map_err(|error| Error::file("lock", &path)(error.into()))?;
        Ok(NamingLock { _file: file })
    }

    /// An open lock file that is not locked yet.
    pub(crate) fn lock_attempt(&self, id: &ContainerId) -> Result<LockAttempt> {
        let path = self.container(id).join("lock");
        match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => Ok(LockAttempt { file, path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::NoSuchContainer { reference: id.to_string() })
            }
            Err(error) => Err(Error::file("open", &path)(error)),
        }
    }

    /// The container's lock, or `None` when somebody else (its monitor) has it.
    pub(crate) fn try_lock(&self, id: &ContainerId) -> Result<Option<ContainerLock>> {
        Ok(self.lock_attempt(id)?.take()?.ok())
    }
}

/// A lock file, open, so that trying again tells nobody who watches the folder.
#[derive(Debug)]
pub(crate) struct LockAttempt {
    file: File,
    path: PathBuf,
}

impl LockAttempt {
    /// The lock, or the attempt back where somebody else holds it.
    pub(crate) fn take(self) -> Result<std::result::Result<ContainerLock, Self>> {
        match rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Ok(ContainerLock(self.file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(Err(self)),
            Err(error) => Err(Error::file("lock", &self.path)(error.into())),
        }
    }
}

/// Proof that names may be changed.
#[derive(Debug)]
pub(crate) struct NamingLock {
    _file: File,
}

/// Writes beside the target and renames: a reader sees the old file or the new one.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let suffix = hex::encode(id::random::<6>()?);
    let file_name = path.file_name().and_then(|name| name.to_str()).unwrap_or("file");
    let staging = path.with_file_name(format!(".{file_name}.{suffix}"));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&staging)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&staging, path));
    if written.is_err() {
        let _ = fs::remove_file(&staging);
    }
    written.map_err(Error::file("write", path))
}

pub(crate) fn write_in_place(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.write_all(bytes)?;
    file.set_len(bytes.len() as u64)
}

pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let bytes =
        serde_json::to_vec(value).map_err(|error| Error::file("write", path)(error.into()))?;
    write_atomically(path, &bytes)
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = read_bounded(path, limits::RECORD_BYTES)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Error::Damaged { path: path.to_owned(), reason: error.to_string() })
}

/// Reads a whole file, refusing one that is longer than `limit`.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(Error::file("read", path))?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(Error::file("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(Error::Damaged {
            path: path.to_owned(),
            reason: format!("longer than {limit} bytes"),
        });
    }
    Ok(bytes)
}

pub(crate) fn make_private_dir(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Error::file("create folder", path))
}

/// Removes a tree; one that is not there is removed already.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

fn open_lock(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(Error::file("open", path))
}

fn create_file(path: &Path) -> Result<()> {
    File::create(path).map(drop).map_err(Error::file("create", path))
}

fn missing(error: Error, id: &ContainerId) -> Error {
    match &error {
        Error::File { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            Error::NoSuchContainer { reference: id.to_string() }
        }
        _ => error,
    }
}

//! The build context: which files of a folder belong to it and what they hold.

pub mod ignore;
pub mod incoming;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::cache::CacheIndex;
use crate::cache::stat::StatCache;
use crate::error::{Error, Result};
use crate::limits;
use crate::lower::NamedContext;
use crate::request::BuildRequest;
use crate::tree::Root;
use ignore::Patterns;

/// A local folder that steps take files from.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) root: Root,
    pub(crate) ignore: Patterns,
    pub(crate) stats: StatCache,
}

/// The folders of a build: the context and those given by name.
#[derive(Debug)]
pub(crate) struct Folders {
    main: Option<Folder>,
    named: BTreeMap<String, Folder>,
    /// Bytes of the ignore file, 2 when there is none.
    pub(crate) ignore_bytes: u64,
}

impl Folders {
    /// Opens every folder of a request.
    pub(crate) fn open(
        request: &BuildRequest,
        index: &CacheIndex,
        now: Timestamp,
    ) -> Result<Folders> {
        let mut folders = Folders { main: None, named: BTreeMap::new(), ignore_bytes: 2 };
        if let Some(path) = &request.context {
            let root = open_root(path)?;
            let (ignore, bytes) = match &request.ignore_file {
                Some(file) => read_ignore_file(file)?,
                None => read_own_ignore_file(&root)?,
            };
            folders.ignore_bytes = bytes.unwrap_or(2);
            // A folder that is made anew for each build is not worth remembering.
            let stats = match request.context_name {
                Some(_) => StatCache::forgetful(),
                None => stats(index, path, now),
            };
            folders.main = Some(Folder { stats, root, ignore });
        }
        for (name, context) in &request.contexts {
            if let NamedContext::Folder(path) = context {
                let root = open_root(path)?;
                let (ignore, _) = read_own_ignore_file(&root)?;
                folders
                    .named
                    .insert(name.clone(), Folder { stats: stats(index, path, now), root, ignore });
            }
        }
        Ok(folders)
    }

    /// The context (`None`) or a named one.
    pub(crate) fn get(&self, name: Option<&str>) -> Option<&Folder> {
        match name {
            None => self.main.as_ref(),
            Some(name) => self.named.get(name),
        }
    }

    /// Bytes of the files that had to be read.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.main.iter().chain(self.named.values()).map(|folder| folder.stats.bytes_read()).sum()
    }

    /// Writes what was learned about files.
    pub(crate) fn save(&self, index: &CacheIndex) -> Result<()> {
        self.main.iter().chain(self.named.values()).try_for_each(|folder| folder.stats.save(index))
    }
}

fn stats(index: &CacheIndex, path: &Path, now: Timestamp) -> StatCache {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    StatCache::open(index, &real, now)
}

fn open_root(path: &Path) -> Result<Root> {
    Root::open(path).map_err(|source| Error::Context {
        act: "open the build context",
        path: path.to_owned(),
        source,
    })
}

/// `.dockerignore` of the context; a link must not lead out of it.
fn read_own_ignore_file(root: &Root) -> Result<(Patterns, Option<u64>)> {
    let path = root.path().join(".dockerignore");
    let text = root
        .read_text(Path::new(".dockerignore"), limits::IGNORE_FILE_BYTES)
        .map_err(|source| Error::Context { act: "read", path: path.clone(), source })?;
    let Some(text) = text else { return Ok((Patterns::default(), None)) };
    compile(&text, path)
}

/// The ignore file of one Dockerfile, which replaces the context's own.
fn read_ignore_file(path: &Path) -> Result<(Patterns, Option<u64>)> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Context {
        act: "read",
        path: path.to_owned(),
        source,
    })?;
    compile(&text, path.to_owned())
}

fn compile(text: &str, path: PathBuf) -> Result<(Patterns, Option<u64>)> {
    let patterns =
        Patterns::from_file(text).map_err(|source| Error::IgnoreFile { path, source })?;
    Ok((patterns, Some(text.len() as u64)))
}

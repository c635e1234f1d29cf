//! Several layers seen as one tree, in user space: what overlay would show, without a mount.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};

use super::inode::{is_dir, is_opaque, is_whiteout, look_at};
use super::path::LayerPath;

/// Links followed before a path counts as a loop: the kernel's own number.
const LINKS_MAX: usize = 40;

/// A stack of layer folders in overlay form, the topmost first.
#[derive(Clone, Debug, Default)]
pub struct Stack {
    layers: Vec<PathBuf>,
}

/// Something found in a stack.
#[derive(Clone, Debug)]
pub struct Found {
    path: PathBuf,
    stat: Stat,
    /// The folders that make up a directory, topmost first.
    merged: Vec<PathBuf>,
}

impl Found {
    /// Where it is on disk.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file system says of it.
    pub fn stat(&self) -> &Stat {
        &self.stat
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        is_dir(&self.stat)
    }

    /// What is in this directory under `name`.
    pub(crate) fn child(&self, name: &[u8]) -> io::Result<Option<Self>> {
        merge(&self.merged, name)
    }

    fn is_link(&self) -> bool {
        FileType::from_raw_mode(self.stat.st_mode) == FileType::Symlink
    }
}

impl Stack {
    /// A stack of these folders, topmost first.
    pub fn new(layers: Vec<PathBuf>) -> Self {
        Self { layers }
    }

    /// The folders, topmost first.
    pub fn layers(&self) -> &[PathBuf] {
        &self.layers
    }

    /// What `path` names; links are followed inside the stack, as in a container.
    pub fn resolve(&self, path: &str) -> io::Result<Option<Found>> {
        let mut todo: Vec<Vec<u8>> = parts_reversed(path.as_bytes());
        let mut done = LayerPath::default();
        let mut links = 0;
        while let Some(part) = todo.pop() {
            if part == b".." {
                done = done.split().map(|(parent, _)| parent).unwrap_or_default();
                continue;
            }
            let next = done.join(&part);
            let Some(found) = self.lookup(&next)? else { return Ok(None) };
            if !found.is_link() {
                done = next;
                continue;
            }
            links += 1;
            if links > LINKS_MAX {
                return Err(rustix::io::Errno::LOOP.into());
            }
            let target = std::fs::read_link(&found.path)?.into_os_string().into_vec();
            if target.starts_with(b"/") {
                done = LayerPath::default();
            }
            todo.extend(parts_reversed(&target));
        }
        self.lookup(&done)
    }

    /// Reads a file, at most `bytes_max` bytes; `None` where there is no such regular file.
    pub fn read(&self, path: &str, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(found) = self.resolve(path)? else { return Ok(None) };
        if FileType::from_raw_mode(found.stat.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        File::open(&found.path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
        match bytes.len() as u64 > bytes_max {
            true => Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is too large")),
            false => Ok(Some(bytes)),
        }
    }

    /// The names in a directory, sorted.
    pub fn list(&self, directory: &Found) -> io::Result<Vec<Vec<u8>>> {
        Ok(self.children(directory)?.into_keys().collect())
    }

    /// What is in a directory, by name.
    pub(crate) fn children(&self, directory: &Found) -> io::Result<BTreeMap<Vec<u8>, Found>> {
        let mut names = BTreeMap::new();
        for folder in &directory.merged {
            for entry in std::fs::read_dir(folder)? {
                names.entry(entry?.file_name().into_vec()).or_insert(());
            }
        }
        let mut children = BTreeMap::new();
        for name in names.into_keys() {
            if let Some(found) = merge(&directory.merged, &name)? {
                children.insert(name, found);
            }
        }
        Ok(children)
    }

    /// What `path` names; no link is followed.
    pub(crate) fn lookup(&self, path: &LayerPath) -> io::Result<Option<Found>> {
        let Some(mut found) = self.root()? else { return Ok(None) };
        for part in path.parts() {
            match merge(&found.merged, part)? {
                Some(next) => found = next,
                None => return Ok(None),
            }
        }
        Ok(Some(found))
    }

    /// The root directory, or `None` for a stack of nothing.
    pub(crate) fn root(&self) -> io::Result<Option<Found>> {
        let Some(top) = self.layers.first() else { return Ok(None) };
        let stat = rustix::fs::stat(top)?;
        Ok(Some(Found { path: top.clone(), stat, merged: self.layers.clone() }))
    }
}

/// What overlay shows under `name` in a directory that merges these folders.
fn merge(folders: &[PathBuf], name: &[u8]) -> io::Result<Option<Found>> {
    let mut found: Option<Found> = None;
    for folder in folders {
        let path = folder.join(std::ffi::OsStr::from_bytes(name));
        let Some(stat) = look_at(&path)? else { continue };
        if is_whiteout(&stat) {
            break;
        }
        let directory = is_dir(&stat);
        match (&mut found, directory) {
            (None, true) => {
                found = Some(Found { merged: vec![path.clone()], path: path.clone(), stat })
            }
            (None, false) => return Ok(Some(Found { path, stat, merged: Vec::new() })),
            (Some(above), true) => above.merged.push(path.clone()),
            (Some(_), false) => break,
        }
        if is_opaque(&path)? {
            break;
        }
    }
    Ok(found)
}

fn parts_reversed(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    let mut parts: Vec<Vec<u8>> = parts.map(<[u8]>::to_vec).collect();
    parts.reverse();
    parts
}

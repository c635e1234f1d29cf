//! The two paths of a copy, and Docker's table of what they mean together.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use runtime::Root;
use rustix::fs::{AtFlags, FileType, OFlags, Stat, statat};

use crate::error::{Error, Result};

/// Why a path of a copy cannot be used, before it is known whose path it is.
#[derive(Debug)]
pub(super) enum PlaceError {
    /// Nothing is there.
    Missing { path: PathBuf },
    /// Anything else.
    Other(Error),
}

impl PlaceError {
    /// Said of a container's path, as Docker says it.
    pub(super) fn in_container(self, container: &str) -> Error {
        match self {
            Self::Missing { path } => Error::NoSuchFile {
                path: path.display().to_string(),
                container: container.to_owned(),
            },
            Self::Other(error) => error,
        }
    }
}

impl From<PlaceError> for Error {
    /// Said of a path of the host.
    fn from(error: PlaceError) -> Self {
        match error {
            PlaceError::Missing { path } => {
                Error::io("copy", path, io::Error::from(io::ErrorKind::NotFound))
            }
            PlaceError::Other(error) => error,
        }
    }
}

/// A path as typed: a trailing slash says that it must be a folder, a trailing `/.` that its content is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Typed {
    /// Absolute, without dots and trailing slashes.
    pub(super) path: PathBuf,
    pub(super) must_be_folder: bool,
    pub(super) content_only: bool,
}

impl Typed {
    pub(super) fn read(text: &str) -> Self {
        let content_only = text == "." || text.ends_with("/.");
        let must_be_folder = content_only || text.ends_with('/');
        let mut path = PathBuf::from("/");
        for component in Path::new(text).components() {
            match component {
                std::path::Component::Normal(name) => path.push(name),
                std::path::Component::ParentDir => drop(path.pop()),
                _ => {}
            }
        }
        Self { path, must_be_folder, content_only }
    }
}

/// What is copied.
#[derive(Debug)]
pub(super) struct Source {
    /// The folder that it is in; itself where it is the root.
    pub(super) parent: OwnedFd,
    /// Its name there.
    pub(super) name: OsString,
    pub(super) stat: Stat,
    typed: Typed,
}

impl Source {
    /// Looks it up.
    pub(super) fn find(root: &Root, text: &str, follow: bool) -> Result<Self, PlaceError> {
        let typed = Typed::read(text);
        let path = match follow || typed.must_be_folder {
            true => followed(root, &typed.path)?,
            false => typed.path.clone(),
        };
        let (parent, name) = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => (parent.to_owned(), name.to_owned()),
            _ => (PathBuf::from("/"), OsString::from(".")),
        };
        let parent = root
            .open_inside(&parent, OFlags::PATH | OFlags::DIRECTORY)
            .map_err(|error| place_error("copy", &typed.path, error))?;
        let stat = statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| place_error("copy", &typed.path, error.into()))?;
        let source = Self { parent, name, stat, typed };
        if source.typed.must_be_folder && !source.is_folder() {
            let error = io::Error::from(io::ErrorKind::NotADirectory);
            return Err(PlaceError::Other(Error::io("copy", source.typed.path, error)));
        }
        Ok(source)
    }

    pub(super) fn is_folder(&self) -> bool {
        is_folder(&self.stat)
    }

    /// Whether only what is in it is copied.
    pub(super) fn is_content_only(&self) -> bool {
        self.typed.content_only || self.name == "."
    }

    /// The name that the copy has where nobody says another: that of the path, not of what a link leads to.
    pub(super) fn base_name(&self) -> OsString {
        self.typed.path.file_name().map_or_else(|| ".".into(), OsStr::to_owned)
    }

    /// The first name in an archive for somebody else.
    pub(super) fn archive_name(&self) -> Vec<u8> {
        match self.is_content_only() {
            true => b".".to_vec(),
            false => self.base_name().into_vec(),
        }
    }
}

/// Where it is copied to.
#[derive(Debug)]
pub(super) struct Target<'a> {
    pub(super) root: &'a Root,
    /// An existing folder.
    pub(super) folder: PathBuf,
    /// The name that the copy is given there; that of the source where nothing is said.
    name: Option<OsString>,
}

impl<'a> Target<'a> {
    /// Docker's table: what is at the target, and what a slash or a dot at an end says. Without a source an archive is unpacked.
    pub(super) fn find(
        root: &'a Root,
        text: &str,
        source: Option<&Source>,
    ) -> Result<Self, PlaceError> {
        let typed = Typed::read(text);
        let found = match root.open_inside(&typed.path, OFlags::PATH) {
            Ok(fd) => Some(
                rustix::fs::fstat(&fd)
                    .map_err(|error| place_error("copy to", &typed.path, error.into()))?,
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(place_error("copy to", &typed.path, error)),
        };
        let refuse = |text: String| Err(PlaceError::Other(Error::Invalid(text)));
        let copies_folder = source.is_some_and(Source::is_folder);
        match (found, source) {
            (None, None) => Err(PlaceError::Missing { path: typed.path }),
            (Some(stat), None) if !is_folder(&stat) => {
                refuse(format!("destination \"{text}\" must be a directory"))
            }
            (Some(stat), _) if is_folder(&stat) => {
                Ok(Self { root, folder: typed.path, name: None })
            }
            (Some(_), _) if copies_folder => refuse("cannot copy directory".to_owned()),
            (Some(_), _) if typed.must_be_folder => {
                let error = io::Error::from(io::ErrorKind::NotADirectory);
                Err(PlaceError::Other(Error::io("copy to", typed.path, error)))
            }
            (None, _) if typed.must_be_folder && !copies_folder => {
                Err(PlaceError::Missing { path: typed.path })
            }
            (_, _) => Self::named(root, &typed.path),
        }
    }

    /// A file that is written over, or something new: what it is in must be there.
    fn named(root: &'a Root, path: &Path) -> Result<Self, PlaceError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(PlaceError::Missing { path: path.to_owned() });
        };
        // A link at the end is the user's way to say where.
        let path = followed(root, path).unwrap_or_else(|_| parent.join(name));
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(PlaceError::Missing { path: path.to_owned() });
        };
        match root.open_inside(parent, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(_) => Ok(Self { root, folder: parent.to_owned(), name: Some(name.to_owned()) }),
            Err(error) => Err(place_error("copy to", parent, error)),
        }
    }

    /// The first name in the archive of a copy.
    pub(super) fn name_for(&self, source: &Source) -> Vec<u8> {
        match &self.name {
            Some(name) => name.as_bytes().to_vec(),
            None => source.archive_name(),
        }
    }
}

/// The path after following links at its end, at most as many as the kernel would.
fn followed(root: &Root, path: &Path) -> Result<PathBuf, PlaceError> {
    const LINKS_MAX: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(path) };
        let dir = root
            .open_inside(parent, OFlags::PATH | OFlags::DIRECTORY)
            .map_err(|error| place_error("follow", &path, error))?;
        match rustix::fs::readlinkat(&dir, name, Vec::new()) {
            Ok(link) => {
                let link = OsString::from_vec(link.into_bytes());
                let next = parent.join(link);
                path = Typed::read(&next.to_string_lossy()).path;
            }
            Err(rustix::io::Errno::INVAL) => return Ok(path),
            Err(error) => return Err(place_error("follow", &path, error.into())),
        }
    }
    Err(place_error("follow", &path, io::Error::from_raw_os_error(40)))
}

fn place_error(act: &'static str, path: &Path, error: io::Error) -> PlaceError {
    match error.kind() {
        io::ErrorKind::NotFound => PlaceError::Missing { path: path.to_owned() },
        _ => PlaceError::Other(Error::io(act, path, error)),
    }
}

pub(super) fn is_folder(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode).is_dir()
}

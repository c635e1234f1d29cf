//! Where a copy comes from or goes to, as it is typed.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use oci::Reference;

use crate::error::Error;

/// A place of images. A name without a transport is an image in a registry; the transports are those
/// of skopeo, and `store:` for this machine's own images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An image in a registry.
    Registry(Reference),
    /// An OCI layout in a folder, and which of its images.
    Layout(PathBuf, Option<String>),
    /// An OCI layout in a tar, and which of its images.
    OciArchive(PathBuf, Option<String>),
    /// An archive as `docker save` writes it, and which of its images.
    DockerArchive(PathBuf, Option<String>),
    /// A folder with the files of one image side by side.
    Directory(PathBuf),
    /// An image of this machine's store.
    Store(String),
}

/// Transports of other tools that are places of their own storage.
const FOREIGN: &[&str] =
    &["containers-storage", "docker-daemon", "ostree", "sif", "tarball", "atomic"];

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some(name) = text.strip_prefix("docker://") {
            return Ok(Self::Registry(name.parse()?));
        }
        let Some((transport, rest)) = text.split_once(':') else {
            return Ok(Self::Registry(text.parse()?));
        };
        if FOREIGN.contains(&transport) {
            return Err(Error::Invalid(format!(
                "{text}: {transport}: is another tool's storage; use oci:, oci-archive:, docker-archive:, dir:, \
                 store: or the name of an image in a registry"
            )));
        }
        let need = |what: &str| match rest {
            "" => Err(Error::Invalid(format!("{text}: {what} is missing after {transport}:"))),
            rest => Ok(rest),
        };
        Ok(match transport {
            "oci" => of_path(need("the folder")?, Self::Layout),
            "oci-archive" => of_path(need("the file")?, Self::OciArchive),
            "docker-archive" => of_path(need("the file")?, Self::DockerArchive),
            "dir" => Self::Directory(need("the folder")?.into()),
            "store" => Self::Store(need("the image")?.to_owned()),
            _ => Self::Registry(text.parse()?),
        })
    }
}

/// `PATH[:NAME]`: a path has no colon, as in skopeo.
fn of_path(text: &str, make: fn(PathBuf, Option<String>) -> Place) -> Place {
    match text.split_once(':') {
        Some((path, name)) if !name.is_empty() => make(path.into(), Some(name.to_owned())),
        Some((path, _)) => make(path.into(), None),
        None => make(text.into(), None),
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut of = |transport: &str, path: &PathBuf, name: &Option<String>| {
            write!(f, "{transport}:{}", path.display())?;
            name.as_ref().map_or(Ok(()), |name| write!(f, ":{name}"))
        };
        match self {
            Self::Registry(reference) => f.write_str(&reference.familiar()),
            Self::Layout(path, name) => of("oci", path, name),
            Self::OciArchive(path, name) => of("oci-archive", path, name),
            Self::DockerArchive(path, name) => of("docker-archive", path, name),
            Self::Directory(path) => of("dir", path, &None),
            Self::Store(name) => write!(f, "store:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Place {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn transports_are_skopeo_s_and_a_bare_name_is_a_registry_s() {
        let named = |name: &str| Some(name.to_owned());
        let table = [
            ("alpine", Place::Registry("alpine".parse().expect("a name"))),
            ("docker://a/b:c", Place::Registry("a/b:c".parse().expect("a name"))),
            ("localhost:5000/a:1", Place::Registry("localhost:5000/a:1".parse().expect("a name"))),
            ("oci:/tmp/x", Place::Layout("/tmp/x".into(), None)),
            ("oci:x:v1", Place::Layout("x".into(), named("v1"))),
            ("oci-archive:x.tar:a/b:1", Place::OciArchive("x.tar".into(), named("a/b:1"))),
            ("docker-archive:x.tar", Place::DockerArchive("x.tar".into(), None)),
            ("dir:d:e", Place::Directory("d:e".into())),
            ("store:app:v1", Place::Store("app:v1".to_owned())),
        ];
        for (text, expected) in table {
            assert_eq!(place(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_place_is_refused_with_the_way_out() {
        for (text, said) in [
            ("containers-storage:x", "store:"),
            ("docker-daemon:x:latest", "another tool"),
            ("oci:", "the folder is missing"),
            ("A:b", "lowercase"),
        ] {
            let error = text.parse::<Place>().expect_err(text).to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn a_place_is_shown_as_it_is_typed() {
        for text in ["oci:x:v1", "dir:d", "store:app:v1", "docker-archive:x.tar", "oci-archive:y"] {
            assert_eq!(place(text).to_string(), text);
        }
    }
}

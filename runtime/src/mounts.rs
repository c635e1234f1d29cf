//! What is mounted into a container: the grammars of `-v`, `--mount` and `--tmpfs`, and the request they end in.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// One mount, with its source resolved to a path of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountRequest {
    /// What it is.
    pub kind: MountKind,
    /// Absolute path in the container.
    pub target: PathBuf,
    /// Whether it can be written.
    pub access: Access,
    /// `rprivate` unless said otherwise.
    pub propagation: String,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "type")]
pub enum MountKind {
    /// A path of the host.
    Bind {
        /// The path.
        source: PathBuf,
        /// What to do when it is not there.
        missing: MissingSource,
    },
    /// A folder that a volume store made; the name is for `inspect`.
    Volume {
        /// Name of the volume.
        name: String,
        /// Its folder on the host.
        source: PathBuf,
    },
    /// Memory.
    Tmpfs {
        /// Options such as `size=64m,mode=1777`, without those that tmpfs always gets here.
        options: Vec<String>,
    },
}

/// `-v` makes a missing source, `--mount` refuses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MissingSource {
    /// Make a folder.
    Create,
    /// Say that it is not there.
    Refuse,
}

/// Whether a mount can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// `rw`.
    ReadWrite,
    /// `ro`.
    ReadOnly,
}

/// What `-v` and `--mount` can name as a source before a volume store has been asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeSource {
    /// A path of the host.
    Path(PathBuf),
    /// A volume's name.
    Named(String),
    /// A volume without a name.
    Anonymous,
}

/// A `-v` or a `--mount type=volume|bind` as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeFlag {
    /// Where it comes from.
    pub source: VolumeSource,
    /// Absolute path in the container.
    pub target: PathBuf,
    /// Whether it can be written.
    pub access: Access,
    /// `rprivate` unless said otherwise.
    pub propagation: String,
    /// `volume-nocopy` or `:nocopy`.
    pub no_copy: bool,
    /// What to do with a missing source.
    pub missing: MissingSource,
}

/// A `--mount` as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountFlag {
    /// `type=bind` or `type=volume`.
    Volume(VolumeFlag),
    /// `type=tmpfs`.
    Tmpfs(MountRequest),
}

const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];

/// `-v [SOURCE:]TARGET[:OPTIONS]`.
///
/// # Errors
/// What cannot be meant, with what would be right.
pub fn parse_volume(text: &str) -> Result<VolumeFlag> {
    let bad = |reason: &str| Error::invalid("-v", text, reason);
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => (VolumeSource::Anonymous, *target, ""),
        [source, target] => (
            parse_source(source)
                .ok_or_else(|| bad("a source is an absolute path or a volume name"))?,
            *target,
            "",
        ),
        [source, target, options] => (
            parse_source(source)
                .ok_or_else(|| bad("a source is an absolute path or a volume name"))?,
            *target,
            *options,
        ),
        _ => return Err(bad("write [SOURCE:]TARGET[:OPTIONS]")),
    };
    let mut flag = VolumeFlag {
        source,
        target: parse_target("-v", text, target)?,
        access: Access::ReadWrite,
        propagation: "rprivate".to_owned(),
        no_copy: false,
        missing: MissingSource::Create,
    };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "rw" => flag.access = Access::ReadWrite,
            "ro" => flag.access = Access::ReadOnly,
            "nocopy" => flag.no_copy = true,
            "z" | "Z" => {}
            _ if PROPAGATIONS.contains(&option) => flag.propagation = option.to_owned(),
            _ => {
                return Err(bad(
                    "known options are rw, ro, nocopy, z, Z and a propagation such as rslave",
                ));
            }
        }
    }
    Ok(flag)
}

/// `--mount type=…,source=…,target=…[,…]`.
///
/// # Errors
/// What cannot be meant, with what would be right.
pub fn parse_mount(text: &str) -> Result<MountFlag> {
    let bad = |reason: String| Error::invalid("--mount", text, reason);
    let (mut kind, mut source, mut target) = ("volume", None, None);
    let (mut access, mut propagation, mut no_copy) =
        (Access::ReadWrite, "rprivate".to_owned(), false);
    let mut tmpfs = Vec::new();
    for field in text.split(',') {
        let (key, value) = field.split_once('=').unwrap_or((field, "true"));
        match key.to_ascii_lowercase().as_str() {
            "type" => kind = value,
            "source" | "src" => source = Some(value),
            "target" | "destination" | "dst" => target = Some(value),
            "readonly" | "ro" => {
                access =
                    parse_access(value).ok_or_else(|| bad(format!("{key} is true or false")))?
            }
            "bind-propagation" if PROPAGATIONS.contains(&value) => propagation = value.to_owned(),
            "volume-nocopy" => no_copy = value == "true" || value == "1",
            "tmpfs-size" => tmpfs.push(format!("size={value}")),
            "tmpfs-mode" => tmpfs.push(format!("mode={value}")),
            _ => return Err(bad(format!("unexpected key '{key}' in '{field}'"))),
        }
    }
    let target = parse_target(
        "--mount",
        text,
        target.ok_or_else(|| bad("a target is required".to_owned()))?,
    )?;
    let source = match (kind, source) {
        ("tmpfs", None) => {
            let kind = MountKind::Tmpfs { options: tmpfs };
            return Ok(MountFlag::Tmpfs(MountRequest { kind, target, access, propagation }));
        }
        ("tmpfs", Some(_)) => return Err(bad("type=tmpfs has no source".to_owned())),
        ("bind", Some(path)) if path.starts_with('/') => VolumeSource::Path(path.into()),
        ("bind", _) => return Err(bad("type=bind needs source=/absolute/path".to_owned())),
        ("volume", None | Some("")) => VolumeSource::Anonymous,
        ("volume", Some(name)) if is_volume_name(name) => VolumeSource::Named(name.to_owned()),
        ("volume", Some(_)) => {
            return Err(bad("type=volume needs the name of a volume as its source".to_owned()));
        }
        _ => return Err(bad(format!("mount type '{kind}' is unknown; use bind, volume or tmpfs"))),
    };
    if !tmpfs.is_empty() {
        return Err(bad("tmpfs-size and tmpfs-mode belong to type=tmpfs".to_owned()));
    }
    let missing = MissingSource::Refuse;
    Ok(MountFlag::Volume(VolumeFlag { source, target, access, propagation, no_copy, missing }))
}

/// `--tmpfs TARGET[:OPTIONS]`.
///
/// # Errors
/// A target that is not absolute.
pub fn parse_tmpfs(text: &str) -> Result<MountRequest> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let mut access = Access::ReadWrite;
    let mut kept = Vec::new();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => access = Access::ReadOnly,
            "rw" => access = Access::ReadWrite,
            _ => kept.push(option.to_owned()),
        }
    }
    Ok(MountRequest {
        kind: MountKind::Tmpfs { options: kept },
        target: parse_target("--tmpfs", text, target)?,
        access,
        propagation: "rprivate".to_owned(),
    })
}

impl VolumeFlag {
    /// The mount of a host path as it stands; `None` for volumes, which a volume store must make first.
    pub fn as_bind(&self) -> Option<MountRequest> {
        let VolumeSource::Path(path) = &self.source else { return None };
        Some(MountRequest {
            kind: MountKind::Bind { source: path.clone(), missing: self.missing },
            target: self.target.clone(),
            access: self.access,
            propagation: self.propagation.clone(),
        })
    }
}

fn parse_source(text: &str) -> Option<VolumeSource> {
    if text.starts_with('/') {
        return Some(VolumeSource::Path(text.into()));
    }
    is_volume_name(text).then(|| VolumeSource::Named(text.to_owned()))
}

fn is_volume_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && text.len() > 1
        && characters.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

fn parse_access(value: &str) -> Option<Access> {
    match value {
        "true" | "1" => Some(Access::ReadOnly),
        "false" | "0" => Some(Access::ReadWrite),
        _ => None,
    }
}

/// A target is absolute, is not the root, and is kept without `.` and `..` so that it cannot be read two ways.
fn parse_target(option: &'static str, text: &str, target: &str) -> Result<PathBuf> {
    if !target.starts_with('/') {
        return Err(Error::invalid(option, text, "the path in the container must be absolute"));
    }
    let mut clean = PathBuf::from("/");
    for component in Path::new(target).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    if clean == Path::new("/") {
        return Err(Error::invalid(option, text, "destination can't be '/'"));
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: RUN-45
    #[test]
    fn v_reads_paths_names_and_options() {
        let flag = parse_volume("/srv/data:/data:ro,rslave").unwrap();
        assert_eq!(flag.source, VolumeSource::Path("/srv/data".into()));
        assert_eq!((flag.access, flag.propagation.as_str()), (Access::ReadOnly, "rslave"));
        assert_eq!(flag.missing, MissingSource::Create);
        assert_eq!(parse_volume("data:/data").unwrap().source, VolumeSource::Named("data".into()));
        assert_eq!(parse_volume("/data").unwrap().source, VolumeSource::Anonymous);
        assert_eq!(parse_volume("/a:/b/../c/./d").unwrap().target, Path::new("/c/d"));
        for bad in ["", "relative/path:/x", "/a:b", "/a:/", "/a:/b:bogus", "/a:/b:ro:x", "/a:/b/.."]
        {
            assert!(parse_volume(bad).is_err(), "{bad:?} must be refused");
        }
    }

    /// Covers: RUN-45
    #[test]
    fn mount_refuses_a_missing_source_and_unknown_keys() {
        let MountFlag::Volume(flag) =
            parse_mount("type=bind,source=/srv,target=/data,readonly").unwrap()
        else {
            panic!("a bind mount expected");
        };
        assert_eq!((flag.missing, flag.access), (MissingSource::Refuse, Access::ReadOnly));
        let MountFlag::Tmpfs(request) = parse_mount("type=tmpfs,dst=/t,tmpfs-size=64m").unwrap()
        else {
            panic!("a tmpfs expected");
        };
        assert_eq!(request.kind, MountKind::Tmpfs { options: vec!["size=64m".into()] });
        for bad in [
            "type=bind,target=/x",
            "source=/srv,target=/x",
            "type=tmpfs,src=/a,dst=/b",
            "type=nfs,dst=/b",
            "dst=/b,colour=red",
        ] {
            assert!(parse_mount(bad).is_err(), "{bad:?} must be refused");
        }
    }
}

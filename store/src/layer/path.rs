//! Paths inside a layer: relative, without `.`, `..` or empty parts.

use crate::limits::{TAR_DEPTH_MAX, TAR_NAME_BYTES_MAX, TAR_PATH_BYTES_MAX};

/// A path inside a layer; empty is the layer's root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LayerPath(Vec<u8>);

impl LayerPath {
    /// Reads a path of an archive. A leading `/` counts from the layer's root, as for every
    /// reader of images; `..` is refused, because readers disagree about it.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, &'static str> {
        if text.contains(&0) {
            return Err("its name contains a NUL");
        }
        let mut path = Vec::with_capacity(text.len());
        let mut depth = 0;
        for part in text.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => continue,
                b".." => return Err("its name contains `..`"),
                long if long.len() > TAR_NAME_BYTES_MAX => return Err("its name is too long"),
                _ => {}
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(part);
            depth += 1;
        }
        match () {
            () if path.len() >= TAR_PATH_BYTES_MAX => Err("its path is too long"),
            () if depth > TAR_DEPTH_MAX => Err("its path is too deep"),
            () => Ok(Self(path)),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The directory it is in and its name there; the root is in nothing.
    pub(crate) fn split(&self) -> Option<(Self, &[u8])> {
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => Some((Self(self.0[..slash].to_vec()), &self.0[slash + 1..])),
            None if self.is_root() => None,
            None => Some((Self::default(), &self.0)),
        }
    }

    pub(crate) fn join(&self, name: &[u8]) -> Self {
        match self.is_root() {
            true => Self(name.to_vec()),
            false => Self([&self.0, &b"/"[..], name].concat()),
        }
    }

    pub(crate) fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|part| !part.is_empty())
    }

    /// For messages.
    pub(crate) fn show(&self) -> String {
        format!("/{}", String::from_utf8_lossy(&self.0))
    }
}

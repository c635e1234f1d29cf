//! Values given as secrets are searched for in everything that would be published.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use oci::ImageConfig;
use regex::bytes::Regex;
use store::LayerId;

use super::worker::Solver;
use crate::error::{Error, Result};
use crate::ports::Credentials;

/// Shorter values would be found by chance.
const BYTES_MIN: usize = 8;
/// How much of a file is looked at at once.
const WINDOW: usize = 1 << 20;

/// The id of a secret of these whose value stands in the bytes; values too short to be told from chance are not looked
/// for.
pub fn secret_in(credentials: &Credentials, bytes: &[u8]) -> Option<String> {
    Leaks::of(credentials).find(bytes).map(str::to_owned)
}

/// The secrets of a build as something to search for.
pub(super) struct Leaks {
    secrets: Vec<(String, Regex, usize)>,
}

impl Leaks {
    pub(super) fn of(credentials: &Credentials) -> Leaks {
        let secrets = credentials.secrets.iter().filter_map(|(id, secret)| {
            let value = secret.expose().trim_ascii();
            // Every byte by its number: the value is no pattern.
            let pattern: String = value.iter().map(|b| format!("\\x{b:02x}")).collect();
            let regex = Regex::new(&format!("(?-u){pattern}")).ok()?;
            (value.len() >= BYTES_MIN).then(|| (id.clone(), regex, value.len()))
        });
        Leaks { secrets: secrets.collect() }
    }

    fn find(&self, bytes: &[u8]) -> Option<&str> {
        self.secrets.iter().find(|(_, regex, _)| regex.is_match(bytes)).map(|(id, ..)| id.as_str())
    }

    /// Searches a stream; a value that lies across two reads is found too.
    fn find_in(&self, mut from: impl Read) -> std::io::Result<Option<&str>> {
        let overlap = self.secrets.iter().map(|(_, _, length)| *length).max().unwrap_or(0);
        let mut buffer = vec![0; WINDOW + overlap];
        let mut kept = 0;
        loop {
            let length = from.read(&mut buffer[kept..])?;
            if length == 0 {
                return Ok(None);
            }
            let end = kept + length;
            if let Some(id) = self.find(&buffer[..end]) {
                return Ok(Some(id));
            }
            kept = overlap.min(end);
            buffer.copy_within(end - kept..end, 0);
        }
    }
}

impl Solver<'_> {
    /// Refuses a result that holds the value of a secret.
    pub(super) fn refuse_leaks(
        &self,
        leaks: &Leaks,
        config: &ImageConfig,
        layers: &[(LayerId, String)],
    ) -> Result<()> {
        if leaks.secrets.is_empty() {
            return Ok(());
        }
        let leaked =
            |id: &str, place: String| Err(Error::SecretLeaked { id: id.to_owned(), place });
        let text = serde_json::to_vec(config).unwrap_or_default();
        if let Some(id) = leaks.find(&text) {
            return leaked(id, "the image's config or history".to_owned());
        }
        for (layer, step) in layers {
            let folder = self.store.layers().require(layer)?.fs().clone();
            if let Some((id, path)) = self.leak_below(leaks, &folder, &folder)? {
                return leaked(&id, format!("{path} of the layer of {step}"));
            }
        }
        Ok(())
    }

    fn leak_below(
        &self,
        leaks: &Leaks,
        root: &Path,
        folder: &Path,
    ) -> Result<Option<(String, String)>> {
        let at = |act| move |source| Error::Cache { act, path: folder.to_owned(), source };
        for entry in std::fs::read_dir(folder).map_err(at("search"))? {
            let entry = entry.map_err(at("search"))?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(at("search"))?);
            let found = if kind.is_dir() {
                self.leak_below(leaks, root, &path)?
            } else if kind.is_file() {
                let found =
                    File::open(&path).and_then(|file| leaks.find_in(file)).map_err(at("search"))?;
                let inside = path.strip_prefix(root).unwrap_or(&path);
                found.map(|id| (id.to_owned(), format!("/{}", inside.display())))
            } else {
                None
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Secret;

    /// Covers: BLD-33
    #[test]
    fn a_value_is_found_across_the_edge_of_two_reads() {
        let mut credentials = Credentials::default();
        credentials.secrets.insert("tok".into(), Secret::new("hunter2-(long)\n"));
        credentials.secrets.insert("short".into(), Secret::new("ab"));
        let leaks = Leaks::of(&credentials);
        let mut bytes = vec![b'.'; WINDOW + 5];
        bytes.extend(b"hunter2-(long)...ab");
        assert_eq!(leaks.find_in(bytes.as_slice()).unwrap(), Some("tok"));
        assert_eq!(leaks.find_in(&b"hunter2-long ab"[..]).unwrap(), None);
    }
}

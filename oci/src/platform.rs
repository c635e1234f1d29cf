//! Platforms: what an image runs on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::descriptor::Descriptor;

/// Why a text is not a platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// The text is not `os[/arch[/variant]]`.
    #[error("invalid platform {text:?}: expected os/architecture[/variant], such as linux/arm64")]
    Format {
        /// What was read.
        text: String,
    },
}

/// An operating system, an architecture and its variant, normalised
/// (`x86_64` is `amd64`, `aarch64` is `arm64`, `arm64/v8` is `arm64`, `arm` is `arm/v7`).
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Platform {
    architecture: String,
    os: String,
    #[serde(rename = "os.version", skip_serializing_if = "Option::is_none")]
    os_version: Option<String>,
    #[serde(rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    os_features: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
}

impl Platform {
    /// The platform `os/architecture` of a known pair.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let (architecture, variant) = normalise(architecture, variant);
        Self {
            architecture,
            os: normalise_os(os),
            os_version: None,
            os_features: Vec::new(),
            variant,
        }
    }

    /// The platform this program was compiled for.
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, None)
    }

    /// The operating system, `linux`.
    pub fn os(&self) -> &str {
        &self.os
    }

    /// The architecture in Go's spelling, `amd64`.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// The architecture's variant, `v7`.
    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }

    /// The operating system's version (Windows images).
    pub fn os_version(&self) -> Option<&str> {
        self.os_version.as_deref()
    }

    /// How well an image for `self` serves `want`: `None` is not at all, and the lower the
    /// better. An older variant of the same architecture runs on a newer one.
    pub fn rank_for(&self, want: &Self) -> Option<u32> {
        if self.os != want.os || self.architecture != want.architecture {
            return None;
        }
        if want.os_version.is_some() && self.os_version != want.os_version {
            return None;
        }
        let level = |platform: &Self| -> Option<u32> {
            match platform.variant.as_deref() {
                None => Some(default_level(&platform.architecture)),
                Some(variant) => variant.strip_prefix('v')?.parse().ok(),
            }
        };
        match (level(self), level(want)) {
            (Some(have), Some(want)) if have <= want => Some(want - have),
            _ if self.variant == want.variant => Some(0),
            _ => None,
        }
    }

    /// The entry that serves this platform best, the first among equals (DST-43). Entries
    /// without a platform, or for `unknown/unknown` (attestations), are never chosen.
    pub fn choose<'a>(&self, entries: &'a [Descriptor]) -> Option<&'a Descriptor> {
        entries
            .iter()
            .filter_map(|entry| Some((entry.platform()?.rank_for(self)?, entry)))
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, entry)| entry)
    }
}

/// The level that a bare architecture name stands for.
fn default_level(architecture: &str) -> u32 {
    match architecture {
        "arm" => 7,
        "arm64" => 8,
        _ => 1,
    }
}

fn normalise_os(os: &str) -> String {
    match os.to_ascii_lowercase().as_str() {
        "macos" => "darwin".to_owned(),
        other => other.to_owned(),
    }
}

fn normalise(architecture: &str, variant: Option<&str>) -> (String, Option<String>) {
    let variant = variant.map(str::to_ascii_lowercase).filter(|v| !v.is_empty());
    let (architecture, variant) = match (architecture.to_ascii_lowercase().as_str(), variant) {
        ("i386" | "i686" | "x86", _) => ("386".to_owned(), None),
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64".to_owned(), variant),
        ("aarch64" | "arm64", variant) => ("arm64".to_owned(), variant),
        ("armhf", _) => ("arm".to_owned(), Some("v7".to_owned())),
        ("armel", _) => ("arm".to_owned(), Some("v6".to_owned())),
        (other, variant) => (other.to_owned(), variant),
    };
    let variant = match (architecture.as_str(), variant.as_deref()) {
        ("amd64", Some("v1")) | ("arm64", Some("8" | "v8")) => None,
        ("arm", None | Some("7")) => Some("v7".to_owned()),
        ("arm", Some("5" | "6" | "8")) => variant.map(|v| format!("v{v}")),
        _ => variant,
    };
    (architecture, variant)
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let error = || PlatformError::Format { text: text.to_owned() };
        let parts: Vec<&str> = text.split('/').collect();
        let word = |part: &&str| {
            part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        };
        if !parts.iter().all(word) {
            return Err(error());
        }
        match parts[..] {
            [os @ ("linux" | "windows" | "darwin" | "freebsd")] => {
                Ok(Self::new(os, std::env::consts::ARCH, None))
            }
            [architecture] => Ok(Self::new("linux", architecture, None)),
            [os, architecture] => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::new(os, architecture, Some(variant))),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for Platform {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Map::<String, Value>::deserialize(deserializer)?;
        let text = |key: &str| fields.get(key).and_then(Value::as_str);
        let mut platform = Self::new(
            text("os").unwrap_or_default(),
            text("architecture").unwrap_or_default(),
            text("variant"),
        );
        platform.os_version = text("os.version").map(str::to_owned);
        if let Some(Value::Array(features)) = fields.get("os.features") {
            platform.os_features =
                features.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        }
        Ok(platform)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, MediaType};

    fn platform(text: &str) -> Platform {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn spellings_are_normalised() {
        let table = [
            ("linux/x86_64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("linux/armhf", "linux/arm/v7"),
            ("Linux/AMD64", "linux/amd64"),
            ("arm64", "linux/arm64"),
            ("linux/i386", "linux/386"),
        ];
        for (text, expected) in table {
            assert_eq!(platform(text).to_string(), expected, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_platform() {
        for text in ["", "/", "linux/", "linux/amd64/", "a/b/c/d", "linux/am d64", "../x"] {
            assert!(text.parse::<Platform>().is_err(), "accepted {text:?}");
        }
    }

    fn index(platforms: &[&str]) -> Vec<Descriptor> {
        platforms
            .iter()
            .map(|text| {
                Descriptor::new(MediaType::OciManifest, Digest::sha256(text.as_bytes()), 1)
                    .with_platform(platform(text))
            })
            .collect()
    }

    #[track_caller]
    fn check(want: &str, offered: &[&str], expected: Option<&str>) {
        let entries = index(offered);
        let chosen = platform(want).choose(&entries).and_then(Descriptor::platform);
        assert_eq!(chosen.map(ToString::to_string).as_deref(), expected);
    }

    /// Covers: DST-43
    #[test]
    fn the_best_entry_of_an_index_is_chosen() {
        check("linux/amd64", &["linux/arm64", "linux/amd64"], Some("linux/amd64"));
        check("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6"], Some("linux/arm/v6"));
        check("linux/arm/v6", &["linux/arm/v7", "linux/arm/v5"], Some("linux/arm/v5"));
        check("linux/arm/v6", &["linux/arm/v7"], None);
        check("linux/amd64/v2", &["linux/amd64", "linux/amd64/v3"], Some("linux/amd64"));
        check("linux/amd64", &["unknown/unknown"], None);
        check("linux/s390x", &["linux/amd64"], None);
    }
}

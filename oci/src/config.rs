//! Image configs: the OCI config with Docker's extensions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::chain::{ChainId, chain_ids};
use crate::digest::Digest;
use crate::json::null_is_default;
use crate::limits::{CONFIG_BYTES_MAX, LAYERS_MAX};
use crate::media_type::MediaType;
use crate::platform::Platform;
use crate::raw::{Document, RawError};

/// The config of an image (image-spec config.md and Docker image spec v1.3).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// The architecture in Go's spelling.
    #[serde(default)]
    pub architecture: String,
    /// The architecture's variant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The operating system.
    #[serde(default)]
    pub os: String,
    /// The operating system's version (Windows).
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// The operating system's features (Windows).
    #[serde(
        rename = "os.features",
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub os_features: Vec<String>,
    /// When the image was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// How to run it.
    #[serde(default, deserialize_with = "null_is_default")]
    pub config: ContainerConfig,
    /// What it consists of.
    #[serde(default, deserialize_with = "null_is_default")]
    pub rootfs: RootFs,
    /// How it was made, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub history: Vec<History>,
    /// Fields this implementation does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ImageConfig {
    /// The config of an empty image for `platform`.
    pub fn scratch(platform: &Platform) -> Self {
        Self {
            architecture: platform.architecture().to_owned(),
            variant: platform.variant().map(str::to_owned),
            os: platform.os().to_owned(),
            rootfs: RootFs::default(),
            ..Self::default()
        }
    }

    /// The platform that the image is for.
    pub fn platform(&self) -> Platform {
        Platform::new(&self.os, &self.architecture, self.variant.as_deref())
    }

    /// The layers' uncompressed digests, base first.
    pub fn diff_ids(&self) -> &[Digest] {
        &self.rootfs.diff_ids
    }

    /// The chain id after each layer, base first.
    pub fn chain_ids(&self) -> Vec<ChainId> {
        chain_ids(&self.rootfs.diff_ids)
    }
}

impl Document for ImageConfig {
    const KIND: &'static str = "image config";
    const BYTES_MAX: u64 = CONFIG_BYTES_MAX;

    fn from_bytes(bytes: &[u8]) -> Result<Self, RawError> {
        let config: Self = serde_json::from_slice(bytes)
            .map_err(|source| RawError::Json { kind: Self::KIND, source })?;
        let invalid = |reason: String| Err(RawError::Invalid { kind: Self::KIND, reason });
        match config.rootfs.diff_ids.len() {
            count if count > LAYERS_MAX => {
                invalid(format!("{count} layers, over the limit of {LAYERS_MAX}"))
            }
            _ if config.rootfs.kind != "layers" => {
                invalid(format!("rootfs.type {:?} is not \"layers\"", config.rootfs.kind))
            }
            _ => Ok(config),
        }
    }

    fn media_type(&self) -> MediaType {
        MediaType::OciConfig
    }
}

/// The layers of an image by their content hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The uncompressed digests, base first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: "layers".to_owned(), diff_ids: Vec::new() }
    }
}

/// One step of an image's making.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// When, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// The instruction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// A remark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether the step added no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// How to run an image: the `config` object of its config.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// User, or user:group, by name or number.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub user: String,
    /// Ports that the image documents, as `8080/tcp`.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub exposed_ports: BTreeMap<String, Value>,
    /// Environment, as `NAME=value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub env: Vec<String>,
    /// The command's fixed part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// The command's default arguments, or the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// How to find out whether the container works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Paths that get an anonymous volume.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub volumes: BTreeMap<String, Value>,
    /// The working directory.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub working_dir: String,
    /// Instructions that run when the image is a base.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub on_build: Vec<String>,
    /// Labels.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub labels: BTreeMap<String, String>,
    /// The signal that asks the container to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// How many seconds a stop waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// The shell of shell-form instructions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// Fields this implementation does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A health check. Durations are nanoseconds; zero inherits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", command]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub test: Vec<String>,
    /// Time between checks.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// Time one check may take.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Time in which failures do not count.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Time between checks during the start period.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make the container unhealthy.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: i64,
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Raw;

    const DOCKER: &str = r#"{"architecture":"amd64","config":{"Hostname":"","Env":["PATH=/bin"],
      "Cmd":["sh"],"Entrypoint":null,"Labels":null,"OnBuild":null,"Volumes":null,"ArgsEscaped":true,
      "Healthcheck":{"Test":["CMD-SHELL","true"],"Interval":30000000000}},
      "created":"2023-01-01T00:00:00Z","docker_version":"20.10","history":[{"created_by":"/bin/sh -c #(nop) CMD [\"sh\"]","empty_layer":true}],
      "os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;

    #[test]
    fn a_docker_config_is_read_with_its_extensions_and_unknown_fields() {
        let raw = Raw::<ImageConfig>::parse(DOCKER.as_bytes()).expect("valid");
        assert_eq!(raw.config.cmd.as_deref(), Some(&["sh".to_owned()][..]));
        assert_eq!(raw.config.entrypoint, None);
        assert_eq!(raw.config.extra["ArgsEscaped"], true);
        assert_eq!(raw.extra["docker_version"], "20.10");
        assert_eq!(raw.config.healthcheck.as_ref().map(|h| h.interval), Some(30_000_000_000));
        assert!(raw.history[0].empty_layer);
    }

    #[test]
    fn an_encoded_config_keeps_every_field() {
        let config = Raw::<ImageConfig>::parse(DOCKER.as_bytes()).expect("valid").into_parsed();
        assert_eq!(Raw::encode(&config).expect("encodes").into_parsed(), config);
    }

    #[test]
    fn refuses_a_rootfs_that_is_not_layers() {
        let text = r#"{"rootfs":{"type":"disk","diff_ids":[]}}"#;
        assert!(Raw::<ImageConfig>::parse(text.as_bytes()).is_err());
    }
}

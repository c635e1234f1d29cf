//! Limits on devices beyond plain numbers: `--device-read-bps` and its like, `--blkio-weight-device`, `--device-cgroup-rule`.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{Error, Result};

/// A number that holds for one block device of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceLimit {
    /// The device's node on the host.
    pub path: PathBuf,
    /// Bytes or operations a second, or a weight.
    pub value: u64,
}

/// What a container may do to block devices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BlockLimits {
    /// `--device-read-bps`.
    pub read_bytes: Vec<DeviceLimit>,
    /// `--device-write-bps`.
    pub write_bytes: Vec<DeviceLimit>,
    /// `--device-read-iops`.
    pub read_operations: Vec<DeviceLimit>,
    /// `--device-write-iops`.
    pub write_operations: Vec<DeviceLimit>,
    /// `--blkio-weight-device`.
    pub weights: Vec<DeviceLimit>,
}

impl BlockLimits {
    /// What of it the OCI specification has, with the devices' numbers as they are now.
    pub(crate) fn document(&self) -> Result<serde_json::Map<String, Value>> {
        let mut document = serde_json::Map::new();
        let lists = [
            ("throttleReadBpsDevice", "rate", &self.read_bytes),
            ("throttleWriteBpsDevice", "rate", &self.write_bytes),
            ("throttleReadIOPSDevice", "rate", &self.read_operations),
            ("throttleWriteIOPSDevice", "rate", &self.write_operations),
            ("weightDevice", "weight", &self.weights),
        ];
        for (name, key, limits) in lists {
            let list =
                limits.iter().map(|limit| numbered(limit, key)).collect::<Result<Vec<_>>>()?;
            if !list.is_empty() {
                document.insert(name.to_owned(), Value::Array(list));
            }
        }
        Ok(document)
    }
}

fn numbered(limit: &DeviceLimit, key: &str) -> Result<Value> {
    let metadata = std::fs::metadata(&limit.path)
        .map_err(Error::file("limit the use of the device", &limit.path))?;
    if !metadata.file_type().is_block_device() {
        return Err(Error::invalid(
            "device",
            limit.path.display().to_string(),
            "only block devices have such limits",
        ));
    }
    let number = metadata.rdev();
    Ok(
        json!({ "major": rustix::fs::major(number), "minor": rustix::fs::minor(number), key: limit.value }),
    )
}

/// One `--device-cgroup-rule`: `c 42:* rmw`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeviceRule {
    kind: char,
    major: Option<u32>,
    minor: Option<u32>,
    access: String,
}

impl DeviceRule {
    pub(crate) fn document(&self) -> Value {
        let mut rule =
            json!({ "allow": true, "type": self.kind.to_string(), "access": self.access });
        for (name, number) in [("major", self.major), ("minor", self.minor)] {
            if let Some(number) = number {
                rule[name] = json!(number);
            }
        }
        rule
    }
}

impl std::str::FromStr for DeviceRule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::invalid(
                "--device-cgroup-rule",
                text,
                "invalid device cgroup format: write c|b|a MAJOR:MINOR rwm",
            )
        };
        let number = |text: &str| match text {
            "*" => Ok(None),
            text => text.parse().map(Some).map_err(|_| bad()),
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        let [kind @ ("a" | "b" | "c"), numbers, access] = words.as_slice() else {
            return Err(bad());
        };
        let (major, minor) = numbers.split_once(':').ok_or_else(bad)?;
        let is_access = !access.is_empty() && access.chars().all(|c| "rwm".contains(c));
        if !is_access {
            return Err(bad());
        }
        Ok(Self {
            kind: kind.chars().next().ok_or_else(bad)?,
            major: number(major)?,
            minor: number(minor)?,
            access: (*access).to_owned(),
        })
    }
}

impl TryFrom<String> for DeviceRule {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<DeviceRule> for String {
    fn from(rule: DeviceRule) -> Self {
        rule.to_string()
    }
}

impl std::fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |n| n.to_string());
        write!(f, "{} {}:{} {}", self.kind, number(self.major), number(self.minor), self.access)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: RUN-18
    #[test]
    fn rules_of_devices_read_as_docker_reads_them() {
        let rule: DeviceRule = "c 42:* rmw".parse().unwrap();
        assert_eq!(rule.to_string(), "c 42:* rmw");
        assert_eq!(
            rule.document(),
            json!({ "allow": true, "type": "c", "access": "rmw", "major": 42 })
        );
        for bad in ["", "c 42 rwm", "x 1:1 r", "c 1:1 z", "c a:b r", "c 1:1 r w"] {
            assert!(bad.parse::<DeviceRule>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_block_devices_that_are_there_have_limits() {
        let limits = |path: &str| BlockLimits {
            read_bytes: vec![DeviceLimit { path: path.into(), value: 1 }],
            ..BlockLimits::default()
        };
        assert!(limits("/dev/null").document().is_err());
        assert!(limits("/no/such/device").document().is_err());
        assert!(BlockLimits::default().document().unwrap().is_empty());
    }
}

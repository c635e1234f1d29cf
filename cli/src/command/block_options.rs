//! The options of `run` and `create` that hold for single block devices.

use engine::runtime::{BlockLimits, DeviceLimit};

use super::resource_options::bytes;
use crate::error::{Error, Result};

/// Limits on block devices.
#[derive(Debug, clap::Args)]
pub(crate) struct BlockOptions {
    /// Block IO weight (relative device weight)
    #[arg(long, value_name = "list")]
    blkio_weight_device: Vec<String>,
    /// Limit read rate (bytes per second) from a device
    #[arg(long, value_name = "list")]
    device_read_bps: Vec<String>,
    /// Limit read rate (IO per second) from a device
    #[arg(long, value_name = "list")]
    device_read_iops: Vec<String>,
    /// Limit write rate (bytes per second) to a device
    #[arg(long, value_name = "list")]
    device_write_bps: Vec<String>,
    /// Limit write rate (IO per second) to a device
    #[arg(long, value_name = "list")]
    device_write_iops: Vec<String>,
}

impl BlockOptions {
    /// What they mean to the runtime.
    pub(crate) fn limits(&self) -> Result<BlockLimits> {
        let number = |option: &str, text: &str| {
            text.parse::<u64>().map_err(|_| wrong(option, text, "a number is expected"))
        };
        let weight = |option: &str, text: &str| match text.parse::<u64>() {
            Ok(weight @ (0 | 10..=1000)) => Ok(weight),
            _ => Err(wrong(option, text, "a weight is 0, or from 10 to 1000")),
        };
        Ok(BlockLimits {
            read_bytes: all("--device-read-bps", &self.device_read_bps, bytes)?,
            write_bytes: all("--device-write-bps", &self.device_write_bps, bytes)?,
            read_operations: all("--device-read-iops", &self.device_read_iops, number)?,
            write_operations: all("--device-write-iops", &self.device_write_iops, number)?,
            weights: all("--blkio-weight-device", &self.blkio_weight_device, weight)?,
        })
    }
}

/// Each `PATH:VALUE`.
fn all(
    option: &str,
    texts: &[String],
    value: impl Fn(&str, &str) -> Result<u64>,
) -> Result<Vec<DeviceLimit>> {
    let one = |text: &String| {
        let (path, number) = text
            .rsplit_once(':')
            .filter(|(path, _)| path.starts_with("/dev/"))
            .ok_or_else(|| wrong(option, text, "bad format for path: write /dev/DEVICE:VALUE"))?;
        Ok(DeviceLimit { path: path.into(), value: value(option, number)? })
    };
    texts.iter().map(one).collect()
}

fn wrong(option: &str, text: &str, reason: &str) -> Error {
    Error::refused(format!("invalid argument {text:?} for \"{option}\" flag: {reason}"), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_names_a_device_and_a_value() {
        let limits = all("--device-read-bps", &["/dev/sda:1mb".to_owned()], bytes).unwrap();
        assert_eq!(limits, [DeviceLimit { path: "/dev/sda".into(), value: 1 << 20 }]);
        for bad in ["/dev/sda", "sda:1mb", "/dev/sda:x", ""] {
            assert!(all("--device-read-bps", &[bad.to_owned()], bytes).is_err(), "{bad:?}");
        }
    }
}

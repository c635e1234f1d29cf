//! Reading a driver's options: each is known or refused, none is passed over.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Largest packet of Ethernet as an option.
pub(super) const MTU: &str = "com.docker.network.driver.mtu";
/// What the interfaces inside are called, before their number.
pub(super) const INTERFACE_PREFIX: &str = "com.docker.network.container_iface_prefix";

/// An error about one option.
pub(super) fn invalid(option: &str, value: &str, reason: impl Into<String>) -> Error {
    Error::InvalidOption {
        option: option.to_owned(),
        value: value.to_owned(),
        reason: reason.into(),
    }
}

/// Refuses options that the driver does not know.
pub(super) fn only(driver: &str, options: &BTreeMap<String, String>, known: &[&str]) -> Result<()> {
    match options.iter().find(|(key, _)| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some((key, value)) => {
            Err(invalid(key, value, format!("the driver {driver} has no such option")))
        }
    }
}

/// A number or a truth value.
pub(super) fn parsed<T: FromStr>(
    options: &BTreeMap<String, String>,
    key: &str,
    what: &str,
) -> Result<Option<T>> {
    match options.get(key) {
        None => Ok(None),
        Some(text) => {
            text.parse().map(Some).map_err(|_| invalid(key, text, format!("it is not {what}")))
        }
    }
}

/// A truth value in the forms that Docker reads.
pub(super) fn truth(options: &BTreeMap<String, String>, key: &str) -> Result<Option<bool>> {
    match options.get(key).map(|text| (text, text.to_ascii_lowercase())) {
        None => Ok(None),
        Some((_, text)) if matches!(text.as_str(), "1" | "t" | "true") => Ok(Some(true)),
        Some((_, text)) if matches!(text.as_str(), "0" | "f" | "false") => Ok(Some(false)),
        Some((text, _)) => Err(invalid(key, text, "it is neither true nor false")),
    }
}

/// The largest packet, if asked for.
pub(super) fn mtu(options: &BTreeMap<String, String>) -> Result<Option<u32>> {
    match parsed::<u32>(options, MTU, "a number")? {
        // 68 is the least that IPv4 may have (RFC 791).
        Some(mtu) if !(68..=65535).contains(&mtu) => {
            Err(invalid(MTU, &mtu.to_string(), "it is not between 68 and 65535"))
        }
        mtu => Ok(mtu),
    }
}

/// The name of an interface, as the kernel accepts it.
pub(super) fn check_interface(option: &str, name: &str) -> Result<()> {
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'/' | b':');
    if name.is_empty() || name.len() > 15 || matches!(name, "." | "..") || !name.bytes().all(plain)
    {
        return Err(invalid(option, name, "an interface has 1 to 15 characters without / and :"));
    }
    Ok(())
}

/// The name of a container's interface by its number.
pub(super) fn inside_name(options: &BTreeMap<String, String>, number: usize) -> String {
    let prefix = options.get(INTERFACE_PREFIX).map_or("eth", String::as_str);
    format!("{prefix}{number}")
}

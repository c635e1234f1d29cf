//! Reading JSON as Go's encoders write it.

use serde::Deserialize;

/// Go encoders write `null` for an empty list or map.
pub(crate) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

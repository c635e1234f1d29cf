//! Ids of networks and endpoints: 64 hexadecimal digits.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

const DIGITS: usize = 64;
const SHORT_DIGITS: usize = 12;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// A new random id.
            pub fn generate() -> Result<Self> {
                Ok(Self(hex::encode(random::<{ DIGITS / 2 }>()?)))
            }

            /// All 64 digits.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The first twelve digits, as lists show them.
            pub fn short(&self) -> &str {
                &self.0[..SHORT_DIGITS]
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                let digits = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
                if text.len() == DIGITS && digits {
                    return Ok(Self(text.to_owned()));
                }
                Err(Error::InvalidId { text: text.to_owned() })
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

id! {
    /// The id of a network.
    NetworkId
}

id! {
    /// The id of an endpoint.
    EndpointId
}

/// Random bytes of the kernel.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Error::Kernel {
        act: "draw random bytes".into(),
        source: std::io::Error::other(error.to_string()),
    })?;
    Ok(bytes)
}

/// A random number of 16 bits.
pub(crate) fn random_u16() -> Result<u16> {
    random::<2>().map(u16::from_ne_bytes)
}

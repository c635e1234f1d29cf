//! Keys that live elsewhere: a helper program signs for us (`docs/format/signer-helper.md`).
//!
//! This file knows the words of the protocol; whoever can start a program carries them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{PublicKey, Signer};
use crate::limits::KEY_FILE_BYTES_MAX;
use crate::secret::Secret;
use crate::{Error, Result, json};

/// The protocol's version.
pub const HELPER_PROTOCOL: &str = "wherry-signer/1";

/// One exchange with a helper program: its standard input, and what it printed.
pub trait Helper: Send + Sync {
    /// The helper's name, for messages.
    fn name(&self) -> &str;
    /// Runs the helper with one request; an error where it did not start or did not succeed.
    fn exchange(
        &self,
        request: &[u8],
    ) -> std::result::Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>>;
}

#[derive(Serialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
enum Request<'a> {
    Public { protocol: &'static str, key: &'a str },
    Sign { protocol: &'static str, key: &'a str, message: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublicResponse {
    public: PublicKey,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignResponse {
    signature: String,
}

/// A signer whose private half never comes here.
pub struct HelperSigner {
    helper: Box<dyn Helper>,
    key: String,
    public: PublicKey,
}

impl HelperSigner {
    /// Asks the helper for the public half of a key that it knows under `key`.
    pub fn connect(helper: Box<dyn Helper>, key: &str) -> Result<Self> {
        let request = Request::Public { protocol: HELPER_PROTOCOL, key };
        let response: PublicResponse = ask(&*helper, &request)?;
        if !response.public.is_supported() {
            return Err(unusable(&*helper, "its key is of a kind that cannot be verified here"));
        }
        Ok(Self { helper, key: key.to_owned(), public: response.public })
    }
}

impl Signer for HelperSigner {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let message_text = STANDARD.encode(message);
        let request =
            Request::Sign { protocol: HELPER_PROTOCOL, key: &self.key, message: message_text };
        let response: SignResponse = ask(&*self.helper, &request)?;
        let signature = STANDARD.decode(response.signature).unwrap_or_default();
        // What a helper returns is believed only after it verifies.
        if !self.public.verifies(message, &signature) {
            return Err(Error::SigningFailed { keyid: self.public.id() });
        }
        Ok(signature)
    }

    fn pkcs8(&self) -> Option<Secret> {
        None
    }
}

impl fmt::Debug for HelperSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HelperSigner({}, {})", self.helper.name(), self.public.id().short(12))
    }
}

fn ask<T: for<'de> Deserialize<'de>>(helper: &dyn Helper, request: &Request<'_>) -> Result<T> {
    let mut line =
        serde_json::to_vec(request).map_err(|error| unusable(helper, &error.to_string()))?;
    line.push(b'\n');
    let answer = helper.exchange(&line).map_err(|source| Error::Transport {
        file: format!("a signature from {}", helper.name()),
        source,
    })?;
    if answer.len() > KEY_FILE_BYTES_MAX {
        return Err(unusable(helper, "its answer is too long"));
    }
    let value = json::parse(&answer).map_err(|error| unusable(helper, &error.to_string()))?;
    T::deserialize(value).map_err(|error| unusable(helper, &error.to_string()))
}

fn unusable(helper: &dyn Helper, detail: &str) -> Error {
    Error::KeyFile { name: helper.name().to_owned(), detail: format!("signer helper: {detail}") }
}

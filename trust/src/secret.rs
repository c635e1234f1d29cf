//! Secrets: never printed, wiped when dropped.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

/// A passphrase or private key material: `Debug` prints stars and the memory is wiped on drop.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes ownership of the secret's bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The secret itself; the name makes every use easy to find.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// True where nothing was given, which is never a passphrase.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Secret {
    fn from(mut text: String) -> Self {
        let secret = Self::new(text.as_bytes());
        text.zeroize();
        secret
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(****)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_as_stars() {
        let secret = Secret::from("hunter2".to_owned());
        assert_eq!(format!("{secret:?}"), "Secret(****)");
        assert_eq!(secret.expose(), b"hunter2");
    }
}

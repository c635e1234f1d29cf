//! Signature schemes: one file each, one line in [`SCHEMES`].

mod ecdsa;
mod ed25519;
mod rsa_pss;

use crate::key::PublicKey;

/// How one kind of key verifies.
pub(crate) trait Scheme: Sync {
    /// The `keytype` values the scheme goes by.
    fn keytypes(&self) -> &'static [&'static str];
    /// The `scheme` values it goes by.
    fn names(&self) -> &'static [&'static str];
    /// The key's binary form, one for every spelling of the same key.
    fn material(&self, public: &str) -> Option<Vec<u8>>;
    /// True if the signature is good; `material` comes from [`Scheme::material`].
    fn verify(&self, material: &[u8], message: &[u8], signature: &[u8]) -> bool;
}

static SCHEMES: &[&dyn Scheme] = &[&ecdsa::EcdsaP256, &ed25519::Ed25519, &rsa_pss::RsaPss];

/// The scheme a key's `keytype` and `scheme` name together: the scheme is part of the key.
pub(crate) fn find(key: &PublicKey) -> Option<&'static dyn Scheme> {
    SCHEMES.iter().copied().find(|scheme| {
        scheme.keytypes().contains(&key.keytype()) && scheme.names().contains(&key.scheme())
    })
}

//! Dialects of signatures and statements besides TUF.

pub mod cosign;
pub mod dsse;
pub mod notary;
pub mod vsa;

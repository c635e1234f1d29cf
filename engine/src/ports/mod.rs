//! The adapters: what the rooms below ask for, made of what the machine and the other rooms have.

pub(crate) mod blob_reader;
pub(crate) mod clock;
pub(crate) mod container_networks;
pub(crate) mod fetcher;
pub(crate) mod file_content;
mod git;
pub(crate) mod image_source;
pub(crate) mod journal;
pub(crate) mod keychain;
pub(crate) mod ledger;
pub(crate) mod upstream;
pub(crate) mod worker;

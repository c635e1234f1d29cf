//! The adapters: what the rooms below ask for, made of what the machine and the other rooms have.

pub(crate) mod blob_reader;
pub(crate) mod file_content;
pub(crate) mod keychain;

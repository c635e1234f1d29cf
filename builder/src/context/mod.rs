//! The build context: which files of a folder belong to it and what they hold.

pub mod ignore;

//! Copying graphs.

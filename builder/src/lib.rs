//! Building images: Dockerfile to instructions to a graph to layers, without a daemon.
pub mod frontend;
pub mod limits;

//! Building images: Dockerfile to instructions to a graph to layers, without a daemon.
//!
//! Text goes through [`frontend::parse`], then [`lower::lower`] makes a [`graph::Graph`]; steps run through ports.
//! Nothing here reads the environment or a clock, opens a socket or starts a process.

mod accounts;
pub mod attest;
pub mod cache;
pub mod check;
pub mod chmod;
pub mod context;
pub mod error;
pub mod frontend;
pub mod graph;
pub mod key;
pub mod limits;
pub mod lower;
pub mod outline;
pub mod paths;
pub mod plan;
pub mod ports;
pub mod reproduce;
pub mod request;
pub mod solve;
mod tree;

pub use error::{Error, PortError, Result};
pub use request::{BuildRequest, BuildResult, BuiltImage, CacheLayers, Cancel};
pub use solve::{Builder, Ports};

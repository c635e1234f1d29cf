//! The embedded DNS server of one container, at 127.0.0.11: it knows the names of all containers on the networks that
//! the container is on, and asks the next server about everything else.
//!
//! It is one descriptor to wait for and one function that never blocks, so that it lives in a process without threads.

pub mod message;
mod server;
mod table;
mod upstream;

pub use server::Server;

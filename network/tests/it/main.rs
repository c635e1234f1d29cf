//! The networks from outside: what a caller can rely on. Each test has a host of its own: a network namespace.

mod attach;
mod definitions;
mod dns;
mod faults;
mod firewall;
mod publish;
mod world;

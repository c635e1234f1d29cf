//! The server over real connections, clause by clause. `tests/conformance/registry.toml` numbers the clauses of the
//! distribution specification 1.1 and names the test that holds each.

mod access;
mod collection;
mod deletion;
mod discovery;
mod hostile;
mod manifests;
mod mounts;
mod operations;
mod pull_through;
mod pulls;
mod restart;
mod site;
mod tls;
mod uploads;

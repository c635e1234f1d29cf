//! Attacks on a client and mistakes of a repository, each named after what it is.

mod delegations;
mod roots;
mod snapshots;
mod timestamps;

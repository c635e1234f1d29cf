//! Attacks on a client and mistakes of a repository, each named after what it is.

mod delegations;
mod mutations;
mod roots;
mod snapshots;
mod timestamps;

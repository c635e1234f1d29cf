//! The client against a registry in the same process that can misbehave on cue.

mod answers;
mod auth;
mod blocking;
mod budget;
mod chaos;
mod lists;
mod mirrors;
mod proxies;
mod pull;
mod push;
mod support;
mod sync;
mod tls;

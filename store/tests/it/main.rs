//! The store from outside: what a caller can rely on.

mod archives;
mod collect;
mod content;
mod hostile;
mod layers;
mod names;
mod snapshots;
mod support;

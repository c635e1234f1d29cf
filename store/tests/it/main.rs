//! The store from outside: what a caller can rely on.

mod archives;
mod collect;
mod content;
mod crash;
mod differential;
mod faults;
mod formats;
mod hostile;
mod images;
mod layers;
mod names;
mod oracle;
mod snapshots;
mod support;

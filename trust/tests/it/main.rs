//! What the trust crate promises, through its public face.

mod artifacts;
mod attacks;
mod ceremonies;
mod fixtures;
mod fuzzing;
mod inspections;
mod interop;
mod judging;
mod keys;
mod parsers;
mod policies;
mod publisher;
mod records;
mod repositories;
mod statements;
mod world;

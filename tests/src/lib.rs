//! The harness of the end-to-end tests.
//!
//! A test owns a [`Site`]: a temporary root and run folder of Wherry, with everything in it. What a person would type is
//! what a test types: `site.wherry("run --rm busybox true")`. When a site is dropped its containers are removed, and
//! what is left behind in the kernel fails the test.
//!
//! A need that the machine cannot meet is a typed [`Need`]: the test is skipped, and the skip is counted and named at
//! the end of `cargo xtask test`.

pub mod chaos;
pub mod corpus;
pub mod crash;
pub mod fixture;
pub mod http;
pub mod inspect;
pub mod lan;
pub mod leak;
pub mod need;
pub mod peer;
pub mod publisher;
pub mod registry;
pub mod run;
pub mod seed;
pub mod site;
pub mod text;
pub mod web;

pub use need::{Need, have};
pub use registry::Registry;
pub use run::Run;
pub use site::Site;

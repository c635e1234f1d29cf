//! The project's own errands: trying it, testing it, measuring it and keeping it tidy.
//!
//! Everything that other projects keep in shell scripts stands here, in the language of the project, so that it is
//! compiled, linted and tested with the rest. The library half is used by the `tests` package, which needs the same
//! base images that `quickstart` uses.

pub mod apt;
pub mod bench;
pub mod ci;
pub mod golden;
pub mod images;
pub mod quickstart;
pub mod shell;
pub mod suite;
pub mod tidy;

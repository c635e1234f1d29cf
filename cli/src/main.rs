//! wherry
mod format;
mod template;
fn main() {}

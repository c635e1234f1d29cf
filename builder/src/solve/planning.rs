//! `build --plan` and `build why`: what would happen, and why.

//! Bounds on what is read from outside, each with what it stops.

/// Largest manifest or index accepted: the distribution specification asks
/// registries for at least 4 MiB, and a larger one is a memory attack.
pub const MANIFEST_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Largest image config accepted: a config holds history and labels, and one
/// beyond this is a memory attack on whoever pulls it.
pub const CONFIG_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Most layers an image may have: each costs a mount entry and a folder.
pub const LAYERS_MAX: usize = 2_000;

/// Most entries of an index: bounds the fan-out of a recursive copy.
pub const INDEX_ENTRIES_MAX: usize = 10_000;

/// Deepest nesting of indexes that is followed: stops cycles and bombs.
pub const INDEX_DEPTH_MAX: usize = 8;

/// Longest `host/path` of a reference (the common client-side cap).
pub const REPOSITORY_NAME_BYTES_MAX: usize = 255;

/// Longest tag (distribution specification).
pub const TAG_BYTES_MAX: usize = 128;

/// Largest content embedded in a descriptor's `data` field.
pub const EMBEDDED_DATA_BYTES_MAX: usize = 1024 * 1024;

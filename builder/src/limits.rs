//! Bounds on everything that comes from outside, each with the attack or failure it stops.

/// Bytes of a Dockerfile: a gigabyte of text would be held in memory several times.
pub const DOCKERFILE_BYTES: u64 = 16 << 20;
/// Bytes of a `.dockerignore`: every pattern becomes part of one automaton.
pub const IGNORE_FILE_BYTES: u64 = 4 << 20;
/// Instructions of a Dockerfile: each becomes a vertex, a history entry and a cache record.
pub const INSTRUCTIONS: usize = 20_000;
/// Bytes of one word before and after expansion: `ENV A=$A$A` doubled again and again.
pub const WORD_BYTES: usize = 1 << 20;
/// `${a:-${b:-…}}` nested: each level is a level of the call stack.
pub const EXPANSION_DEPTH: usize = 64;
/// ONBUILD triggers of a base image: an image config may hold millions.
pub const ONBUILD_TRIGGERS: usize = 1_000;
/// Ports of one EXPOSE: `1-65535` several times over.
pub const EXPOSED_PORTS: usize = 65_536;
/// Entries of a build context: a context with an endless tree (bind mounts, generated file systems).
pub const CONTEXT_ENTRIES: usize = 5_000_000;
/// Depth of a folder tree that is copied or hashed: each level holds an open descriptor.
pub const TREE_DEPTH: usize = 512;
/// Entries that an archive given to ADD may create.
pub const ARCHIVE_ENTRIES: usize = 5_000_000;
/// Bytes that an archive given to ADD may grow to: a compression bomb.
pub const ARCHIVE_BYTES: u64 = 64 << 30;
/// Bytes of one file that ADD downloads: a server that never stops.
pub const DOWNLOAD_BYTES: u64 = 64 << 30;
/// Bytes of one `/etc/passwd` or `/etc/group` of an image, read to resolve a name.
pub const ACCOUNTS_BYTES: u64 = 8 << 20;
/// Bytes of one secret handed to a step.
pub const SECRET_BYTES: usize = 500 << 10;
/// Bytes of one record of the build cache: a corrupted or planted file.
pub const CACHE_RECORD_BYTES: u64 = 4 << 20;
/// Bytes of the stat cache of one context.
pub const STAT_CACHE_BYTES: u64 = 1 << 30;
/// Bytes of one package database of an image: an image made to fill the memory of who lists it.
pub const PACKAGE_FILE_BYTES_MAX: u64 = 64 << 20;
/// Bytes of all of them together.
pub const PACKAGE_FILES_BYTES_MAX: usize = 256 << 20;
